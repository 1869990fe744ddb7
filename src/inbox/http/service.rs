use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    IdempotencyBody, ResponseFuture,
    config::Config,
    delivery::{Gate, deliver},
    keyed::Keyed,
    open::Open,
};
use crate::{
    error::BoxError,
    inbox::{
        Mode,
        admit::InTransaction,
        store::{InboxStore, RecordStore},
    },
};

/// Handles each request once per idempotency key; made by
/// [`IdempotencyLayer`](super::IdempotencyLayer).
///
/// `poll_ready` forwards to the inner service and takes no connection. The error is the inner
/// service's; what goes wrong here becomes a response.
pub struct Idempotency<S, St: InboxStore, X = InTransaction> {
    pub(super) gate: Gate<S, St, X>,
    pub(super) config: Arc<Config>,
}

impl<S, St: InboxStore, X> Idempotency<S, St, X> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.gate.get_ref().inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.gate.get_mut().inner
    }

    /// The inner service, taken out.
    pub fn into_inner(self) -> S {
        self.gate.into_inner().inner
    }
}

impl<B, S, R, St, X> Service<Request<B>> for Idempotency<S, St, X>
where
    St: RecordStore + 'static,
    X: Mode<Keyed<B>, St> + Clone + Send + 'static,
    X::Request: Open<Body = B>,
    S: Service<Request<IdempotencyBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<IdempotencyBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.config.covers(request.method()) {
            let request = request.map(IdempotencyBody::untouched);
            return ResponseFuture::untouched(self.get_mut().call(request));
        }
        // The service that was polled ready is the one that is called; the clone stays behind and
        // has to be polled first.
        let clone = self.gate.clone();
        let gate = std::mem::replace(&mut self.gate, clone);
        let delivering = deliver(gate, request, Arc::clone(&self.config));
        ResponseFuture::delivering(Box::pin(delivering))
    }
}

impl<S: Clone, St: InboxStore, X: Clone> Clone for Idempotency<S, St, X> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, St: InboxStore, X: fmt::Debug> fmt::Debug for Idempotency<S, St, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("gate", &self.gate)
            .field("config", &self.config)
            .finish()
    }
}
