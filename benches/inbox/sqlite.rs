use std::path::PathBuf;

use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};
use tower::{ServiceBuilder, service_fn};
use tower_inbox::{
    BoxError, InboxLayer,
    hook::BoxFuture,
    inbox::{Received, SqliteStore},
};

use crate::{
    cell::Variant,
    drive::{Calling, Worker},
    order::OrderPlaced,
};

/// One variant on SQLite, in a file of its own.
pub(crate) struct Lite {
    way: Way,
    path: PathBuf,
}

#[derive(Clone, Copy)]
pub(crate) enum Way {
    Bare,
    Naive,
    Layer,
    ByHand,
}

pub(crate) const BARE: &str = "bare";
pub(crate) const NAIVE: &str = "naive inbox";
pub(crate) const INBOX: &str = "Inbox";
pub(crate) const BY_HAND: &str = "its statements, by hand";

pub(crate) const WAYS: [Way; 4] = [Way::Bare, Way::Naive, Way::Layer, Way::ByHand];

impl Lite {
    pub(crate) async fn new(way: Way, path: PathBuf) -> Result<Self, BoxError> {
        let store = SqliteStore::open(&path).await?;
        store.schema().up().await?;
        sqlx::raw_sql(TABLES).execute(store.pool()).await?;
        store.pool().close().await;
        Ok(Self { way, path })
    }

    async fn make(&self, workers: usize) -> Result<Vec<Box<dyn Worker>>, BoxError> {
        let store = SqliteStore::open(&self.path).await?;
        let pool = store.pool().clone();
        let all = 0..workers;
        Ok(match self.way {
            Way::Bare => all.map(|_| boxed(Bare(pool.clone()))).collect(),
            Way::Naive => all.map(|_| boxed(Naive(pool.clone()))).collect(),
            Way::ByHand => all.map(|_| boxed(ByHand(pool.clone()))).collect(),
            Way::Layer => {
                let layer = InboxLayer::new("orders", store);
                layer.prepare().await?;
                let service = ServiceBuilder::new().layer(layer).service(service_fn(place));
                all.map(|_| boxed(Calling(service.clone()))).collect()
            }
        })
    }
}

impl Variant for Lite {
    fn name(&self) -> &str {
        match self.way {
            Way::Bare => BARE,
            Way::Naive => NAIVE,
            Way::Layer => INBOX,
            Way::ByHand => BY_HAND,
        }
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let store = SqliteStore::open(&self.path).await.expect("open");
            for table in ["orders", "naive_inbox", "tower_inbox_inbox"] {
                let delete = AssertSqlSafe(format!("delete from {table}"));
                sqlx::query(delete).execute(store.pool()).await.expect("delete");
            }
            sqlx::raw_sql("pragma wal_checkpoint(truncate)")
                .execute(store.pool())
                .await
                .expect("checkpoint");
            store.pool().close().await;
        })
    }

    fn workers(&self, workers: usize) -> BoxFuture<'_, Vec<Box<dyn Worker>>> {
        Box::pin(async move { self.make(workers).await.expect("the workers are made") })
    }
}

fn boxed(worker: impl Worker + 'static) -> Box<dyn Worker> {
    Box::new(worker)
}

/// The handler, the same for all variants.
async fn insert(connection: &mut SqliteConnection, order: &OrderPlaced) -> Result<(), sqlx::Error> {
    sqlx::query("insert into orders (order_id, email, cents) values (?, ?, ?)")
        .bind(order.order_id)
        .bind(&order.email)
        .bind(order.cents)
        .execute(connection)
        .await?;
    Ok(())
}

/// The handler behind the layer.
async fn place(received: Received<OrderPlaced, SqliteConnection>) -> Result<(), sqlx::Error> {
    let (order, mut tx) = received.into_parts();
    insert(&mut tx, &order).await
}

struct Bare(SqlitePool);

impl Worker for Bare {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let mut tx = self.0.begin_with("begin immediate").await?;
            insert(&mut tx, &order).await?;
            Ok(tx.commit().await?)
        })
    }
}

struct Naive(SqlitePool);

impl Worker for Naive {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let key = order.key();
            let mut tx = self.0.begin_with("begin immediate").await?;
            let claimed = sqlx::query(
                "insert into naive_inbox (consumer, key, expires_at) \
                 values (1, ?, unixepoch() + 86400) on conflict do nothing",
            )
            .bind(key.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
            if claimed.rows_affected() == 0 {
                return Ok(tx.rollback().await?);
            }
            insert(&mut tx, &order).await?;
            Ok(tx.commit().await?)
        })
    }
}

struct ByHand(SqlitePool);

impl Worker for ByHand {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let begin = format!(
                "begin immediate;insert or rollback into tower_inbox_inbox \
                 (consumer, key, expires_at) values (1, x'{:032x}', {EXPIRES_AT})",
                u128::from_be_bytes(*order.key().as_bytes()),
            );
            let mut tx = self.0.begin_with(AssertSqlSafe(begin)).await?;
            insert(&mut tx, &order).await?;
            Ok(tx.commit().await?)
        })
    }
}

// Some day in the far future, in seconds since 2020.
const EXPIRES_AT: i32 = 1_000_000_000;

const TABLES: &str = "
create table orders (
    order_id integer not null,
    email text not null,
    cents integer not null
) strict;
create table naive_inbox (
    consumer integer not null,
    key blob not null,
    expires_at integer not null,
    primary key (consumer, key)
) strict, without rowid;
";
