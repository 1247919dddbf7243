//! `journal.db`: the intents that are not finished, sealed, each commit on stable storage before it is believed.
//!
//! In the clear are an intent's id, its order of arrival, when it came and the number of its state. All but the order
//! are bound to the sealed columns, so that none can be changed alone.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    intent::{Final, Follows, Intent, Journaled, Rejected, Slip, Stage, Unfinished},
    refusal::{Kind, Refusal},
};
use crate::{
    crypto::CryptoError,
    secret::SecretBytes,
    vault::{
        Continuity, Damaged, DatabaseError, Durability, IsLocked, Keyring, Keys, Place, RolledBack, open_database,
        plausible_generation,
    },
};

const MIGRATIONS: [&str; 2] = [
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
];

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

/// The sealed column `context`.
#[derive(Serialize, Deserialize)]
struct Context {
    slip: Slip,
    stage: Stage,
}

/// What re-sealing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many intents there are.
    pub seen: u64,
    /// How many of them don't open in any epoch: they stay as they are.
    pub damaged: u64,
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

    /// Resolves once the vault is unlocked; at once if it is.
    pub(super) async fn unlocked(&self) {
        self.0.keyring.unlocked().await;
    }

    /// Whether an intent is in the journal. Blocks.
    pub(super) fn holds(&self, id: Uuid) -> Result<bool, JournalError> {
        let query = "SELECT 1 FROM intent WHERE id = ?1";
        let found = self.connection().query_row(query, [id.as_bytes()], |_| Ok(())).optional()?;
        Ok(found.is_some())
    }

    /// Journals a document: from here on it is the journal's to bring to an end. Blocks.
    pub(super) fn admit(&self, slip: Slip, document: &SecretBytes) -> Result<Intent<Journaled>, JournalError> {
        let stage = Stage::Journaled(Journaled {});
        let received_at = slip.received_at.as_millisecond();
        self.commit(|transaction, keys| {
            let payload = keys.seal(&payload_place(&slip.id, &[received_at]), document.expose_secret())?;
            let context = seal(keys, &slip, &stage, 0)?;
            let sql =
                "INSERT INTO intent (id, received_at, state, revision, context, payload) VALUES (?1, ?2, ?3, 0, ?4, ?5)";
            transaction.execute(sql, params![slip.id.as_bytes(), received_at, stage.code(), context, payload])?;
            Ok(())
        })?;
        Ok(Intent { slip, state: Journaled {}, revision: 0 })
    }

    /// Everything that is not finished.
    pub(super) async fn contents(&self) -> Result<Contents, JournalError> {
        self.blocking(Self::read_contents).await
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
            let context = seal(keys, slip, stage, revision)?;
            let changed = transaction.execute(
                "UPDATE intent SET state = ?1, revision = ?2, context = ?3 WHERE id = ?4 AND revision = ?2 - 1",
                params![stage.code(), revision.cast_signed(), context, slip.id.as_bytes()],
            )?;
            if changed == 1 { Ok(()) } else { Err(JournalError::Damaged(slip.id)) }
        })
    }

    /// Takes an intent out, once its outcome is written.
    pub(super) async fn finish<S: Final>(&self, intent: Intent<S>) -> Result<(), JournalError> {
        let id = intent.slip.id;
        self.blocking(move |journal| {
            journal.commit(|transaction, _| {
                transaction.execute("DELETE FROM intent WHERE id = ?1", [id.as_bytes()])?;
                Ok(())
            })
        })
        .await
    }

    /// Re-seals what earlier epochs sealed, all of it in one commit: there are few intents at a time.
    ///
    /// # Errors
    /// [`JournalError`]; nothing was changed then.
    pub async fn reseal(&self) -> Result<Resealed, JournalError> {
        self.blocking(|journal| {
            let mut resealed = Resealed::default();
            journal.commit(|transaction, keys| {
                let rows = read_rows(transaction)?;
                for row in &rows {
                    let payload: Vec<u8> =
                        transaction
                            .query_row("SELECT payload FROM intent WHERE id = ?1", [&row.id], |row| row.get(0))?;
                    let (context, payload) = row.resealed(keys, &payload);
                    // Each for itself: of one that is damaged the other may yet be of use.
                    resealed.damaged += u64::from(context.is_err() || payload.is_err());
                    match (context.ok().flatten(), payload.ok().flatten()) {
                        (None, None) => {}
                        (context, payload) => {
                            let sql = "UPDATE intent SET context = coalesce(?2, context), \
                                       payload = coalesce(?3, payload) WHERE id = ?1";
                            transaction.execute(sql, params![row.id, context, payload])?;
                        }
                    }
                }
                resealed.seen = rows.len() as u64;
                Ok(())
            })?;
            Ok(resealed)
        })
        .await
    }

    /// Makes a journal safe that comes out of a backup: what was waiting then may have been sent since, and what was sent
    /// may have been overtaken by what came after. It is rejected, so that the document comes back to whoever dropped it.
    /// Gives how many those are. Blocks.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn reject_unsettled(&self) -> Result<usize, JournalError> {
        let mut rejected = 0;
        for intent in self.read_contents()?.unfinished {
            let (slip, revision) = match intent {
                Unfinished::Journaled(intent) => (intent.slip, intent.revision),
                Unfinished::Sent(intent) => (intent.slip, intent.revision),
                Unfinished::Acked(_) | Unfinished::Rejected(_) | Unfinished::Held(_) => continue,
            };
            let refusal = Refusal::new(Kind::Restored, Kind::Restored.clause())
                .hint("look whether Tray has it; if not, drop it again");
            self.write_stage(&slip, &Stage::Rejected(Rejected { refusal, at: now() }), revision + 1)?;
            rejected += 1;
        }
        Ok(rejected)
    }

    fn read_contents(&self) -> Result<Contents, JournalError> {
        let keys = self.0.keyring.keys()?;
        let rows = read_rows(&self.connection())?;
        let mut contents = Contents { unfinished: Vec::new(), damaged: Vec::new() };
        for row in rows {
            match row.open(&keys) {
                Some(Context { slip, stage }) => {
                    contents.unfinished.push(Unfinished::new(slip, row.revision.cast_unsigned(), stage));
                }
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

/// A row, but for its payload.
struct Row {
    id: Vec<u8>,
    received_at: i64,
    state: i64,
    revision: i64,
    context: Vec<u8>,
}

impl Row {
    fn place<'a>(&'a self, times: &'a [i64; 2]) -> Place<'a> {
        Place { table: "intent", column: "context", record: &self.id, revision: self.revision.cast_unsigned(), times }
    }

    fn open(&self, keys: &Keys) -> Option<Context> {
        let opened = keys.open(&self.place(&[self.received_at, self.state]), &self.context).ok()?;
        serde_json::from_slice(opened.expose_secret()).ok()
    }

    /// The context and the payload in the current epoch, each where it is not yet.
    fn resealed(&self, keys: &Keys, payload: &[u8]) -> (Resealing, Resealing) {
        let context = keys.reseal(&self.place(&[self.received_at, self.state]), &self.context);
        let id = Uuid::from_slice(&self.id).map_err(|_| Damaged);
        let payload = id.and_then(|id| keys.reseal(&payload_place(&id, &[self.received_at]), payload));
        (context, payload)
    }
}

type Resealing = Result<Option<Vec<u8>>, Damaged>;

fn read_rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let query = "SELECT id, received_at, state, revision, context FROM intent ORDER BY arrival";
    let row = |row: &rusqlite::Row<'_>| {
        // What is not of its column's type does not open, and stops no other.
        Ok(Row {
            id: row.get(0).unwrap_or_default(),
            received_at: row.get(1).unwrap_or_default(),
            state: row.get(2).unwrap_or_default(),
            revision: row.get(3).unwrap_or_default(),
            context: row.get(4).unwrap_or_default(),
        })
    };
    connection.prepare_cached(query)?.query_map([], row)?.collect()
}

fn seal(keys: &Keys, slip: &Slip, stage: &Stage, revision: u64) -> Result<Vec<u8>, CryptoError> {
    let times = [slip.received_at.as_millisecond(), stage.code()];
    let place = Place { table: "intent", column: "context", record: slip.id.as_bytes(), revision, times: &times };
    let context = serde_json::to_vec(&Context { slip: slip.clone(), stage: stage.clone() });
    let context = context.unwrap_or_else(|_| unreachable!("a context has string keys and plain values"));
    keys.seal(&place, &context)
}

fn generation(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::cast_unsigned)
}

fn payload_place<'a>(id: &'a Uuid, times: &'a [i64]) -> Place<'a> {
    Place { table: "intent", column: "payload", record: id.as_bytes(), revision: 0, times }
}

/// A time as the journal keeps it: to the millisecond, so that what is sealed is what is read.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            document::Action,
            intent::{Acked, Effect, Operation, Rejected, Sent},
            refusal::{Kind, Refusal},
        },
        *,
    };
    use crate::{
        authentication::{AuthenticationId, Owner},
        secret::Key,
        vault::{self, NewSlot},
    };

    fn keyring(dir: &Path) -> Arc<Keyring> {
        let Ok(key) = Key::try_fill(|key| {
            key.fill(7);
            Ok::<_, std::convert::Infallible>(())
        });
        vault::create(dir, &[NewSlot::Raw { key: &key }]).expect("a vault").into_keyring()
    }

    fn open(path: &Path, keyring: Arc<Keyring>) -> Journal {
        Journal::open(path, keyring, Continuity::default(), Arc::default()).expect("a journal")
    }

    fn slip(number: u128) -> Slip {
        Slip { id: Uuid::from_u128(number), file: format!("file {number}"), action: Action::Delete, received_at: now() }
    }

    fn sent() -> Sent {
        let operation = Operation::Delete { id: AuthenticationId(Uuid::from_u128(9)) };
        Sent { owner: Owner::Workspace, operation, schema_checked: false, sent_at: now(), attempt: 1 }
    }

    #[tokio::test]
    async fn every_state_is_as_it_was_left_when_the_journal_is_opened_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal.db");
        let keyring = keyring(&dir.path().join("vault"));
        let open = || open(&path, Arc::clone(&keyring));
        let document = SecretBytes::new(b"document".to_vec());
        {
            let journal = open();
            let admit = |number| journal.admit(slip(number), &document).expect("admitted");
            let refusal = Refusal::new(Kind::Schema, "no").at("/credentials");
            journal.advance(admit(1), Rejected { refusal, at: now() }).await.expect("committed");
            admit(2);
            let three = journal.advance(admit(3), sent()).await.expect("committed");
            let state = three.state.clone();
            let acked = Acked {
                authentication: AuthenticationId(Uuid::from_u128(9)),
                effect: Effect::Deleted,
                settled_at: now(),
                sent: state,
            };
            journal.advance(three, acked).await.expect("committed");
            let four = journal.advance(admit(4), sent()).await.expect("committed");
            journal.advance(four, Journaled {}).await.expect("committed");
            journal.advance(admit(5), sent()).await.expect("committed");
        }
        let journal = open();
        let Contents { unfinished, damaged } = journal.contents().await.expect("readable");
        assert!(damaged.is_empty());
        let [
            Unfinished::Rejected(one),
            Unfinished::Journaled(two),
            Unfinished::Acked(_),
            Unfinished::Journaled(_),
            Unfinished::Sent(five),
        ] = &unfinished[..]
        else {
            panic!("{unfinished:?}")
        };
        assert_eq!(one.state.refusal.pointer.as_deref(), Some("/credentials"));
        assert_eq!((two.slip.file.as_str(), two.revision), ("file 2", 0));
        assert_eq!(five.state.owner, Owner::Workspace);
        assert!(journal.document(&two.slip).await.expect("sealed").equals(&document));
        assert!(journal.holds(five.slip.id).expect("readable"));

        let Some(Unfinished::Rejected(one)) = unfinished.into_iter().next() else { panic!("the first") };
        let id = one.slip.id;
        journal.finish(one).await.expect("finished");
        assert!(!journal.holds(id).expect("readable"));
    }

    #[tokio::test]
    async fn out_of_a_backup_nothing_that_may_have_been_sent_since_is_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
        let document = SecretBytes::new(b"document".to_vec());
        journal.admit(slip(1), &document).expect("admitted");
        journal.advance(journal.admit(slip(2), &document).expect("admitted"), sent()).await.expect("committed");
        assert_eq!(journal.reject_unsettled().expect("rejected"), 2);
        assert_eq!(journal.reject_unsettled().expect("rejected"), 0);
        let contents = journal.contents().await.expect("readable");
        assert!(contents.unfinished.iter().all(|intent| matches!(intent, Unfinished::Rejected(_))));
    }

    #[tokio::test]
    async fn a_row_that_was_tampered_with_is_damaged_and_an_old_state_goes_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
        let document = SecretBytes::new(b"document".to_vec());
        let one = journal.admit(slip(1), &document).expect("admitted");
        let (again, copy) = (one.slip.clone(), Intent { slip: one.slip.clone(), state: Journaled {}, revision: 0 });
        journal.advance(one, sent()).await.expect("committed");
        let stale = journal.advance(copy, sent()).await;
        assert!(matches!(stale, Err(JournalError::Damaged(id)) if id == again.id));

        journal.connection().execute("UPDATE intent SET state = 1", []).expect("tampered");
        let contents = journal.contents().await.expect("readable");
        assert_eq!((contents.unfinished.len(), contents.damaged), (0, vec![again.id]));
        let other = journal.admit(slip(2), &document).expect("admitted").slip;
        let swap = "UPDATE intent SET payload = (SELECT payload FROM intent WHERE id = ?1) WHERE id = ?2";
        journal.connection().execute(swap, [other.id.as_bytes(), again.id.as_bytes()]).expect("tampered");
        assert!(matches!(journal.document(&again).await, Err(JournalError::Damaged(_))));
    }
}
