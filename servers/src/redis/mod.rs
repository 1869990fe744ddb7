//! Private Redis servers: one alone, replicas, a cluster, and a sentinel. Redis 7 or newer.

mod access;
mod authority;
mod builder;
mod cli;
mod cluster;
mod config;
mod directives;
mod operator;
mod process;
mod replica;
mod sentinel;
mod server;
mod wait;

pub use builder::RedisBuilder;
pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;
pub use server::RedisServer;
