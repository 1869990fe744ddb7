use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderValue, Request, Response, StatusCode, header},
    routing::post,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt;
use tower_inbox::{BoxError, hook::BoxFuture};

use crate::{
    handler::Behaviour,
    order::OrderPlaced,
    peer::{Receiver, Told},
};

/// The handler as a route. Peers for HTTP are called without a socket between.
pub(crate) fn routes(pool: PgPool, behaviour: Behaviour) -> Router {
    Router::new().route("/orders", post(place)).with_state((pool, behaviour))
}

async fn place(
    State((pool, behaviour)): State<(PgPool, Behaviour)>,
    Json(order): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let number = |name: &str| order[name].as_i64().ok_or(StatusCode::BAD_REQUEST);
    let email = order["email"].as_str().ok_or(StatusCode::BAD_REQUEST)?.to_owned();
    let order = OrderPlaced { order_id: number("order_id")?, email, cents: number("cents")? };
    behaviour.handle(&pool, &order).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({ "placed": order.order_id })))
}

/// A client that sends the order's key along.
pub(crate) struct Posting {
    pub(crate) router: Router,
    /// Some peers know a client by its session.
    pub(crate) session: Option<HeaderValue>,
}

impl Receiver for Posting {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>> {
        Box::pin(async move {
            let OrderPlaced { order_id, email, cents } = &order;
            let body = json!({ "order_id": order_id, "email": email, "cents": cents });
            let mut request = Request::post("/orders")
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", order.key().to_string());
            if let Some(session) = &self.session {
                request = request.header(header::COOKIE, session);
            }
            let request = request.body(Body::from(body.to_string()))?;
            let response: Response<Body> = self.router.clone().oneshot(request).await?;
            let replayed = REPLAYED.iter().any(|&name| response.headers().contains_key(name));
            Ok(match response.status() {
                StatusCode::OK if replayed => Told::Duplicate,
                StatusCode::OK => Told::Handled,
                StatusCode::CONFLICT => Told::InFlight,
                status => Told::Refused(status.as_u16().to_string()),
            })
        })
    }
}

/// Headers by which the peers mark an answer that they had kept.
const REPLAYED: [&str; 2] = ["idempotent-replayed", "idempotency-replayed"];
