//! `journal.db`: the intents that are not finished, sealed, each commit on stable storage before it is believed.
//!
//! In the clear are an intent's id, its order of arrival, when it came and the number of its state. All but the order
//! are bound to the sealed columns, so that none can be changed alone. Beside them stands what was accepted lately: see
//! [`accepted`].

mod accepted;
mod bulk;
mod custody;
mod rows;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use self::rows::payload_place;
pub(super) use self::{accepted::Accepted, bulk::LineEnd};
use super::{
    intent::{Follows, Intent, Journaled, Rejected, Slip, Stage, Unfinished},
    refusal::Refusal,
};
use crate::{
    authentication::AuthenticationId,
    crypto::CryptoError,
    secret::SecretBytes,
    vault::{
        Continuity, DatabaseError, Durability, IsLocked, Keyring, Keys, RolledBack, open_database, plausible_generation,
    },
};

const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE intent (
        arrival     INTEGER PRIMARY KEY AUTOINCREMENT,
        id          BLOB NOT NULL UNIQUE,
        received_at INTEGER NOT NULL,
        state       INTEGER NOT NULL,
        revision    INTEGER NOT NULL,
        context     BLOB NOT NULL,
        payload     BLOB NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE journal (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        generation INTEGER NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE intent ADD COLUMN bulk BLOB;
    CREATE INDEX intent_by_bulk ON intent (bulk, state) WHERE bulk IS NOT NULL;
    CREATE INDEX intent_by_state ON intent (state);
    CREATE TABLE accepted (
        fingerprint    BLOB PRIMARY KEY,
        intent         BLOB NOT NULL,
        authentication BLOB NOT NULL,
        accepted_at    INTEGER NOT NULL,
        is_create      INTEGER NOT NULL,
        binding        BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX accepted_by_authentication ON accepted (authentication);
    CREATE INDEX accepted_by_time ON accepted (accepted_at);
",
];

/// The state of what a person has to look at: see [`Held`](super::intent::Held).
const HELD: i64 = 5;

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    connection: Mutex<Connection>,
    keyring: Arc<Keyring>,
    /// Told the generation after each commit, which is on stable storage then.
    settled: Arc<AtomicU64>,
}

/// Why the journal can't be used. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It can't be opened.
    #[error("the journal can't be opened")]
    Open(#[from] DatabaseError),
    /// It is from before what the audit log knows of.
    #[error("the journal was rolled back")]
    RolledBack(#[from] RolledBack),
    /// It can't be read or written.
    #[error("the journal can't be read or written")]
    Sqlite(#[from] rusqlite::Error),
    /// Nothing can be sealed.
    #[error("a document can't be sealed")]
    Seal(#[from] CryptoError),
    /// The vault is locked.
    #[error(transparent)]
    IsLocked(#[from] IsLocked),
    /// An intent is not what this vault wrote there.
    #[error("the intent {0} in the journal is damaged")]
    Damaged(Uuid),
    /// The daemon is going down.
    #[error("the journal's thread is gone")]
    Gone,
}

/// What the journal holds.
pub(super) struct Contents {
    /// In order of arrival.
    pub(super) unfinished: Vec<Unfinished>,
    /// Rows that don't open: they stay as they are.
    pub(super) damaged: Vec<Uuid>,
}

/// A document that is to be journaled.
pub(super) struct Admission {
    pub(super) slip: Slip,
    pub(super) document: SecretBytes,
    /// Why it is rejected at once: a line of many that is no document.
    pub(super) refusal: Option<Refusal>,
}

impl Journal {
    /// Opens or makes the journal at `path`. `settled` is told the generation that is on stable storage, now and after
    /// each commit.
    ///
    /// # Errors
    /// [`JournalError::RolledBack`] when it is from before what `continuity` knows, or not there; others when it can't
    /// be opened. It can't be rebuilt, so it is left as it is.
    pub fn open(
        path: &Path,
        keyring: Arc<Keyring>,
        continuity: Continuity,
        settled: Arc<AtomicU64>,
    ) -> Result<Self, JournalError> {
        let connection = open_database(path, Durability::Durable, &MIGRATIONS)?;
        connection.execute("INSERT INTO journal (only, generation) VALUES (1, 0) ON CONFLICT DO NOTHING", [])?;
        let column = connection.query_row("SELECT generation FROM journal", [], |row| row.get(0))?;
        let found = plausible_generation(path, column)?;
        let goes_on_after = continuity.check(found)?;
        if let Some(anchored) = goes_on_after {
            connection.execute("UPDATE journal SET generation = ?1", [anchored.cast_signed()])?;
        }
        settled.fetch_max(goes_on_after.unwrap_or(found), Ordering::Relaxed);
        Ok(Self(Arc::new(Inner { connection: Mutex::new(connection), keyring, settled })))
    }

    /// How many intents are not finished. Needs no keys.
    ///
    /// # Errors
    /// [`JournalError::Sqlite`].
    pub fn unfinished(&self) -> Result<u64, JournalError> {
        Ok(self.connection().query_row("SELECT count(*) FROM intent", [], generation)?)
    }

    /// Whether the vault is unlocked.
    pub(super) fn is_unlocked(&self) -> bool {
        self.0.keyring.is_unlocked()
    }

    /// The keys, which come and go.
    pub(super) fn keyring(&self) -> &Arc<Keyring> {
        &self.0.keyring
    }

    /// Resolves once the vault is unlocked; at once if it is.
    pub(super) async fn unlocked(&self) {
        self.0.keyring.unlocked().await;
    }

    /// Whether a claimed file's documents are in the journal. Blocks.
    pub(super) fn holds(&self, claim: Uuid) -> Result<bool, JournalError> {
        let query = "SELECT 1 FROM intent WHERE id = ?1 OR bulk = ?1";
        let found = self.connection().query_row(query, [claim.as_bytes()], |_| Ok(())).optional()?;
        Ok(found.is_some())
    }

    /// Journals documents, all of them or none: from here on they are the journal's to bring to an end. Blocks.
    pub(super) fn admit(&self, batch: &[Admission]) -> Result<(), JournalError> {
        let sql = "INSERT INTO intent (id, received_at, state, revision, context, payload, bulk)
                   VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)";
        self.commit(|transaction, keys| {
            let mut insert = transaction.prepare_cached(sql)?;
            for Admission { slip, document, refusal } in batch {
                let stage = match refusal {
                    None => Stage::Journaled(Journaled {}),
                    Some(refusal) => Stage::Rejected(Rejected { refusal: refusal.clone(), at: slip.received_at }),
                };
                let received_at = slip.received_at.as_millisecond();
                let payload = keys.seal(&payload_place(&slip.id, &[received_at]), document.expose_secret())?;
                let context = rows::seal(keys, slip, &stage, 0)?;
                let bulk = slip.line.map(|line| *line.bulk.as_bytes());
                insert.execute(params![slip.id.as_bytes(), received_at, stage.code(), context, payload, bulk])?;
            }
            Ok(())
        })
    }

    /// Everything that is not finished.
    pub(super) async fn contents(&self) -> Result<Contents, JournalError> {
        self.blocking(Self::read_contents).await
    }

    /// One that is not finished; `None` if there is none of this id.
    pub(super) async fn intent(&self, id: Uuid) -> Result<Option<Unfinished>, JournalError> {
        self.blocking(move |journal| {
            let keys = journal.0.keyring.keys()?;
            let row = rows::one(&journal.connection(), id)?;
            row.map(|row| row.open(&keys).ok_or(JournalError::Damaged(id))).transpose()
        })
        .await
    }

    /// The one that is held and whose document is the same, if there is one.
    pub(super) async fn held_copy(&self, fingerprint: [u8; 16]) -> Result<Option<Uuid>, JournalError> {
        self.blocking(move |journal| {
            let keys = journal.0.keyring.keys()?;
            let held = rows::in_state(&journal.connection(), HELD)?;
            let mut slips = held.iter().filter_map(|row| row.open(&keys));
            Ok(slips.find(|held| held.slip().fingerprint == Some(fingerprint)).map(|held| held.slip().id))
        })
        .await
    }

    /// The one that was accepted within a window and whose document is the same, if there is one.
    pub(super) async fn accepted_copy(
        &self,
        fingerprint: [u8; 16],
        window: Duration,
    ) -> Result<Option<Accepted>, JournalError> {
        self.blocking(move |journal| {
            let keys = journal.0.keyring.keys()?;
            Ok(accepted::find(&journal.connection(), &keys, &fingerprint, before(window))?)
        })
        .await
    }

    /// Forgets what was accepted before a window. Blocks.
    pub(super) fn forget_accepted(&self, window: Duration) -> Result<(), JournalError> {
        let before = before(window);
        // Nothing to forget is nothing to commit: a generation says that something changed.
        if accepted::is_any_before(&self.connection(), before)? {
            self.commit(|transaction, _| Ok(accepted::forget(transaction, before)?))?;
        }
        Ok(())
    }

    /// An intent's document.
    pub(super) async fn document(&self, slip: &Slip) -> Result<SecretBytes, JournalError> {
        let (id, received_at) = (slip.id, slip.received_at.as_millisecond());
        self.blocking(move |journal| {
            let keys = journal.0.keyring.keys()?;
            let query = "SELECT payload FROM intent WHERE id = ?1";
            let payload: Vec<u8> = journal.connection().query_row(query, [id.as_bytes()], |row| row.get(0))?;
            let place = payload_place(&id, std::slice::from_ref(&received_at));
            keys.open(&place, &payload).map_err(|_| JournalError::Damaged(id))
        })
        .await
    }

    /// Commits the next state of an intent. If that fails the intent is as the journal has it.
    pub(super) async fn advance<A, B: Follows<A>>(&self, intent: Intent<A>, to: B) -> Result<Intent<B>, JournalError> {
        let (slip, revision, stage) = (intent.slip, intent.revision + 1, to.clone().into());
        let slip = self.blocking(move |journal| journal.write_stage(&slip, &stage, revision).map(|()| slip)).await?;
        Ok(Intent { slip, state: to, revision })
    }

    fn write_stage(&self, slip: &Slip, stage: &Stage, revision: u64) -> Result<(), JournalError> {
        self.commit(|transaction, keys| {
            let context = rows::seal(keys, slip, stage, revision)?;
            let changed = transaction.execute(
                "UPDATE intent SET state = ?1, revision = ?2, context = ?3 WHERE id = ?4 AND revision = ?2 - 1",
                params![stage.code(), revision.cast_signed(), context, slip.id.as_bytes()],
            )?;
            if changed != 1 {
                return Err(JournalError::Damaged(slip.id));
            }
            match stage {
                Stage::Acked(acked) => Ok(accepted::remember(transaction, keys, slip, acked)?),
                _ => Ok(()),
            }
        })
    }

    /// Takes an intent out, whatever it is; the file of many that it was a line of.
    pub(super) async fn remove(&self, id: Uuid) -> Result<Option<Uuid>, JournalError> {
        self.blocking(move |journal| {
            let mut bulk = None;
            journal.commit(|transaction, _| {
                let delete = "DELETE FROM intent WHERE id = ?1 RETURNING bulk";
                let of = transaction.query_row(delete, [id.as_bytes()], |row| row.get::<_, Option<[u8; 16]>>(0));
                bulk = of.optional()?.flatten().map(Uuid::from_bytes);
                Ok(())
            })?;
            Ok(bulk)
        })
        .await
    }

    /// Whether an authentication is known to be what another document made or changed.
    pub(super) async fn is_anothers(&self, authentication: AuthenticationId, than: Uuid) -> Result<bool, JournalError> {
        self.blocking(move |journal| Ok(accepted::is_anothers(&journal.connection(), authentication, than)?)).await
    }

    fn read_contents(&self) -> Result<Contents, JournalError> {
        let keys = self.0.keyring.keys()?;
        let rows = rows::all(&self.connection())?;
        let mut contents = Contents { unfinished: Vec::new(), damaged: Vec::new() };
        for row in rows {
            match row.open(&keys) {
                Some(intent) => contents.unfinished.push(intent),
                None => contents.damaged.push(Uuid::from_slice(&row.id).unwrap_or_default()),
            }
        }
        Ok(contents)
    }

    /// One transaction, and one generation. The keys are taken within it: see [`Keyring::keys`].
    fn commit(&self, act: impl FnOnce(&Connection, &Keys) -> Result<(), JournalError>) -> Result<(), JournalError> {
        let mut connection = self.connection();
        let keys = self.0.keyring.keys()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        act(&transaction, &keys)?;
        let next = "UPDATE journal SET generation = generation + 1 RETURNING generation";
        let generation = transaction.query_row(next, [], generation)?;
        transaction.commit()?;
        self.0.settled.fetch_max(generation, Ordering::Relaxed);
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic drops its transaction, which rolls back.
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit waits for the disk: not on a thread that others wait for.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let journal = self.clone();
        tokio::task::spawn_blocking(move || act(&journal)).await.map_err(|_| JournalError::Gone)?
    }
}

fn generation(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::cast_unsigned)
}

/// When a window began, in epoch milliseconds.
fn before(window: Duration) -> i64 {
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    now().as_millisecond().saturating_sub(window)
}

/// A time as the journal keeps it: to the millisecond, so that what is sealed is what is read.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
