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
mod readers;
mod records;
mod schema;
mod users;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use error::CacheError;
pub use model::{Counts, Filter, GoneReason, Listing, Record, Scheduled, State, Write};

use self::readers::Readers;
use self::writer::Writer;
use super::database::{Durability, open_database};
use super::keyring::{Fingerprint, Keyring};
use crate::authentication::{AuthenticationId, EndUser, ExternalUserId, Metadata, Owner, UserId};
use crate::secret::{SecretBytes, SecretString};

/// The cache, open. Clones share it; the last one to go waits for the writer to finish and check the
/// write-ahead log in.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    keyring: Arc<Keyring>,
    // INVARIANT: before the writer, so that no reader keeps it from emptying the write-ahead log.
    readers: Readers,
    writer: Writer,
}

impl Cache {
    /// Opens the cache at `path`, creating it if it isn't there, and starts its writer.
    ///
    /// # Errors
    /// [`CacheError::ForeignVault`] when another vault's keys sealed it; [`CacheError::Database`] when it
    /// can't be opened.
    pub fn open(path: &Path, keyring: Arc<Keyring>) -> Result<Self, CacheError> {
        let connection = open_database(path, Durability::Rebuildable, schema::MIGRATIONS)?;
        schema::claim(&connection, &keyring)?;
        Ok(Self(Arc::new(Shared {
            readers: Readers::new(path),
            writer: Writer::start(connection, Arc::clone(&keyring))?,
            keyring,
        })))
    }

    /// Commits the batch whole or not at all, and gives the generation after it, which is one more than the
    /// one before. The order of batches is that in which they were sent. A batch once sent is carried out,
    /// though nobody may wait for the answer any more.
    ///
    /// # Errors
    /// Any of [`CacheError`]'s; nothing of the batch was written then.
    pub async fn write(&self, batch: Vec<Write>) -> Result<u64, CacheError> {
        self.0.writer.write(batch).await
    }

    /// What is known of an authentication, without its secret; `None` if it was never listed.
    pub fn record(&self, id: AuthenticationId) -> Result<Option<Record>, CacheError> {
        self.0.readers.with(|db| records::record(db, &self.0.keyring, id))
    }

    /// An authentication with its secret: the JSON text of the full answer, as Tray sent it. `None` if no
    /// secret is held. `revision`, `fetched_at` and `expires_at` are authenticated here, as they are not in
    /// the other reads.
    pub fn secret(&self, id: AuthenticationId) -> Result<Option<(Record, SecretBytes)>, CacheError> {
        self.0.readers.with(|db| records::secret(db, &self.0.keyring, id))
    }

    /// What the filter selects, in no order. Nothing else is decrypted.
    pub fn list(&self, filter: &Filter) -> Result<Listing, CacheError> {
        self.0.readers.with(|db| records::list(db, &self.0.keyring, filter))
    }

    /// What is held of an owner's authentications, tombstones included, by plain columns only.
    pub fn schedule(&self, owner: &Owner) -> Result<Vec<Scheduled>, CacheError> {
        self.0.readers.with(|db| records::schedule(db, &self.0.keyring, owner))
    }

    /// What [`Scheduled::metadata`] is when nothing about the authentication changed.
    pub fn metadata_fingerprint(&self, metadata: &Metadata) -> Fingerprint {
        schema::metadata_fingerprint(&self.0.keyring, &schema::metadata_json(metadata))
    }

    /// Every end user, in no order. One that is damaged is left out, and reported to the trace: the next
    /// listing writes it anew.
    pub fn users(&self) -> Result<Vec<EndUser>, CacheError> {
        self.0.readers.with(|db| users::all(db, &self.0.keyring))
    }

    /// The end user of this id of Tray's.
    pub fn user(&self, id: &UserId) -> Result<Option<EndUser>, CacheError> {
        self.0.readers.with(|db| users::by_id(db, &self.0.keyring, id))
    }

    /// The end user of this id of the embedding company's.
    pub fn user_by_external_id(&self, id: &ExternalUserId) -> Result<Option<EndUser>, CacheError> {
        self.0.readers.with(|db| users::by_external_id(db, &self.0.keyring, id))
    }

    /// The user token that is held for an end user and when it expires; whether it has, the caller says.
    pub fn user_token(&self, id: &UserId) -> Result<Option<(SecretString, jiff::Timestamp)>, CacheError> {
        self.0.readers.with(|db| users::token(db, &self.0.keyring, id))
    }

    /// How many there are of each, by plain columns.
    pub fn counts(&self) -> Result<Counts, CacheError> {
        self.0.readers.with(records::counts)
    }

    /// How many batches were committed since the file was made.
    pub fn generation(&self) -> Result<u64, CacheError> {
        self.0.readers.with(schema::generation)
    }
}
