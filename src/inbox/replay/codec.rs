use serde::{Serialize, de::DeserializeOwned};

use crate::error::BoxError;

/// Turns responses into bytes that a store keeps, and back.
///
/// # Contract
///
/// `decode` of what `encode` returned gives an equal response; also after an update of the program,
/// for as long as a window lasts, because old rows are read by new code.
pub trait Codec<R> {
    /// Writes a response.
    ///
    /// # Errors
    ///
    /// The response cannot be written. In transactional mode the message is rolled back with this
    /// error; in leased mode it is completed without a response.
    fn encode(&self, response: &R) -> Result<Vec<u8>, BoxError>;

    /// Reads a response.
    ///
    /// # Errors
    ///
    /// The bytes are not what this codec writes. It is logged, and the duplicate is
    /// [`Replay::Duplicate`](super::Replay::Duplicate).
    fn decode(&self, bytes: &[u8]) -> Result<R, BoxError>;
}

/// Keeps responses as JSON, by serde.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json;

impl<R: Serialize + DeserializeOwned> Codec<R> for Json {
    fn encode(&self, response: &R) -> Result<Vec<u8>, BoxError> {
        Ok(serde_json::to_vec(response)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<R, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
