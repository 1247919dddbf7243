//! The one thread that writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::error::CacheError;
use super::model::Write;
use super::readers::Readers;
use super::reseal::{self, Resealed, Walk};
use super::{schema, write};
use crate::clauses::clauses;
use crate::vault::database::{Continuity, set_aside};
use crate::vault::keyring::Keyring;

/// How many jobs may wait before whoever sends the next one waits too.
const QUEUE: usize = 32;
/// How often, at most, a thread with nothing else to do puts what was committed on stable storage.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

enum Job {
    Write(Vec<Write>, oneshot::Sender<Result<u64, CacheError>>),
    Reseal(Walk, oneshot::Sender<Result<Resealed, CacheError>>),
    Settle(oneshot::Sender<Result<(), CacheError>>),
    Rebuild(String, oneshot::Sender<Result<(), CacheError>>),
    /// Nothing: that it is taken shows that the thread goes on.
    Beat(oneshot::Sender<Result<(), CacheError>>),
}

/// Where the file is, and who is told what becomes of it.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) readers: Arc<Readers>,
    /// The generation that is on stable storage.
    pub(super) settled: Arc<AtomicU64>,
}

/// The thread's handle. To drop it is to let the thread finish what was sent, and to wait for that.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it, with what is in the file on stable storage.
    pub(super) fn start(db: Connection, keyring: Arc<Keyring>, place: Place) -> Result<Self, CacheError> {
        let mut thread = Thread { db, keyring, place, settled_at: Instant::now() };
        thread.settle_or_warn(PASSIVE);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("cache-writer".into())
            .spawn(move || thread.run(queue))
            .map_err(CacheError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<u64, CacheError> {
        self.ask(|answer| Job::Write(writes, answer)).await
    }

    pub(super) async fn reseal(&self, walk: Walk) -> Result<Resealed, CacheError> {
        self.ask(|answer| Job::Reseal(walk, answer)).await
    }

    pub(super) async fn settle(&self) -> Result<(), CacheError> {
        self.ask(Job::Settle).await
    }

    pub(super) async fn rebuild(&self, reason: String) -> Result<(), CacheError> {
        self.ask(|answer| Job::Rebuild(reason, answer)).await
    }

    pub(super) async fn beat(&self) -> Result<(), CacheError> {
        self.ask(Job::Beat).await
    }

    /// As `write`, for those who can't wait and to whom it doesn't matter: `false` if the queue is full.
    pub(super) fn try_write(&self, writes: Vec<Write>) -> bool {
        let job = Job::Write(writes, oneshot::channel().0);
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, CacheError>>) -> Job) -> Result<T, CacheError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(CacheError::WriterGone)?;
        jobs.send(job(answer)).await.map_err(|_| CacheError::WriterGone)?;
        answered.await.map_err(|_| CacheError::WriterGone)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cache's writer panicked");
        }
    }
}

struct Thread {
    db: Connection,
    keyring: Arc<Keyring>,
    place: Place,
    settled_at: Instant,
}

/// Checks in what no reader needs any more, and waits for nobody.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Waits for the readers, and empties the log.
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            // Nobody waiting any more is no reason not to have done it.
            match job {
                Job::Write(writes, answer) => {
                    if let Err(Err(error)) = answer.send(self.commit(writes)) {
                        tracing::error!(error = clauses(&error), "what nobody waited for could not be written");
                    }
                }
                Job::Reseal(walk, answer) => drop(answer.send(self.reseal(walk))),
                Job::Settle(answer) => drop(answer.send(self.settle(TRUNCATE))),
                Job::Rebuild(reason, answer) => drop(answer.send(self.rebuild(&reason))),
                Job::Beat(answer) => drop(answer.send(Ok(()))),
            }
            if queue.is_empty() {
                self.settle_now_and_then();
            }
        }
        // INVARIANT: no reader is left, or closing this connection would not remove the write-ahead log.
        self.place.readers.close();
        self.settle_or_warn(TRUNCATE);
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<u64, CacheError> {
        let keys = self.keyring.keys()?;
        let _change = self.place.readers.change();
        // Dropped on the way out by an error, it rolls back.
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in writes {
            write::apply(&transaction, &keys, change)?;
        }
        let generation = schema::next_generation(&transaction)?;
        transaction.commit()?;
        Ok(generation)
    }

    fn reseal(&mut self, walk: Walk) -> Result<Resealed, CacheError> {
        let keys = self.keyring.keys()?;
        let _change = self.place.readers.change();
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let resealed = reseal::step(&transaction, &keys, walk)?;
        if resealed.changed > 0 {
            schema::next_generation(&transaction)?;
            transaction.commit()?;
        }
        Ok(resealed)
    }

    fn settle_now_and_then(&mut self) {
        if self.settled_at.elapsed() < SETTLE_INTERVAL {
            return;
        }
        self.settle_or_warn(PASSIVE);
    }

    fn settle_or_warn(&mut self, checkpoint: &str) {
        if let Err(error) = self.settle(checkpoint) {
            tracing::warn!(%error, "the cache could not be put on stable storage");
        }
    }

    /// Checks the write-ahead log in, which syncs it, and tells the generation that is safe then.
    fn settle(&mut self, checkpoint: &str) -> Result<(), CacheError> {
        self.settled_at = Instant::now();
        let _change = self.place.readers.change();
        let generation = schema::generation(&self.db)?;
        let whole = |row: &rusqlite::Row<'_>| {
            let (busy, log, checked_in): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && log == checked_in)
        };
        if self.db.query_row(checkpoint, [], whole)? {
            self.place.settled.fetch_max(generation, Ordering::Relaxed);
            Ok(())
        } else if checkpoint == TRUNCATE {
            Err(CacheError::Busy)
        } else {
            Ok(())
        }
    }

    fn rebuild(&mut self, reason: &str) -> Result<(), CacheError> {
        let keys = self.keyring.keys()?;
        let Place { path, readers, settled } = &self.place;
        // Closed before its file is moved: what a connection does to a file that is not at its path any more is its own.
        self.db = Connection::open_in_memory()?;
        readers.close();
        set_aside(path, reason)?;
        let continuity = Continuity { anchored: settled.load(Ordering::Relaxed), accept_rollback: false };
        self.db = super::connect(path, &keys, continuity)?;
        readers.close();
        Ok(())
    }
}
