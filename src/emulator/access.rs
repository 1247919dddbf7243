//! Who calls: tokens, and whose things a token opens.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::state::State;

/// Who an authentication belongs to, and equally whom a token acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// The organisation itself: the master token.
    Organisation,
    /// An embedded end user, by user id: a user token.
    User(Uuid),
    /// A workspace, by its id: an API-user token.
    Workspace(Uuid),
}

/// The tokens that Tray's UI would show. User tokens are minted with `authorize`.
#[derive(Debug, Clone, Serialize)]
pub struct Tokens {
    /// The organisation's master token.
    pub master: String,
    /// The token of an API user in the shared workspace.
    pub api_user: String,
    /// A token like an API user's, but of a Personal workspace. Tray has no such thing; tests must see it refused.
    pub personal_api_user: String,
}

/// Whose token the request carries; `None` when it is missing, malformed, unknown or expired.
pub(super) fn caller(state: &State, headers: &HeaderMap) -> Option<Account> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    if token == state.tokens.master {
        Some(Account::Organisation)
    } else if token == state.tokens.api_user {
        Some(Account::Workspace(state.shared_workspace))
    } else if token == state.tokens.personal_api_user {
        Some(Account::Workspace(state.personal_workspace))
    } else {
        state.user_of(token).map(Account::User)
    }
}

/// Whether a caller may see and change (not read in full) what `owner` owns. A master token reaches everything in its
/// organisation; everybody else what is their own.
pub(super) fn reaches(caller: Account, owner: Account) -> bool {
    caller == Account::Organisation || caller == owner
}
