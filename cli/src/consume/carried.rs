use std::sync::Arc;

use tower_inbox::{inbox::KeySource, key::Canonical};

use crate::message::Message;

/// The key that was made when the line was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried;

impl KeySource<Arc<Message>> for Carried {
    fn canonical(&self, message: &Arc<Message>) -> Canonical {
        message.canonical.clone()
    }

    fn payload(&self, message: &Arc<Message>) -> Option<Vec<u8>> {
        Some(message.text.clone().into_bytes())
    }
}
