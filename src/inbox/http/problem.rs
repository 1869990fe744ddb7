use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::{
    IdempotencyBody,
    config::Config,
    error::{ResponseBeyondLimit, UnreadableResponse},
    key::MalformedKey,
};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    inbox::{DeadLettered, InFlight, KeyReused, LeaseLost},
};

/// What the layer answers in the handler's place, as a problem document (RFC 9457).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    KeyMissing,
    KeyMalformed(MalformedKey),
    KeyReused,
    InFlight,
    LeaseLost,
    ResponseNotKept,
    RequestTooLarge,
    RequestUnreadable,
    ResponseTooLarge,
    GivenUp,
    Unavailable,
    Internal,
}

impl Problem {
    /// What to tell a client about what failed.
    pub(super) fn of(error: &BoxError) -> Self {
        if error.is::<InFlight>() {
            Self::InFlight
        } else if error.is::<KeyReused>() {
            Self::KeyReused
        } else if error.is::<LeaseLost>() {
            Self::LeaseLost
        } else if error.is::<ResponseBeyondLimit>() {
            Self::ResponseTooLarge
        } else if error.is::<DeadLettered>() {
            Self::GivenUp
        } else if error.is::<UnreadableResponse>() {
            Self::ResponseNotKept
        } else if error.downcast_ref::<StoreError>().is_some_and(passes) {
            Self::Unavailable
        } else {
            Self::Internal
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::KeyMissing | Self::KeyMalformed(_) | Self::RequestUnreadable => {
                StatusCode::BAD_REQUEST
            }
            Self::InFlight | Self::LeaseLost | Self::ResponseNotKept => StatusCode::CONFLICT,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ResponseTooLarge | Self::GivenUp | Self::Internal => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    pub(super) fn response<B>(self, config: &Config) -> Response<IdempotencyBody<B>> {
        let documentation = config.documentation.as_ref();
        let mut document = json!({
            // Without a type of its own, a problem is what its status says.
            "title": match documentation {
                Some(_) => self.title(),
                None => self.status().canonical_reason().unwrap_or_default(),
            },
            "status": self.status().as_u16(),
            "detail": self.detail(config),
            "code": self.code(),
        });
        if let Some(documentation) = documentation {
            document["type"] = format!("{}#{}", documentation.uri, self.code()).into();
        }
        let body = Bytes::from(document.to_string());
        let mut response = Response::new(IdempotencyBody::whole(body, None));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        if let Some(documentation) = documentation {
            headers.insert(header::LINK, documentation.link.clone());
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }

    /// Part of the public interface: clients decide by it.
    fn code(self) -> &'static str {
        match self {
            Self::KeyMissing => "key-missing",
            Self::KeyMalformed(_) => "key-malformed",
            Self::KeyReused => "key-reused",
            Self::InFlight => "in-flight",
            Self::LeaseLost => "lease-lost",
            Self::ResponseNotKept => "response-not-kept",
            Self::RequestTooLarge => "request-too-large",
            Self::RequestUnreadable => "request-unreadable",
            Self::ResponseTooLarge => "response-too-large",
            Self::GivenUp => "given-up",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::KeyMissing => "The idempotency key is missing",
            Self::KeyMalformed(_) => "The idempotency key is malformed",
            Self::KeyReused => "The idempotency key is already used",
            Self::InFlight => "A request is outstanding for this idempotency key",
            Self::LeaseLost => "The request took too long",
            Self::ResponseNotKept => "The request was carried out before",
            Self::RequestTooLarge => "The request is too large",
            Self::RequestUnreadable => "The request could not be read",
            Self::ResponseTooLarge => "The response is too large",
            Self::GivenUp => "The request failed too often",
            Self::Unavailable => "The request cannot be handled now",
            Self::Internal => "The request could not be handled",
        }
    }

    fn detail(self, config: &Config) -> Cow<'static, str> {
        match self {
            Self::KeyMissing => {
                format!("This operation requires the header {}.", config.header).into()
            }
            Self::KeyMalformed(error) => {
                format!("The header {} has no usable key. {error}", config.header).into()
            }
            Self::KeyReused => "A request with this key and another payload was carried out \
                                before. A key belongs to one payload."
                .into(),
            Self::InFlight => "A request with this key is being handled. Repeat yours later; it \
                               then gets the same response."
                .into(),
            Self::LeaseLost => "It was handled, but took longer than its key was reserved for, so \
                                that another attempt may have begun. Repeat it later."
                .into(),
            Self::ResponseNotKept => "A request with this key was carried out before, and its \
                                      response is not available any more. Do not repeat it under \
                                      another key."
                .into(),
            Self::RequestTooLarge => {
                format!("The body is larger than {} bytes.", config.max_request_body).into()
            }
            Self::RequestUnreadable => "The body ended early or is not valid.".into(),
            Self::ResponseTooLarge => {
                "The response cannot be kept for retries, so the request was \
                                       not carried out."
                    .into()
            }
            Self::GivenUp => "Repeating it with this key will not help.".into(),
            Self::Unavailable => "It may be repeated with the same key.".into(),
            Self::Internal => "It may be repeated with the same key.".into(),
        }
    }

    fn retry_after(self) -> Option<&'static str> {
        match self {
            // Most handlers are done by then.
            Self::InFlight | Self::LeaseLost => Some("1"),
            // A failover, a restart.
            Self::Unavailable => Some("5"),
            _ => None,
        }
    }
}

/// Whether a store may be well again by itself.
fn passes(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Unreachable
            | StoreErrorKind::Busy
            | StoreErrorKind::Full
            | StoreErrorKind::ReadOnly
    )
}
