//! Why something could not be synchronised, and what to do about it.

use crate::{
    audit::AuditError,
    clauses::clauses,
    principals::{PrincipalError, token_hint},
    requests::Trouble,
    status::Problem,
    tray::{Class, TrayError, WorkspaceError},
    vault::CacheError,
};

/// Why the work on a principal, or on an authentication, stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    /// The daemon can't act as the principal.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    /// Tray refused, or can't be asked.
    #[error(transparent)]
    Tray(#[from] TrayError),
    /// The cache can't be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl SyncError {
    /// The class of Tray's refusal, if it was Tray who refused.
    pub(super) fn class(&self) -> Option<Class> {
        match self {
            Self::Tray(error) => Some(error.class),
            Self::Principal(error) => error.class(),
            _ => None,
        }
    }

    /// Whether the vault is locked.
    pub(super) fn is_locked(&self) -> bool {
        match self {
            Self::Cache(error) | Self::Principal(PrincipalError::Cache(error)) => error.is_locked(),
            Self::Principal(PrincipalError::IsLocked(_)) => true,
            _ => false,
        }
    }

    /// Whether Tray's own word is that the daemon may not act as the principal.
    pub(super) fn refuses_principal(&self) -> bool {
        match self {
            Self::Tray(error) => error.class == Class::TokenRejected,
            Self::Principal(PrincipalError::Workspace(
                WorkspaceError::NotShared | WorkspaceError::NotOne | WorkspaceError::Organisations,
            )) => true,
            Self::Principal(error) => {
                matches!(error.class(), Some(Class::TokenRejected | Class::NotPermitted | Class::Gone))
            }
            _ => false,
        }
    }

    /// What it means for whoever waits for Tray's answer.
    pub(super) fn trouble(&self) -> Trouble {
        let status = match self {
            Self::Tray(error) | Self::Principal(PrincipalError::Tray(error)) => error.status,
            _ => None,
        };
        // These ask for time.
        match status {
            None | Some(408 | 409 | 429 | 503) => Trouble::Unavailable,
            Some(_) => Trouble::BadAnswer,
        }
    }

    /// What a person should know of it.
    pub(super) fn problem(&self) -> Problem {
        let hint = match (self, self.class()) {
            (_, Some(Class::NotEnabled)) => {
                Some("the organisation's owner or an admin asks Tray's support to enable the full read")
            }
            (Self::Principal(error), _) => error.hint(),
            (_, Some(class)) => token_hint(class),
            _ => None,
        };
        Problem { what: clauses(self), hint: hint.map(str::to_owned) }
    }
}

/// Tray has not enabled full reads, as it said a while ago.
pub(super) fn not_enabled() -> SyncError {
    SyncError::Tray(TrayError {
        class: Class::NotEnabled,
        call: "read authentication in full",
        reason: "the full read is not enabled for this organisation",
        status: None,
    })
}
