use http::{HeaderMap, Request, header};

use super::{IdempotencyBody, IdempotencyKey};
use crate::{
    inbox::KeySource,
    key::{Canonical, Fingerprint, KeyEncoder},
};

/// A request that was read: what the layer gives to the inbox as the message.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub struct Keyed<B> {
    pub(super) request: Request<IdempotencyBody<B>>,
    /// Scope and key; absent for a request that goes through without one.
    pub(super) identity: Option<(String, IdempotencyKey)>,
    pub(super) fingerprint: Option<Fingerprint>,
}

impl<B> Keyed<B> {
    /// Of a request whose body is whole.
    pub(super) fn new(
        request: Request<IdempotencyBody<B>>,
        identity: Option<(String, IdempotencyKey)>,
    ) -> Self {
        let fingerprint = identity.as_ref().map(|_| fingerprint(&request));
        Self { request, identity, fingerprint }
    }
}

/// Takes the key out of the request's scope and header.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByHeader(());

impl<B> KeySource<Keyed<B>> for ByHeader {
    fn canonical(&self, message: &Keyed<B>) -> Canonical {
        let mut encoder = KeyEncoder::new(KIND);
        match &message.identity {
            Some((scope, key)) => encoder.text(scope).text(key.as_str()),
            None => encoder.none(),
        };
        encoder.finish()
    }

    fn fingerprint(&self, message: &Keyed<B>) -> Option<Fingerprint> {
        message.fingerprint
    }
}

/// What has to be the same in a retry.
fn fingerprint<B>(request: &Request<IdempotencyBody<B>>) -> Fingerprint {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    Fingerprint::of_parts([
        request.method().as_str().as_bytes(),
        target.as_bytes(),
        content_type(request.headers()),
        request.body().data(),
    ])
}

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map_or(&[], |value| value.as_bytes())
}

// Part of every key: another one would let all retries through as new.
const KIND: &str = "http";
