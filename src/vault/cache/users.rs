//! Reading end users and their tokens.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::error::CacheError;
use super::schema::{self, unsigned};
use crate::authentication::{EndUser, ExternalUserId, UserId};
use crate::secret::SecretString;
use crate::vault::keyring::{Fingerprint, Keys};

pub(super) fn all(db: &Connection, keys: &Keys) -> Result<Vec<EndUser>, CacheError> {
    let mut statement = db.prepare_cached("SELECT id, revision, profile FROM users")?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        match row_mark(row).map(|user| (user, open_profile(row, keys, &user))) {
            Some((_, Some(user))) => users.push(user),
            Some((user, None)) => tracing::warn!(%user, "an end user's record is damaged"),
            None => tracing::warn!("an end user's record has no readable id"),
        }
    }
    Ok(users)
}

pub(super) fn by_id(db: &Connection, keys: &Keys, id: &UserId) -> Result<Option<EndUser>, CacheError> {
    let mark = schema::user_mark(keys, id);
    find(db, keys, "SELECT id, revision, profile FROM users WHERE id = ?1", &mark)
}

pub(super) fn by_external_id(db: &Connection, keys: &Keys, id: &ExternalUserId) -> Result<Option<EndUser>, CacheError> {
    let mark = schema::external_mark(keys, id);
    let query = "SELECT id, revision, profile FROM users WHERE external = ?1";
    match find(db, keys, query, &mark)? {
        Some(user) if user.external_user_id != *id => Err(CacheError::DamagedUser { user: mark }),
        found => Ok(found),
    }
}

fn find(db: &Connection, keys: &Keys, query: &str, mark: &Fingerprint) -> Result<Option<EndUser>, CacheError> {
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query([mark.as_bytes()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let user = row_mark(row).and_then(|user| open_profile(row, keys, &user));
    user.map(Some).ok_or(CacheError::DamagedUser { user: *mark })
}

pub(super) fn token(
    db: &Connection,
    keys: &Keys,
    id: &UserId,
) -> Result<Option<(SecretString, Timestamp)>, CacheError> {
    let user = schema::user_mark(keys, id);
    let mut statement = db.prepare_cached(
        "SELECT token_revision, token_expires_at, token FROM users \
         WHERE id = ?1 AND token IS NOT NULL",
    )?;
    let mut rows = statement.query([user.as_bytes()])?;
    match rows.next()? {
        Some(row) => open_token(row, keys, &user).map(Some).ok_or(CacheError::DamagedUser { user }),
        None => Ok(None),
    }
}

fn row_mark(row: &Row<'_>) -> Option<Fingerprint> {
    row.get("id").ok().map(Fingerprint::from_bytes)
}

fn open_profile(row: &Row<'_>, keys: &Keys, user: &Fingerprint) -> Option<EndUser> {
    let place = schema::profile_place(user, unsigned(row, "revision").ok()?);
    let json = keys.open(&place, row.get_ref("profile").ok()?.as_blob().ok()?).ok()?;
    serde_json::from_slice(json.expose_secret()).ok()
}

fn open_token(row: &Row<'_>, keys: &Keys, user: &Fingerprint) -> Option<(SecretString, Timestamp)> {
    let expires_at: i64 = row.get("token_expires_at").ok()?;
    let times = [expires_at];
    let place = schema::token_place(user, unsigned(row, "token_revision").ok()?, &times);
    let token = keys.open(&place, row.get_ref("token").ok()?.as_blob().ok()?).ok()?;
    Some((token.into_text().ok()?, Timestamp::from_millisecond(expires_at).ok()?))
}
