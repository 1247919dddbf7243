//! The tables, and how values become columns.

use std::path::Path;

use rusqlite::Connection;

use super::error::CacheError;
use crate::authentication::{AuthenticationId, EndUser, ExternalUserId, Metadata, UserId};
use crate::secret::SecretBytes;
use crate::vault::database::plausible_generation;
use crate::vault::keyring::{Fingerprint, Keys, Place};

/// One script for each version of the schema; never changed once released.
///
/// - `key` is [`row_key`] of `id`. Small columns come before the sealed ones, which may overflow their page.
/// - `owner`, `service`, `external` and `metadata_mark` are keyed fingerprints.
/// - `state` and `gone_reason` are codes of the model's enums; times are epoch milliseconds.
/// - `revision` counts pulls, and never goes back, not even when the secret is destroyed.
/// - `marked_in` is the generation of the last mark: what was pulled on a question from before it is out of date.
/// - by_age, once by_state, answers the counts and what is oldest from the index alone, and by_expiry what expires next.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE cache (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        vault BLOB NOT NULL,
        generation INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE authentications (
        key INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        owner INTEGER NOT NULL,
        service INTEGER,
        state INTEGER NOT NULL,
        gone_reason INTEGER,
        gone_at INTEGER,
        listed_at INTEGER NOT NULL,
        fetched_at INTEGER,
        expires_at INTEGER,
        revision INTEGER NOT NULL DEFAULT 0,
        marked_in INTEGER NOT NULL DEFAULT 0,
        metadata_revision INTEGER NOT NULL,
        metadata_mark BLOB NOT NULL,
        metadata BLOB NOT NULL,
        secret BLOB
    ) STRICT;
    CREATE INDEX by_owner ON authentications (owner, service);
    CREATE INDEX by_service ON authentications (service);
    CREATE INDEX by_state ON authentications (state);
    CREATE TABLE users (
        id BLOB PRIMARY KEY,
        external BLOB NOT NULL,
        revision INTEGER NOT NULL,
        profile BLOB NOT NULL,
        token_revision INTEGER NOT NULL DEFAULT 0,
        token_expires_at INTEGER,
        token BLOB
    ) STRICT;
    CREATE INDEX by_external ON users (external);
",
    "
    -- States may be 5, damaged, and metadata are sealed packed: the first version knows neither.
",
    "
    -- States may be 6, refused, and metadata may have scopes: the second version knows neither.
    CREATE INDEX by_expiry ON authentications (expires_at) WHERE expires_at IS NOT NULL;
",
    "
    DROP INDEX by_state;
    CREATE INDEX by_age ON authentications (state, fetched_at);
    DROP INDEX by_expiry;
    CREATE INDEX by_expiry ON authentications (expires_at, state) WHERE expires_at IS NOT NULL;
",
];

/// Marks a new file as this vault's, in the generation after which it goes on, or makes sure that an old one is: under
/// other keys every record in it would look damaged.
pub(super) fn claim(db: &Connection, keys: &Keys, generation: u64) -> Result<(), CacheError> {
    let ours = keys.fingerprint("cache of vault", b"");
    db.execute(
        "INSERT INTO cache (only, vault, generation) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
        (ours.as_bytes(), generation.cast_signed()),
    )?;
    let vault: Vec<u8> = db.query_row("SELECT vault FROM cache", [], |row| row.get(0))?;
    if vault == ours.as_bytes() { Ok(()) } else { Err(CacheError::ForeignVault) }
}

pub(super) fn generation(db: &Connection) -> Result<u64, CacheError> {
    let column = db.prepare_cached("SELECT generation FROM cache")?.query_row([], |row| row.get(0))?;
    Ok(plausible_generation(Path::new(db.path().unwrap_or_default()), column)?)
}

pub(super) fn next_generation(db: &Connection) -> Result<u64, CacheError> {
    let next = "UPDATE cache SET generation = generation + 1 RETURNING generation";
    Ok(db.prepare_cached(next)?.query_row([], |row| unsigned(row, 0))?)
}

/// The integer key of an authentication's row: its UUID's two halves, XORed. SQLite finds a row by such a key
/// without a second index. The whole id is in the row too, so that two of the same key are told apart.
pub(super) fn row_key(id: AuthenticationId) -> i64 {
    let (high, low) = id.0.as_u64_pair();
    (high ^ low).cast_signed()
}

/// Whether the id that was found in the row of `id` is another authentication's with the same integer key. One with a key
/// of its own can't be there: the column is damaged.
pub(super) fn is_another(found: AuthenticationId, id: AuthenticationId) -> bool {
    found != id && row_key(found) == row_key(id)
}

pub(super) fn owner_mark(keys: &Keys, owner_key: &str) -> i64 {
    keys.fingerprint("owner", owner_key.as_bytes()).to_integer()
}

pub(super) fn service_mark(keys: &Keys, service: &str) -> i64 {
    keys.fingerprint("service", service.as_bytes()).to_integer()
}

pub(super) fn user_mark(keys: &Keys, id: &UserId) -> Fingerprint {
    keys.fingerprint("user", id.0.as_bytes())
}

pub(super) fn external_mark(keys: &Keys, id: &ExternalUserId) -> Fingerprint {
    keys.fingerprint("external user", id.0.as_bytes())
}

pub(super) fn user_json(user: &EndUser) -> SecretBytes {
    json(user)
}

fn json(value: &impl serde::Serialize) -> SecretBytes {
    #[expect(clippy::expect_used, reason = "no map keys, no floats, nothing that can fail")]
    let json = serde_json::to_vec(value).expect("strings and lists have a form in JSON");
    SecretBytes::new(json)
}

/// Of what a list shows: scopes are not among it.
pub(super) fn metadata_fingerprint(keys: &Keys, metadata: &Metadata) -> Fingerprint {
    let listed = Metadata { scopes: None, ..metadata.clone() };
    keys.fingerprint("metadata", json(&listed).expose_secret())
}

/// Where an authentication's metadata are sealed to; `times` is when they were listed.
pub(super) fn metadata_place<'a>(id: &'a AuthenticationId, revision: u64, times: &'a [i64]) -> Place<'a> {
    Place { table: "authentications", column: "metadata", record: id.as_bytes(), revision, times }
}

/// Where its secret is sealed to; `times` is when it was fetched, and when it expires if it does.
pub(super) fn secret_place<'a>(id: &'a AuthenticationId, revision: u64, times: &'a [i64]) -> Place<'a> {
    Place { table: "authentications", column: "secret", record: id.as_bytes(), revision, times }
}

/// Where an end user's profile is sealed to.
pub(super) fn profile_place(user: &Fingerprint, revision: u64) -> Place<'_> {
    Place { table: "users", column: "profile", record: user.as_bytes(), revision, times: &[] }
}

/// Where an end user's token is sealed to; `times` is when it expires.
pub(super) fn token_place<'a>(user: &'a Fingerprint, revision: u64, times: &'a [i64]) -> Place<'a> {
    Place { table: "users", column: "token", record: user.as_bytes(), revision, times }
}

/// Goes on after `generation`, where the file is from before it.
pub(super) fn go_on_after(db: &Connection, generation: u64) -> Result<(), CacheError> {
    db.execute("UPDATE cache SET generation = max(generation, ?1)", [generation.cast_signed()])?;
    Ok(())
}

/// A count, which SQLite holds as a signed integer.
pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: impl rusqlite::RowIndex) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
