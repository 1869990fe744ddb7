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
    IdempotencyBody,
    codec::Answer,
    config::Config,
    error::{BrokenResponse, Carried, Undone},
    open::{Open, Opened},
};
use crate::{error::BoxError, hook::BoxFuture};

/// Calls the inner service inside the inbox, and reads the body of its response there.
#[derive(Clone)]
pub(super) struct Handler<S> {
    pub(super) inner: S,
    pub(super) config: Arc<Config>,
}

impl<D, S, R> Service<D> for Handler<S>
where
    D: Open,
    S: Service<Request<IdempotencyBody<D::Body>>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Answer<R>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer<R>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(failed::<R, S::Error>)
    }

    fn call(&mut self, delivered: D) -> Self::Future {
        let Opened { request, has_key, held } = delivered.open();
        let handling = self.inner.call(request);
        let config = Arc::clone(&self.config);
        Box::pin(async move {
            let response = handling.await.map_err(failed::<R, S::Error>)?;
            if (config.roll_back)(response.status()) {
                let response = response.map(IdempotencyBody::untouched);
                return Err(Carried::new(Undone::<R, S::Error>::Answered(response)).into());
            }
            // A handler may still write while its body is read, so this is part of the handling.
            let (head, body) = response.into_parts();
            let body = IdempotencyBody::gather(body, config.max_response_body)
                .await
                .map_err(|error| BrokenResponse { source: error.into() })?;
            drop(held);
            Ok(Answer { response: Response::from_parts(head, body), has_key })
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for Handler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn failed<R: Send + 'static, E: Send + 'static>(error: E) -> BoxError {
    Carried::new(Undone::<R, E>::Failed(error)).into()
}
