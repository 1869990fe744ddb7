use super::{KeyEncoder, KeyField};

/// What a key closure may return: one key field, or a tuple of up to eight.
///
/// A tuple is a list of fields, not one field: `(7, "a")` gives the key that a derive with
/// `#[dedup_by(number, name)]` and the same kind gives.
pub trait KeyFields {
    /// Appends each field, in order.
    fn encode_fields(&self, encoder: &mut KeyEncoder);
}

impl<T: KeyField> KeyFields for T {
    #[inline]
    fn encode_fields(&self, encoder: &mut KeyEncoder) {
        self.encode(encoder);
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {$(
        impl<$($name: KeyField),+> KeyFields for ($($name,)+) {
            #[inline]
            #[allow(non_snake_case)]
            fn encode_fields(&self, encoder: &mut KeyEncoder) {
                let ($($name,)+) = self;
                $($name.encode(encoder);)+
            }
        }
    )*};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}
