//! A store around another that writes down what it is asked.

use std::sync::{Arc, Mutex};

use tower_inbox::{
    error::StoreError,
    hook::BoxFuture,
    inbox::{
        Window,
        store::{
            BatchClaim, BatchClaimed, BatchStore, BoxTx, Claim, Claimed, ConsumerId, Deed,
            DuplicateAges, Earlier, Grant, GroupStore, InboxStore, KeyClaimed, LeaseClaimed,
            LeaseRequest, StoreMeta,
        },
    },
    key::InboxKey,
};

#[derive(Clone)]
pub struct Counting<St> {
    store: St,
    asked: Arc<Mutex<Vec<String>>>,
}

impl<St> Counting<St> {
    pub fn new(store: St) -> Self {
        Self { store, asked: Arc::default() }
    }

    pub fn inner(&self) -> &St {
        &self.store
    }

    /// What was asked since the last time, with the number of keys where it is not one.
    pub fn take(&self) -> String {
        std::mem::take(&mut *self.asked.lock().unwrap()).join(" ")
    }

    fn note(&self, what: &str, keys: usize) {
        let note = if keys == 1 { what.to_owned() } else { format!("{what}({keys})") };
        self.asked.lock().unwrap().push(note);
    }
}

impl<St: InboxStore> InboxStore for Counting<St> {
    type Connection = St::Connection;

    fn meta(&self) -> BoxFuture<'static, Result<StoreMeta, StoreError>> {
        self.store.meta()
    }

    fn register(
        &self,
        consumer: Arc<str>,
        window: Window,
        probe: InboxKey,
    ) -> BoxFuture<'static, Result<ConsumerId, StoreError>> {
        self.store.register(consumer, window, probe)
    }

    fn claim(
        &self,
        claim: Claim,
    ) -> BoxFuture<'static, Result<Claimed<Self::Connection>, StoreError>> {
        self.note("claim", 1);
        self.store.claim(claim)
    }

    fn begin(&self) -> BoxFuture<'static, Result<BoxTx<Self::Connection>, StoreError>> {
        self.note("begin", 1);
        self.store.begin()
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'static, Result<LeaseClaimed, StoreError>> {
        self.note("lease", 1);
        self.store.lease(request)
    }

    fn settle(&self, grant: Grant, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.note("settle", 1);
        self.store.settle(grant, deed)
    }

    fn duplicate_ages(&self) -> DuplicateAges {
        self.store.duplicate_ages()
    }
}

impl<St: BatchStore> BatchStore for Counting<St> {
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<Self::Connection>, StoreError>> {
        self.note("claim", claim.keys.len());
        self.store.claim_batch(claim)
    }

    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<Option<Earlier>>, StoreError>> {
        self.note("look", keys.len());
        self.store.handled(consumer, keys)
    }
}

impl<St: GroupStore> GroupStore for Counting<St> {
    fn begin_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        claim: Option<Claim>,
    ) -> BoxFuture<'a, Result<KeyClaimed, StoreError>> {
        self.note("message", 1);
        self.store.begin_message(connection, claim)
    }

    fn keep_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.keep_message(connection)
    }

    fn undo_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.undo_message(connection)
    }
}
