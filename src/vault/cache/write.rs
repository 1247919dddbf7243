//! What each change does to the tables, within the transaction of its batch.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::error::CacheError;
use super::model::{State, Write};
use super::packed;
use super::schema::{self, row_key, unsigned};
use crate::authentication::{AuthenticationId, EndUser, Metadata, UserId};
use crate::secret::{SecretBytes, SecretString};
use crate::vault::keyring::Keys;

pub(super) fn apply(db: &Connection, keys: &Keys, write: Write) -> Result<(), CacheError> {
    match write {
        Write::Listed { metadata, at } => listed(db, keys, &metadata, at),
        Write::Scoped { metadata, at } => match held(db, metadata.id)? {
            Some(held) if held.state != State::Gone.code() => listed(db, keys, &metadata, at),
            _ => Ok(()),
        },
        Write::Mark { id, state } => mark(db, id, state),
        Write::Pulled { id, asked_in, body, fetched_at, expires_at } => {
            let overtaken = held(db, id)?.is_some_and(|held| held.marked_in > asked_in);
            if overtaken { Ok(()) } else { pulled(db, keys, id, &body, fetched_at, expires_at) }
        }
        Write::Gone { id, reason, at } => {
            let sql = "UPDATE authentications SET state = ?3, gone_reason = ?4, gone_at = ?5, \
                       secret = NULL, fetched_at = NULL, expires_at = NULL \
                       WHERE key = ?1 AND id = ?2 AND state <> ?3";
            let gone = (State::Gone.code(), reason.code(), at.as_millisecond());
            let values = (row_key(id), id.as_bytes(), gone.0, gone.1, gone.2);
            db.prepare_cached(sql)?.execute(values)?;
            Ok(())
        }
        Write::Refuse(owner) => {
            let sql = "UPDATE authentications SET state = ?2, marked_in = 1 + (SELECT generation FROM cache) \
                       WHERE owner = ?1 AND state IN (?3, ?4, ?5)";
            let refused = [State::Full, State::Pending, State::NotEnabled].map(State::code);
            let owner = schema::owner_mark(keys, owner.key());
            db.prepare_cached(sql)?.execute((owner, State::Refused.code(), refused[0], refused[1], refused[2]))?;
            Ok(())
        }
        Write::ForgetGone { before } => {
            let sql = "DELETE FROM authentications WHERE state = ?1 AND gone_at < ?2";
            db.prepare_cached(sql)?.execute((State::Gone.code(), before.as_millisecond()))?;
            Ok(())
        }
        Write::Quarantine(id) => quarantine(db, id),
        Write::User(user) => end_user(db, keys, &user),
        Write::RemoveUser(id) => {
            let user = schema::user_mark(keys, &id);
            db.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([user.as_bytes()])?;
            Ok(())
        }
        Write::UserToken { user, token, expires_at } => user_token(db, keys, &user, &token, expires_at),
        Write::ForgetUserToken(id) => {
            let user = schema::user_mark(keys, &id);
            let sql = "UPDATE users SET token = NULL, token_expires_at = NULL WHERE id = ?1";
            db.prepare_cached(sql)?.execute([user.as_bytes()])?;
            Ok(())
        }
    }
}

fn listed(db: &Connection, keys: &Keys, metadata: &Metadata, at: Timestamp) -> Result<(), CacheError> {
    let id = metadata.id;
    let revision = held(db, id)?.map_or(1, |held| held.metadata_revision.wrapping_add(1));
    let at = at.as_millisecond();
    let packed = packed::pack(metadata);
    let sealed = keys.seal(&schema::metadata_place(&id, revision, &[at]), packed.expose_secret())?;
    let sql = "INSERT INTO authentications \
                   (key, id, owner, service, state, listed_at, metadata_revision, metadata_mark, metadata) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
               ON CONFLICT (key) DO UPDATE SET \
                   id = ?2, owner = ?3, service = ?4, listed_at = ?6, \
                   metadata_revision = ?7, metadata_mark = ?8, metadata = ?9, \
                   state = iif(state = ?10, ?5, state), gone_reason = NULL, gone_at = NULL";
    db.prepare_cached(sql)?.execute(params![
        row_key(id),
        id.as_bytes(),
        schema::owner_mark(keys, metadata.owner.key()),
        metadata.service.as_ref().map(|service| schema::service_mark(keys, &service.name)),
        State::Pending.code(),
        at,
        revision.cast_signed(),
        schema::metadata_fingerprint(keys, metadata).as_bytes(),
        sealed,
        State::Gone.code(),
    ])?;
    Ok(())
}

fn mark(db: &Connection, id: AuthenticationId, state: State) -> Result<(), CacheError> {
    // What Tray refused does not become answerable by being due. A tombstone stays one.
    let stays = match state {
        State::Pending => [State::Gone, State::Refused, State::NotEnabled],
        State::NotEnabled | State::Refused | State::NotPermitted => [State::Gone; 3],
        State::Full | State::Gone | State::Damaged => return Err(CacheError::NotAMark { id }),
    };
    let sql = if state == State::NotPermitted {
        "UPDATE authentications \
         SET state = ?3, marked_in = 1 + (SELECT generation FROM cache), \
             secret = NULL, fetched_at = NULL, expires_at = NULL \
         WHERE key = ?1 AND id = ?2 AND state NOT IN (?4, ?5, ?6)"
    } else {
        "UPDATE authentications SET state = ?3, marked_in = 1 + (SELECT generation FROM cache) \
         WHERE key = ?1 AND id = ?2 AND state NOT IN (?4, ?5, ?6)"
    };
    let [first, second, third] = stays.map(State::code);
    db.prepare_cached(sql)?.execute((row_key(id), id.as_bytes(), state.code(), first, second, third))?;
    Ok(())
}

/// What can't be opened is destroyed, and marked so that the next synchronisation lists and pulls it anew.
pub(super) fn quarantine(db: &Connection, id: AuthenticationId) -> Result<(), CacheError> {
    let sql = "UPDATE authentications SET id = ?2, state = ?3, metadata_mark = zeroblob(16), \
               secret = NULL, fetched_at = NULL, expires_at = NULL WHERE key = ?1 AND state <> ?4";
    db.prepare_cached(sql)?.execute((row_key(id), id.as_bytes(), State::Damaged.code(), State::Gone.code()))?;
    Ok(())
}

fn pulled(
    db: &Connection,
    keys: &Keys,
    id: AuthenticationId,
    body: &SecretBytes,
    fetched_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<(), CacheError> {
    let held = held(db, id)?.ok_or(CacheError::Unknown { id })?;
    if held.state == State::Gone.code() {
        return Ok(());
    }
    let revision = held.revision.wrapping_add(1);
    let fetched_at = fetched_at.as_millisecond();
    let expires_at = expires_at.map(Timestamp::as_millisecond);
    let times: Vec<i64> = std::iter::once(fetched_at).chain(expires_at).collect();
    let sealed = keys.seal(&schema::secret_place(&id, revision, &times), body.expose_secret())?;
    let sql = "UPDATE authentications SET state = ?2, revision = ?3, fetched_at = ?4, \
               expires_at = ?5, secret = ?6 WHERE key = ?1";
    db.prepare_cached(sql)?.execute(params![
        row_key(id),
        State::Full.code(),
        revision.cast_signed(),
        fetched_at,
        expires_at,
        sealed,
    ])?;
    Ok(())
}

/// What the plain columns say of an authentication before a change.
struct Held {
    state: i64,
    revision: u64,
    marked_in: u64,
    metadata_revision: u64,
}

/// `None` if there is no such row. What can't be read of it is as good as zero: it is written over.
fn held(db: &Connection, id: AuthenticationId) -> Result<Option<Held>, CacheError> {
    let sql = "SELECT id, state, revision, marked_in, metadata_revision FROM authentications WHERE key = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row([row_key(id)], |row| {
            let number = |column| unsigned(row, column).unwrap_or_default();
            let held = Held {
                state: row.get(1).unwrap_or_default(),
                revision: number(2),
                marked_in: number(3),
                metadata_revision: number(4),
            };
            Ok((row.get(0).ok().map(|bytes| AuthenticationId(Uuid::from_bytes(bytes))), held))
        })
        .optional()?;
    match found {
        Some((Some(found), _)) if schema::is_another(found, id) => Err(CacheError::Collision { id }),
        found => Ok(found.map(|(_, held)| held)),
    }
}

fn end_user(db: &Connection, keys: &Keys, user: &EndUser) -> Result<(), CacheError> {
    let mark = schema::user_mark(keys, &user.id);
    let revision = db
        .prepare_cached("SELECT revision FROM users WHERE id = ?1")?
        .query_row([mark.as_bytes()], |row| Ok(unsigned(row, 0).unwrap_or_default()))
        .optional()?
        .map_or(1, |revision| revision.wrapping_add(1));
    let profile = schema::user_json(user);
    let sealed = keys.seal(&schema::profile_place(&mark, revision), profile.expose_secret())?;
    let sql = "INSERT INTO users (id, external, revision, profile) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (id) DO UPDATE SET external = ?2, revision = ?3, profile = ?4";
    let external = schema::external_mark(keys, &user.external_user_id);
    let values = (mark.as_bytes(), external.as_bytes(), revision.cast_signed(), sealed);
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn user_token(
    db: &Connection,
    keys: &Keys,
    id: &UserId,
    token: &SecretString,
    expires_at: Timestamp,
) -> Result<(), CacheError> {
    let user = schema::user_mark(keys, id);
    let revision = db
        .prepare_cached("SELECT token_revision FROM users WHERE id = ?1")?
        .query_row([user.as_bytes()], |row| Ok(unsigned(row, 0).unwrap_or_default()))
        .optional()?
        .map(|revision| revision.wrapping_add(1))
        .ok_or(CacheError::UnknownUser)?;
    let expires_at = expires_at.as_millisecond();
    let place = schema::token_place(&user, revision, std::slice::from_ref(&expires_at));
    let sealed = keys.seal(&place, token.expose_secret().as_bytes())?;
    let sql = "UPDATE users SET token_revision = ?2, token_expires_at = ?3, token = ?4 WHERE id = ?1";
    let values = (user.as_bytes(), revision.cast_signed(), expires_at, sealed);
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}
