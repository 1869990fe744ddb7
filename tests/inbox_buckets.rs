//! The bucket store against the conformance suite, before its sweeper ran for the first time and
//! after.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

mod without_places {
    use sqlx::PgPool;

    use crate::support::harness::Buckets;

    tower_inbox::conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::without_places(pool).await
    );
    tower_inbox::batch_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::without_places(pool).await
    );
    tower_inbox::record_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::without_places(pool).await
    );
}

mod with_places {
    use sqlx::PgPool;

    use crate::support::harness::Buckets;

    tower_inbox::conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::with_places(pool).await
    );
    tower_inbox::batch_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::with_places(pool).await
    );
    tower_inbox::record_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Buckets::with_places(pool).await
    );
}
