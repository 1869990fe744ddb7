use super::{Canonical, KeyEncoder};

/// A message that names the fields which make it the same message again.
///
/// Derive it:
///
/// ```
/// use tower_inbox::Dedup;
///
/// #[derive(Dedup)]
/// #[dedup_by(order_id, customer.email, day = self.placed_at / 86_400)]
/// struct OrderPlaced { order_id: i64, customer: Customer, placed_at: i64 }
///
/// struct Customer { email: String }
/// ```
///
/// or write it by hand; the two calls must be pure functions of the message, the same in every
/// process and every release, for as long as a window lasts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which fields make it the same message again",
    label = "not a `Dedup` message",
    note = "derive it: `#[derive(Dedup)] #[dedup_by(order_id)]`, or give the layer a closure with \
            `.dedup_by(|message: &{Self}| message.id)`"
)]
pub trait Dedup {
    /// The kind of message, which keeps equal fields of different messages apart.
    fn kind(&self) -> &str;

    /// Appends the chosen fields, in a fixed order.
    fn encode_fields(&self, encoder: &mut KeyEncoder);
}

/// The canonical bytes of a message.
#[inline]
pub fn encode<M: Dedup + ?Sized>(message: &M) -> Canonical {
    Canonical::write(message.kind(), |encoder| message.encode_fields(encoder))
}

impl<M: Dedup + ?Sized> Dedup for &M {
    fn kind(&self) -> &str {
        (**self).kind()
    }

    fn encode_fields(&self, encoder: &mut KeyEncoder) {
        (**self).encode_fields(encoder);
    }
}

impl<M: Dedup + ?Sized> Dedup for Box<M> {
    fn kind(&self) -> &str {
        (**self).kind()
    }

    fn encode_fields(&self, encoder: &mut KeyEncoder) {
        (**self).encode_fields(encoder);
    }
}

impl<M: Dedup + ?Sized> Dedup for std::sync::Arc<M> {
    fn kind(&self) -> &str {
        (**self).kind()
    }

    fn encode_fields(&self, encoder: &mut KeyEncoder) {
        (**self).encode_fields(encoder);
    }
}

const _: fn(&dyn Dedup) = |_| {};
