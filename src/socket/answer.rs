//! Answers: JSON, never cached, with the request's id. An error says a stable code and nothing about what it hides.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    requests::{Trouble, ingest::IngestRefusal},
    secret::SecretBytes,
};

/// The header in which an answer has its request's id.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An error of the API. The codes are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// 400: the request itself is wrong.
    BadRequest(&'static str),
    /// 413: the body is larger than any that is asked for.
    BodyTooLarge,
    /// 408: the body did not arrive in time.
    BodyTooSlow,
    /// 403: policy refuses. Why is in the audit log.
    Forbidden,
    /// 429: policy grants it, but not so often.
    TooOften,
    /// 404: no authentication of that id is known.
    NotFound,
    /// 404: no such route.
    NoRoute,
    /// 405: the route has no such method.
    MethodNotAllowed,
    /// 409: the authentication is known, its secret is not held.
    NotHeld,
    /// 503: what is held is older than what is asked for, or stale for too long, and Tray can't be asked.
    Stale,
    /// 503: Tray can't be asked, or asks for time.
    Upstream,
    /// 502: Tray answered, but not with what was asked for.
    BadUpstream,
    /// 503: the audit log can't be written, so nothing may be answered.
    AuditUnavailable,
    /// 503: what is sealed can't be read.
    CacheUnavailable,
    /// 503: the vault is locked.
    Locked,
    /// 403: the key that was presented opens no slot.
    WrongKey,
    /// 400: the daemon has no key of its own to unlock with.
    KeyNeeded,
    /// 409: the vault is unlocked already.
    IsUnlocked,
    /// 409: the last rotation is not through.
    Rotating,
    /// 503: the vault's header or keys can't be had.
    VaultUnavailable,
    /// 503: the daemon is stopping.
    Stopping,
}

impl ApiError {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "bad_request", message),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is longer than 64 KiB"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body did not arrive in time"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "not allowed; the audit log says why"),
            Self::TooOften => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "not so often; the access rule has a rate")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "no authentication of that id is known here"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "no such route"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route has no such method")
            }
            Self::NotHeld => (StatusCode::CONFLICT, "not_held", "only its metadata is held; its state says why"),
            Self::Stale => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stale",
                "only an older value is held, and Tray does not give a newer one",
            ),
            Self::Upstream => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", "Tray does not answer, or asks for time")
            }
            Self::BadUpstream => {
                (StatusCode::BAD_GATEWAY, "upstream_failed", "Tray answered, but not with what was asked for")
            }
            Self::AuditUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", "the audit log can't be written")
            }
            Self::CacheUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "cache_unavailable", "the sealed cache can't be read")
            }
            Self::Locked => (StatusCode::SERVICE_UNAVAILABLE, "locked", "the vault is locked"),
            Self::WrongKey => (StatusCode::FORBIDDEN, "wrong_key", "no key slot opens with this key"),
            Self::KeyNeeded => (StatusCode::BAD_REQUEST, "key_needed", "the vault's passphrase has to be given"),
            Self::IsUnlocked => (StatusCode::CONFLICT, "unlocked", "the vault is unlocked already"),
            Self::Rotating => (StatusCode::CONFLICT, "rotating", "the last rotation is not through yet"),
            Self::VaultUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "vault_unavailable", "the vault can't do it now; the log says why")
            }
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "the daemon is stopping"),
        }
    }

    /// The clause that the answer says.
    pub(super) fn message(self) -> &'static str {
        self.parts().2
    }

    /// The answer, with the request's id in it.
    pub(super) fn answer(self, request: Uuid) -> Response<Body> {
        let (status, code, message) = self.parts();
        error(status, code, message, request)
    }
}

impl From<Trouble> for ApiError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unavailable => Self::Upstream,
            Trouble::BadAnswer => Self::BadUpstream,
        }
    }
}

/// The answer when ingest refuses.
pub(super) fn ingest_refusal(refusal: &IngestRefusal, request: Uuid) -> Response<Body> {
    let (status, code) = match refusal {
        IngestRefusal::Off => (StatusCode::NOT_FOUND, "no_drop_directory"),
        IngestRefusal::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        IngestRefusal::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        IngestRefusal::Bad(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        IngestRefusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    error(status, code, &refusal.to_string(), request)
}

fn error(status: StatusCode, code: &'static str, message: &str, request: Uuid) -> Response<Body> {
    #[derive(Serialize)]
    struct Wire<'a> {
        code: &'static str,
        message: &'a str,
        request_id: Uuid,
    }
    json(status, request, &Wire { code, message, request_id: request })
}

/// A plain answer.
pub(super) fn json(status: StatusCode, request: Uuid, content: &impl Serialize) -> Response<Body> {
    // Only a map with keys that are not text can't be written; the API has none.
    match serde_json::to_vec(content) {
        Ok(bytes) => with_headers(status, request, Bytes::from(bytes)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// An answer that holds a secret of a revision: one buffer, handed to the connection and wiped when it is sent.
pub(super) fn secret(request: Uuid, revision: u64, content: SecretBytes) -> Response<Body> {
    tagged(revision, with_headers(StatusCode::OK, request, Bytes::from_owner(content)))
}

/// The caller holds this revision already (RFC 9110, section 15.4.5).
pub(super) fn not_modified(request: Uuid, revision: u64) -> Response<Body> {
    let mut response = tagged(revision, with_headers(StatusCode::NOT_MODIFIED, request, Bytes::new()));
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// The entity tag of a revision (RFC 9110, section 8.8.3).
pub(super) fn entity_tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

fn tagged(revision: u64, mut response: Response<Body>) -> Response<Body> {
    if let Ok(tag) = HeaderValue::try_from(entity_tag(revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// An answer that is a file, and holds a secret.
pub(super) fn file(request: Uuid, content: SecretBytes) -> Response<Body> {
    let mut response = with_headers(StatusCode::OK, request, Bytes::from_owner(content));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// An answer that is text of some kind, without a secret.
pub(super) fn text(request: Uuid, kind: &'static str, content: String) -> Response<Body> {
    let mut response = with_headers(StatusCode::OK, request, Bytes::from(content));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn with_headers(status: StatusCode, request: Uuid, content: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request.as_hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
        headers.insert(&REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
impl ApiError {
    /// Every one.
    pub(super) fn every() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::BadRequest("")), |error| error.following())
    }

    /// The one that is declared behind it, so that a new one is not forgotten.
    fn following(self) -> Option<Self> {
        match self {
            Self::BadRequest(_) => Some(Self::BodyTooLarge),
            Self::BodyTooLarge => Some(Self::BodyTooSlow),
            Self::BodyTooSlow => Some(Self::Forbidden),
            Self::Forbidden => Some(Self::TooOften),
            Self::TooOften => Some(Self::NotFound),
            Self::NotFound => Some(Self::NoRoute),
            Self::NoRoute => Some(Self::MethodNotAllowed),
            Self::MethodNotAllowed => Some(Self::NotHeld),
            Self::NotHeld => Some(Self::Stale),
            Self::Stale => Some(Self::Upstream),
            Self::Upstream => Some(Self::BadUpstream),
            Self::BadUpstream => Some(Self::AuditUnavailable),
            Self::AuditUnavailable => Some(Self::CacheUnavailable),
            Self::CacheUnavailable => Some(Self::Locked),
            Self::Locked => Some(Self::WrongKey),
            Self::WrongKey => Some(Self::KeyNeeded),
            Self::KeyNeeded => Some(Self::IsUnlocked),
            Self::IsUnlocked => Some(Self::Rotating),
            Self::Rotating => Some(Self::VaultUnavailable),
            Self::VaultUnavailable => Some(Self::Stopping),
            Self::Stopping => None,
        }
    }
}
