use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, request::Parts};

use super::{IdempotencyKey, key::MalformedKey, problem::Problem};

/// What a layer, its services and their futures share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) header: HeaderName,
    pub(super) required: bool,
    pub(super) methods: Arc<[Method]>,
    pub(super) scope: Arc<dyn Fn(&Parts) -> String + Send + Sync>,
    pub(super) key_format: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) roll_back: Arc<dyn Fn(StatusCode) -> bool + Send + Sync>,
    pub(super) max_request_body: usize,
    pub(super) max_response_body: usize,
    pub(super) documentation: Option<Documentation>,
}

impl Config {
    pub(super) fn covers(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// The key of a request, if it has one or need not have one.
    pub(super) fn key(&self, headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
        let mut values = headers.get_all(&self.header).iter();
        let key = match (values.next(), values.next()) {
            (None, _) if self.required => return Err(Problem::KeyMissing),
            (None, _) => return Ok(None),
            (Some(_), Some(_)) => Err(MalformedKey::Repeated),
            (Some(value), None) => IdempotencyKey::parse(value),
        };
        match key {
            Ok(key) if (self.key_format)(key.as_str()) => Ok(Some(key)),
            Ok(_) => Err(Problem::KeyMalformed(MalformedKey::Format)),
            Err(error) => Err(Problem::KeyMalformed(error)),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: HeaderName::from_static("idempotency-key"),
            required: true,
            // What RFC 9110 calls not idempotent, CONNECT aside.
            methods: Arc::from([Method::POST, Method::PATCH]),
            scope: Arc::new(|parts| format!("{} {}", parts.method, parts.uri.path())),
            key_format: Arc::new(|_| true),
            roll_back: Arc::new(invites_a_retry),
            // What axum's extractors take by default, so that theirs is the limit that is met.
            max_request_body: 2 * 1024 * 1024,
            // As for `ReplayLayer::max_response`.
            max_response_body: 64 * 1024,
            documentation: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("header", &self.header)
            .field("required", &self.required)
            .field("methods", &self.methods)
            .field("max_request_body", &self.max_request_body)
            .field("max_response_body", &self.max_response_body)
            .field("documentation", &self.documentation)
            .finish_non_exhaustive()
    }
}

/// Where the resource says what it expects of keys.
#[derive(Debug, Clone)]
pub(super) struct Documentation {
    pub(super) uri: Uri,
    pub(super) link: HeaderValue,
}

impl TryFrom<&str> for Documentation {
    type Error = http::Error;

    fn try_from(uri: &str) -> Result<Self, http::Error> {
        let uri = uri.parse::<Uri>()?;
        let link = format!(r#"<{uri}>; rel="describedby"; type="text/html""#);
        Ok(Self { link: HeaderValue::try_from(link)?, uri })
    }
}

/// Whether a status says of itself that the same request may do better: after a login, later, or when
/// the server is well again.
fn invites_a_retry(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        )
}
