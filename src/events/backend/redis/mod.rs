mod backend;
mod layout;
mod pace;
mod scripts;
mod shard;

pub use backend::RedisBackend;
