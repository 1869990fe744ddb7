//! A private PostgreSQL server.

mod account;
mod builder;
mod programs;
mod server;
mod url;

pub use builder::PostgresBuilder;
pub use server::PostgresServer;
