use http::Request;

use super::{IdempotencyBody, IdempotentTx, keyed::Keyed, tx::CloseOnDrop};
use crate::inbox::{Leased, Received};

/// What the inbox hands over, turned into the request that the handler sees.
///
/// Sealed: implemented for [`Received`] and [`Leased`], of transactional and leased mode.
pub trait Open: Sealed {
    /// The body that the client sent.
    #[doc(hidden)]
    type Body;
    /// What is held until the response is there.
    #[doc(hidden)]
    type Held: Send + 'static;

    #[doc(hidden)]
    fn open(self) -> Opened<Self::Body, Self::Held>;
}

#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub struct Opened<B, H> {
    pub(super) request: Request<IdempotencyBody<B>>,
    pub(super) has_key: bool,
    pub(super) held: H,
}

impl<B, C: Send + 'static> Open for Received<Keyed<B>, C> {
    type Body = B;
    type Held = CloseOnDrop<C>;

    fn open(self) -> Opened<B, CloseOnDrop<C>> {
        let (message, tx) = self.into_parts();
        let tx = IdempotentTx::new(tx);
        let (mut request, has_key) = with_key(message);
        request.extensions_mut().insert(tx.clone());
        Opened { request, has_key, held: CloseOnDrop(tx) }
    }
}

impl<B> Open for Leased<Keyed<B>> {
    type Body = B;
    type Held = ();

    fn open(self) -> Opened<B, ()> {
        let (message, lease) = self.into_parts();
        let (mut request, has_key) = with_key(message);
        if let Some(lease) = lease {
            request.extensions_mut().insert(lease);
        }
        Opened { request, has_key, held: () }
    }
}

fn with_key<B>(message: Keyed<B>) -> (Request<IdempotencyBody<B>>, bool) {
    let Keyed { mut request, identity, fingerprint: _ } = message;
    let has_key = identity.is_some();
    if let Some((_, key)) = identity {
        request.extensions_mut().insert(key);
    }
    (request, has_key)
}

#[doc(hidden)]
#[allow(unnameable_types)]
pub trait Sealed {}

impl<B, C: Send + 'static> Sealed for Received<Keyed<B>, C> {}
impl<B> Sealed for Leased<Keyed<B>> {}
