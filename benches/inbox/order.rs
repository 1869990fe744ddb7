use std::sync::atomic::{AtomicU64, Ordering};

use tower_inbox::{
    Dedup,
    key::{InboxKey, KeyHasher, Secret, Xxh64Keyed, encode},
};

/// The message; a new one each time.
#[derive(Debug, Clone, Dedup)]
#[dedup_by(order_id, email)]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: i64,
    pub(crate) email: String,
    pub(crate) cents: i64,
}

impl OrderPlaced {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::numbered(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The same one for the same number.
    pub(crate) fn numbered(number: u64) -> Self {
        Self {
            order_id: number.cast_signed(),
            email: format!("customer{:03}@example.com", number % 1000),
            cents: 1990,
        }
    }

    /// The key, for variants that do without the layer.
    pub(crate) fn key(&self) -> InboxKey {
        Xxh64Keyed.key(encode(self).as_bytes(), &Secret::from_bytes([7; 16]))
    }
}
