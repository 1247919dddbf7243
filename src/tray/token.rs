//! What each token is, and what it may do. Tray's tokens have no readable scopes: the operator states what a token
//! is, and for a shared workspace Tray itself confirms it.

use std::sync::Arc;

use super::{Tray, TrayError};
use crate::{authentication::UserId, secret::SecretString};

/// The organisation's token: lists end users and mints their tokens. There is no way from it to a
/// [`FullReadPermit`].
pub struct MasterToken(SecretString);

impl MasterToken {
    /// States that a token is a master token.
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }

    pub(super) fn bearer(&self) -> &SecretString {
        &self.0
    }
}

/// Acts as one embedded end user, for two days from when it was minted.
pub struct UserToken {
    user: UserId,
    token: SecretString,
}

impl UserToken {
    /// A token that `authorize` gave for this user, now or earlier.
    pub fn new(user: UserId, token: SecretString) -> Self {
        Self { user, token }
    }

    /// Whose token it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The token, to be sealed.
    pub fn secret(&self) -> &SecretString {
        &self.token
    }
}

/// A token that is said to be an API user's. It may do nothing until Tray has reported its workspace as shared.
pub struct ApiUserToken(SecretString);

impl ApiUserToken {
    /// States that a token is an API user's.
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }

    /// Asks Tray which workspace the token belongs to.
    ///
    /// # Errors
    /// [`WorkspaceError`], when that is not exactly one shared workspace or Tray can't be asked.
    pub async fn verify(self: &Arc<Self>, tray: &Tray) -> Result<SharedWorkspace, WorkspaceError> {
        let seen = tray.workspaces(&self.0).await.map_err(WorkspaceError::Unverified)?;
        match seen.seen() {
            ([], false) => Err(WorkspaceError::NotOne),
            ([one], false) if one.is("Shared") => Ok(SharedWorkspace(Arc::clone(self))),
            ([one], false) if !one.is("Organization") => Err(WorkspaceError::NotShared),
            // The contract: one for a workspace's token, all of them for the organisation's.
            _ => Err(WorkspaceError::Organisations),
        }
    }
}

/// Why an API user's token may not read in full.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Tray could not be asked.
    #[error("the API user's workspace could not be verified")]
    Unverified(#[source] TrayError),
    /// It is not a shared workspace.
    #[error("the API user's workspace is not a shared one: the token of an API user of a shared workspace is needed")]
    NotShared,
    /// It is the organisation's token, a master token.
    #[error("the token is the organisation's master token: that of an API user of a shared workspace is needed")]
    Organisations,
    /// It sees no workspace.
    #[error("the token belongs to no workspace: that of an API user of a shared workspace is needed")]
    NotOne,
}

impl WorkspaceError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unverified(_) => None,
            Self::NotShared | Self::Organisations | Self::NotOne => {
                Some("an API user is made in Tray's UI, in a shared workspace, and its token there")
            }
        }
    }
}

/// An API user's token whose workspace Tray reported as shared.
pub struct SharedWorkspace(Arc<ApiUserToken>);

/// One of the two callers that Tray permits to read in full; it also lists, creates, updates and deletes its own.
#[derive(Clone, Copy)]
pub enum Acting<'a> {
    /// An embedded end user.
    EndUser(&'a UserToken),
    /// An API user of a shared workspace.
    Workspace(&'a SharedWorkspace),
}

impl<'a> Acting<'a> {
    /// The permit to read this caller's authentications in full.
    pub fn permit(self) -> FullReadPermit<'a> {
        match self {
            Self::EndUser(token) => FullReadPermit::end_user(token),
            Self::Workspace(workspace) => FullReadPermit::shared_workspace(workspace),
        }
    }

    pub(super) fn bearer(self) -> &'a SecretString {
        match self {
            Self::EndUser(token) => &token.token,
            Self::Workspace(workspace) => &workspace.0.0,
        }
    }
}

/// Permission to read an authentication in full.
///
/// INVARIANT: the two constructors below are the only ones, and the full read takes nothing else.
pub struct FullReadPermit<'a>(Acting<'a>);

impl<'a> FullReadPermit<'a> {
    /// For an embedded end user, by that user's token.
    pub fn end_user(token: &'a UserToken) -> Self {
        Self(Acting::EndUser(token))
    }

    /// For an API user, by a workspace that Tray reported as shared.
    pub fn shared_workspace(workspace: &'a SharedWorkspace) -> Self {
        Self(Acting::Workspace(workspace))
    }

    pub(super) fn acting(&self) -> Acting<'a> {
        self.0
    }
}
