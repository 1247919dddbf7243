//! The one thread that writes.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::error::CacheError;
use super::model::Write;
use super::{schema, write};
use crate::vault::keyring::Keyring;

/// How many batches may wait before whoever sends the next one waits too.
const QUEUE: usize = 32;

struct Batch {
    writes: Vec<Write>,
    answer: oneshot::Sender<Result<u64, CacheError>>,
}

/// The thread's handle. To drop it is to let the thread finish what was sent, and to wait for that.
pub(super) struct Writer {
    batches: Option<mpsc::Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(db: Connection, keyring: Arc<Keyring>) -> Result<Self, CacheError> {
        let (batches, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("cache-writer".into())
            .spawn(move || run(db, &keyring, queue))
            .map_err(CacheError::Thread)?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<u64, CacheError> {
        let (answer, answered) = oneshot::channel();
        let batches = self.batches.as_ref().ok_or(CacheError::WriterGone)?;
        batches.send(Batch { writes, answer }).await.map_err(|_| CacheError::WriterGone)?;
        answered.await.map_err(|_| CacheError::WriterGone)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cache's writer panicked");
        }
    }
}

fn run(mut db: Connection, keyring: &Keyring, mut queue: mpsc::Receiver<Batch>) {
    while let Some(Batch { writes, answer }) = queue.blocking_recv() {
        // Nobody waiting any more is no reason not to have written.
        let _ = answer.send(commit(&mut db, keyring, writes));
    }
    let checkpoint = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = checkpoint {
        tracing::warn!(%error, "the cache's write-ahead log stays for the next start");
    }
}

fn commit(db: &mut Connection, keyring: &Keyring, writes: Vec<Write>) -> Result<u64, CacheError> {
    // Dropped on the way out by an error, it rolls back.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in writes {
        write::apply(&transaction, keyring, change)?;
    }
    let generation = schema::next_generation(&transaction)?;
    transaction.commit()?;
    Ok(generation)
}
