//! The SQLite store against the conformance suite.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

mod conformance {
    use crate::support::harness::Sqlite;

    tower_inbox::conformance!(Sqlite::start().await);
    tower_inbox::batch_conformance!(Sqlite::start().await);
    tower_inbox::group_conformance!(Sqlite::start().await);
    tower_inbox::record_conformance!(Sqlite::start().await);
    tower_inbox::admin_conformance!(Sqlite::start().await);
    tower_inbox::poison_conformance!(Sqlite::start().await);
}
