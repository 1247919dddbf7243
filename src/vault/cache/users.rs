//! Reading end users and their tokens.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::error::CacheError;
use super::schema::{self, unsigned};
use crate::authentication::{EndUser, ExternalUserId, UserId};
use crate::secret::SecretString;
use crate::vault::keyring::{Fingerprint, Keyring};

pub(super) fn all(db: &Connection, keyring: &Keyring) -> Result<Vec<EndUser>, CacheError> {
    let mut statement = db.prepare_cached("SELECT id, revision, profile FROM users")?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        match row_mark(row).map(|user| (user, open_profile(row, keyring, &user))) {
            Some((_, Some(user))) => users.push(user),
            Some((user, None)) => tracing::warn!(%user, "an end user's record is damaged"),
            None => tracing::warn!("an end user's record has no readable id"),
        }
    }
    Ok(users)
}

pub(super) fn by_id(db: &Connection, keyring: &Keyring, id: &UserId) -> Result<Option<EndUser>, CacheError> {
    let mark = schema::user_mark(keyring, id);
    find(db, keyring, "SELECT id, revision, profile FROM users WHERE id = ?1", &mark)
}

pub(super) fn by_external_id(
    db: &Connection,
    keyring: &Keyring,
    id: &ExternalUserId,
) -> Result<Option<EndUser>, CacheError> {
    let mark = schema::external_mark(keyring, id);
    let query = "SELECT id, revision, profile FROM users WHERE external = ?1";
    match find(db, keyring, query, &mark)? {
        Some(user) if user.external_user_id != *id => Err(CacheError::DamagedUser { user: mark }),
        found => Ok(found),
    }
}

fn find(db: &Connection, keyring: &Keyring, query: &str, mark: &Fingerprint) -> Result<Option<EndUser>, CacheError> {
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query([mark.as_bytes()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let user = row_mark(row).and_then(|user| open_profile(row, keyring, &user));
    user.map(Some).ok_or(CacheError::DamagedUser { user: *mark })
}

pub(super) fn token(
    db: &Connection,
    keyring: &Keyring,
    id: &UserId,
) -> Result<Option<(SecretString, Timestamp)>, CacheError> {
    let user = schema::user_mark(keyring, id);
    let mut statement = db.prepare_cached(
        "SELECT token_revision, token_expires_at, token FROM users \
         WHERE id = ?1 AND token IS NOT NULL",
    )?;
    let mut rows = statement.query([user.as_bytes()])?;
    match rows.next()? {
        Some(row) => open_token(row, keyring, &user).map(Some).ok_or(CacheError::DamagedUser { user }),
        None => Ok(None),
    }
}

fn row_mark(row: &Row<'_>) -> Option<Fingerprint> {
    row.get("id").ok().map(Fingerprint::from_bytes)
}

fn open_profile(row: &Row<'_>, keyring: &Keyring, user: &Fingerprint) -> Option<EndUser> {
    let place = schema::profile_place(user, unsigned(row, "revision").ok()?);
    let json = keyring.open(&place, row.get_ref("profile").ok()?.as_blob().ok()?).ok()?;
    serde_json::from_slice(json.expose_secret()).ok()
}

fn open_token(row: &Row<'_>, keyring: &Keyring, user: &Fingerprint) -> Option<(SecretString, Timestamp)> {
    let expires_at: i64 = row.get("token_expires_at").ok()?;
    let times = [expires_at];
    let place = schema::token_place(user, unsigned(row, "token_revision").ok()?, &times);
    let token = keyring.open(&place, row.get_ref("token").ok()?.as_blob().ok()?).ok()?;
    Some((token.into_text().ok()?, Timestamp::from_millisecond(expires_at).ok()?))
}
