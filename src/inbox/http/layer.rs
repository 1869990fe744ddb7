use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode, request::Parts};
use tower_layer::Layer;

use super::{
    Idempotency,
    codec::AnswerCodec,
    config::{Config, Documentation},
    handler::Handler,
    keyed::ByHeader,
};
use crate::{
    error::StoreError,
    inbox::{
        InboxLayer, WithoutKey,
        admit::{InLease, InTransaction},
        store::{InboxStore, RecordStore},
    },
};

/// Makes a request that is sent twice take effect once, by its `Idempotency-Key`, and answers the
/// second one with the response of the first.
///
/// See [the module](super) for what it answers and what it leaves to you.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct IdempotencyLayer<St: InboxStore, X = InTransaction> {
    inbox: InboxLayer<St, ByHeader, X>,
    config: Config,
}

impl<St: RecordStore> IdempotencyLayer<St> {
    /// Makes a layer for a consumer, in transactional mode.
    ///
    /// The name is that of an inbox, as in [`InboxLayer::new`]: keys of two names never meet.
    pub fn new(consumer: impl Into<Arc<str>>, store: St) -> Self {
        InboxLayer::new(consumer, store).into()
    }
}

impl<St: InboxStore, X> IdempotencyLayer<St, X> {
    /// Sets how long keys are recognised and responses kept. Defaults to 24 hours.
    ///
    /// Publish it: a client that retries later is not protected.
    ///
    /// # Panics
    ///
    /// If the window is shorter than a second or longer than ten years.
    #[track_caller]
    pub fn window(mut self, window: Duration) -> Self {
        self.inbox = self.inbox.window(window);
        self
    }

    /// Sets whether a request without a key is refused with 400. Defaults to `true`: a client that
    /// stopped sending keys is noticed before it pays twice.
    ///
    /// With `false` such a request is handled every time, without a claim and without keeping its
    /// response. In transactional mode it still has a transaction, so that handlers need not care; in
    /// leased mode there is no [`Lease`](crate::inbox::Lease) among its extensions.
    pub fn required(mut self, required: bool) -> Self {
        self.config.required = required;
        self
    }

    /// Sets the methods of requests that have keys. Others go through untouched, without an
    /// [`IdempotentTx`](super::IdempotentTx). Defaults to POST and PATCH, as the others are
    /// idempotent by definition.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.config.methods = methods.into_iter().collect();
        self
    }

    /// Sets the header that holds the key. Defaults to `idempotency-key`; webhooks often have a
    /// header of their own for the id of a delivery.
    pub fn header(mut self, name: HeaderName) -> Self {
        self.config.header = name;
        self
    }

    /// Sets within what a key is unique. Defaults to the method and path of the request.
    ///
    /// # Name the client
    ///
    /// *Whoever sends a key and the payload that goes with it gets the response that is kept.* Where
    /// responses are not for everybody, the scope has to name whom they are for: the user or tenant
    /// as an outer layer has authenticated it, never a header that anybody may send. It is also what
    /// keeps the equal keys of two users apart that count `1, 2, 3`.
    ///
    /// Take the stable id of the client rather than its token: a retry after a refresh has another
    /// token. Where one service answers for several hosts, name the host, too. The path is the one that
    /// the layer sees: inside of axum's `Router::nest` it lacks the prefix. Where that names a tenant, as in
    /// `/tenants/{id}`, take the scope from axum's `OriginalUri` extension, or put the layer outside
    /// of the nest; else two tenants share their keys.
    ///
    /// ```
    /// # use tower_inbox::inbox::{SqliteStore, http::IdempotencyLayer};
    /// #[derive(Clone)]
    /// struct User { id: u64 } // an extension that the layer for logins sets
    ///
    /// # fn example(store: SqliteStore) {
    /// let layer = IdempotencyLayer::new("payments", store).scope(|request| {
    ///     let user = request.extensions.get::<User>().expect("the login layer is outside");
    ///     format!("{} {} {}", user.id, request.method, request.uri.path())
    /// });
    /// # }
    /// ```
    ///
    /// What the scope does not tell apart, the fingerprint does: one key for two paths in one scope
    /// is reuse, answered with 422.
    pub fn scope(mut self, scope: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.config.scope = Arc::new(scope);
        self
    }

    /// Sets which keys are well-formed; others are refused with 400. Defaults to any: 1 to 255
    /// printable ASCII characters.
    ///
    /// The draft recommends a published format that keys are validated against, so that clients do
    /// not choose guessable ones.
    ///
    /// ```
    /// # use tower_inbox::inbox::{SqliteStore, http::IdempotencyLayer};
    /// # fn example(store: SqliteStore) {
    /// let layer = IdempotencyLayer::new("payments", store)
    ///     .key_format(|key| uuid::Uuid::try_parse(key).is_ok());
    /// # }
    /// ```
    pub fn key_format(mut self, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.config.key_format = Arc::new(accepts);
        self
    }

    /// Sets the largest request body in bytes; a larger one is refused with 413 before anything is
    /// claimed. Defaults to 2 MiB. So much memory is held for each request.
    pub fn max_request_body(mut self, bytes: usize) -> Self {
        self.config.max_request_body = bytes;
        self
    }

    /// Sets the largest response body that is kept, in bytes. Defaults to 64 KiB.
    ///
    /// A larger one is rolled back and answered with 500. In leased mode, where the handler's effects
    /// stand, the client gets the response, and retries are answered with 409, code
    /// `response-not-kept`.
    pub fn max_response_body(mut self, bytes: usize) -> Self {
        self.config.max_response_body = bytes;
        self
    }

    /// Sets which responses undo what the handler wrote (or release its lease) and are not kept, so
    /// that a retry is handled anew.
    ///
    /// Defaults to those that invite a retry themselves: 5xx, 401, 408, 425 and 429. Keeping one of
    /// them would turn a passing failure into a permanent one, for as long as the window. Any other,
    /// a refusal such as 402 included, is an answer to this very request, and is committed and kept.
    pub fn roll_back(mut self, when: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.config.roll_back = Arc::new(when);
        self
    }

    /// Sets where the resource documents what it expects of keys. Problem documents link to it, and
    /// have its address with their code as fragment for their `type`. None by default.
    ///
    /// # Panics
    ///
    /// If it is neither a URI nor an absolute path.
    #[track_caller]
    pub fn documentation_url(mut self, url: &str) -> Self {
        match Documentation::try_from(url) {
            Ok(documentation) => self.config.documentation = Some(documentation),
            Err(error) => panic!("{url:?} is no address of documentation: {error}"),
        }
        self
    }

    /// Holds the claim as a lease instead of a transaction, for handlers whose effects are elsewhere.
    /// They get a [`Lease`](crate::inbox::Lease) among the request's extensions, and no
    /// [`IdempotentTx`](super::IdempotentTx). See [`InboxLayer::leased`] for choosing its length.
    ///
    /// # Panics
    ///
    /// If the lease is shorter than a second or longer than ten years.
    #[track_caller]
    pub fn leased(self, lease: Duration) -> IdempotencyLayer<St, InLease> {
        IdempotencyLayer { inbox: self.inbox.leased(lease), config: self.config }
    }

    /// As [`InboxLayer::prepare`].
    ///
    /// # Errors
    ///
    /// Its errors.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.inbox.prepare().await
    }
}

/// Takes a consumer with its window, hooks, mode, hash function and dead letters from a layer. What is
/// taken from messages, the key first of all, and what happens without a key is decided here.
///
/// A dead letter of a request has no payload. Statuses that are rolled back count as failures; see
/// [`RolledBack`](super::RolledBack) for telling them apart.
impl<St: RecordStore, K, X> From<InboxLayer<St, K, X>> for IdempotencyLayer<St, X> {
    fn from(inbox: InboxLayer<St, K, X>) -> Self {
        let inbox = inbox.source(ByHeader::default()).without_key(WithoutKey::PassThrough);
        Self { inbox, config: Config::default() }
    }
}

impl<S, St, X> Layer<S> for IdempotencyLayer<St, X>
where
    St: RecordStore + 'static,
    X: Clone,
{
    type Service = Idempotency<S, St, X>;

    fn layer(&self, inner: S) -> Self::Service {
        let config = Arc::new(self.config.clone());
        let codec = AnswerCodec { max_body: config.max_response_body };
        // The codec has the limit: here it counts bodies.
        let replay = self.inbox.clone().replay(codec).max_response(usize::MAX);
        Idempotency { gate: replay.layer(Handler { inner, config: Arc::clone(&config) }), config }
    }
}

impl<St: InboxStore, X: Clone> Clone for IdempotencyLayer<St, X> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), config: self.config.clone() }
    }
}

impl<St: InboxStore, X: fmt::Debug> fmt::Debug for IdempotencyLayer<St, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("inbox", &self.inbox)
            .field("config", &self.config)
            .finish()
    }
}
