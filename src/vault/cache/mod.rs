//! `cache.db`: every authentication that Tray lists, and the secrets of those that may be kept.
//!
//! What is in plain columns is what scheduling needs: ids, times, states, keyed fingerprints. Everything else
//! is sealed to its row, column and revision. Writes go through one thread, in batches that are a transaction
//! each; reads are synchronous, on connections of their own, and take microseconds.
//!
//! The plain columns are hints, not truth: whoever can write to the file can change when something is pulled
//! again or whether it is listed, but never what is answered. The times that an answer's freshness rests on
//! are authenticated with the secret.

mod error;
mod model;
mod packed;
mod readers;
mod records;
mod reseal;
mod rows;
mod schema;
mod stored;
mod users;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::Notify;

pub use error::CacheError;
pub use model::{
    Ages, Counts, Cursor, Filter, GoneReason, Held, Listing, Record, Scheduled, SealedSecret, Secret, State, Write,
};
pub use reseal::{Resealed, Walk};

use self::readers::Readers;
use self::stored::Stored;
use self::writer::Writer;
use super::database::{Continuity, DatabaseError, Durability, open_database};
use super::keyring::{Fingerprint, Keyring, Keys};
use crate::authentication::{AuthenticationId, EndUser, ExternalUserId, Metadata, Owner, UserId};
use crate::clauses::clauses;
use crate::secret::SecretString;

/// The cache, open. Clones share it; the last one to go waits for the writer to finish and check the
/// write-ahead log in.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    keyring: Arc<Keyring>,
    readers: Arc<Readers>,
    writer: Writer,
    damage: Damage,
}

/// What was found damaged and waits to be replaced.
#[derive(Default)]
struct Damage {
    found: Mutex<Found>,
    /// Woken for each finding.
    news: Notify,
}

#[derive(Default)]
struct Found {
    /// Records that are being quarantined, or could not be listed anew yet.
    records: HashSet<AuthenticationId>,
    /// What SQLite says of the file, if it is the file.
    file: Option<String>,
    /// Why the last batch could not be committed.
    write: Option<String>,
}

impl Cache {
    /// Opens the cache at `path`, creating it if it isn't there, and starts its writer. `settled` is told the generation
    /// that is on stable storage, now and from then on.
    ///
    /// # Errors
    /// [`CacheError::ForeignVault`] when another vault's keys sealed it; [`CacheError::RolledBack`] when it is from
    /// before what `continuity` knows; [`CacheError::Database`] when it can't be opened.
    pub fn open(
        path: &Path,
        keyring: Arc<Keyring>,
        continuity: Continuity,
        settled: Arc<AtomicU64>,
    ) -> Result<Self, CacheError> {
        let connection = connect(path, &*keyring.keys()?, continuity)?;
        let readers = Arc::new(Readers::new(path));
        let place = writer::Place { path: path.to_owned(), readers: Arc::clone(&readers), settled };
        Ok(Self(Arc::new(Shared {
            readers,
            writer: Writer::start(connection, Arc::clone(&keyring), place)?,
            keyring,
            damage: Damage::default(),
        })))
    }

    /// Commits the batch whole or not at all, and gives the generation after it, which is one more than the
    /// one before. The order of batches is that in which they were sent. A batch once sent is carried out,
    /// though nobody may wait for the answer any more.
    ///
    /// # Errors
    /// Any of [`CacheError`]'s; nothing of the batch was written then.
    pub async fn write(&self, batch: Vec<Write>) -> Result<u64, CacheError> {
        let listed: Vec<_> = batch.iter().filter_map(Write::listed).collect();
        let written = self.note_write(self.0.writer.write(batch).await);
        if written.is_ok() {
            self.0.damage.found().records.retain(|id| !listed.contains(id));
        }
        written
    }

    /// Re-seals what the next few rows hold from earlier epochs.
    ///
    /// # Errors
    /// Any of [`CacheError`]'s; nothing of the step was written then.
    pub async fn reseal(&self, walk: Walk) -> Result<Resealed, CacheError> {
        self.note_write(self.0.writer.reseal(walk).await)
    }

    /// Puts what was committed on stable storage, and nowhere else: the write-ahead log is emptied.
    ///
    /// # Errors
    /// [`CacheError::Busy`], or SQLite's.
    pub async fn settle(&self) -> Result<(), CacheError> {
        // What could not be quarantined, or listed anew, is tried again by who reads it next.
        self.0.damage.found().records.clear();
        self.note(self.0.writer.settle().await)
    }

    /// Sets the file aside, with what is wrong with it, and goes on with an empty one.
    ///
    /// # Errors
    /// A new one can't be made: whatever is asked of the cache fails then, until it can.
    pub async fn rebuild(&self) -> Result<(), CacheError> {
        let reason = self.damaged_file().unwrap_or_default();
        self.0.writer.rebuild(reason).await?;
        *self.0.damage.found() = Found::default();
        Ok(())
    }

    /// Resolves once the writer has come to what was sent before this; `false` if it is gone.
    pub async fn goes_on(&self) -> bool {
        self.0.writer.beat().await.is_ok()
    }

    /// Resolves once something is found to be damaged: a record, which is quarantined then, or
    /// [the file](Self::damaged_file).
    pub async fn damage_found(&self) {
        self.0.damage.news.notified().await;
    }

    /// What SQLite says of the file, if it was found to be damaged.
    pub fn damaged_file(&self) -> Option<String> {
        self.0.damage.found().file.clone()
    }

    /// Why the last batch could not be written, if it could not.
    pub fn write_failure(&self) -> Option<String> {
        self.0.damage.found().write.clone()
    }

    /// Whether its vault is unlocked; locked, it only counts.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.0.keyring
    }

    /// Reads with the keys, and takes note of what turns out to be damaged.
    fn read<T>(&self, read: impl FnOnce(&Connection, &Keys) -> Result<T, CacheError>) -> Result<T, CacheError> {
        let keys = self.0.keyring.keys()?;
        self.note(self.0.readers.with(|db| read(db, &keys)))
    }

    /// Takes note of how a write went, too.
    fn note_write<T>(&self, result: Result<T, CacheError>) -> Result<T, CacheError> {
        let failure = result.as_ref().err().filter(|error| !error.is_locked()).map(|error| clauses(error));
        self.0.damage.found().write = failure;
        self.note(result)
    }

    fn note<T>(&self, result: Result<T, CacheError>) -> Result<T, CacheError> {
        match &result {
            Err(CacheError::Damaged { id }) => self.quarantine(&[*id]),
            Err(error) if error.is_file_damaged() => {
                tracing::error!(%error, "the cache's file is damaged");
                self.0.damage.found().file.get_or_insert_with(|| clauses(error));
                self.0.damage.news.notify_one();
            }
            _ => {}
        }
        result
    }

    fn quarantine(&self, ids: &[AuthenticationId]) {
        let mut found = self.0.damage.found();
        let new: Vec<_> = ids.iter().copied().filter(|id| found.records.insert(*id)).collect();
        if new.is_empty() {
            return;
        }
        for id in &new {
            tracing::error!(%id, "a record of the cache is damaged: it is quarantined");
        }
        if !self.0.writer.try_write(new.iter().copied().map(Write::Quarantine).collect()) {
            // The next one who reads it tries again.
            found.records.retain(|id| !new.contains(id));
        }
        drop(found);
        self.0.damage.news.notify_one();
    }

    /// What is known of an authentication, without its secret; `None` if it was never listed.
    pub fn record(&self, id: AuthenticationId) -> Result<Option<Record>, CacheError> {
        self.read(|db, keys| records::record(db, keys, id))
    }

    /// An authentication's secret; `None` if none is held. `revision`, `fetched_at` and `expires_at` are authenticated
    /// here, as they are not in the other reads.
    pub fn secret(&self, id: AuthenticationId) -> Result<Option<Secret>, CacheError> {
        self.read(|db, keys| {
            let stored = records::stored(db, id)?.filter(Stored::has_secret);
            stored.map(|stored| stored.open(keys).ok_or(CacheError::Damaged { id })).transpose()
        })
    }

    /// What is known of an authentication and its secret, still sealed, in one look; `None` if it was never listed.
    pub fn held(&self, id: AuthenticationId) -> Result<Option<Held>, CacheError> {
        let keys = self.0.keyring.keys()?;
        let Some(stored) = self.note(self.0.readers.row(id, |db| records::stored(db, id)))? else { return Ok(None) };
        let record = self.note(stored.record(&keys).ok_or(CacheError::Damaged { id }))?;
        Ok(Some(Held { record, sealed: stored.has_secret().then_some(SealedSecret(stored)) }))
    }

    /// Opens what [`Self::held`] found; as [`Self::secret`].
    pub fn open_secret(&self, SealedSecret(stored): &SealedSecret) -> Result<Secret, CacheError> {
        let keys = self.0.keyring.keys()?;
        self.note(stored.open(&keys).ok_or(CacheError::Damaged { id: stored.id() }))
    }

    /// What the filter selects, in the order of [`Cursor`]. Nothing else is decrypted.
    pub fn list(&self, filter: &Filter) -> Result<Listing, CacheError> {
        let listing = self.read(|db, keys| records::list(db, keys, filter))?;
        self.quarantine(&listing.damaged);
        Ok(listing)
    }

    /// What is held of an owner's authentications, tombstones included, by plain columns only.
    pub fn schedule(&self, owner: &Owner) -> Result<Vec<Scheduled>, CacheError> {
        self.read(|db, keys| records::schedule(db, keys, owner))
    }

    /// What is held in full and expires before this moment, what expires first in front, by plain columns only.
    pub fn expiring(&self, before: jiff::Timestamp) -> Result<Vec<Scheduled>, CacheError> {
        self.read(|db, _| records::expiring(db, before))
    }

    /// What [`Scheduled::metadata`] is when nothing about the authentication changed.
    pub fn metadata_fingerprint(&self, metadata: &Metadata) -> Result<Fingerprint, CacheError> {
        Ok(schema::metadata_fingerprint(&*self.0.keyring.keys()?, metadata))
    }

    /// Every end user, in no order. One that is damaged is left out, and reported to the trace: the next
    /// listing writes it anew.
    pub fn users(&self) -> Result<Vec<EndUser>, CacheError> {
        self.read(users::all)
    }

    /// The end user of this id of Tray's.
    pub fn user(&self, id: &UserId) -> Result<Option<EndUser>, CacheError> {
        self.read(|db, keys| users::by_id(db, keys, id))
    }

    /// The end user of this id of the embedding company's.
    pub fn user_by_external_id(&self, id: &ExternalUserId) -> Result<Option<EndUser>, CacheError> {
        self.read(|db, keys| users::by_external_id(db, keys, id))
    }

    /// The user token that is held for an end user and when it expires; whether it has, the caller says.
    pub fn user_token(&self, id: &UserId) -> Result<Option<(SecretString, jiff::Timestamp)>, CacheError> {
        self.read(|db, keys| users::token(db, keys, id))
    }

    /// How many there are of each, by plain columns.
    pub fn counts(&self) -> Result<Counts, CacheError> {
        self.note(self.0.readers.with(records::counts))
    }

    /// How old what is held in full is, and what of it expires, by plain columns.
    pub fn ages(&self, now: jiff::Timestamp) -> Result<Ages, CacheError> {
        self.note(self.0.readers.with(|db| records::ages(db, now)))
    }

    /// How many batches were committed since the file was made.
    pub fn generation(&self) -> Result<u64, CacheError> {
        self.note(self.0.readers.with(schema::generation))
    }
}

impl Damage {
    fn found(&self) -> MutexGuard<'_, Found> {
        // A panic can't leave it half-changed: what is in it are findings of their own.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file for writing, makes sure that it is this vault's and goes on from where it was.
fn connect(path: &Path, keys: &Keys, continuity: Continuity) -> Result<Connection, CacheError> {
    let connection = open_database(path, Durability::Rebuildable, schema::MIGRATIONS)?;
    let go_on = || {
        schema::claim(&connection, keys, continuity.anchored)?;
        if let Some(anchored) = continuity.check(schema::generation(&connection)?)? {
            schema::go_on_after(&connection, anchored)?;
        }
        Ok(())
    };
    go_on().map_err(|error| match error {
        CacheError::Sqlite(source) => DatabaseError::from_sqlite(path, source).into(),
        error => error,
    })?;
    Ok(connection)
}
