use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::LengthLimitError;
use tower_service::Service;

use super::{
    IdempotencyBody,
    codec::{Answer, AnswerCodec},
    config::Config,
    error::{Carried, Undone},
    handler::Handler,
    keyed::{ByHeader, Keyed},
    open::Open,
    problem::Problem,
};
use crate::{
    error::BoxError,
    inbox::{
        Mode,
        replay::{Replay, ReplayInbox},
        store::RecordStore,
    },
};

/// The inbox with the inner service in it.
pub(super) type Gate<S, St, X> = ReplayInbox<Handler<S>, St, ByHeader, X, AnswerCodec>;

/// Reads a request, lets the inbox decide about it, and puts the decision into a response.
pub(super) async fn deliver<S, St, X, B, R>(
    mut gate: Gate<S, St, X>,
    request: Request<B>,
    config: Arc<Config>,
) -> Result<Response<IdempotencyBody<R>>, S::Error>
where
    St: RecordStore,
    X: Mode<Keyed<B>, St>,
    X::Request: Open<Body = B>,
    S: Service<Request<IdempotencyBody<B>>, Response = Response<R>> + Clone,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let request = match read(request, &config).await {
        Ok(request) => request,
        Err(problem) => return Ok(problem.response(&config)),
    };
    match gate.call(request).await {
        Ok(Replay::Handled(Answer { response, .. })) => Ok(response),
        Ok(Replay::Replayed(Answer { mut response, .. })) => {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Ok(Replay::Duplicate) => Ok(Problem::ResponseNotKept.response(&config)),
        Err(error) => match Carried::<Undone<R, S::Error>>::unpack(error) {
            Ok(Undone::Answered(response)) => Ok(response),
            Ok(Undone::Failed(error)) => Err(error),
            Err(error) => {
                let problem = Problem::of(&error);
                log(problem, &error);
                Ok(problem.response(&config))
            }
        },
    }
}

/// Reads the whole body before anything is claimed, so that a slow client holds no transaction.
async fn read<B>(request: Request<B>, config: &Config) -> Result<Keyed<B>, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let key = config.key(&head.headers)?;
    let identity = key.map(|key| ((config.scope)(&head), key));
    let body = IdempotencyBody::gather(body, config.max_request_body)
        .await
        .map_err(|error| unreadable(&*error.into()))?;
    if !body.is_whole() {
        return Err(Problem::RequestTooLarge);
    }
    Ok(Keyed::new(Request::from_parts(head, body), identity))
}

/// A limit of another layer is a limit, too.
fn unreadable(error: &(dyn Error + Send + Sync + 'static)) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::RequestTooLarge;
        }
        cause = error.source();
    }
    Problem::RequestUnreadable
}

/// The client is told what to do, and the operator why.
fn log(problem: Problem, error: &BoxError) {
    let error = &**error as &(dyn Error + 'static);
    // A kept response is there, or something of ours is broken.
    if problem.status().is_server_error() || problem == Problem::ResponseNotKept {
        tracing::error!(error, status = problem.status().as_u16(), "a request was not handled");
    } else {
        tracing::debug!(error, status = problem.status().as_u16(), "a request was not handled");
    }
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
