use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    num::NonZero,
    rc::Rc,
    sync::Arc,
};

use super::KeyEncoder;

/// A value that may be part of a key.
///
/// Implemented for booleans, integers of every width, text, `Uuid`, options, lists, maps with text
/// keys and smart pointers to these. Not for floats: two computations of "the same" float differ in
/// the last bit, and then a duplicate is handled twice.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of an inbox key",
    label = "not a key field",
    note = "floats are refused because equal amounts need not be equal floats; for other types \
            choose a part of it (`field.path`), or calculate one: \
            `name = self.field.to_string()`"
)]
pub trait KeyField {
    /// Appends exactly one item.
    fn encode(&self, encoder: &mut KeyEncoder);
}

macro_rules! naturals {
    ($($ty:ty)*) => {$(
        impl KeyField for $ty {
            #[inline]
            fn encode(&self, encoder: &mut KeyEncoder) {
                encoder.natural(*self as u64);
            }
        }
        naturals!(@nonzero $ty);
    )*};
    (@nonzero $ty:ty) => {
        impl KeyField for NonZero<$ty> {
            #[inline]
            fn encode(&self, encoder: &mut KeyEncoder) {
                self.get().encode(encoder);
            }
        }
    };
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl KeyField for $ty {
            #[inline]
            fn encode(&self, encoder: &mut KeyEncoder) {
                encoder.integer(*self as i64);
            }
        }
        naturals!(@nonzero $ty);
    )*};
}

naturals!(u8 u16 u32 u64 usize);
integers!(i8 i16 i32 i64 isize);

impl KeyField for u128 {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.big_natural(*self);
    }
}

impl KeyField for i128 {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.big_integer(*self);
    }
}

impl KeyField for bool {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.boolean(*self);
    }
}

impl KeyField for str {
    #[inline]
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self);
    }
}

impl KeyField for String {
    #[inline]
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self);
    }
}

impl KeyField for char {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyField for () {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.none();
    }
}

impl KeyField for uuid::Uuid {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    }
}

impl<T: KeyField> KeyField for Option<T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        match self {
            Some(value) => value.encode(encoder),
            None => {
                encoder.none();
            }
        }
    }
}

impl<T: KeyField> KeyField for [T] {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.list(self.len());
        for value in self {
            value.encode(encoder);
        }
    }
}

impl<T: KeyField> KeyField for Vec<T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        self.as_slice().encode(encoder);
    }
}

impl<T: KeyField, const N: usize> KeyField for [T; N] {
    fn encode(&self, encoder: &mut KeyEncoder) {
        self.as_slice().encode(encoder);
    }
}

impl<K: AsRef<str>, V: KeyField> KeyField for BTreeMap<K, V> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        // `Ord` of `K` need not be the order of its text.
        encode_map(self.iter().map(|(key, value)| (key.as_ref(), value)).collect(), encoder);
    }
}

impl<K: AsRef<str>, V: KeyField, S> KeyField for HashMap<K, V, S> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encode_map(self.iter().map(|(key, value)| (key.as_ref(), value)).collect(), encoder);
    }
}

macro_rules! pointers {
    ($($ty:ty)*) => {$(
        impl<T: KeyField + ?Sized> KeyField for $ty {
            #[inline]
            fn encode(&self, encoder: &mut KeyEncoder) {
                (**self).encode(encoder);
            }
        }
    )*};
}

pointers!(&T &mut T Box<T> Rc<T> Arc<T>);

impl<T: KeyField + ToOwned + ?Sized> KeyField for Cow<'_, T> {
    fn encode(&self, encoder: &mut KeyEncoder) {
        (**self).encode(encoder);
    }
}

fn encode_map<V: KeyField>(mut entries: Vec<(&str, &V)>, encoder: &mut KeyEncoder) {
    entries.sort_unstable_by_key(|(key, _)| *key);
    encoder.map(entries.len());
    for (key, value) in entries {
        encoder.text(key).field(value);
    }
}

const _: fn(&dyn KeyField) = |_| {};
