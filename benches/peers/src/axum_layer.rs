use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    routing::post,
};
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use ruts::{
    CookieOptions, Session, SessionLayer,
    store::{Ttl, moka::MokaStore},
};
use tower::ServiceExt;
use tower_cookies::CookieManagerLayer;
use tower_inbox::{BoxError, hook::BoxFuture};

use crate::{
    handler::{Behaviour, TABLES},
    http::{Posting, routes},
    peer::{Peer, Place, Receiver},
    support::locked,
};

/// The layer of `axum-idempotent` by the key in the header, with the session store of its README.
pub(crate) struct AxumIdempotent;

impl Peer for AxumIdempotent {
    fn name(&self) -> &'static str {
        "`axum-idempotent`"
    }

    fn version(&self) -> String {
        format!(
            "axum-idempotent {}, `MokaStore` of ruts {}",
            locked("axum-idempotent"),
            locked("ruts")
        )
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            sqlx::raw_sql(TABLES).execute(&place.pool(1).await?).await?;
            Ok(())
        })
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move {
            let options = IdempotentOptions::default()
                .use_idempotency_key_header(Some("idempotency-key"), true)
                .expire_after(DAY);
            let cookie = CookieOptions::build().name("session").max_age(DAY.cast_unsigned());
            let router = routes(place.pool(behaviour.workers).await?, behaviour)
                .layer(IdempotentLayer::<MokaStore>::new(options))
                .merge(Router::new().route("/session", post(begin_session)))
                .layer(
                    SessionLayer::new(Arc::new(MokaStore::builder().build()))
                        .with_cookie_options(cookie.path("/")),
                )
                .layer(CookieManagerLayer::new());
            let session = session(&router).await?;
            Ok((0..behaviour.workers)
                .map(|_| {
                    let session = Some(session.clone());
                    Box::new(Posting { router: router.clone(), session }) as Box<dyn Receiver>
                })
                .collect())
        })
    }
}

/// It keeps answers only for clients that have a session already.
async fn session(router: &Router) -> Result<HeaderValue, BoxError> {
    let request = Request::post("/session").body(Body::empty())?;
    let response = router.clone().oneshot(request).await?;
    let cookie = response.headers().get(header::SET_COOKIE).ok_or("no session was begun")?;
    let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
    Ok(HeaderValue::from_str(pair)?)
}

async fn begin_session(session: Session<MokaStore>) -> Result<(), StatusCode> {
    let day = Ttl::new(DAY).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    session.set("user", &1_i32, day, None).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

const DAY: i64 = 86_400;
