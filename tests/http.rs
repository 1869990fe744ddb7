//! Idempotency keys over HTTP: an axum server and a hyper client on a loopback socket, on both stores.
#![cfg(all(feature = "http", feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode, header, request},
    middleware::{self, Next},
    response::IntoResponse,
    routing,
};
use futures_util::{StreamExt, future::join_all, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sqlx::{PgConnection, PgPool, SqliteConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_inbox::{
    InboxLayer,
    inbox::{
        DeadLetterPolicy, Lease, SqliteStore,
        http::{IdempotencyKey, IdempotencyLayer, IdempotentTx, RolledBack},
        store::{PoisonStore, RecordStore},
    },
    testing::Harness,
};

use support::harness::{Postgres, Sqlite};

/// The prefix of a nest is not in the path that an inner layer sees; a scope that is taken from the
/// original one keeps tenants apart.
#[tokio::test]
async fn a_nested_router_keeps_tenants_apart_by_their_scope() {
    let harness = Sqlite::start().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let pay = move || {
        let ran = Arc::clone(&counted);
        async move {
            ran.fetch_add(1, Ordering::SeqCst);
            "paid"
        }
    };
    let keys = IdempotencyLayer::new("payments", harness.store()).scope(|request| {
        let uri = request.extensions.get::<axum::extract::OriginalUri>();
        let uri = uri.map_or(&request.uri, |original| &original.0);
        format!("{} {}", request.method, uri.path())
    });
    let inner = Router::<()>::new().route("/payments", routing::post(pay)).route_layer(keys);
    let app = Router::<()>::new().nest("/tenants/{id}", inner);
    for (path, expected) in
        [("/tenants/a/payments", 1), ("/tenants/b/payments", 2), ("/tenants/a/payments", 2)]
    {
        let request =
            Request::post(path).header("idempotency-key", "\"1\"").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(ran.load(Ordering::SeqCst), expected, "{path}");
    }
}

/// Whoever holds the transaction when the request is over sends it home by letting go, whatever handles
/// stay; and a handle that stays gives out nothing any more.
#[tokio::test]
async fn a_transaction_that_is_let_go_of_late_goes_home() {
    async fn pay(Extension(tx): Extension<IdempotentTx<SqliteConnection>>) -> &'static str {
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let guard = tx.lock().await.unwrap();
            locked.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(guard);
            assert!(tx.lock().await.is_err() && tx.take().is_err(), "the request is over");
            std::future::pending::<()>().await;
            drop(tx);
        });
        is_locked.await.unwrap();
        "paid"
    }
    let harness = Sqlite::start().await;
    let app = Router::<()>::new()
        .route("/", routing::post(pay))
        .route_layer(IdempotencyLayer::new("payments", harness.store()));
    let request =
        || Request::post("/").header("idempotency-key", "\"1\"").body(Body::empty()).unwrap();
    let response = app.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let free = sqlx::query("select 1").execute(harness.pool());
    tokio::time::timeout(Duration::from_secs(4), free).await.expect("it went home").unwrap();
}

trait Database: Harness<Store: RecordStore> {}

impl<H: Harness<Store: RecordStore>> Database for H {}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Sqlite::start().await).await;
            })*
        }

        mod postgres {
            $(#[sqlx::test(migrations = false)]
            async fn $name(pool: sqlx::PgPool) {
                super::$name(super::Postgres::start(pool).await).await;
            })*
        }
    };
}

on_both! {
    a_retry_gets_the_first_response
    a_retry_at_another_server_gets_the_first_response
    a_streamed_response_is_kept_with_its_trailers
    the_handler_gets_the_request_as_it_was_sent
    a_key_is_the_same_with_and_without_quotes
    another_payload_under_a_key_is_refused
    a_key_belongs_to_its_method_and_path
    a_key_belongs_to_its_scope
    a_missing_key_is_refused
    a_missing_key_is_let_through_where_none_is_required
    a_malformed_key_is_refused
    a_key_in_another_format_is_refused
    a_request_beyond_the_limit_claims_nothing
    a_request_that_breaks_off_claims_nothing
    a_response_beyond_the_limit_is_rolled_back
    a_response_that_breaks_off_is_rolled_back
    a_server_error_is_rolled_back_and_not_kept
    a_refusal_is_committed_and_kept
    what_is_rolled_back_can_be_chosen
    other_methods_go_through_untouched
    a_client_that_goes_away_leaves_no_trace
    a_key_is_forgotten_after_its_window
    a_handler_that_keeps_its_transaction_commits_nothing
    handles_may_stay_where_they_are
    several_parties_write_in_one_transaction
    many_clients_with_the_same_keys_take_effect_once
    a_leased_request_in_flight_conflicts
    a_leased_response_beyond_the_limit_is_sent_once
    a_leased_server_error_releases_the_key
    the_header_can_be_another_one
    hooks_of_an_inbox_layer_stay
    a_request_that_fails_too_often_is_given_up
    a_leased_request_that_outlives_its_lease_conflicts
    a_leased_request_without_a_key_has_no_lease
    a_future_dropped_at_each_await_leaves_nothing_doubled_or_lost
}

async fn a_retry_gets_the_first_response<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness)), pay::<H>).await;
    let first = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.headers["location"], "/payments/1");
    assert_eq!(first.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(first.headers.get(REPLAYED), None);
    assert_eq!(first.body, "payment 1 of 250 cents");

    for _ in 0..2 {
        let again = server.send(post("/payments", "k1", "250 cents")).await;
        assert_eq!(again.headers[REPLAYED], "true");
        assert_eq!(again.without_marker(), first.clone().without_marker());
    }
    assert_eq!(harness.written("250 cents").await, 1);

    let other = server.send(post("/payments", "k2", "250 cents")).await;
    assert_eq!(other.body, "payment 2 of 250 cents");
    assert_eq!(harness.written("250 cents").await, 2);
}

async fn a_retry_at_another_server_gets_the_first_response<H: Database>(harness: H) {
    let one = Server::start(payments(layer(&harness)), pay::<H>).await;
    let other = Server::start(payments(layer(&harness)), pay::<H>).await;
    let first = one.send(post("/payments", "k1", "250 cents")).await;
    let again = other.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(again.without_marker(), first.without_marker());
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn a_streamed_response_is_kept_with_its_trailers<H: Database>(harness: H) {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = {
        let calls = Arc::clone(&calls);
        async move |Extension(tx): Extension<IdempotentTx<H::Connection>>| {
            calls.fetch_add(1, Ordering::SeqCst);
            // The handler is gone when the body is read, and writes in the transaction still.
            let rows = stream::unfold((tx, 0), async |(tx, row)| {
                if row == 300 {
                    let checksum = ("checksum".parse().unwrap(), "7".parse().unwrap());
                    let trailers = Frame::trailers(HeaderMap::from_iter([checksum]));
                    return Some((Ok::<_, Infallible>(trailers), (tx, 301)));
                }
                (row < 300).then_some(())?;
                H::write(&mut *tx.lock().await.unwrap(), "row").await.unwrap();
                tokio::task::yield_now().await;
                Some((Ok(Frame::data(Bytes::from(format!("row {row}\n")))), (tx, row + 1)))
            });
            ([("trailer", "checksum")], Body::new(StreamBody::new(Box::pin(rows))))
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let export = || {
        let mut request = post("/payments", "k1", "all");
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request
    };
    let first = server.send(export()).await;
    assert_eq!(first.status, StatusCode::OK);
    assert!(first.body.starts_with(b"row 0\nrow 1\n") && first.body.ends_with(b"row 299\n"));
    assert_eq!(first.trailers.as_ref().unwrap()["checksum"], "7");
    let again = server.send(export()).await;
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(again.without_marker(), first.without_marker());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(harness.written("row").await, 300);
}

async fn the_handler_gets_the_request_as_it_was_sent<H: Database>(harness: H) {
    let handler = async |Extension(key): Extension<IdempotencyKey>, request: Request<Body>| {
        let (head, body) = request.into_parts();
        let (uri, kind) = (head.uri, head.headers["content-type"].clone());
        let body = body.collect().await.unwrap().to_bytes();
        format!("{} {uri} {kind:?} {} {body:?}", head.method, key.as_str())
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    // In chunks, and not text.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(
            b"POST /payments?a=%20 HTTP/1.1\r\nhost: here\r\ncontent-type: x/y\r\n\
              idempotency-key: \"k\\\"1\"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
              2\r\n\xff\x00\r\n1\r\na\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    let seen = r#"POST /payments?a=%20 "x/y" k"1 b"\xff\0a""#;
    assert!(reply.ends_with(seen), "{reply}");
}

async fn a_key_is_the_same_with_and_without_quotes<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness)), pay::<H>).await;
    server.send(post("/payments", "k1", "250 cents")).await;
    let mut bare = post("/payments", "k1", "250 cents");
    bare.headers_mut().insert(KEY, "k1".parse().unwrap());
    assert_eq!(server.send(bare).await.headers[REPLAYED], "true");
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn another_payload_under_a_key_is_refused<H: Database>(harness: H) {
    let layer = layer(&harness)
        .scope(|_| "everything".to_owned())
        .documentation_url("https://example.com/keys");
    let server = Server::start(payments(layer), pay::<H>).await;
    server.send(post("/payments", "k1", "250 cents")).await;

    let mut kind = post("/payments", "k1", "250 cents");
    kind.headers_mut().insert(header::CONTENT_TYPE, "text/html".parse().unwrap());
    let mut method = post("/payments", "k1", "250 cents");
    *method.method_mut() = Method::PATCH;
    let target = |target| post(target, "k1", "250 cents");
    for other in [
        post("/payments", "k1", "260 cents"),
        post("/payments", "k1", ""),
        target("/payments?currency=eur"),
        target("/payments/7"),
        kind,
        method,
    ] {
        let reply = server.send(other).await;
        let document = reply.problem(StatusCode::UNPROCESSABLE_ENTITY, "key-reused");
        assert_eq!(document["type"], "https://example.com/keys#key-reused");
        assert_eq!(document["title"], "The idempotency key is already used");
        let link = r#"<https://example.com/keys>; rel="describedby"; type="text/html""#;
        assert_eq!(reply.headers["link"], link);
    }
    // The first one still gets its response.
    let again = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(harness.written("250 cents").await + harness.written("260 cents").await, 1);
}

async fn a_key_belongs_to_its_method_and_path<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness)), pay::<H>).await;
    let mut patch = post("/payments/7", "k1", "250 cents");
    *patch.method_mut() = Method::PATCH;
    for request in
        [post("/payments", "k1", "250 cents"), post("/payments/7", "k1", "250 cents"), patch]
    {
        let reply = server.send(request).await;
        assert_eq!((reply.status, reply.headers.get(REPLAYED)), (StatusCode::CREATED, None));
    }
    assert_eq!(harness.written("250 cents").await, 3);
}

async fn a_key_belongs_to_its_scope<H: Database>(harness: H) {
    #[derive(Clone)]
    struct User(String);

    let layer = layer(&harness).scope(|request: &request::Parts| {
        let User(name) = request.extensions.get().expect("the login is outside");
        format!("{name} {} {}", request.method, request.uri.path())
    });
    let login = async |mut request: Request<Body>, next: Next| {
        let name = request.headers()["x-password"].to_str().unwrap().replace("password of ", "");
        request.extensions_mut().insert(User(name));
        next.run(request).await
    };
    let server =
        Server::serve(payments(layer)(routing::post(pay::<H>)).layer(middleware::from_fn(login)))
            .await;
    let from = |user: &str| {
        let mut request = post("/payments", "1", "250 cents");
        let password = format!("password of {user}").parse().unwrap();
        request.headers_mut().insert("x-password", password);
        request
    };
    assert_eq!(server.send(from("ada")).await.body, "payment 1 of 250 cents");
    assert_eq!(server.send(from("bob")).await.body, "payment 2 of 250 cents");
    assert_eq!(server.send(from("ada")).await.body, "payment 1 of 250 cents");
    assert_eq!(harness.written("250 cents").await, 2);
}

async fn a_missing_key_is_refused<H: Database>(harness: H) {
    let layer = layer(&harness).documentation_url("/docs/keys");
    let server = Server::start(payments(layer), pay::<H>).await;
    let reply = server.send(without_key("250 cents")).await;
    let document = reply.problem(StatusCode::BAD_REQUEST, "key-missing");
    assert_eq!(document["type"], "/docs/keys#key-missing");
    assert!(document["detail"].as_str().unwrap().contains("idempotency-key"));
    assert_eq!(reply.headers["link"], r#"</docs/keys>; rel="describedby"; type="text/html""#);
    assert_eq!(harness.written("250 cents").await, 0);
}

async fn a_missing_key_is_let_through_where_none_is_required<H: Database>(harness: H) {
    let layer = layer(&harness).required(false).max_response_body(4);
    let server = Server::start(payments(layer), pay::<H>).await;
    for paid in 1..=2 {
        let reply = server.send(without_key("250 cents")).await;
        // Nothing is kept, so no response is too large.
        assert_eq!(reply.body, format!("payment {paid} of 250 cents"));
        assert_eq!(reply.headers.get(REPLAYED), None);
    }
    assert_eq!(harness.written("250 cents").await, 2);
    let reply = server.send(post("/payments", "", "250 cents")).await;
    reply.problem(StatusCode::BAD_REQUEST, "key-malformed");
}

async fn a_malformed_key_is_refused<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness)), pay::<H>).await;
    let too_long = "k".repeat(256);
    for value in ["", "\"", "\"k", "\"k\" x", "a b", "a, b", "k;a", "\"\\k\"", &too_long] {
        let mut request = without_key("250 cents");
        request.headers_mut().insert(KEY, value.parse().unwrap());
        let reply = server.send(request).await;
        let document = reply.problem(StatusCode::BAD_REQUEST, "key-malformed");
        // Nobody said where the documentation is.
        assert_eq!(document.get("type"), None);
        assert_eq!(document["title"], "Bad Request");
        assert_eq!(reply.headers.get("link"), None);
    }
    let mut twice = post("/payments", "k1", "250 cents");
    twice.headers_mut().append(KEY, "\"k1\"".parse().unwrap());
    server.send(twice).await.problem(StatusCode::BAD_REQUEST, "key-malformed");
    assert_eq!(harness.written("250 cents").await, 0);
}

async fn a_key_in_another_format_is_refused<H: Database>(harness: H) {
    let layer = layer(&harness).key_format(|key| uuid::Uuid::try_parse(key).is_ok());
    let server = Server::start(payments(layer), pay::<H>).await;
    let reply = server.send(post("/payments", "1", "250 cents")).await;
    reply.problem(StatusCode::BAD_REQUEST, "key-malformed");
    let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
    let reply = server.send(post("/payments", uuid, "250 cents")).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

async fn a_request_beyond_the_limit_claims_nothing<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness).max_request_body(9)), pay::<H>).await;
    let too_much = "0123456789";
    let reply = server.send(post("/payments", "k1", too_much)).await;
    let document = reply.problem(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large");
    assert_eq!(document["detail"], "The body is larger than 9 bytes.");

    // Of a size that nobody announced.
    let chunks = stream::iter(["01234", "56789"])
        .map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from_static(chunk.as_bytes()))));
    let request = post("/payments", "k1", "").map(|_| StreamBody::new(chunks));
    let reply = server.send(request).await;
    reply.problem(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large");

    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!((reply.status, reply.headers.get(REPLAYED)), (StatusCode::CREATED, None));
    assert_eq!(harness.written(too_much).await, 0);
}

async fn a_request_that_breaks_off_claims_nothing<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness)), pay::<H>).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(
            b"POST /payments HTTP/1.1\r\nhost: here\r\nidempotency-key: \"k1\"\r\n\
              content-length: 9\r\n\r\n250 c",
        )
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();

    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!((reply.status, reply.headers.get(REPLAYED)), (StatusCode::CREATED, None));
    assert_eq!(harness.written("250 c").await, 0);
}

async fn a_response_beyond_the_limit_is_rolled_back<H: Database>(harness: H) {
    let server = Server::start(payments(layer(&harness).max_response_body(21)), pay::<H>).await;
    for _ in 0..2 {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "response-too-large");
    }
    assert_eq!(harness.written("250 cents").await, 0);
    let reply = server.send(post("/payments", "k1", "25 cents")).await;
    assert_eq!(reply.body, "payment 3 of 25 cents");
}

async fn a_response_that_breaks_off_is_rolled_back<H: Database>(harness: H) {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = {
        let calls = Arc::clone(&calls);
        async move |Extension(tx): Extension<IdempotentTx<H::Connection>>| {
            let mut tx = tx.take().unwrap();
            H::write(&mut tx, "row").await.unwrap();
            let end = match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(std::io::Error::other("the disk is gone")),
                _ => Ok(Bytes::from_static(b"row 1\n")),
            };
            Body::from_stream(stream::iter([Ok(Bytes::from_static(b"row 0\n")), end]))
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let reply = server.send(post("/payments", "k1", "all")).await;
    reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "internal");
    assert_eq!(harness.written("row").await, 0);
    assert_eq!(server.send(post("/payments", "k1", "all")).await.body, "row 0\nrow 1\n");
    assert_eq!(harness.written("row").await, 1);
}

async fn a_server_error_is_rolled_back_and_not_kept<H: Database>(harness: H) {
    for (key, status) in [500, 503, 401, 408, 425, 429].into_iter().enumerate() {
        let status = StatusCode::from_u16(status).unwrap();
        let answers = answers::<H>([status, StatusCode::CREATED]);
        let server = Server::start(payments(layer(&harness)), answers).await;
        let (key, effect) = (format!("k{key}"), format!("{key} cents"));
        let failed = server.send(post("/payments", &key, &effect)).await;
        assert_eq!((failed.status, &*failed.body), (status, b"answer 1".as_slice()));
        assert_eq!(harness.written(&effect).await, 0);
        let handled = server.send(post("/payments", &key, &effect)).await;
        assert_eq!((handled.status, &*handled.body), (StatusCode::CREATED, b"answer 2".as_slice()));
        assert_eq!(handled.headers.get(REPLAYED), None);
        assert_eq!(harness.written(&effect).await, 1);
    }
}

async fn a_refusal_is_committed_and_kept<H: Database>(harness: H) {
    let answers = answers::<H>([StatusCode::PAYMENT_REQUIRED, StatusCode::CREATED]);
    let server = Server::start(payments(layer(&harness)), answers).await;
    for _ in 0..2 {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        assert_eq!(reply.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(reply.body, "answer 1");
    }
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn what_is_rolled_back_can_be_chosen<H: Database>(harness: H) {
    let layer = layer(&harness).roll_back(|status| status == StatusCode::PAYMENT_REQUIRED);
    let answers = answers::<H>([StatusCode::PAYMENT_REQUIRED, StatusCode::BAD_GATEWAY]);
    let server = Server::start(payments(layer), answers).await;
    let statuses = [402, 502, 502].map(|status| StatusCode::from_u16(status).unwrap());
    for status in statuses {
        assert_eq!(server.send(post("/payments", "k1", "250 cents")).await.status, status);
    }
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn other_methods_go_through_untouched<H: Database>(harness: H) {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = {
        let calls = Arc::clone(&calls);
        async move |request: Request<Body>| {
            assert!(request.extensions().get::<IdempotentTx<H::Connection>>().is_none());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            format!("call {} with {body:?}", calls.fetch_add(1, Ordering::SeqCst) + 1)
        }
    };
    let layer = layer(&harness).max_request_body(4).max_response_body(4);
    let server = Server::serve(payments(layer)(routing::any(handler))).await;
    for (call, method) in [Method::PUT, Method::DELETE, Method::PUT].into_iter().enumerate() {
        let mut request = post("/payments", "k1", "250 cents");
        *request.method_mut() = method;
        let reply = server.send(request).await;
        assert_eq!(reply.body, format!("call {} with b\"250 cents\"", call + 1));
    }
    let mut get = without_key("");
    *get.method_mut() = Method::GET;
    assert_eq!(server.send(get).await.body, "call 4 with b\"\"");

    // And the other way round.
    let layer = self::layer(&harness).methods([Method::PUT]);
    let server = Server::serve(payments(layer)(routing::put(pay::<H>))).await;
    for replayed in [None, Some("true")] {
        let mut put = post("/payments", "k1", "250 cents");
        *put.method_mut() = Method::PUT;
        let reply = server.send(put).await;
        assert_eq!(reply.headers.get(REPLAYED).map(|value| value.to_str().unwrap()), replayed);
    }
}

async fn a_client_that_goes_away_leaves_no_trace<H: Database>(harness: H) {
    struct Gone(mpsc::UnboundedSender<()>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }

    let (written, mut wrote) = mpsc::unbounded_channel();
    let (gone, mut went) = mpsc::unbounded_channel();
    let first = Arc::new(AtomicUsize::new(0));
    let handler = async move |Extension(tx): Extension<IdempotentTx<H::Connection>>| {
        let mut tx = tx.take().unwrap();
        H::write(&mut tx, "250 cents").await.unwrap();
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            let _gone = Gone(gone);
            written.send(()).unwrap();
            std::future::pending::<()>().await;
        }
        "paid"
    };
    let server = Server::start(payments(layer(&harness)), handler).await;

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(
            b"POST /payments HTTP/1.1\r\nhost: here\r\nidempotency-key: \"k1\"\r\n\
              content-type: text/plain\r\ncontent-length: 9\r\n\r\n250 cents",
        )
        .await
        .unwrap();
    wrote.recv().await.unwrap();
    drop(stream);
    went.recv().await.unwrap();

    assert_eq!(harness.written("250 cents").await, 0);
    let reply = loop {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        // The rollback may be on its way still.
        if reply.status != StatusCode::CONFLICT {
            break reply;
        }
    };
    assert_eq!(reply.body, "paid");
    assert_eq!(reply.headers.get(REPLAYED), None);
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn a_key_is_forgotten_after_its_window<H: Database>(harness: H) {
    let layer = layer(&harness).window(Duration::from_secs(60));
    let server = Server::start(payments(layer), pay::<H>).await;
    let body = async || server.send(post("/payments", "k1", "250 cents")).await.body;
    assert_eq!(body().await, "payment 1 of 250 cents");
    harness.clock().advance(59);
    assert_eq!(body().await, "payment 1 of 250 cents");
    harness.clock().advance(3);
    assert_eq!(body().await, "payment 2 of 250 cents");
    assert_eq!(body().await, "payment 2 of 250 cents");
    assert_eq!(harness.written("250 cents").await, 2);
}

async fn a_handler_that_keeps_its_transaction_commits_nothing<H: Database>(harness: H) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let kept = Arc::clone(&kept);
        async move |Extension(tx): Extension<IdempotentTx<H::Connection>>| {
            let mut taken = tx.take().unwrap();
            assert!(tx.take().is_err() && tx.lock().await.is_err());
            H::write(&mut taken, "250 cents").await.unwrap();
            kept.lock().unwrap().push(taken);
            "paid"
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "internal");
    kept.lock().unwrap().clear();
    assert_eq!(harness.written("250 cents").await, 0);
}

async fn handles_may_stay_where_they_are<H: Database>(harness: H) {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let handles = Arc::clone(&handles);
        async move |Extension(tx): Extension<IdempotentTx<H::Connection>>| {
            handles.lock().unwrap().push(tx.clone());
            H::write(&mut *tx.lock().await.unwrap(), "250 cents").await.unwrap();
            // As some middleware does with all extensions.
            (Extension(tx), "paid")
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(reply.body, "paid");
    assert_eq!(harness.written("250 cents").await, 1);
    let handle = handles.lock().unwrap().pop().unwrap();
    assert!(handle.take().is_err(), "the request is over");
}

async fn several_parties_write_in_one_transaction<H: Database>(harness: H) {
    async fn audit<H: Database>(request: Request<Body>, next: Next) -> impl IntoResponse {
        let tx: IdempotentTx<H::Connection> = request.extensions().get().cloned().unwrap();
        H::write(&mut *tx.lock().await.unwrap(), "audit").await.unwrap();
        next.run(request).await
    }

    let answers = answers::<H>([StatusCode::BAD_GATEWAY, StatusCode::CREATED]);
    let route = routing::post(answers).layer(middleware::from_fn(audit::<H>));
    let server = Server::serve(payments(layer(&harness))(route)).await;
    server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(harness.written("audit").await, 0);
    server.send(post("/payments", "k1", "250 cents")).await;
    server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(harness.written("audit").await, 1);
    assert_eq!(harness.written("250 cents").await, 1);
}

async fn many_clients_with_the_same_keys_take_effect_once<H: Database>(harness: H) {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = async move |Extension(tx): Extension<IdempotentTx<H::Connection>>,
                              body: String| {
        let mut tx = tx.take().unwrap();
        H::write(&mut tx, &body).await.unwrap();
        tokio::task::yield_now().await;
        // Every third attempt fails after its write.
        match calls.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => (StatusCode::BAD_GATEWAY, String::new()),
            call => (StatusCode::CREATED, format!("{body} by call {call}")),
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let server = &server;
    let client = async |client: usize| {
        let mut bodies = Vec::new();
        for turn in 0..5 {
            // Not all in the same order.
            let payment =
                format!("payment {}", if client.is_multiple_of(2) { turn } else { 4 - turn });
            bodies.push(loop {
                let reply = server.send(post("/payments", &payment, &payment)).await;
                match reply.status {
                    StatusCode::CREATED => break (payment, reply.body),
                    StatusCode::CONFLICT => {
                        assert_eq!(reply.headers["retry-after"], "1");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    StatusCode::BAD_GATEWAY => {}
                    other => panic!("{other}: {:?}", reply.body),
                }
            });
        }
        bodies.sort();
        bodies
    };
    let seen = join_all((0..6).map(client)).await;
    assert!(seen.iter().all(|bodies| *bodies == seen[0]), "{seen:?}");
    for turn in 0..5 {
        assert_eq!(harness.written(&format!("payment {turn}")).await, 1);
    }
}

async fn a_leased_request_in_flight_conflicts<H: Database>(harness: H) {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        async move |Extension(lease): Extension<Lease>,
                    Extension(key): Extension<IdempotencyKey>| {
            begun.notify_one();
            go_on.notified().await;
            format!("paid elsewhere, key {}, attempt {}", key.as_str(), lease.attempt())
        }
    };
    let layer = layer(&harness).leased(Duration::from_secs(60));
    let server = Server::start(payments(layer), handler).await;
    let request = || post("/payments", "k1", "250 cents");
    let first = async {
        let reply = server.send(request()).await;
        assert_eq!(reply.body, "paid elsewhere, key k1, attempt 1");
        reply
    };
    let meanwhile = async {
        begun.notified().await;
        let reply = server.send(request()).await;
        reply.problem(StatusCode::CONFLICT, "in-flight");
        assert_eq!(reply.headers["retry-after"], "1");
        // In flight comes before: whether the payload differs is not known yet.
        let reply = server.send(post("/payments", "k1", "260 cents")).await;
        reply.problem(StatusCode::CONFLICT, "in-flight");
        go_on.notify_one();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    let again = server.send(request()).await;
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(again.without_marker(), first.without_marker());
    let other = server.send(post("/payments", "k1", "260 cents")).await;
    other.problem(StatusCode::UNPROCESSABLE_ENTITY, "key-reused");
}

async fn a_leased_response_beyond_the_limit_is_sent_once<H: Database>(harness: H) {
    let handler = async |Extension(_): Extension<Lease>| {
        let chunks = stream::iter((0..100).map(|i| Ok::<_, Infallible>(format!("row {i}\n"))));
        Body::from_stream(chunks)
    };
    let layer = layer(&harness).leased(Duration::from_secs(60)).max_response_body(100);
    let server = Server::start(payments(layer), handler).await;
    // What the handler did elsewhere stands, so the client learns of it.
    let reply = server.send(post("/payments", "k1", "all")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.body.starts_with(b"row 0\n") && reply.body.ends_with(b"row 99\n"));
    let reply = server.send(post("/payments", "k1", "all")).await;
    reply.problem(StatusCode::CONFLICT, "response-not-kept");
    assert_eq!(reply.headers.get("retry-after"), None);
    let reply = server.send(post("/payments", "k1", "some")).await;
    reply.problem(StatusCode::UNPROCESSABLE_ENTITY, "key-reused");
}

async fn a_leased_server_error_releases_the_key<H: Database>(harness: H) {
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = async move |Extension(lease): Extension<Lease>| match calls
        .fetch_add(1, Ordering::SeqCst)
    {
        0 => (StatusCode::BAD_GATEWAY, "no answer".to_owned()),
        _ => (StatusCode::OK, format!("attempt {}", lease.attempt())),
    };
    let layer = layer(&harness).leased(Duration::from_secs(60));
    let server = Server::start(payments(layer), handler).await;
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::BAD_GATEWAY, b"no answer".as_slice()));
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.body.starts_with(b"attempt "), "{:?}", reply.body);
}

async fn the_header_can_be_another_one<H: Database>(harness: H) {
    let layer = layer(&harness).header("x-delivery".parse().unwrap());
    let server = Server::start(payments(layer), pay::<H>).await;
    let delivery = || {
        let mut request = without_key("250 cents");
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        request.headers_mut().insert("x-delivery", id);
        request
    };
    assert_eq!(server.send(delivery()).await.status, StatusCode::CREATED);
    assert_eq!(server.send(delivery()).await.headers[REPLAYED], "true");
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    let document = reply.problem(StatusCode::BAD_REQUEST, "key-missing");
    assert_eq!(document["detail"], "This operation requires the header x-delivery.");
}

async fn hooks_of_an_inbox_layer_stay<H: Database>(harness: H) {
    use tower_inbox::hook::{BoxFuture, CommitHook, Decision, Delivery};

    #[derive(Clone, Default)]
    struct Decisions(Arc<Mutex<Vec<Decision>>>);
    impl<C: Send> CommitHook<C> for Decisions {
        fn before_commit<'a>(
            &'a self,
            _: &'a Delivery,
            _: &'a mut C,
        ) -> BoxFuture<'a, Result<(), tower_inbox::BoxError>> {
            Box::pin(async { Ok(()) })
        }
        fn decided<'a>(&'a self, _: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()> {
            Box::pin(async move { self.0.lock().unwrap().push(decision) })
        }
    }

    let decisions = Decisions::default();
    let inbox = InboxLayer::new("payments", harness.store()).hook(decisions.clone());
    let answers = answers::<H>([StatusCode::BAD_GATEWAY, StatusCode::CREATED]);
    let server = Server::start(payments(IdempotencyLayer::from(inbox)), answers).await;
    for body in ["250 cents", "250 cents", "250 cents", "260 cents"] {
        server.send(post("/payments", "k1", body)).await;
    }
    let expected = [Decision::Failed, Decision::Handled, Decision::Duplicate, Decision::KeyReused];
    assert_eq!(*decisions.0.lock().unwrap(), expected);
}

async fn a_request_that_fails_too_often_is_given_up<H>(harness: H)
where
    H: Harness<Store: RecordStore + PoisonStore>,
{
    let not_now = |error: &(dyn Error + 'static)| {
        let rolled_back = error.source().and_then(|source| source.downcast_ref::<RolledBack>());
        rolled_back.is_some_and(|error| error.status == StatusCode::TOO_MANY_REQUESTS)
    };
    let policy = DeadLetterPolicy::after(2).except(not_now);
    let inbox = InboxLayer::new("payments", harness.store()).dead_letters(policy);
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = {
        let calls = Arc::clone(&calls);
        async move || match calls.fetch_add(1, Ordering::SeqCst) {
            0..3 => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_GATEWAY,
        }
    };
    let server = Server::start(payments(IdempotencyLayer::from(inbox)), handler).await;
    for status in [429, 429, 429, 502] {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        assert_eq!(reply.status, StatusCode::from_u16(status).unwrap());
    }
    for _ in 0..2 {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "given-up");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

async fn a_leased_request_that_outlives_its_lease_conflicts<H: Database>(harness: H) {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        async move |Extension(lease): Extension<Lease>| {
            if lease.attempt() == 1 {
                begun.notify_one();
                go_on.notified().await;
            }
            format!("attempt {}", lease.attempt())
        }
    };
    let layer = layer(&harness).leased(Duration::from_secs(30));
    let server = Server::start(payments(layer), handler).await;
    let request = || post("/payments", "k1", "250 cents");
    let first = server.send(request());
    let meanwhile = async {
        begun.notified().await;
        harness.clock().advance(32);
        let reply = server.send(request()).await;
        assert_eq!((&*reply.body, reply.headers.get(REPLAYED)), (b"attempt 2".as_slice(), None));
        go_on.notify_one();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    first.problem(StatusCode::CONFLICT, "lease-lost");
    assert_eq!(first.headers["retry-after"], "1");
    let again = server.send(request()).await;
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(again.body, "attempt 2");
}

async fn a_leased_request_without_a_key_has_no_lease<H: Database>(harness: H) {
    let handler = async |lease: Option<Extension<Lease>>| match lease {
        Some(Extension(lease)) => format!("attempt {}", lease.attempt()),
        None => "no lease".to_owned(),
    };
    let layer = layer(&harness).required(false).leased(Duration::from_secs(30));
    let server = Server::start(payments(layer), handler).await;
    assert_eq!(server.send(without_key("250 cents")).await.body, "no lease");
    assert_eq!(server.send(post("/payments", "k1", "250 cents")).await.body, "attempt 1");
}

/// Polls a request n times and drops it, for every n until it is done: whatever is left behind, a
/// retry decides rightly and the effect is there once.
async fn a_future_dropped_at_each_await_leaves_nothing_doubled_or_lost<H: Database>(harness: H) {
    let service = layer(&harness).layer(service_fn(async |request: Request<_>| {
        let tx: IdempotentTx<H::Connection> = request.extensions().get().cloned().unwrap();
        let key: IdempotencyKey = request.extensions().get().cloned().unwrap();
        tokio::task::yield_now().await;
        H::write(&mut *tx.lock().await.unwrap(), key.as_str()).await.unwrap();
        let rows = stream::iter(0..2).then(move |_| {
            let (tx, key) = (tx.clone(), key.clone());
            async move {
                tokio::task::yield_now().await;
                H::write(&mut *tx.lock().await.unwrap(), key.as_str()).await.unwrap();
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"row\n")))
            }
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(rows))))
    }));
    let mut dropped = 0;
    for polls in 0.. {
        let key = format!("k{polls}");
        let request = || post("/payments", &key, "250 cents");
        let mut delivery = Box::pin(service.clone().oneshot(request()));
        let done = poll_times(&mut delivery, polls).await;
        drop(delivery);
        dropped += u64::from(!done);
        let reply = loop {
            let reply = service.clone().oneshot(request()).await.unwrap();
            // The server may not have noticed yet that the connection is closed.
            if reply.status() != StatusCode::CONFLICT {
                break reply;
            }
        };
        assert_eq!(reply.status(), StatusCode::OK, "after {polls} polls");
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "row\nrow\n");
        assert_eq!(harness.written(&key).await, 3, "dropped after {polls} polls");
        if done {
            break;
        }
    }
    assert!(dropped >= 3, "{dropped} drops");
}

/// SQLite has one writer: there a second request waits for the first.
#[sqlx::test(migrations = false)]
async fn a_request_in_flight_conflicts_on_postgres(pool: PgPool) {
    let harness = Postgres::start(pool).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        async move || {
            begun.notify_one();
            go_on.notified().await;
            "paid"
        }
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    let request = || post("/payments", "k1", "250 cents");
    let first = server.send(request());
    let meanwhile = async {
        begun.notified().await;
        let reply = server.send(request()).await;
        reply.problem(StatusCode::CONFLICT, "in-flight");
        assert_eq!(reply.headers["retry-after"], "1");
        go_on.notify_one();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.body, "paid");
    assert_eq!(server.send(request()).await.headers[REPLAYED], "true");
}

#[sqlx::test(migrations = false)]
async fn a_database_that_is_away_is_unavailable(pool: PgPool) {
    let harness = Postgres::start(pool).await;
    let server = Server::start(payments(layer(&harness)), pay::<Postgres>).await;
    server.send(post("/payments", "k1", "250 cents")).await;
    harness.pool().close().await;
    for key in ["k1", "k2"] {
        let reply = server.send(post("/payments", key, "250 cents")).await;
        let document = reply.problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
        assert_eq!(reply.headers["retry-after"], "5");
        // What the matter is stays in the log.
        let members: Vec<_> = document.as_object().unwrap().keys().collect();
        assert_eq!(members, ["code", "detail", "status", "title"]);
    }
}

/// PostgreSQL answers the commit of a failed transaction with success.
#[sqlx::test(migrations = false)]
async fn a_database_error_that_a_handler_swallows_is_no_success(pool: PgPool) {
    let harness = Postgres::start(pool).await;
    let handler = async |Extension(tx): Extension<IdempotentTx<PgConnection>>| {
        let mut tx = tx.take().unwrap();
        Postgres::write(&mut tx, "250 cents").await.unwrap();
        sqlx::query("select 1 / 0").execute(&mut *tx).await.unwrap_err();
        "paid"
    };
    let server = Server::start(payments(layer(&harness)), handler).await;
    for _ in 0..2 {
        let reply = server.send(post("/payments", "k1", "250 cents")).await;
        reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "internal");
    }
    assert_eq!(harness.written("250 cents").await, 0);
}

/// With the one connection of the pool, a transaction would be in everybody's way.
#[tokio::test]
async fn a_client_that_sends_slowly_holds_no_transaction() {
    let harness = Sqlite::start().await;
    let server = Server::start(payments(layer(&harness)), pay::<Sqlite>).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(
        b"POST /payments HTTP/1.1\r\nhost: here\r\nidempotency-key: \"k1\"\r\n\
          connection: close\r\ncontent-length: 9\r\n\r\n250 c",
    )
    .await
    .unwrap();
    for key in ["k2", "k1"] {
        let reply = server.send(post("/payments", key, "260 cents")).await;
        assert_eq!(reply.status, StatusCode::CREATED);
    }
    slow.write_all(b"ents").await.unwrap();
    let mut reply = String::new();
    slow.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 422 "), "{reply}");
}

#[tokio::test]
async fn a_kept_response_that_cannot_be_read_is_not_handled_again() {
    let harness = Sqlite::start().await;
    let server = Server::start(payments(layer(&harness)), pay::<Sqlite>).await;
    server.send(post("/payments", "k1", "250 cents")).await;
    let damaged = sqlx::query("update tower_inbox_record set response = x'ff'")
        .execute(harness.pool())
        .await
        .unwrap();
    assert_eq!(damaged.rows_affected(), 1);
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    reply.problem(StatusCode::CONFLICT, "response-not-kept");
    assert_eq!(harness.written("250 cents").await, 1);
}

#[tokio::test]
async fn a_database_without_tables_is_our_fault() {
    let store = SqliteStore::in_memory().await.unwrap();
    let layer = IdempotencyLayer::new("payments", store);
    assert!(layer.prepare().await.is_err());
    let server = Server::start(payments(layer), async || "paid").await;
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    reply.problem(StatusCode::INTERNAL_SERVER_ERROR, "internal");
}

#[tokio::test]
async fn a_limit_further_out_is_a_limit_too() {
    let harness = Sqlite::start().await;
    let limit = axum::middleware::map_request(async |request: Request<Body>| {
        request.map(|body| Body::new(http_body_util::Limited::new(body, 4)))
    });
    let app = payments(layer(&harness))(routing::post(pay::<Sqlite>)).layer(limit);
    let server = Server::serve(app).await;
    let reply = server.send(post("/payments", "k1", "250 cents")).await;
    reply.problem(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large");
}

/// Without axum, and with an inner service that fails.
#[tokio::test]
async fn an_inner_error_passes_through_untouched() {
    #[derive(Debug, PartialEq)]
    struct CardReaderOnFire;
    let harness = Sqlite::start().await;
    let service = layer(&harness).layer(service_fn(async |request: Request<_>| {
        let tx: &IdempotentTx<SqliteConnection> = request.extensions().get().unwrap();
        let mut tx = tx.take().unwrap();
        Sqlite::write(&mut tx, "250 cents").await.unwrap();
        Err::<Response<Full<Bytes>>, _>(CardReaderOnFire)
    }));
    let error = service.oneshot(post("/payments", "k1", "250 cents")).await.unwrap_err();
    assert_eq!(error, CardReaderOnFire);
    assert_eq!(harness.written("250 cents").await, 0);
}

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let harness = Sqlite::start().await;
    let layer = layer(&harness);
    type Mock = tower_test::mock::Mock<Request<Full<Bytes>>, Response<Full<Bytes>>>;
    let (mut service, mut handle) = tower_test::mock::spawn_with(move |inner: Mock| {
        let collect = |request: Request<_>| request.map(|_| Full::default());
        layer.layer(tower::util::MapRequest::new(inner, collect))
    });
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    // What a refusal has reserved, the next request gets.
    let reply = service.call(without_key("")).await.unwrap();
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
#[should_panic(expected = "is no address of documentation")]
async fn an_address_that_is_none_is_refused_at_once() {
    let store = SqliteStore::in_memory().await.unwrap();
    let _ = IdempotencyLayer::new("payments", store).documentation_url("a b");
}

fn layer<H: Database>(harness: &H) -> IdempotencyLayer<H::Store> {
    IdempotencyLayer::new("payments", harness.store())
}

/// An application around the layer: the same route at all paths.
fn payments<L>(layer: L) -> impl FnOnce(routing::MethodRouter) -> Router
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Body>, Error: Into<Infallible>, Response: IntoResponse>,
    L::Service: Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Response: 'static,
    <L::Service as Service<Request<Body>>>::Error: 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
{
    move |route| {
        let paths = Router::new().route("/payments", route.clone()).route("/payments/{id}", route);
        paths.layer(layer)
    }
}

/// Writes the payload, and says how often it was called.
async fn pay<H: Database>(
    Extension(calls): Extension<Arc<AtomicUsize>>,
    Extension(tx): Extension<IdempotentTx<H::Connection>>,
    payload: String,
) -> impl IntoResponse {
    let mut tx = tx.take().unwrap();
    H::write(&mut tx, &payload).await.unwrap();
    let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, format!("/payments/{call}").parse().unwrap());
    headers.append(header::SET_COOKIE, "a=1".parse().unwrap());
    headers.append(header::SET_COOKIE, "b=2".parse().unwrap());
    (StatusCode::CREATED, headers, format!("payment {call} of {payload}"))
}

/// A handler that writes the payload each time, and answers with one status after the other.
fn answers<H: Database>(statuses: [StatusCode; 2]) -> impl AsyncPay<H> {
    let calls = Arc::new(AtomicUsize::new(0));
    move |Extension(tx): Extension<IdempotentTx<H::Connection>>, payload: String| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let mut tx = tx.take().unwrap();
            H::write(&mut tx, &payload).await.unwrap();
            (statuses[call.min(1)], format!("answer {}", call + 1))
        }) as Paying
    }
}

type Paying = std::pin::Pin<Box<dyn Future<Output = (StatusCode, String)> + Send>>;

trait AsyncPay<H: Database>:
    Fn(Extension<IdempotentTx<H::Connection>>, String) -> Paying + Clone + Send + Sync + 'static
{
}

impl<H: Database, F> AsyncPay<H> for F where
    F: Fn(Extension<IdempotentTx<H::Connection>>, String) -> Paying + Clone + Send + Sync + 'static
{
}

struct Server {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start<A, T>(app: A, handler: impl axum::handler::Handler<T, ()>) -> Self
    where
        A: FnOnce(routing::MethodRouter) -> Router,
        T: 'static,
    {
        let route = routing::post(handler.clone()).patch(handler);
        Self::serve(app(route)).await
    }

    async fn serve(app: Router) -> Self {
        let app = app.layer(Extension(Arc::new(AtomicUsize::new(0))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, serving }
    }

    /// Sends one request over a connection of its own.
    async fn send<B>(&self, request: Request<B>) -> Reply
    where
        B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        connection.abort();
        Reply {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Reply {
    /// What a first response and its replays have in common: all but the marker, and the date that
    /// the server puts on everything.
    fn without_marker(mut self) -> Self {
        self.headers.remove(REPLAYED);
        self.headers.remove(header::DATE).expect("the server dates its responses");
        self
    }

    #[track_caller]
    fn problem(&self, status: StatusCode, code: &str) -> serde_json::Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["content-language"], "en");
        assert_eq!(self.headers.get(REPLAYED), None);
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["code"], code);
        assert_eq!(document["status"], status.as_u16());
        document
    }
}

fn post(target: &str, key: &str, body: &str) -> Request<Full<Bytes>> {
    let key = key.replace('\\', "\\\\").replace('"', "\\\"");
    let mut request = without_key(body);
    *request.uri_mut() = target.parse().unwrap();
    request.headers_mut().insert(KEY, format!("\"{key}\"").parse().unwrap());
    request
}

fn without_key(body: &str) -> Request<Full<Bytes>> {
    Request::post("/payments")
        .header(header::HOST, "here")
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// Whether the future was done after so many polls.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: u64) -> bool {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match std::pin::Pin::new(&mut *future).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            // The waker was passed on: the next poll comes when there is progress to be made.
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
