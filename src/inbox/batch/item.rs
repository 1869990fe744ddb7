use crate::{
    inbox::{admit::Case, store::KeyClaimed},
    key::InboxKey,
};

/// A message that is not decided yet.
pub(super) struct Item<C> {
    pub(super) place: usize,
    pub(super) case: Case<C>,
    /// Whether it is marked as handled together with others.
    pub(super) marked: bool,
}

/// One that equals a message before it, at the place `first`.
pub(super) struct Twin<C> {
    pub(super) item: Item<C>,
    pub(super) first: usize,
}

impl<C> Item<C> {
    pub(super) fn key(&self) -> Option<InboxKey> {
        self.case.identity.as_ref().map(|identity| identity.key)
    }
}

/// What was won, and what was not.
pub(super) type Sorted<C> = (Vec<Item<C>>, Vec<(Item<C>, KeyClaimed)>);

/// Parts what was won, or needs no claim, from the rest.
pub(super) fn sort<C>(items: Vec<Item<C>>, answers: Vec<KeyClaimed>) -> Sorted<C> {
    let mut answers = answers.into_iter();
    let (mut won, mut others) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        let answer = match item.key() {
            Some(_) => answers.next().expect("a store answers for every key"),
            None => KeyClaimed::Won,
        };
        match answer {
            KeyClaimed::Won => won.push(item),
            answer => others.push((item, answer)),
        }
    }
    (won, others)
}
