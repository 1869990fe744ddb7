use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower::{ServiceBuilder, service_fn};
use tower_inbox::{
    BoxError, InboxLayer,
    hook::BoxFuture,
    inbox::{PgStore, Received},
    key::InboxKey,
};

use crate::{
    cell::Variant,
    drive::{Calling, Worker},
    order::OrderPlaced,
};

/// One variant on PostgreSQL, through one way to reach the server.
pub(crate) struct Pg {
    way: &'static Way,
    options: PgConnectOptions,
    /// Connections of a pool per worker.
    room: usize,
}

/// How a variant claims a message, and with what pool.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    default_pool: bool,
    path: Path,
}

enum Path {
    /// A transaction around the handler.
    Bare,
    /// The same, on a connection that the worker keeps.
    Held,
    /// One statement more, by hand.
    Naive,
    /// The layer.
    Layer { prepared: bool, keep: Duration },
    /// A claim in the statement that begins.
    ByHand(ByHand),
}

#[derive(Clone, Copy)]
struct ByHand {
    /// Runs once in each new session.
    prepare: fn() -> String,
    begin: fn(InboxKey) -> String,
    commit: Commit,
}

#[derive(Clone, Copy)]
enum Commit {
    /// sqlx's own.
    Plain,
    /// Something that leaves a transaction open, which the drop rolls back.
    Chained(&'static str),
}

pub(crate) const BARE: &str = "bare";
pub(crate) const BARE_HELD: &str = "bare, held connection";
pub(crate) const BARE_DEFAULT: &str = "bare, sqlx's default pool";
pub(crate) const NAIVE: &str = "naive inbox";
pub(crate) const INBOX: &str = "Inbox";
pub(crate) const INBOX_KEEPING: &str = "Inbox, keep(50 ms)";
pub(crate) const INBOX_UNPREPARED: &str = "Inbox, prepared(false)";
pub(crate) const BY_HAND: &str = "its statements, by hand";

/// What users choose between, and the layer's own share.
pub(crate) const WAYS: &[Way] = &[
    Way { name: BARE, default_pool: false, path: Path::Bare },
    Way { name: BARE_HELD, default_pool: false, path: Path::Held },
    Way { name: BARE_DEFAULT, default_pool: true, path: Path::Bare },
    Way { name: NAIVE, default_pool: false, path: Path::Naive },
    layer(INBOX, true, Duration::ZERO),
    layer(INBOX_KEEPING, true, Duration::from_millis(50)),
    layer(INBOX_UNPREPARED, false, Duration::ZERO),
    by_hand(BY_HAND, our_prepare, our_claim, OUR_COMMIT),
];

/// Ways to claim, all with a plain commit.
pub(crate) const CLAIMS: &[Way] = &[
    Way { name: BARE, default_pool: false, path: Path::Bare },
    Way { name: NAIVE, default_pool: false, path: Path::Naive },
    by_hand("execute look and insert;begin", our_prepare, our_claim, Commit::Plain),
    by_hand(
        "execute insert, did it?;begin",
        || format!("prepare bench(int2,uuid,int4,int8,int4,float8) as {ASKING_AFTERWARDS}"),
        |key| format!("execute bench(1,'{key}',86400,{},50,null);begin", lock_id(key)),
        Commit::Plain,
    ),
    by_hand(
        "insert;begin",
        String::new,
        |key| {
            format!(
                "insert into tower_inbox.inbox (key, expires_at, consumer) \
                 values ('{key}', {EXPIRES_AT}, 1);begin"
            )
        },
        Commit::Plain,
    ),
    by_hand(
        "execute insert;begin",
        || {
            "prepare bench(uuid) as insert into tower_inbox.inbox (key, expires_at, consumer) \
             values ($1, ceil(date_part('epoch', clock_timestamp()) - 1577750400)::int4, 1)"
                .to_owned()
        },
        |key| format!("execute bench('{key}');begin"),
        Commit::Plain,
    ),
    by_hand(
        "execute insert with lock;begin",
        || {
            "prepare bench(uuid, int8) as \
             insert into tower_inbox.inbox (key, expires_at, consumer) \
             values ($1, case when pg_try_advisory_xact_lock($2) \
             then ceil(date_part('epoch', clock_timestamp()) - 1577750400)::int4 end, 1)"
                .to_owned()
        },
        |key| format!("execute bench('{key}',{});begin", lock_id(key)),
        Commit::Plain,
    ),
    by_hand(
        "execute insert with lock, take over;begin",
        || TAKING_OVER.to_owned(),
        |key| format!("execute bench('{key}',{});begin", lock_id(key)),
        Commit::Plain,
    ),
    by_hand(
        "select function;begin",
        String::new,
        |key| format!("select bench_claim(1::int2,'{key}',86400);begin"),
        Commit::Plain,
    ),
];

/// Ways to commit, all with our claim.
pub(crate) const COMMITS: &[Way] = &[
    by_hand("commit", our_prepare, our_claim, Commit::Plain),
    by_hand("savepoint s;commit and chain", our_prepare, our_claim, OUR_COMMIT),
    by_hand("commit and chain", our_prepare, our_claim, Commit::Chained("commit and chain")),
    by_hand(
        "select;commit and chain",
        our_prepare,
        our_claim,
        Commit::Chained("select;commit and chain"),
    ),
    by_hand(
        "set;commit and chain",
        our_prepare,
        our_claim,
        Commit::Chained("set local tower_inbox.x=1;commit and chain"),
    ),
];

const fn layer(name: &'static str, prepared: bool, keep: Duration) -> Way {
    Way { name, default_pool: false, path: Path::Layer { prepared, keep } }
}

const fn by_hand(
    name: &'static str,
    prepare: fn() -> String,
    begin: fn(InboxKey) -> String,
    commit: Commit,
) -> Way {
    Way { name, default_pool: false, path: Path::ByHand(ByHand { prepare, begin, commit }) }
}

impl Pg {
    /// Makes the variant's tables. `options` says how the workers reach them.
    pub(crate) async fn new(
        way: &'static Way,
        options: PgConnectOptions,
        room: usize,
    ) -> Result<Self, BoxError> {
        make_tables(&options).await?;
        Ok(Self { way, options, room })
    }

    async fn pool(&self, size: usize, prepare: fn() -> String) -> Result<PgPool, sqlx::Error> {
        let size = u32::try_from(size).expect("a pool is small");
        PgPoolOptions::new()
            .max_connections(size)
            .min_connections(size)
            .test_before_acquire(self.way.default_pool)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(prepare())).execute(connection).await?;
                    Ok(())
                })
            })
            .connect_with(self.options.clone())
            .await
    }

    async fn make(&self, workers: usize) -> Result<Vec<Box<dyn Worker>>, BoxError> {
        let mut made: Vec<Box<dyn Worker>> = Vec::new();
        if let Path::Held = self.way.path {
            for _ in 0..workers {
                made.push(Box::new(Held(PgConnection::connect_with(&self.options).await?)));
            }
            return Ok(made);
        }
        let prepare = match self.way.path {
            Path::ByHand(ByHand { prepare, .. }) => prepare,
            _ => String::new,
        };
        let pool = self.pool(workers * self.room, prepare).await?;
        match self.way.path {
            Path::Held => {}
            Path::Bare => made.extend((0..workers).map(|_| boxed(Bare(pool.clone())))),
            Path::Naive => made.extend((0..workers).map(|_| boxed(Naive(pool.clone())))),
            Path::ByHand(way) => {
                made.extend((0..workers).map(|_| boxed(Handmade { pool: pool.clone(), way })));
            }
            Path::Layer { prepared, keep } => {
                let store = PgStore::new(pool).prepared(prepared).keep(keep);
                let layer = InboxLayer::new("orders", store);
                layer.prepare().await?;
                let service = ServiceBuilder::new().layer(layer).service(service_fn(place));
                made.extend((0..workers).map(|_| boxed(Calling(service.clone()))));
            }
        }
        Ok(made)
    }
}

impl Variant for Pg {
    fn name(&self) -> &str {
        self.way.name
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { empty_tables(&self.options).await.expect("empty tables") })
    }

    fn workers(&self, workers: usize) -> BoxFuture<'_, Vec<Box<dyn Worker>>> {
        Box::pin(async move { self.make(workers).await.expect("the workers are made") })
    }
}

/// Makes the tables of every variant.
pub(crate) async fn make_tables(options: &PgConnectOptions) -> Result<(), BoxError> {
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    PgStore::new(pool.clone()).schema().up().await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    pool.close().await;
    Ok(())
}

pub(crate) async fn empty_tables(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql("truncate orders, naive_inbox, tower_inbox.inbox")
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql("checkpoint").execute(&mut connection).await?;
    connection.close().await
}

pub(crate) fn boxed(worker: impl Worker + 'static) -> Box<dyn Worker> {
    Box::new(worker)
}

/// The handler, the same for all variants.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    order: &OrderPlaced,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into orders (order_id, email, cents) values ($1, $2, $3)")
        .bind(order.order_id)
        .bind(&order.email)
        .bind(order.cents)
        .execute(connection)
        .await?;
    Ok(())
}

/// The handler behind the layer.
pub(crate) async fn place(
    received: Received<OrderPlaced, PgConnection>,
) -> Result<(), sqlx::Error> {
    let (order, mut tx) = received.into_parts();
    insert(&mut tx, &order).await
}

struct Bare(PgPool);

impl Worker for Bare {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let mut tx = self.0.begin().await?;
            insert(&mut tx, &order).await?;
            Ok(tx.commit().await?)
        })
    }
}

pub(crate) struct Held(pub(crate) PgConnection);

impl Worker for Held {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let mut tx = self.0.begin().await?;
            insert(&mut tx, &order).await?;
            Ok(tx.commit().await?)
        })
    }
}

struct Naive(PgPool);

impl Worker for Naive {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let key = uuid::Uuid::from(order.key());
            let mut tx = self.0.begin().await?;
            let claimed = sqlx::query(
                "insert into naive_inbox (key, expires_at, consumer) \
                 values ($1, now() + interval '1 day', $2) on conflict do nothing",
            )
            .bind(key)
            .bind(1_i16)
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

struct Handmade {
    pool: PgPool,
    way: ByHand,
}

impl Worker for Handmade {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let begin = AssertSqlSafe((self.way.begin)(order.key()));
            self.way.finish(self.pool.begin_with(begin).await?, &order).await
        })
    }
}

impl ByHand {
    async fn finish(
        self,
        mut tx: Transaction<'_, Postgres>,
        order: &OrderPlaced,
    ) -> Result<(), BoxError> {
        insert(&mut tx, order).await?;
        match self.commit {
            Commit::Plain => tx.commit().await?,
            Commit::Chained(commit) => {
                sqlx::raw_sql(commit).execute(&mut *tx).await?;
            }
        }
        Ok(())
    }
}

fn our_prepare() -> String {
    let claim = OUR_CLAIM
        .replace("$3", "1::int2")
        .replace("$4", "86400")
        .replace("$5", "50")
        .replace("$6", "null::float8");
    format!("prepare bench(uuid,int8) as {claim}")
}

fn our_claim(key: InboxKey) -> String {
    format!("execute bench('{key}',{});begin", lock_id(key))
}

fn lock_id(key: InboxKey) -> i64 {
    let (high, _) = key.as_bytes().split_at(8);
    i64::from_be_bytes(high.try_into().expect("half of the key"))
}

const OUR_CLAIM: &str = include_str!("../../src/inbox/store/postgres/sql/claim.sql");
const OUR_COMMIT: Commit = Commit::Chained("savepoint s;commit and chain");

/// What we had first.
const ASKING_AFTERWARDS: &str = "
with won as (
    insert into tower_inbox.inbox (key, expires_at, consumer)
    select
        $2,
        ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $3)::int4,
        $1
    where pg_try_advisory_xact_lock($4)
    on conflict do nothing
    returning 1
)
select case
    when exists (select from won) then 1::int2
    else tower_inbox.contend($1, $2, $3, $4, $5, $6)
end";

/// One statement for all cases: the lock first, then the row; what is in its way is judged where it
/// is updated.
const TAKING_OVER: &str = "
prepare bench(uuid,int8) as
insert into tower_inbox.inbox as i (key, expires_at, consumer)
values (
    $1,
    ceil(
        date_part('epoch', clock_timestamp()) - 1577836800
        + case when pg_try_advisory_xact_lock($2) then 86400 else bench_wait($2, 50, 86400) end
    )::int4,
    1::int2
)
on conflict (consumer, key) do update
set expires_at = bench_take_over(i.consumer, i.key, i.expires_at, excluded.expires_at, null)";

// Some day in the far future, in seconds since 2020.
const EXPIRES_AT: i32 = 1_000_000_000;

const TABLES: &str = include_str!("tables.sql");
