//! Entries that wait to be written in one piece.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified};

use super::{event::Event, log::AuditError, segment::FILE_NAME};

/// What became of a batch, once it is known.
#[derive(Default)]
pub(super) struct Written {
    result: OnceLock<Result<(), Arc<AuditError>>>,
    news: Notify,
}

impl Written {
    pub(super) fn get(&self) -> Option<&Result<(), Arc<AuditError>>> {
        self.result.get()
    }

    /// Resolves when it is known, or somebody may be wanted to write the batch: each who waits for its entry waits for this.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }
}

/// How many queues there are: threads beyond share them.
const QUEUES: usize = 8;

/// A queue for each thread: those who wait in one are woken by the thread that they run on, without a system call.
#[derive(Default)]
pub(super) struct Queues([Queue; QUEUES]);

impl Queues {
    /// The calling thread's.
    pub(super) fn own(&self) -> &Queue {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed));
        &self.0[NUMBER.with(|number| number % QUEUES)]
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Queue> {
        self.0.iter()
    }
}

/// Those that came since the last batch was taken.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// Whether somebody is about to write it.
    is_led: bool,
}

#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Event>,
    written: Arc<Written>,
}

impl Batch {
    pub(super) fn is_written(&self, written: Result<(), Arc<AuditError>>) {
        // It is empty: whoever takes the batch is the only one who fills it.
        let _ = self.written.result.set(written);
        self.written.news.notify_waiters();
    }
}

impl Drop for Batch {
    /// Where whoever took it has panicked, nobody may wait for ever.
    fn drop(&mut self) {
        if !self.entries.is_empty() && self.written.get().is_none() {
            let source = io::Error::other("what wrote it ended early");
            self.is_written(Err(Arc::new(AuditError::Unwritable { path: FILE_NAME.into(), source })));
        }
    }
}

/// The turn of the one who writes for all: a batch, and it is another's.
#[must_use]
pub(super) struct Turn<'a>(&'a Queue);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_led = false;
        if !waiting.batch.entries.is_empty() {
            // INVARIANT: whoever waits asks for the turn after this. Where the one that is told goes, another is told.
            waiting.batch.written.news.notify_one();
        }
    }
}

impl Queue {
    /// Has an entry wait; makes the caller the one who writes if nobody is.
    pub(super) fn join(&self, event: Event) -> (Arc<Written>, Option<Turn<'_>>) {
        let mut waiting = self.waiting();
        waiting.batch.entries.push(event);
        let written = Arc::clone(&waiting.batch.written);
        let turn = (!mem::replace(&mut waiting.is_led, true)).then(|| Turn(self));
        (written, turn)
    }

    /// Whether more than one waits.
    pub(super) fn is_shared(&self) -> bool {
        self.waiting().batch.entries.len() > 1
    }

    /// Makes the caller the one who writes, if something waits and nobody does.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let mut waiting = self.waiting();
        if waiting.is_led || waiting.batch.entries.is_empty() {
            return None;
        }
        waiting.is_led = true;
        Some(Turn(self))
    }

    /// What waits, if anything does.
    pub(super) fn take(&self) -> Option<Batch> {
        let batch = &mut self.waiting().batch;
        if batch.entries.is_empty() { None } else { Some(mem::take(batch)) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic can't leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
