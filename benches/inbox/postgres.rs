use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
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
    Layer { prepared: bool },
    /// A claim in the statement that begins.
    ByHand(ByHand),
    /// The same, on a connection of the pool that the worker keeps.
    Kept(ByHand),
}

#[derive(Clone, Copy)]
struct ByHand {
    /// Runs once in each new session.
    prepare: &'static str,
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
pub(crate) const INBOX_UNPREPARED: &str = "Inbox, prepared(false)";
pub(crate) const BY_HAND: &str = "its statements, by hand";

/// What users choose between, and the layer's own share.
pub(crate) const WAYS: &[Way] = &[
    Way { name: BARE, default_pool: false, path: Path::Bare },
    Way { name: BARE_HELD, default_pool: false, path: Path::Held },
    Way { name: BARE_DEFAULT, default_pool: true, path: Path::Bare },
    Way { name: NAIVE, default_pool: false, path: Path::Naive },
    Way { name: INBOX, default_pool: false, path: Path::Layer { prepared: true } },
    Way { name: INBOX_UNPREPARED, default_pool: false, path: Path::Layer { prepared: false } },
    by_hand(BY_HAND, OUR_CLAIM, our_claim, OUR_COMMIT),
];

/// Ways to claim, all with a plain commit.
pub(crate) const CLAIMS: &[Way] = &[
    Way { name: BARE, default_pool: false, path: Path::Bare },
    Way { name: NAIVE, default_pool: false, path: Path::Naive },
    by_hand("execute claim;begin", OUR_CLAIM, our_claim, Commit::Plain),
    by_hand(
        "insert;begin",
        "",
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
        "prepare bench(uuid) as insert into tower_inbox.inbox (key, expires_at, consumer) \
         values ($1, ceil(date_part('epoch', clock_timestamp()) - 1577750400)::int4, 1)",
        |key| format!("execute bench('{key}');begin"),
        Commit::Plain,
    ),
    by_hand(
        "execute insert with lock;begin",
        "prepare bench(uuid, int4, int8) as \
         insert into tower_inbox.inbox (key, expires_at, consumer) \
         values ($1, case when pg_try_advisory_xact_lock($3) \
         then ceil(date_part('epoch', clock_timestamp()) - 1577836800 + $2)::int4 end, 1)",
        |key| format!("execute bench('{key}',86400,{});begin", lock_id(key)),
        Commit::Plain,
    ),
    by_hand(
        "execute insert with lock, take over;begin",
        TAKING_OVER,
        |key| format!("execute bench(1,'{key}',86400,{},50,null);begin", lock_id(key)),
        Commit::Plain,
    ),
    by_hand(
        "select function;begin",
        "",
        |key| format!("select bench_claim(1::int2,'{key}',86400);begin"),
        Commit::Plain,
    ),
];

/// Ways to commit, all with our claim.
pub(crate) const COMMITS: &[Way] = &[
    by_hand("commit", OUR_CLAIM, our_claim, Commit::Plain),
    by_hand("savepoint s;commit and chain", OUR_CLAIM, our_claim, OUR_COMMIT),
    by_hand("commit and chain", OUR_CLAIM, our_claim, Commit::Chained("commit and chain")),
    by_hand(
        "select;commit and chain",
        OUR_CLAIM,
        our_claim,
        Commit::Chained("select;commit and chain"),
    ),
    by_hand(
        "set;commit and chain",
        OUR_CLAIM,
        our_claim,
        Commit::Chained("set local tower_inbox.x=1;commit and chain"),
    ),
];

/// What the layer could become, on its way there.
pub(crate) const NEXT: &[Way] = &[
    Way { name: BARE, default_pool: false, path: Path::Bare },
    Way { name: BARE_HELD, default_pool: false, path: Path::Held },
    by_hand(BY_HAND, OUR_CLAIM, our_claim, OUR_COMMIT),
    by_hand("savepoint", OUR_CLAIM, our_claim, SAVEPOINT_COMMIT),
    by_hand("savepoint, plain insert", LOOKING_FIRST, our_claim, SAVEPOINT_COMMIT),
    by_hand("savepoint, plainest insert", PLAINEST, our_claim, SAVEPOINT_COMMIT),
    Way {
        name: "savepoint, plain insert, kept connection",
        default_pool: false,
        path: Path::Kept(ByHand {
            prepare: LOOKING_FIRST,
            begin: our_claim,
            commit: SAVEPOINT_COMMIT,
        }),
    },
];

const fn by_hand(
    name: &'static str,
    prepare: &'static str,
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
        let pg = Self { way, options, room };
        let pool = pg.pool(1, "").await?;
        PgStore::new(pool.clone()).schema().up().await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        pool.close().await;
        Ok(pg)
    }

    async fn pool(&self, size: usize, prepare: &'static str) -> Result<PgPool, sqlx::Error> {
        let size = u32::try_from(size).expect("a pool is small");
        PgPoolOptions::new()
            .max_connections(size)
            .min_connections(size)
            .test_before_acquire(self.way.default_pool)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(prepare).execute(connection).await?;
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
            Path::ByHand(ByHand { prepare, .. }) | Path::Kept(ByHand { prepare, .. }) => prepare,
            _ => "",
        };
        let pool = self.pool(workers * self.room, prepare).await?;
        match self.way.path {
            Path::Held => {}
            Path::Bare => made.extend((0..workers).map(|_| boxed(Bare(pool.clone())))),
            Path::Naive => made.extend((0..workers).map(|_| boxed(Naive(pool.clone())))),
            Path::ByHand(way) => {
                made.extend((0..workers).map(|_| boxed(Handmade { pool: pool.clone(), way })));
            }
            Path::Kept(way) => {
                for _ in 0..workers {
                    let connection = pool.acquire().await?;
                    made.push(boxed(Keeping { connection, way }));
                }
            }
            Path::Layer { prepared } => {
                let layer = InboxLayer::new("orders", PgStore::new(pool).prepared(prepared));
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
        Box::pin(async move {
            let mut connection = PgConnection::connect_with(&self.options).await.expect("connect");
            sqlx::raw_sql("truncate orders, naive_inbox, tower_inbox.inbox;")
                .execute(&mut connection)
                .await
                .expect("truncate");
            sqlx::raw_sql("checkpoint").execute(&mut connection).await.expect("checkpoint");
            connection.close().await.expect("close");
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
async fn insert(connection: &mut PgConnection, order: &OrderPlaced) -> Result<(), sqlx::Error> {
    sqlx::query("insert into orders (order_id, email, cents) values ($1, $2, $3)")
        .bind(order.order_id)
        .bind(&order.email)
        .bind(order.cents)
        .execute(connection)
        .await?;
    Ok(())
}

/// The handler behind the layer.
async fn place(received: Received<OrderPlaced, PgConnection>) -> Result<(), sqlx::Error> {
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

struct Held(PgConnection);

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

struct Keeping {
    connection: PoolConnection<Postgres>,
    way: ByHand,
}

impl Worker for Keeping {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let begin = AssertSqlSafe((self.way.begin)(order.key()));
            self.way.finish(self.connection.begin_with(begin).await?, &order).await
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

fn our_claim(key: InboxKey) -> String {
    format!("execute bench(1,'{key}',86400,{},50,null);begin", lock_id(key))
}

fn lock_id(key: InboxKey) -> i64 {
    let (high, _) = key.as_bytes().split_at(8);
    i64::from_be_bytes(high.try_into().expect("half of the key"))
}

const OUR_CLAIM: &str = concat!(
    "prepare bench(int2,uuid,int4,int8,int4,float8) as ",
    include_str!("../../src/inbox/store/postgres/sql/claim.sql")
);
const OUR_COMMIT: Commit = Commit::Chained("savepoint s;commit and chain");
const SAVEPOINT_COMMIT: Commit = Commit::Chained("savepoint s;commit and chain");

/// An insert without `on conflict`. It looks whether a row is in the way and calls a function only
/// then; the function raises, or removes an expired row. Who is faster between the look and the
/// insert makes it fail, and it has to be run again.
const LOOKING_FIRST: &str = "
prepare bench(int2,uuid,int4,int8,int4,float8) as
insert into tower_inbox.inbox (key, expires_at, consumer)
values (
    $2,
    case
        when pg_try_advisory_xact_lock($4)
            and not exists (select from tower_inbox.inbox where consumer = $1 and key = $2)
        then ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $3)::int4
        else bench_contend($1, $2, $3, $4, $5, $6)
    end,
    $1
)";

/// The same without the look: whatever is in the way makes it fail, and a second statement has to
/// find out what it was. Each duplicate leaves a dead row.
const PLAINEST: &str = "
prepare bench(int2,uuid,int4,int8,int4,float8) as
insert into tower_inbox.inbox (key, expires_at, consumer)
values (
    $2,
    case when pg_try_advisory_xact_lock($4)
        then ceil(coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800) + $3)::int4
    end,
    $1
)";

/// One statement for all cases: the lock first, then the row; what is in its way is judged where it
/// is updated.
const TAKING_OVER: &str = "
prepare bench(int2,uuid,int4,int8,int4,float8) as
insert into tower_inbox.inbox as i (key, expires_at, consumer)
values (
    $2,
    ceil(
        coalesce($6, date_part('epoch', clock_timestamp()) - 1577836800)
        + case when pg_try_advisory_xact_lock($4) then $3 else bench_wait($4, $5, $3) end
    )::int4,
    $1
)
on conflict (consumer, key) do update
set expires_at = bench_take_over(i.consumer, i.key, i.expires_at, excluded.expires_at, $6)";

// Some day in the far future, in seconds since 2020.
const EXPIRES_AT: i32 = 1_000_000_000;

const TABLES: &str = include_str!("tables.sql");
