//! Re-seals what earlier epochs sealed, a few rows at a time, in the order of their keys.

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::error::CacheError;
use super::schema::{self, unsigned};
use super::write;
use crate::authentication::AuthenticationId;
use crate::vault::keyring::{Damaged, Fingerprint, Keys};

/// How many rows one step looks at: a transaction of some milliseconds.
const ROWS: u32 = 256;

/// How far a walk over everything that is sealed has come. It begins with the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Authentications of this integer key and above.
    Authentications(i64),
    /// End users of this row id and above.
    Users(i64),
    /// Everything was seen.
    Through,
}

impl Default for Walk {
    fn default() -> Self {
        Self::Authentications(i64::MIN)
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// Where the next one begins.
    pub next: Walk,
    /// How many rows were looked at.
    pub seen: u64,
    /// How many of them were changed. What doesn't open any more is quarantined.
    pub changed: u64,
}

pub(super) fn step(db: &Connection, keys: &Keys, walk: Walk) -> Result<Resealed, CacheError> {
    match walk {
        Walk::Authentications(from) => authentications(db, keys, from),
        Walk::Users(from) => users(db, keys, from),
        Walk::Through => Ok(Resealed { next: Walk::Through, seen: 0, changed: 0 }),
    }
}

/// What becomes of a row.
enum Change {
    None,
    Resealed { first: Option<Vec<u8>>, second: Option<Vec<u8>> },
    Damaged,
}

fn authentications(db: &Connection, keys: &Keys, from: i64) -> Result<Resealed, CacheError> {
    let mut select = db.prepare_cached(
        "SELECT key, id, listed_at, metadata_revision, metadata, fetched_at, expires_at, revision, secret \
         FROM authentications WHERE key >= ?1 ORDER BY key LIMIT ?2",
    )?;
    let mut rows = select.query((from, ROWS))?;
    let mut looked_at = Vec::new();
    while let Some(row) = rows.next()? {
        let change = resealed_authentication(row, keys).unwrap_or(Change::Damaged);
        looked_at.push((row.get::<_, i64>("key")?, row.get("id").ok().map(Uuid::from_bytes), change));
    }
    drop(rows);
    let mut changed = 0;
    for (key, id, change) in &looked_at {
        match change {
            Change::None => continue,
            Change::Resealed { first, second } => {
                let sql = "UPDATE authentications SET metadata = coalesce(?2, metadata), \
                           secret = coalesce(?3, secret) WHERE key = ?1";
                db.prepare_cached(sql)?.execute((key, first, second))?;
            }
            Change::Damaged => match id.map(AuthenticationId).filter(|id| schema::row_key(*id) == *key) {
                Some(id) => {
                    tracing::warn!(%id, "a record of the cache is damaged");
                    write::quarantine(db, id)?;
                }
                // Which one it was nobody can tell: the next listing brings it back.
                None => drop(db.execute("DELETE FROM authentications WHERE key = ?1", [key])?),
            },
        }
        changed += 1;
    }
    let last = looked_at.last().and_then(|(key, ..)| key.checked_add(1)).filter(|_| looked_at.len() == ROWS as usize);
    let next = last.map_or(Walk::Users(i64::MIN), Walk::Authentications);
    Ok(Resealed { next, seen: looked_at.len() as u64, changed })
}

fn resealed_authentication(row: &Row<'_>, keys: &Keys) -> Option<Change> {
    let id = AuthenticationId(Uuid::from_bytes(row.get("id").ok()?));
    let times = [row.get("listed_at").ok()?];
    let place = schema::metadata_place(&id, unsigned(row, "metadata_revision").ok()?, &times);
    let metadata = keys.reseal(&place, row.get_ref("metadata").ok()?.as_blob().ok()?);
    let secret = match row.get_ref("secret").ok()?.as_blob_or_null().ok()? {
        None => Ok(None),
        Some(sealed) => {
            let fetched_at: i64 = row.get("fetched_at").ok()?;
            let expires_at: Option<i64> = row.get("expires_at").ok()?;
            let times: Vec<i64> = std::iter::once(fetched_at).chain(expires_at).collect();
            keys.reseal(&schema::secret_place(&id, unsigned(row, "revision").ok()?, &times), sealed)
        }
    };
    Some(change(metadata, secret))
}

fn users(db: &Connection, keys: &Keys, from: i64) -> Result<Resealed, CacheError> {
    let mut select = db.prepare_cached(
        "SELECT rowid, id, revision, profile, token_revision, token_expires_at, token \
         FROM users WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2",
    )?;
    let mut rows = select.query((from, ROWS))?;
    let mut looked_at = Vec::new();
    while let Some(row) = rows.next()? {
        looked_at.push((row.get::<_, i64>("rowid")?, resealed_user(row, keys).unwrap_or(Change::Damaged)));
    }
    drop(rows);
    let mut changed = 0;
    for (rowid, change) in &looked_at {
        match change {
            Change::None => continue,
            Change::Resealed { first, second } => {
                let sql =
                    "UPDATE users SET profile = coalesce(?2, profile), token = coalesce(?3, token) WHERE rowid = ?1";
                db.prepare_cached(sql)?.execute((rowid, first, second))?;
            }
            // The next listing brings the user back, and a token is minted anew.
            Change::Damaged => drop(db.execute("DELETE FROM users WHERE rowid = ?1", [rowid])?),
        }
        changed += 1;
    }
    let last =
        looked_at.last().and_then(|(rowid, _)| rowid.checked_add(1)).filter(|_| looked_at.len() == ROWS as usize);
    let next = last.map_or(Walk::Through, Walk::Users);
    Ok(Resealed { next, seen: looked_at.len() as u64, changed })
}

fn resealed_user(row: &Row<'_>, keys: &Keys) -> Option<Change> {
    let user = Fingerprint::from_bytes(row.get("id").ok()?);
    let place = schema::profile_place(&user, unsigned(row, "revision").ok()?);
    let profile = keys.reseal(&place, row.get_ref("profile").ok()?.as_blob().ok()?);
    let token = match row.get_ref("token").ok()?.as_blob_or_null().ok()? {
        None => Ok(None),
        Some(sealed) => {
            let times = [row.get("token_expires_at").ok()?];
            keys.reseal(&schema::token_place(&user, unsigned(row, "token_revision").ok()?, &times), sealed)
        }
    };
    Some(change(profile, token))
}

fn change(first: Result<Option<Vec<u8>>, Damaged>, second: Result<Option<Vec<u8>>, Damaged>) -> Change {
    match (first, second) {
        (Ok(None), Ok(None)) => Change::None,
        (Ok(first), Ok(second)) => Change::Resealed { first, second },
        _ => Change::Damaged,
    }
}
