use std::ops::Range;

use crate::events::EventIds;

/// The places of a batch, those of equal events together and in their order.
pub(super) struct Groups(Vec<usize>);

impl Groups {
    pub(super) fn of(ids: &EventIds, piece: Range<usize>) -> Self {
        let mut places: Vec<usize> = piece.collect();
        places.sort_by(|a, b| ids.get(*a).cmp(ids.get(*b)));
        Self(places)
    }

    /// The places of each event, at least one.
    pub(super) fn each<'a>(&'a self, ids: &EventIds) -> Vec<&'a [usize]> {
        self.0.chunk_by(|a, b| ids.get(*a) == ids.get(*b)).collect()
    }
}

/// The first place of each group.
pub(super) fn firsts(groups: &[&[usize]]) -> Vec<usize> {
    groups.iter().map(|group| group[0]).collect()
}

/// Cuts a batch into pieces of so many events, and of a megabyte of ids.
pub(super) fn pieces(ids: &EventIds, most: usize) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (place, id) in ids.iter().enumerate() {
        if place - start == most || (bytes > 0 && bytes + id.len() > MAX_BYTES) {
            pieces.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += id.len();
    }
    if start < ids.len() {
        pieces.push(start..ids.len());
    }
    pieces
}

const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_are_found() {
        let ids: EventIds = ["b", "a", "b", "c", "a", "b"].iter().map(|id| id.as_bytes()).collect();
        let groups = Groups::of(&ids, 0..6);
        let groups = groups.each(&ids);
        assert_eq!(groups, [&[1, 4][..], &[0, 2, 5], &[3]]);
        assert_eq!(firsts(&groups), [1, 0, 3]);
        assert_eq!(Groups::of(&ids, 2..4).each(&ids), [&[2][..], &[3]]);
    }

    #[test]
    fn pieces_are_bounded_in_both_ways() {
        let ids: EventIds = (0..5).map(|_| b"a".as_slice()).collect();
        assert_eq!(pieces(&ids, 2), [0..2, 2..4, 4..5]);
        assert_eq!(pieces(&ids, 5), [0..5]);
        assert!(pieces(&EventIds::new(), 5).is_empty());
        let large = vec![0; MAX_BYTES - 1];
        let ids: EventIds = [&large[..], b"a", b"bc", &large, &large].into_iter().collect();
        assert_eq!(pieces(&ids, 9), [0..2, 2..3, 3..4, 4..5]);
    }
}
