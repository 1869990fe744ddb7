use std::fmt;

/// The ids of a batch of events, as bytes, one after the other in one buffer.
///
/// An [`EventIdExtractor`](super::EventIdExtractor) writes them and an
/// [`EventBackend`](super::backend::EventBackend) reads them. `Debug` shows how many there are and
/// nothing else: an id may tell a customer.
#[derive(Clone, Default)]
pub struct EventIds {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EventIds {
    /// An empty list.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }

    /// An empty list with room for a number of ids.
    pub fn with_capacity(ids: usize) -> Self {
        Self { bytes: Vec::with_capacity(ids * USUAL), ends: Vec::with_capacity(ids) }
    }

    /// Appends an id.
    pub fn push(&mut self, id: &[u8]) {
        self.bytes.extend_from_slice(id);
        self.ends.push(self.bytes.len());
    }

    /// Appends what `write` appends to the buffer, or nothing if it fails.
    pub(super) fn write<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        match write(&mut self.bytes, start) {
            Ok(()) => {
                self.ends.push(self.bytes.len());
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One id.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }
}

impl<'a> FromIterator<&'a [u8]> for EventIds {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(ids: I) -> Self {
        let mut all = Self::new();
        for id in ids {
            all.push(id);
        }
        all
    }
}

impl fmt::Debug for EventIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIds").field("len", &self.len()).finish_non_exhaustive()
    }
}

// A UUID as text, and the byte that says so.
const USUAL: usize = 37;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_went_in() {
        let given: [&[u8]; 4] = [b"a", b"", b"long enough to matter", b"\xff\0"];
        let ids: EventIds = given.into_iter().collect();
        assert_eq!(ids.iter().collect::<Vec<_>>(), given);
        assert_eq!((ids.len(), ids.get(2)), (4, given[2]));
    }

    #[test]
    fn an_id_that_fails_leaves_nothing() {
        let mut ids: EventIds = [b"a".as_slice()].into_iter().collect();
        let failed = ids.write(|bytes, _| {
            bytes.extend_from_slice(b"half");
            Err(())
        });
        assert!(failed.is_err());
        ids.push(b"b");
        assert_eq!(ids.iter().collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn ids_are_not_printed() {
        let ids: EventIds = [b"secret".as_slice()].into_iter().collect();
        assert_eq!(format!("{ids:?}"), "EventIds { len: 1, .. }");
    }
}
