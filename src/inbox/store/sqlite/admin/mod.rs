//! What people ask and do by hand.

mod deeds;
mod look;

use std::sync::Arc;

use sqlx::{Row, sqlite::SqliteRow};

use super::SqliteStore;
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{
        AgeHistogram, AuditEntry, AuditFilter, ClaimFilter, ClaimSummary, ConsumerSummary,
        DeadLetter, Discarded, Explanation, Forgotten, InboxAdmin, Intervention, LetterFilter,
        LetterSummary, Page, Paging, Requeued,
    },
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl InboxAdmin for SqliteStore {
    fn consumers(&self) -> BoxFuture<'static, Result<Vec<ConsumerSummary>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::consumers(&store).await })
    }

    fn claims(
        &self,
        filter: ClaimFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<ClaimSummary>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::claims(&store, &filter, &paging).await })
    }

    fn explain(
        &self,
        consumer: Arc<str>,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Explanation, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::explain(&store, consumer, key).await })
    }

    fn forget(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Forgotten, StoreError>> {
        let store = self.clone();
        Box::pin(async move { deeds::forget(&store, &intervention).await })
    }

    fn letters(
        &self,
        filter: LetterFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<LetterSummary>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::letters(&store, &filter, &paging).await })
    }

    fn letter(
        &self,
        consumer: Arc<str>,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::letter(&store, &consumer, key).await })
    }

    fn requeue(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Requeued, StoreError>> {
        let store = self.clone();
        Box::pin(async move { deeds::requeue(&store, &intervention).await })
    }

    fn discard(
        &self,
        intervention: Intervention,
    ) -> BoxFuture<'static, Result<Discarded, StoreError>> {
        let store = self.clone();
        Box::pin(async move { deeds::discard(&store, &intervention).await })
    }

    fn audit(
        &self,
        filter: AuditFilter,
        paging: Paging,
    ) -> BoxFuture<'static, Result<Page<AuditEntry>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::audit(&store, &filter, &paging).await })
    }

    fn ages(&self, consumer: Arc<str>) -> BoxFuture<'static, Result<AgeHistogram, StoreError>> {
        let store = self.clone();
        Box::pin(async move { look::ages(&store, &consumer).await })
    }
}

/// A key in a column.
pub(super) fn key_of(row: &SqliteRow, column: usize) -> Result<InboxKey, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let bytes: Result<[u8; 16], _> = bytes.try_into();
    bytes
        .map(InboxKey::from_bytes)
        .map_err(|_| sqlx::Error::Decode("an inbox key is 16 bytes long".into()))
}
