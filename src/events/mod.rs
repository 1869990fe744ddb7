#![doc = include_str!("../docs/events.md")]

pub mod backend;
mod claim;
mod coalesce;
mod config;
mod connect;
mod deduplicator;
mod engine;
mod error;
mod extractor;
mod future;
mod ids;
mod layer;
mod local;
mod policy;
mod service;
mod signature;
mod stats;
mod token;
mod window;

pub use crate::retry::Retries;
pub use claim::{Claim, Claimed};
pub use coalesce::CoalesceDriver;
pub use config::{DeduplicationConfig, DeduplicationConfigBuilder, InvalidConfig};
pub use deduplicator::EventDeduplicator;
pub use error::{EventInFlight, EventsError, EventsErrorKind};
pub use extractor::{EventIdExtractor, IdError};
pub use future::DedupFuture;
pub use ids::EventIds;
pub use layer::DedupLayer;
pub use policy::FailurePolicy;
pub use service::DedupService;
pub use signature::Signature;
pub use stats::DeduplicationStats;
pub use token::ClaimToken;
pub use window::{EventWindow, InvalidEventWindow};
