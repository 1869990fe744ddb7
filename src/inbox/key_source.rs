use std::{fmt, marker::PhantomData, sync::Arc};

use crate::key::{Canonical, Dedup, KeyEncoder, KeyFields, encode};

/// Where a layer takes the key of a message from.
///
/// Implemented by what [`InboxLayer::new`](super::InboxLayer::new),
/// [`dedup_by`](super::InboxLayer::dedup_by) and [`dedup_with`](super::InboxLayer::dedup_with) put
/// into the layer's type; implement it for a source of your own.
pub trait KeySource<M> {
    /// Encodes what makes the message the same message again.
    fn canonical(&self, message: &M) -> Canonical;
}

/// Takes the key from the message's [`Dedup`] implementation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Derived(());

impl<M: Dedup> KeySource<M> for Derived {
    fn canonical(&self, message: &M) -> Canonical {
        encode(message)
    }
}

/// Takes the key from what a closure returns.
pub struct ByFields<F, M> {
    pub(super) fields: F,
    pub(super) kind: Arc<str>,
    pub(super) message: PhantomData<fn(&M)>,
}

impl<F, M, T> KeySource<M> for ByFields<F, M>
where
    F: Fn(&M) -> T,
    T: KeyFields,
{
    fn canonical(&self, message: &M) -> Canonical {
        let mut encoder = KeyEncoder::new(&self.kind);
        (self.fields)(message).encode_fields(&mut encoder);
        encoder.finish()
    }
}

/// Takes the key from what a closure appends to an encoder.
pub struct ByEncoder<F, M> {
    pub(super) encode: F,
    pub(super) kind: Arc<str>,
    pub(super) message: PhantomData<fn(&M)>,
}

impl<F, M> KeySource<M> for ByEncoder<F, M>
where
    F: Fn(&M, &mut KeyEncoder),
{
    fn canonical(&self, message: &M) -> Canonical {
        let mut encoder = KeyEncoder::new(&self.kind);
        (self.encode)(message, &mut encoder);
        encoder.finish()
    }
}

impl<F: Clone, M> Clone for ByFields<F, M> {
    fn clone(&self) -> Self {
        let Self { fields, kind, message } = self;
        Self { fields: fields.clone(), kind: Arc::clone(kind), message: *message }
    }
}

impl<F: Clone, M> Clone for ByEncoder<F, M> {
    fn clone(&self) -> Self {
        let Self { encode, kind, message } = self;
        Self { encode: encode.clone(), kind: Arc::clone(kind), message: *message }
    }
}

impl<F, M> fmt::Debug for ByFields<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByFields").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<F, M> fmt::Debug for ByEncoder<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByEncoder").field("kind", &self.kind).finish_non_exhaustive()
    }
}
