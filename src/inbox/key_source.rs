use std::{fmt, marker::PhantomData, sync::Arc};

use crate::key::{Canonical, Dedup, Fingerprint, KeyEncoder, KeyFields, encode};

/// Where a layer takes the key of a message from.
///
/// Implemented by what [`InboxLayer::new`](super::InboxLayer::new),
/// [`dedup_by`](super::InboxLayer::dedup_by) and [`dedup_with`](super::InboxLayer::dedup_with) put
/// into the layer's type; implement it for a source of your own.
pub trait KeySource<M> {
    /// Encodes what makes the message the same message again.
    fn canonical(&self, message: &M) -> Canonical;

    /// Takes the fingerprint of the whole message, where reused keys are to be found out. `None` by
    /// default: nothing is kept or compared.
    fn fingerprint(&self, _message: &M) -> Option<Fingerprint> {
        None
    }

    /// Writes the message down as a dead letter keeps it. `None` by default: only the key and the
    /// reason are kept.
    ///
    /// Called before each claim, because afterwards the message belongs to the handler.
    fn payload(&self, _message: &M) -> Option<Vec<u8>> {
        None
    }
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

/// Adds the fingerprint of the whole message to a source; made by
/// [`InboxLayer::fingerprint`](super::InboxLayer::fingerprint).
#[derive(Clone)]
pub struct WithFingerprint<K, F> {
    pub(super) source: K,
    pub(super) body: F,
}

impl<M, K, F, B> KeySource<M> for WithFingerprint<K, F>
where
    K: KeySource<M>,
    F: Fn(&M) -> B,
    B: AsRef<[u8]>,
{
    fn canonical(&self, message: &M) -> Canonical {
        self.source.canonical(message)
    }

    fn fingerprint(&self, message: &M) -> Option<Fingerprint> {
        Some(Fingerprint::of((self.body)(message).as_ref()))
    }

    fn payload(&self, message: &M) -> Option<Vec<u8>> {
        self.source.payload(message)
    }
}

/// Adds to a source how a dead letter keeps the message; made by
/// [`InboxLayer::payload`](super::InboxLayer::payload).
#[derive(Clone)]
pub struct WithPayload<K, F> {
    pub(super) source: K,
    pub(super) write: F,
}

impl<M, K, F> KeySource<M> for WithPayload<K, F>
where
    K: KeySource<M>,
    F: Fn(&M) -> Vec<u8>,
{
    fn canonical(&self, message: &M) -> Canonical {
        self.source.canonical(message)
    }

    fn fingerprint(&self, message: &M) -> Option<Fingerprint> {
        self.source.fingerprint(message)
    }

    fn payload(&self, message: &M) -> Option<Vec<u8>> {
        Some((self.write)(message))
    }
}

impl<K: fmt::Debug, F> fmt::Debug for WithFingerprint<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFingerprint").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<K: fmt::Debug, F> fmt::Debug for WithPayload<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithPayload").field("source", &self.source).finish_non_exhaustive()
    }
}
