//! Looks into an inbox, and puts a hand on single messages.

mod age;
mod audit;
mod claim;
mod consumer;
mod deed;
mod explanation;
mod letter;
mod page;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) mod place;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod seen;

use std::sync::Arc;

use crate::{error::StoreError, hook::BoxFuture, key::InboxKey};

pub use age::{AgeBucket, AgeHistogram};
pub use audit::{AuditEntry, AuditFilter};
pub use claim::{ClaimFilter, ClaimState, ClaimSummary, UnknownClaimState};
pub use consumer::ConsumerSummary;
pub use deed::{Discarded, Forgotten, Intervention, Requeued};
pub use explanation::{Explanation, FailedAttempts, KeyState, LeaseSummary, RecordSummary};
pub use letter::{DeadLetter, LetterFilter, LetterState, LetterSummary};
pub use page::{Page, Paging};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) use seen::{LetterSeen, Seen, handled_at, moment, requeue_detail};

/// What people ask of an inbox, and do to it by hand; behind the verbs of the command line.
///
/// Nothing in here is needed to run one. What changes something does so in one transaction, together
/// with a row of the audit; with [`Intervention::dry_run`] the same transaction is rolled back.
///
/// Consumers go by their names. One that was never registered is the error
/// [`UnknownConsumer`](crate::error::StoreErrorKind::UnknownConsumer), so that a name that was
/// mistyped does not read like an inbox without messages.
///
/// # What is read
///
/// What was committed, at the moment of asking; the next delivery may change it. Times are the
/// database's, in whole seconds.
///
/// # Cancellation
///
/// As for [`InboxStore`](super::InboxStore): all of it happened, or nothing.
pub trait InboxAdmin: Send + Sync {
    /// Each consumer, by name, with the number of its claims. Reads all claims.
    fn consumers(&self) -> BoxFuture<'static, Result<Vec<ConsumerSummary>, StoreError>>;

    /// The claims of a consumer, and its messages that failed and are not handled yet, in the order
    /// of their keys.
    ///
    /// A filter for few of many reads over the others.
    fn claims(
        &self,
        filter: ClaimFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<ClaimSummary>, StoreError>>;

    /// Everything that is known of one message.
    fn explain(
        &self,
        consumer: Arc<str>,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Explanation, StoreError>>;

    /// Lets one message through again: removes its claim, its record and its attempts.
    ///
    /// Refuses what a live lease holds, unless [forced](Intervention::force), and what a transaction
    /// holds, always. Processes that remember committed keys may take a redelivery for a duplicate
    /// for some time longer.
    fn forget(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Forgotten, StoreError>>;

    /// Dead letters without their payloads, the newest first.
    fn letters(
        &self,
        filter: LetterFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<LetterSummary>, StoreError>>;

    /// One dead letter with its payload.
    fn letter(
        &self,
        consumer: Arc<str>,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, StoreError>>;

    /// Lets a dead letter's message through again: frees its claim and counts its attempts anew. The
    /// letter stays until the message is handled, for a
    /// [`Redelivery`](crate::inbox::redelivery::Redelivery) to deliver.
    ///
    /// Refused for a letter that was requeued before, unless [forced](Intervention::force), and for
    /// one whose message has been handled meanwhile.
    fn requeue(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Requeued, StoreError>>;

    /// Deletes a dead letter. Its claim stays: redeliveries are duplicates until its window is over.
    fn discard(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Discarded, StoreError>>;

    /// What people did by hand, the newest first.
    fn audit(
        &self,
        filter: AuditFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<AuditEntry>, StoreError>>;

    /// How old the duplicates of a consumer were.
    fn ages(&self, consumer: Arc<str>) -> BoxFuture<'static, Result<AgeHistogram, StoreError>>;
}

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        impl<St: InboxAdmin + ?Sized> InboxAdmin for $pointer<St> {
            fn consumers(&self) -> BoxFuture<'static, Result<Vec<ConsumerSummary>, StoreError>> {
                (**self).consumers()
            }

            fn claims(
                &self,
                filter: ClaimFilter,
                paging: Paging,
            ) -> BoxFuture<'static, Result<Page<ClaimSummary>, StoreError>> {
                (**self).claims(filter, paging)
            }

            fn explain(
                &self,
                consumer: Arc<str>,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<Explanation, StoreError>> {
                (**self).explain(consumer, key)
            }

            fn forget(
                &self,
                intervention: Intervention,
            ) -> BoxFuture<'static, Result<Forgotten, StoreError>> {
                (**self).forget(intervention)
            }

            fn letters(
                &self,
                filter: LetterFilter,
                paging: Paging,
            ) -> BoxFuture<'static, Result<Page<LetterSummary>, StoreError>> {
                (**self).letters(filter, paging)
            }

            fn letter(
                &self,
                consumer: Arc<str>,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<Option<DeadLetter>, StoreError>> {
                (**self).letter(consumer, key)
            }

            fn requeue(
                &self,
                intervention: Intervention,
            ) -> BoxFuture<'static, Result<Requeued, StoreError>> {
                (**self).requeue(intervention)
            }

            fn discard(
                &self,
                intervention: Intervention,
            ) -> BoxFuture<'static, Result<Discarded, StoreError>> {
                (**self).discard(intervention)
            }

            fn audit(
                &self,
                filter: AuditFilter,
                paging: Paging,
            ) -> BoxFuture<'static, Result<Page<AuditEntry>, StoreError>> {
                (**self).audit(filter, paging)
            }

            fn ages(
                &self,
                consumer: Arc<str>,
            ) -> BoxFuture<'static, Result<AgeHistogram, StoreError>> {
                (**self).ages(consumer)
            }
        }
    };
}

forward!(Arc);
forward!(Box);

const _: fn(&dyn InboxAdmin) = |_| {};
