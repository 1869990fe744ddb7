//! Private real servers for the tests and benchmarks of tower-inbox.
//!
//! Everything here lives in a fresh temporary directory, listens on loopback only, and goes away
//! with its owner: when the value is dropped, or when the process that holds it dies, however it
//! dies. A server may therefore be kept in a `static`, which is never dropped.
//!
//! ```
//! use tower_inbox_servers::PostgresServer;
//!
//! # fn main() -> std::io::Result<()> {
//! let server = PostgresServer::start()?;
//! server.create_database("orders")?;
//! assert_eq!(server.psql(&server.url("orders"), "select 1")?, "1");
//! # Ok(())
//! # }
//! ```
//!
//! The binary `with-servers` runs a command with the variables set that name such servers:
//!
//! ```text
//! cargo run -q -p tower-inbox-servers -- cargo test -p tower-inbox
//! ```

mod account;
mod daemon;
mod delay_proxy;
mod directory;
mod log;
mod nats;
mod pgbouncer;
mod port;
mod postgres;
mod program;
mod rabbit;
mod redis;
mod watchdog;

pub use delay_proxy::DelayProxy;
pub use nats::NatsServer;
pub use pgbouncer::{PgBouncer, PgBouncerBuilder};
pub use postgres::{PostgresBuilder, PostgresServer, StandbyBuilder};
pub use rabbit::RabbitServer;
pub use redis::{RedisBuilder, RedisCluster, RedisSentinel, RedisServer};
pub use watchdog::Watchdog;
