mod backend;
mod health;
mod layout;
mod pace;
mod request;
mod scripts;
mod shard;

pub use backend::RedisBackend;
