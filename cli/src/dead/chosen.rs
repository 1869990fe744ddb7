use std::sync::Arc;

use tower_inbox::{
    error::StoreError,
    inbox::store::{InboxAdmin, LetterFilter, LetterState, Paging},
    key::InboxKey,
};

use crate::{
    args::{ChosenArgs, ConsumeArgs},
    error::Failure,
    subject::{consumer, parse_key},
};

/// Which letters of a consumer a verb is about.
pub(super) struct Chosen {
    pub(super) consumer: Arc<str>,
    /// Absent for all.
    keys: Option<Vec<InboxKey>>,
}

impl Chosen {
    pub(super) fn new(args: ChosenArgs, file: &ConsumeArgs) -> Result<Self, Failure> {
        let consumer = consumer(args.consumer, file)?;
        if args.all != args.keys.is_empty() {
            return Err(Failure::usage("which dead letters?")
                .advice("give their keys, as `tower-inbox dead list` shows them, or --all"));
        }
        let keys: Vec<InboxKey> =
            args.keys.iter().map(|key| parse_key(key)).collect::<Result<_, _>>()?;
        Ok(Self { consumer, keys: (!args.all).then_some(keys) })
    }

    pub(super) fn are_all(&self) -> bool {
        self.keys.is_none()
    }

    /// The keys that were named, or those of all letters in a state.
    pub(super) async fn keys<B: InboxAdmin>(
        &self,
        store: &B,
        state: Option<LetterState>,
    ) -> Result<Vec<InboxKey>, StoreError> {
        if let Some(keys) = &self.keys {
            return Ok(keys.clone());
        }
        let mut filter = LetterFilter::default().consumer(Arc::clone(&self.consumer));
        filter.state = state;
        let (mut keys, mut paging) = (Vec::new(), Paging::first(PAGE));
        loop {
            let page = store.letters(filter.clone(), paging).await?;
            keys.extend(page.items.into_iter().map(|letter| letter.key));
            match page.next {
                Some(next) => paging = Paging::first(PAGE).after(next),
                None => return Ok(keys),
            }
        }
    }
}

// Keys are small.
const PAGE: u32 = 1000;
