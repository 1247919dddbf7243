//! What is held of an authentication and may be answered: conditions that hold on every socket.

use jiff::Timestamp;

use super::{Api, answer::ApiError, asked::Asked};
use crate::{authentication::Metadata, freshness::Standing, policy::Policy, vault::Secret};

/// What rules permit no more is about to be destroyed.
pub(super) fn permitted(policy: &Policy, metadata: &Metadata) -> Result<(), ApiError> {
    if policy.permits(metadata) { Ok(()) } else { Err(ApiError::NotHeld) }
}

/// What is held, if anything is, and how fresh it is: never what Tray refused.
pub(super) fn open(api: &Api, metadata: &Metadata) -> Result<Option<(Secret, Standing)>, ApiError> {
    answerable(api, api.cache.secret(metadata.id).map_err(|error| Asked::unreadable(&error))?)
}

/// The same of what was opened already.
pub(super) fn answerable(api: &Api, held: Option<Secret>) -> Result<Option<(Secret, Standing)>, ApiError> {
    let Some(held) = held else { return Ok(None) };
    match api.freshness.borrow().of(held.state, held.fetched_at, held.expires_at, Timestamp::now()) {
        Standing::Refused => Err(ApiError::NotHeld),
        standing => Ok(Some((held, standing))),
    }
}
