//! The routes by which the vault is locked, unlocked and rotated, for whom policy grants `manage`.

use std::sync::Arc;

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{Response, StatusCode},
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    answer::{self, ApiError},
    asked::Asked,
    routes::Route,
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    clauses::clauses,
    custody::CustodyError,
    policy::{AccessDecision, Caller, Grant, What},
    secret::{KEY_LEN, Key, SecretBytes},
    vault::{UnlockKey, VaultError},
};

pub(super) fn routes() -> Vec<Route> {
    vec![("/v1/lock", post(lock)), ("/v1/unlock", post(unlock)), ("/v1/keys/rotate", post(rotate))]
}

/// How the vault stands after a change.
#[derive(Serialize)]
struct Standing {
    vault: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
}

async fn lock(State(api): State<Arc<Api>>, Extension(caller): Extension<Arc<Caller>>) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let locked = match asked.managing(Action::Lock) {
        Ok(event) => {
            let custody = Arc::clone(&api.custody);
            to_its_end(&api, async move { custody.lock(event).await }).await
        }
        Err(error) => Err(error),
    };
    asked.answer(locked.map(|()| standing(&asked, "locked", None)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnlockQuery {
    /// What the body is; without one, the key that the configuration names is used.
    kind: Option<KeyKind>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyKind {
    Passphrase,
    RawKey,
}

async fn unlock(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<UnlockQuery>, axum::extract::rejection::QueryRejection>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let given = query
        .map_err(|_| ApiError::BadRequest("kind is passphrase or raw-key, and nothing else may be asked for"))
        .and_then(|Query(query)| Ok((query, body.map_err(|_| ApiError::BadRequest("the key can't be read"))?)))
        .and_then(|(query, body)| presented(query.kind, &body));
    let unlocked = match (given, asked.managing(Action::Unlock)) {
        (Ok(key), Ok(event)) => {
            let custody = Arc::clone(&api.custody);
            to_its_end(&api, async move { custody.unlock(key, event).await }).await
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    asked.answer(unlocked.map(|()| standing(&asked, "unlocked", None)))
}

/// The key in a request's body: the bytes themselves, in no encoding.
fn presented(kind: Option<KeyKind>, body: &Bytes) -> Result<Option<UnlockKey>, ApiError> {
    match kind {
        None if body.is_empty() => Ok(None),
        None => Err(ApiError::BadRequest("say what the key is, by kind=passphrase or kind=raw-key")),
        Some(KeyKind::Passphrase) => Ok(Some(UnlockKey::Passphrase(SecretBytes::new(body.to_vec())))),
        Some(KeyKind::RawKey) => {
            let wrong = ApiError::BadRequest("a raw key has exactly 32 bytes");
            let bytes: &[u8; KEY_LEN] = body.as_ref().try_into().map_err(|_| wrong)?;
            Key::try_fill(|key| {
                key.copy_from_slice(bytes);
                Ok(())
            })
            .map(|key| Some(UnlockKey::Raw(key)))
        }
    }
}

async fn rotate(State(api): State<Arc<Api>>, Extension(caller): Extension<Arc<Caller>>) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let rotated = match asked.managing(Action::Rotate) {
        Ok(event) => {
            let custody = Arc::clone(&api.custody);
            to_its_end(&api, async move { custody.rotate(event).await }).await
        }
        Err(error) => Err(error),
    };
    asked.answer(rotated.map(|epoch| standing(&asked, "unlocked", Some(epoch))))
}

/// Carries out what was begun, though its caller may hang up: half of it would leave the vault between two states, and a
/// wrong key without its entry.
async fn to_its_end<T: Send + 'static>(
    api: &Api,
    work: impl Future<Output = Result<T, CustodyError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = api.runtime.spawn(work).await.unwrap_or(Err(CustodyError::Stopping));
    done.map_err(|error| refusal(&error))
}

fn standing(asked: &Asked<'_>, vault: &'static str, epoch: Option<u32>) -> Response<Body> {
    answer::json(StatusCode::OK, asked.id(), &Standing { vault, epoch })
}

impl Asked<'_> {
    /// Decides whether the caller may manage the vault; what is done is recorded by the event that this gives, a refusal
    /// here.
    fn managing(&self, action: Action) -> Result<impl Fn(Outcome) -> Event + Send + Sync + use<>, ApiError> {
        let decision = self.policy().take(self.caller(), Grant::Manage, What::Everything);
        match decision {
            AccessDecision::Granted { rule } => {
                let template = self.event(action, Outcome::Begun).under(Some(rule));
                Ok(move |outcome| template.clone().ended(outcome))
            }
            AccessDecision::Refused(refusal) => Err(self.refused(action, Target::default(), refusal)),
        }
    }
}

fn refusal(error: &CustodyError) -> ApiError {
    match error {
        CustodyError::Vault(VaultError::WrongKey) => ApiError::WrongKey,
        CustodyError::Vault(VaultError::IsLocked(_)) => ApiError::Locked,
        CustodyError::Vault(VaultError::Rotating) => ApiError::Rotating,
        CustodyError::IsUnlocked => ApiError::IsUnlocked,
        CustodyError::KeyNeeded => ApiError::KeyNeeded,
        CustodyError::Audit(_) => ApiError::AuditUnavailable,
        CustodyError::Stopping => ApiError::Stopping,
        error => {
            tracing::error!(error = clauses(error), "the vault can't be managed");
            ApiError::VaultUnavailable
        }
    }
}
