//! A payment provider calls a webhook, and calls again when it got no answer; each payment is booked once.
//!
//! `cargo run --example axum_webhook --features http` (nothing to install: the database is a file in the
//! temporary folder), then, as often as you like:
//!
//! ```sh
//! curl -i localhost:3000/payments -H 'Content-Type: application/json' \
//!     -H 'Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"' -d '{"order_id": 7, "cents": 250}'
//! curl localhost:3000/balance
//! ```
//!
//! The second answer has `idempotency-replayed: true`, and the balance does not move. With another amount
//! under the same key it is 422, without a key 400, with a negative amount 402 and kept.

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use sqlx::{SqliteConnection, SqlitePool};
use tower_inbox::{
    BoxError,
    inbox::{
        SqliteStore,
        http::{IdempotencyLayer, IdempotentTx},
    },
};

#[derive(serde::Deserialize)]
struct Payment {
    order_id: i64,
    cents: i64,
}

/// Books one payment, in the transaction that also holds the claim and will hold the response.
async fn book(
    Extension(tx): Extension<IdempotentTx<SqliteConnection>>,
    Json(payment): Json<Payment>,
) -> Result<(StatusCode, String), Failure> {
    let Payment { order_id, cents } = payment;
    if cents < 0 {
        // An answer like any other: it is kept, and a retry gets it again.
        return Ok((StatusCode::PAYMENT_REQUIRED, "a payment cannot be negative\n".to_owned()));
    }
    let mut tx = tx.take()?;
    sqlx::query("insert into booking (order_id, cents) values (?, ?)")
        .bind(order_id)
        .bind(cents)
        .execute(&mut *tx)
        .await?;
    Ok((StatusCode::CREATED, format!("booked {cents} cents for order {order_id}\n")))
}

async fn balance(State(pool): State<SqlitePool>) -> Result<String, Failure> {
    let (bookings, cents): (i64, i64) =
        sqlx::query_as("select count(*), coalesce(sum(cents), 0) from booking")
            .fetch_one(&pool)
            .await?;
    Ok(format!("{bookings} bookings, {cents} cents\n"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("payments.db")).await?;
    store.schema().up().await?;
    let pool = store.pool().clone();
    sqlx::query("create table booking (order_id integer, cents integer)").execute(&pool).await?;
    tokio::spawn(store.sweeper().run(std::future::pending()));

    let keys = IdempotencyLayer::new("payments", store);
    keys.prepare().await?;
    let app = Router::new()
        .route("/payments", post(book))
        .route_layer(keys)
        .route("/balance", get(balance))
        .with_state(pool);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// A 5xx is rolled back: what was written before is gone, and a retry is handled anew.
struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("{}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
