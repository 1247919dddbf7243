//! Which documents were accepted lately, so that a dropped copy of one is told from a new one.
//!
//! A document is remembered by its keyed fingerprint. What a row says is bound to it by another, of which the rotation of
//! the keys changes nothing; so the rows are not sealed, and hold no more than ids and a time.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::super::{
    document::Action,
    intent::{Acked, Slip},
};
use crate::{authentication::AuthenticationId, vault::Keys};

/// A document that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Accepted {
    /// Its intent.
    pub(in super::super) intent: Uuid,
    /// What it made, changed or deleted.
    pub(in super::super) authentication: AuthenticationId,
}

/// Remembers a document. Earlier ones that changed the same authentication are forgotten: to drop one of those again is
/// to want its state back. After a delete all of them are: to drop the create again is to want another.
pub(super) fn remember(connection: &Connection, keys: &Keys, slip: &Slip, acked: &Acked) -> rusqlite::Result<()> {
    let Some(fingerprint) = slip.fingerprint else { return Ok(()) };
    let authentication = acked.authentication;
    let overtaken = match slip.action {
        Some(Action::Delete) => Some("DELETE FROM accepted WHERE authentication = ?1"),
        Some(Action::Update | Action::Upsert) => {
            Some("DELETE FROM accepted WHERE authentication = ?1 AND is_create = 0")
        }
        Some(Action::Create) | None => None,
    };
    if let Some(overtaken) = overtaken {
        connection.execute(overtaken, [authentication.as_bytes()])?;
    }
    let at = acked.settled_at.as_millisecond();
    let is_create = slip.action == Some(Action::Create);
    let binding = binding(keys, &fingerprint, slip.id, authentication, at);
    connection.execute(
        "INSERT OR REPLACE INTO accepted (fingerprint, intent, authentication, accepted_at, is_create, binding)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![fingerprint, slip.id.as_bytes(), authentication.as_bytes(), at, is_create, binding],
    )?;
    Ok(())
}

/// The document of a fingerprint, if it was accepted after `since` (epoch milliseconds).
pub(super) fn find(
    connection: &Connection,
    keys: &Keys,
    fingerprint: &[u8; 16],
    since: i64,
) -> rusqlite::Result<Option<Accepted>> {
    let query = "SELECT intent, authentication, accepted_at, binding FROM accepted
                 WHERE fingerprint = ?1 AND accepted_at > ?2";
    let row = connection.prepare_cached(query)?.query_row(params![fingerprint, since], |row| {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, i64>(2)?, row.get::<_, [u8; 16]>(3)?))
    });
    Ok(row.optional()?.and_then(|(intent, authentication, at, bound)| {
        let intent = Uuid::from_bytes(intent);
        let authentication = AuthenticationId(Uuid::from_bytes(authentication));
        let is_ours = binding(keys, fingerprint, intent, authentication, at) == bound;
        is_ours.then_some(Accepted { intent, authentication })
    }))
}

/// Whether an authentication is that of another intent.
pub(super) fn is_anothers(
    connection: &Connection,
    authentication: AuthenticationId,
    than: Uuid,
) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM accepted WHERE authentication = ?1 AND intent <> ?2)";
    connection.query_row(query, params![authentication.as_bytes(), than.as_bytes()], |row| row.get(0))
}

/// Whether anything was accepted before (epoch milliseconds).
pub(super) fn is_any_before(connection: &Connection, before: i64) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM accepted WHERE accepted_at <= ?1)";
    connection.query_row(query, [before], |row| row.get(0))
}

/// Forgets what was accepted before (epoch milliseconds).
pub(super) fn forget(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM accepted WHERE accepted_at <= ?1", [before]).map(drop)
}

fn binding(keys: &Keys, fingerprint: &[u8; 16], intent: Uuid, authentication: AuthenticationId, at: i64) -> [u8; 16] {
    // Each field is of a fixed length.
    let row = [&fingerprint[..], intent.as_bytes(), authentication.as_bytes(), &at.to_be_bytes()].concat();
    *keys.fingerprint("accepted document", &row).as_bytes()
}
