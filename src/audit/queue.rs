//! Entries that wait to be written in one piece.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::SetOnce;

use super::{event::Event, log::AuditError, segment::FILE_NAME};

/// What became of a batch, once it is known.
pub(super) type Written = Arc<SetOnce<Result<(), Arc<AuditError>>>>;

/// Those that came since the last batch was taken.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    batch: Batch,
    is_being_written: bool,
}

#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Event>,
    written: Written,
}

impl Batch {
    pub(super) fn is_written(&self, written: Result<(), Arc<AuditError>>) {
        // It is empty: whoever takes the batch is the only one who fills it.
        let _ = self.written.set(written);
    }
}

impl Drop for Batch {
    /// Where whoever took it has panicked, nobody may wait for ever.
    fn drop(&mut self) {
        if !self.entries.is_empty() && !self.written.initialized() {
            let source = io::Error::other("what wrote it ended early");
            self.is_written(Err(Arc::new(AuditError::Unwritable { path: FILE_NAME.into(), source })));
        }
    }
}

impl Queue {
    pub(super) fn join(&self, event: Event) -> Written {
        let batch = &mut self.waiting().batch;
        batch.entries.push(event);
        Arc::clone(&batch.written)
    }

    /// Whether the caller is the one who writes from now on: something waits, and nobody does. It does until it
    /// [is through](Self::is_through), or has [given up](Self::give_up).
    pub(super) fn begin(&self) -> bool {
        let mut waiting = self.waiting();
        let begins = !waiting.is_being_written && !waiting.batch.entries.is_empty();
        waiting.is_being_written |= begins;
        begins
    }

    /// Whether nothing waits any more.
    pub(super) fn is_through(&self) -> bool {
        let mut waiting = self.waiting();
        // INVARIANT: in one look. Whoever joins after it finds nobody writing, and writes.
        waiting.is_being_written = !waiting.batch.entries.is_empty();
        !waiting.is_being_written
    }

    /// What waits is left to the next who joins.
    pub(super) fn give_up(&self) {
        self.waiting().is_being_written = false;
    }

    /// What waits, if anything does.
    pub(super) fn take(&self) -> Option<Batch> {
        let batch = &mut self.waiting().batch;
        if batch.entries.is_empty() { None } else { Some(std::mem::take(batch)) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic can't leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
