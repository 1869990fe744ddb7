//! A private PostgreSQL server.

mod builder;
mod programs;
mod psql;
mod server;
mod standby;
mod url;

pub use builder::PostgresBuilder;
pub(crate) use programs::find_programs;
pub(crate) use psql::Psql;
pub use server::PostgresServer;
pub use standby::StandbyBuilder;
pub(crate) use url::percent_encode;
