//! What on this host can be in the way.

use super::{journal::JournalError, layout::LayoutError, outcome::OutcomeError};
use crate::{audit::AuditError, system::files::FileError};

/// What on this host stands in the way. Nothing is taken in and nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The drop directory can't be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// An outcome can't be written.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl LocalError {
    /// What to do about it, where that is known.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Layout(LayoutError::File(error)) | Self::File(error) | Self::Outcome(OutcomeError::File(error)) => {
                error.hint()
            }
            _ => None,
        }
    }
}
