use crate::inbox::store::Cursor;

/// Which part of a long list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paging {
    /// Goes on after the page that gave this; from the beginning by default.
    pub after: Option<Cursor>,
    /// How many items at most. 50 by default: a screenful or two.
    pub limit: u32,
}

impl Paging {
    /// Asks for a number of items from the beginning.
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// Goes on where another page ended.
    #[must_use]
    pub fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }
}

impl Default for Paging {
    fn default() -> Self {
        Self::first(50)
    }
}

/// A part of a long list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None` at the end of the list.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Makes a page; for stores.
    pub const fn new(items: Vec<T>, next: Option<Cursor>) -> Self {
        Self { items, next }
    }

    /// Makes a page of what was fetched with one item more than asked for, to see whether there is
    /// another page.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(in crate::inbox::store) fn cut(
        mut items: Vec<T>,
        limit: u32,
        place: impl Fn(&T) -> Cursor,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next }
    }
}
