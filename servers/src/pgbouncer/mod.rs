//! A private PgBouncer.

mod builder;
mod server;

pub use builder::PgBouncerBuilder;
pub use server::PgBouncer;
