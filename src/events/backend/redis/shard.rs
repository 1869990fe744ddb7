use std::sync::{Mutex, PoisonError};

/// What this process knows of the open table of a shard and window: which of its buckets have an expiry.
///
/// Setting it once for each bucket instead of once for each event is most of what makes expiry cheap.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<Table>>);

#[derive(Debug)]
struct Table {
    window: u64,
    id: String,
    bits: u32,
    touched: Vec<u64>,
}

impl Known {
    /// The id of the open table, and for each event's hash whether its bucket has an expiry.
    pub(super) fn about(&self, window: u64, hashes: &[u32]) -> (String, Vec<u8>) {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tables.iter().find(|table| table.window == window) {
            Some(table) => {
                let known = |hash: &u32| if table.is_touched(*hash) { b'1' } else { b'0' };
                (table.id.clone(), hashes.iter().map(known).collect())
            }
            None => ("-".to_owned(), Vec::new()),
        }
    }

    /// Forgets everything: a server that failed over may have lost a bucket and kept its table, and what
    /// is added to it then needs an expiry again.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Learns that events were added to a table, and so that their buckets have an expiry.
    pub(super) fn learn(&self, window: u64, id: &str, bits: u32, added: impl Iterator<Item = u32>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match tables.iter().position(|table| table.window == window) {
            Some(at) => at,
            None => {
                tables.push(Table { window, id: String::new(), bits: 0, touched: Vec::new() });
                tables.len() - 1
            }
        };
        let table = &mut tables[at];
        if table.id != id {
            id.clone_into(&mut table.id);
            table.bits = bits.min(HASH_BITS);
            table.touched = vec![0; (1_usize << table.bits).div_ceil(64)];
        }
        for hash in added {
            let bucket = table.bucket(hash);
            table.touched[bucket / 64] |= 1 << (bucket % 64);
        }
    }
}

impl Table {
    fn is_touched(&self, hash: u32) -> bool {
        let bucket = self.bucket(hash);
        self.touched[bucket / 64] >> (bucket % 64) & 1 == 1
    }

    /// As the script has it: the first bits of the hash.
    fn bucket(&self, hash: u32) -> usize {
        (hash >> (HASH_BITS - self.bits)) as usize
    }
}

/// How many bits of an event's signature can choose its bucket: a million buckets in a shard.
pub(super) const HASH_BITS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_known_once_something_was_added_to_it() {
        let known = Known::default();
        assert_eq!(known.about(1, &[0]), ("-".to_owned(), vec![]));
        known.learn(1, "7", 1, [LAST].into_iter());
        assert_eq!(known.about(1, &[0, LAST, 1 << 19]), ("7".to_owned(), b"011".to_vec()));
        assert_eq!(known.about(2, &[0]).0, "-", "another window");
        known.learn(1, "8", 2, [0].into_iter());
        assert_eq!(known.about(1, &[0, LAST]), ("8".to_owned(), b"10".to_vec()));
        known.learn(1, "9", 0, [LAST].into_iter());
        assert_eq!(known.about(1, &[0]), ("9".to_owned(), b"1".to_vec()), "one bucket for all");
        known.forget();
        assert_eq!(known.about(1, &[0]).0, "-");
    }

    const LAST: u32 = (1 << HASH_BITS) - 1;
}
