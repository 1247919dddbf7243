//! Reading authentications.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::error::CacheError;
use super::model::{Counts, Filter, GoneReason, Listing, Record, Scheduled, State};
use super::schema::{self, unsigned};
use crate::authentication::{AuthenticationId, Owner};
use crate::secret::SecretBytes;
use crate::vault::keyring::{Fingerprint, Keys};

const RECORD: &str = "id, state, gone_reason, listed_at, fetched_at, expires_at, revision, \
                      metadata_revision, metadata";

pub(super) fn record(db: &Connection, keys: &Keys, id: AuthenticationId) -> Result<Option<Record>, CacheError> {
    let query = format!("SELECT {RECORD} FROM authentications WHERE key = ?1");
    find(db, &query, id, |row| open_record(row, keys, id))
}

pub(super) fn secret(
    db: &Connection,
    keys: &Keys,
    id: AuthenticationId,
) -> Result<Option<(Record, SecretBytes)>, CacheError> {
    let query = format!("SELECT {RECORD}, secret FROM authentications WHERE key = ?1 AND secret IS NOT NULL");
    find(db, &query, id, |row| {
        let record = open_record(row, keys, id)?;
        Some((record, open_secret(row, keys, id)?))
    })
}

/// The one row of `id`. It is opened while SQLite holds it, so that what is sealed needn't be copied.
fn find<T>(
    db: &Connection,
    query: &str,
    id: AuthenticationId,
    open: impl FnOnce(&Row<'_>) -> Option<T>,
) -> Result<Option<T>, CacheError> {
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query([schema::row_key(id)])?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => match row_id(row) {
            Some(found) if schema::is_another(found, id) => Err(CacheError::Collision { id }),
            Some(found) if found != id => Err(CacheError::Damaged { id }),
            None => Err(CacheError::Damaged { id }),
            Some(_) => open(row).map(Some).ok_or(CacheError::Damaged { id }),
        },
    }
}

pub(super) fn list(db: &Connection, keys: &Keys, filter: &Filter) -> Result<Listing, CacheError> {
    let owner = filter.owner_key.as_deref().map(|key| schema::owner_mark(keys, key));
    let service = filter.service.as_deref().map(|name| schema::service_mark(keys, name));
    // Only the conditions that apply, or no index would be used.
    let query = format!(
        "SELECT {RECORD} FROM authentications WHERE {} AND {} AND {}",
        if owner.is_some() { "owner = ?1" } else { "?1 IS NULL" },
        if service.is_some() { "service = ?2" } else { "?2 IS NULL" },
        if filter.include_gone { "?3 IS NOT NULL" } else { "state <> ?3" },
    );
    let mut statement = db.prepare_cached(&query)?;
    let mut rows = statement.query((owner, service, State::Gone.code()))?;
    let mut listing = Listing::default();
    while let Some(row) = rows.next()? {
        let Some(id) = row_id(row) else {
            tracing::warn!("a row of the cache has no readable id and is left out");
            continue;
        };
        match open_record(row, keys, id).filter(|record| selects(filter, record)) {
            Some(record) => listing.records.push(record),
            None => listing.damaged.push(id),
        }
    }
    Ok(listing)
}

/// Whether the sealed metadata agree with the plain columns by which the record was found.
fn selects(filter: &Filter, record: &Record) -> bool {
    let service = record.metadata.service.as_ref().map(|service| &service.name);
    filter.owner_key.as_ref().is_none_or(|key| key == record.metadata.owner.key())
        && filter.service.as_ref().is_none_or(|name| Some(name) == service)
}

pub(super) fn schedule(db: &Connection, keys: &Keys, owner: &Owner) -> Result<Vec<Scheduled>, CacheError> {
    let mut statement = db.prepare_cached(
        "SELECT key, id, metadata_mark, state, fetched_at, expires_at FROM authentications \
         WHERE owner = ?1",
    )?;
    let mut rows = statement.query([schema::owner_mark(keys, owner.key())])?;
    let mut schedule = Vec::new();
    while let Some(row) = rows.next()? {
        // An unreadable row is as good as none: what Tray lists is written over it.
        schedule.extend(scheduled(row));
    }
    Ok(schedule)
}

fn scheduled(row: &Row<'_>) -> Option<Scheduled> {
    let id = row_id(row)?;
    if row.get::<_, i64>("key").ok()? != schema::row_key(id) {
        return None;
    }
    Some(Scheduled {
        id,
        metadata: Fingerprint::from_bytes(row.get("metadata_mark").ok()?),
        state: State::from_code(row.get("state").ok()?)?,
        fetched_at: optional_time(row, "fetched_at")?,
        expires_at: optional_time(row, "expires_at")?,
    })
}

pub(super) fn counts(db: &Connection) -> Result<Counts, CacheError> {
    let mut counts = Counts::default();
    let mut statement = db.prepare_cached("SELECT state, count(*) FROM authentications GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = match row.get(0).ok().and_then(State::from_code) {
            Some(State::Full) => &mut counts.full,
            Some(State::Pending) => &mut counts.pending,
            Some(State::NotPermitted) => &mut counts.not_permitted,
            Some(State::NotEnabled) => &mut counts.not_enabled,
            Some(State::Gone) => &mut counts.gone,
            Some(State::Damaged) => &mut counts.damaged,
            None => continue,
        };
        *count = unsigned(row, 1)?;
    }
    counts.users = db.prepare_cached("SELECT count(*) FROM users")?.query_row([], |row| unsigned(row, 0))?;
    Ok(counts)
}

fn row_id(row: &Row<'_>) -> Option<AuthenticationId> {
    row.get("id").ok().map(|bytes| AuthenticationId(uuid::Uuid::from_bytes(bytes)))
}

/// The record, or `None` if any of the columns it is made of isn't what was written.
fn open_record(row: &Row<'_>, keys: &Keys, id: AuthenticationId) -> Option<Record> {
    let listed_at: i64 = row.get("listed_at").ok()?;
    let times = [listed_at];
    let place = schema::metadata_place(&id, unsigned(row, "metadata_revision").ok()?, &times);
    let json = keys.open(&place, row.get_ref("metadata").ok()?.as_blob().ok()?).ok()?;
    let gone: Option<i64> = row.get("gone_reason").ok()?;
    Some(Record {
        metadata: serde_json::from_slice(json.expose_secret()).ok()?,
        state: State::from_code(row.get("state").ok()?)?,
        gone: match gone {
            Some(code) => Some(GoneReason::from_code(code)?),
            None => None,
        },
        revision: unsigned(row, "revision").ok()?,
        listed_at: Timestamp::from_millisecond(listed_at).ok()?,
        fetched_at: optional_time(row, "fetched_at")?,
        expires_at: optional_time(row, "expires_at")?,
    })
}

fn open_secret(row: &Row<'_>, keys: &Keys, id: AuthenticationId) -> Option<SecretBytes> {
    let fetched_at: i64 = row.get("fetched_at").ok()?;
    let expires_at: Option<i64> = row.get("expires_at").ok()?;
    let times: Vec<i64> = std::iter::once(fetched_at).chain(expires_at).collect();
    let place = schema::secret_place(&id, unsigned(row, "revision").ok()?, &times);
    keys.open(&place, row.get_ref("secret").ok()?.as_blob().ok()?).ok()
}

/// `None` for what isn't a time at all, `Some(None)` for NULL.
#[expect(clippy::option_option, reason = "the outer one is for `?`, in functions that give an Option")]
fn optional_time(row: &Row<'_>, column: &str) -> Option<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column).ok()? {
        Some(milliseconds) => Timestamp::from_millisecond(milliseconds).ok().map(Some),
        None => Some(None),
    }
}
