//! `journal.db`: the intents that are not finished, sealed, each commit on stable storage before it is believed.
//!
//! In the clear are an intent's id, its order of arrival, when it came and the number of its state. All but the order
//! are bound to the sealed columns, so that none can be changed alone.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::intent::{Final, Follows, Intent, Journaled, Slip, Stage, Unfinished};
use crate::{
    crypto::CryptoError,
    secret::SecretBytes,
    vault::{DatabaseError, Durability, Keyring, Place, open_database},
};

const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE intent (
        arrival     INTEGER PRIMARY KEY AUTOINCREMENT,
        id          BLOB NOT NULL UNIQUE,
        received_at INTEGER NOT NULL,
        state       INTEGER NOT NULL,
        revision    INTEGER NOT NULL,
        context     BLOB NOT NULL,
        payload     BLOB NOT NULL
    ) STRICT;
"];

/// The journal. Cheap to clone.
#[derive(Clone)]
pub(super) struct Journal(Arc<Inner>);

struct Inner {
    connection: Mutex<Connection>,
    keyring: Arc<Keyring>,
}

/// Why the journal can't be used. Nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It can't be opened.
    #[error("the journal can't be opened")]
    Open(#[from] DatabaseError),
    /// It can't be read or written.
    #[error("the journal can't be read or written")]
    Sqlite(#[from] rusqlite::Error),
    /// Nothing can be sealed.
    #[error("a document can't be sealed")]
    Seal(#[from] CryptoError),
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

impl Journal {
    /// Opens or makes the journal.
    pub(super) fn open(path: &Path, keyring: Arc<Keyring>) -> Result<Self, JournalError> {
        let connection = open_database(path, Durability::Durable, &MIGRATIONS)?;
        Ok(Self(Arc::new(Inner { connection: Mutex::new(connection), keyring })))
    }

    /// Whether an intent is in the journal. Blocks.
    pub(super) fn holds(&self, id: Uuid) -> Result<bool, JournalError> {
        let found = self.with(|connection| {
            connection.query_row("SELECT 1 FROM intent WHERE id = ?1", [id.as_bytes()], |_| Ok(())).optional()
        })?;
        Ok(found.is_some())
    }

    /// Journals a document: from here on it is the journal's to bring to an end. Blocks.
    pub(super) fn admit(&self, slip: Slip, document: &SecretBytes) -> Result<Intent<Journaled>, JournalError> {
        let stage = Stage::Journaled(Journaled {});
        let received_at = slip.received_at.as_millisecond();
        let payload = self.0.keyring.seal(&payload_place(&slip.id, &[received_at]), document.expose_secret())?;
        let context = self.seal(&slip, &stage, 0)?;
        self.with(|connection| {
            connection.execute(
                "INSERT INTO intent (id, received_at, state, revision, context, payload) VALUES (?1, ?2, ?3, 0, ?4, ?5)",
                params![slip.id.as_bytes(), received_at, stage.code(), context, payload],
            )
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
            let payload: Vec<u8> = journal.with(|connection| {
                connection.query_row("SELECT payload FROM intent WHERE id = ?1", [id.as_bytes()], |row| row.get(0))
            })?;
            let place = payload_place(&id, std::slice::from_ref(&received_at));
            journal.0.keyring.open(&place, &payload).map_err(|_| JournalError::Damaged(id))
        })
        .await
    }

    /// Commits the next state of an intent. If that fails the intent is as the journal has it.
    pub(super) async fn advance<A, B: Follows<A>>(&self, intent: Intent<A>, to: B) -> Result<Intent<B>, JournalError> {
        let (slip, revision, stage) = (intent.slip, intent.revision + 1, to.clone().into());
        let slip = self
            .blocking(move |journal| {
                let context = journal.seal(&slip, &stage, revision)?;
                let changed = journal.with(|connection| {
                    connection.execute(
                        "UPDATE intent SET state = ?1, revision = ?2, context = ?3 WHERE id = ?4 AND revision = ?2 - 1",
                        params![stage.code(), revision.cast_signed(), context, slip.id.as_bytes()],
                    )
                })?;
                if changed == 1 { Ok(slip) } else { Err(JournalError::Damaged(slip.id)) }
            })
            .await?;
        Ok(Intent { slip, state: to, revision })
    }

    /// Takes an intent out, once its outcome is written.
    pub(super) async fn finish<S: Final>(&self, intent: Intent<S>) -> Result<(), JournalError> {
        let id = intent.slip.id;
        self.blocking(move |journal| {
            journal.with(|connection| connection.execute("DELETE FROM intent WHERE id = ?1", [id.as_bytes()]))
        })
        .await
        .map(|_| ())
    }

    fn read_contents(&self) -> Result<Contents, JournalError> {
        type Row = (Vec<u8>, i64, i64, i64, Vec<u8>);
        let rows = self.with(|connection| {
            let mut select = connection
                .prepare_cached("SELECT id, received_at, state, revision, context FROM intent ORDER BY arrival")?;
            let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Row> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            };
            select.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut contents = Contents { unfinished: Vec::new(), damaged: Vec::new() };
        for (id, received_at, state, revision, context) in rows {
            let revision = revision.cast_unsigned();
            let opened = self.open_context(&id, revision, received_at, state, &context);
            match opened {
                Some(Context { slip, stage }) => contents.unfinished.push(Unfinished::new(slip, revision, stage)),
                None => contents.damaged.push(Uuid::from_slice(&id).unwrap_or_default()),
            }
        }
        Ok(contents)
    }

    fn open_context(&self, id: &[u8], revision: u64, received_at: i64, state: i64, sealed: &[u8]) -> Option<Context> {
        let place = Place { table: "intent", column: "context", record: id, revision, times: &[received_at, state] };
        let opened = self.0.keyring.open(&place, sealed).ok()?;
        serde_json::from_slice(opened.expose_secret()).ok()
    }

    fn seal(&self, slip: &Slip, stage: &Stage, revision: u64) -> Result<Vec<u8>, JournalError> {
        let times = [slip.received_at.as_millisecond(), stage.code()];
        let place = Place { table: "intent", column: "context", record: slip.id.as_bytes(), revision, times: &times };
        let context = serde_json::to_vec(&Context { slip: slip.clone(), stage: stage.clone() });
        let context = context.unwrap_or_else(|_| unreachable!("a context has string keys and plain values"));
        Ok(self.0.keyring.seal(&place, &context)?)
    }

    fn with<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(&connection)?)
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
        let open = || Journal::open(&path, Arc::clone(&keyring)).expect("a journal");
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
    async fn a_row_that_was_tampered_with_is_damaged_and_an_old_state_goes_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal =
            Journal::open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault"))).expect("a journal");
        let document = SecretBytes::new(b"document".to_vec());
        let one = journal.admit(slip(1), &document).expect("admitted");
        let (again, copy) = (one.slip.clone(), Intent { slip: one.slip.clone(), state: Journaled {}, revision: 0 });
        journal.advance(one, sent()).await.expect("committed");
        let stale = journal.advance(copy, sent()).await;
        assert!(matches!(stale, Err(JournalError::Damaged(id)) if id == again.id));

        journal.with(|connection| connection.execute("UPDATE intent SET state = 1", [])).expect("tampered");
        let contents = journal.contents().await.expect("readable");
        assert_eq!((contents.unfinished.len(), contents.damaged), (0, vec![again.id]));
        let other = journal.admit(slip(2), &document).expect("admitted").slip;
        let swap = "UPDATE intent SET payload = (SELECT payload FROM intent WHERE id = ?1) WHERE id = ?2";
        journal
            .with(|connection| connection.execute(swap, [other.id.as_bytes(), again.id.as_bytes()]))
            .expect("tampered");
        assert!(matches!(journal.document(&again).await, Err(JournalError::Damaged(_))));
    }
}
