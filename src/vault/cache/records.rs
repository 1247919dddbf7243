//! Reading authentications.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::error::CacheError;
use super::model::{Ages, Counts, Cursor, Filter, GoneReason, Listing, Record, Scheduled, State};
use super::schema::{self, unsigned};
use super::stored::{self, Stored, open_record};
use crate::authentication::{AuthenticationId, Owner};
use crate::vault::keyring::{Fingerprint, Keys};

/// The columns of a record, in the order of [`column`]. A macro, so that a query is a constant.
macro_rules! record {
    () => {
        "id, state, gone_reason, listed_at, fetched_at, expires_at, revision, metadata_revision, metadata"
    };
}

/// The columns of what a plan needs to know, in the order in which [`scheduled`] reads them.
macro_rules! scheduled {
    () => {
        "key, id, metadata_mark, state, fetched_at, expires_at, gone_at, gone_reason"
    };
}

/// Where a query selects each column. By name each would be searched for, in every row.
pub(super) mod column {
    pub(in super::super) const ID: usize = 0;
    pub(in super::super) const STATE: usize = 1;
    pub(in super::super) const GONE_REASON: usize = 2;
    pub(in super::super) const LISTED_AT: usize = 3;
    pub(in super::super) const FETCHED_AT: usize = 4;
    pub(in super::super) const EXPIRES_AT: usize = 5;
    pub(in super::super) const REVISION: usize = 6;
    pub(in super::super) const METADATA_REVISION: usize = 7;
    pub(in super::super) const METADATA: usize = 8;
    /// Of a list alone.
    pub(in super::super) const KEY: usize = 9;
    /// Where it is selected, behind a record's.
    pub(in super::super) const SECRET: usize = 9;
}

pub(super) fn record(db: &Connection, keys: &Keys, id: AuthenticationId) -> Result<Option<Record>, CacheError> {
    let query = concat!("SELECT ", record!(), " FROM authentications WHERE key = ?1");
    find(db, query, id, |row| open_record(row, keys, id))
}

/// With its secret, all of it still sealed.
pub(super) fn stored(db: &Connection, id: AuthenticationId) -> Result<Option<Stored>, CacheError> {
    let query = concat!("SELECT ", record!(), ", secret FROM authentications WHERE key = ?1");
    find(db, query, id, |row| Stored::of(row, id))
}

/// The one row of `id`, looked at while SQLite holds it: what is opened there needn't be copied.
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
        "SELECT {}, key FROM authentications WHERE {} AND {} AND {} AND {} AND key > ?5 ORDER BY key LIMIT ?6",
        record!(),
        if owner.is_some() { "owner = ?1" } else { "?1 IS NULL" },
        if service.is_some() { "service = ?2" } else { "?2 IS NULL" },
        if filter.include_gone { "?3 IS NOT NULL" } else { "state <> ?3" },
        if filter.state.is_some() { "state = ?4" } else { "?4 IS NULL" },
    );
    let state = filter.state.map(State::code);
    let after = filter.after.map_or(i64::MIN, |Cursor(key)| key);
    let mut statement = db.prepare_cached(&query)?;
    // A negative limit is none.
    let limit = filter.limit.map_or(-1, i64::from);
    let mut rows = statement.query((owner, service, State::Gone.code(), state, after, limit))?;
    let (mut listing, mut seen) = (Listing::default(), 0);
    while let Some(row) = rows.next()? {
        seen += 1;
        if filter.limit.is_some_and(|limit| seen == limit) {
            listing.next = Some(Cursor(row.get(column::KEY)?));
        }
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
    let mut statement =
        db.prepare_cached(concat!("SELECT ", scheduled!(), " FROM authentications WHERE owner = ?1"))?;
    // An unreadable row is as good as none: what Tray lists is written over it.
    schedule_of(statement.query([schema::owner_mark(keys, owner.key())])?)
}

/// What expires before a moment and is in a state. The plus keeps SQLite from looking it up by its state, which most have.
pub(super) const EXPIRING: &str =
    concat!("SELECT ", scheduled!(), " FROM authentications WHERE expires_at < ?1 AND +state = ?2 ORDER BY expires_at");

pub(super) fn expiring(db: &Connection, before: Timestamp) -> Result<Vec<Scheduled>, CacheError> {
    let mut statement = db.prepare_cached(EXPIRING)?;
    schedule_of(statement.query((before.as_millisecond(), State::Full.code()))?)
}

fn schedule_of(mut rows: Rows<'_>) -> Result<Vec<Scheduled>, CacheError> {
    let mut schedule = Vec::new();
    while let Some(row) = rows.next()? {
        schedule.extend(scheduled(row));
    }
    Ok(schedule)
}

fn scheduled(row: &Row<'_>) -> Option<Scheduled> {
    let id = AuthenticationId(uuid::Uuid::from_bytes(row.get(1).ok()?));
    if row.get::<_, i64>(0).ok()? != schema::row_key(id) {
        return None;
    }
    Some(Scheduled {
        id,
        metadata: Fingerprint::from_bytes(row.get(2).ok()?),
        state: State::from_code(row.get(3).ok()?)?,
        gone: optional_time(row, 6)?.zip(row.get(7).ok().and_then(GoneReason::from_code)),
        fetched_at: optional_time(row, 4)?,
        expires_at: optional_time(row, 5)?,
    })
}

pub(super) const COUNTS: &str = "SELECT state, count(*) FROM authentications GROUP BY state";

pub(super) fn counts(db: &Connection) -> Result<Counts, CacheError> {
    let mut counts = Counts::default();
    let mut statement = db.prepare_cached(COUNTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = match row.get(0).ok().and_then(State::from_code) {
            Some(State::Full) => &mut counts.full,
            Some(State::Pending) => &mut counts.pending,
            Some(State::NotPermitted) => &mut counts.not_permitted,
            Some(State::NotEnabled) => &mut counts.not_enabled,
            Some(State::Gone) => &mut counts.gone,
            Some(State::Damaged) => &mut counts.damaged,
            Some(State::Refused) => &mut counts.refused,
            None => continue,
        };
        *count = unsigned(row, 1)?;
    }
    counts.users = db.prepare_cached("SELECT count(*) FROM users")?.query_row([], |row| unsigned(row, 0))?;
    Ok(counts)
}

/// The oldest is looked up in by_age, and what expires within a day is a stretch of by_expiry: both answer from the index
/// alone.
pub(super) const AGES: &str = "SELECT
    (SELECT min(fetched_at) FROM authentications WHERE state = ?1),
    min(CASE WHEN expires_at > ?2 THEN expires_at END),
    count(CASE WHEN expires_at <= ?2 THEN 1 END),
    count(CASE WHEN expires_at > ?2 AND expires_at <= ?3 THEN 1 END),
    count(CASE WHEN expires_at > ?2 THEN 1 END)
    FROM authentications WHERE expires_at <= ?4 AND +state = ?1";

/// Where nothing expires within a day.
pub(super) const NEXT_EXPIRY: &str =
    "SELECT expires_at FROM authentications WHERE expires_at > ?1 AND +state = ?2 ORDER BY expires_at LIMIT 1";

pub(super) fn ages(db: &Connection, now: Timestamp) -> Result<Ages, CacheError> {
    const HOUR: i64 = 60 * 60 * 1_000;
    let (full, now) = (State::Full.code(), now.as_millisecond());
    let day = now.saturating_add(24 * HOUR);
    let mut ages = db.prepare_cached(AGES)?.query_row((full, now, now.saturating_add(HOUR), day), |row| {
        Ok(Ages {
            oldest_fetched_at: optional_time(row, 0).flatten(),
            next_expiry_at: optional_time(row, 1).flatten(),
            expired: unsigned(row, 2)?,
            expiring_within_hour: unsigned(row, 3)?,
            expiring_within_day: unsigned(row, 4)?,
        })
    })?;
    if ages.next_expiry_at.is_none() {
        let mut next = db.prepare_cached(NEXT_EXPIRY)?;
        ages.next_expiry_at =
            next.query_row((day, full), |row| Ok(optional_time(row, 0).flatten())).optional()?.flatten();
    }
    Ok(ages)
}

fn row_id(row: &Row<'_>) -> Option<AuthenticationId> {
    row.get(column::ID).ok().map(|bytes| AuthenticationId(uuid::Uuid::from_bytes(bytes)))
}

/// `None` for what isn't a time at all, `Some(None)` for NULL.
#[expect(clippy::option_option, reason = "the outer one is for `?`, in functions that give an Option")]
fn optional_time(row: &Row<'_>, column: usize) -> Option<Option<Timestamp>> {
    stored::optional_time(row.get(column).ok()?)
}
