//! The PostgreSQL store against the conformance suite, on each path of its claim.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

mod conformance {
    use sqlx::PgPool;

    use crate::support::harness::Postgres;

    tower_inbox::conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool).await
    );
    tower_inbox::batch_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool).await
    );
    tower_inbox::record_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool).await
    );
    tower_inbox::admin_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool).await
    );
    tower_inbox::poison_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool).await
    );
}
