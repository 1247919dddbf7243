//! Entries that wait to be written in one piece.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{event::Event, log::AuditError};

/// What became of a batch, once it is known.
pub(super) type Written = Arc<OnceLock<Result<(), Arc<AuditError>>>>;

/// Those that came since the last batch was taken.
#[derive(Default)]
pub(super) struct Queue(Mutex<Batch>);

#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Event>,
    pub(super) written: Written,
}

impl Queue {
    pub(super) fn join(&self, event: Event) -> Written {
        let mut batch = self.batch();
        batch.entries.push(event);
        Arc::clone(&batch.written)
    }

    /// What waits, if anything does.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut batch = self.batch();
        if batch.entries.is_empty() { None } else { Some(std::mem::take(&mut *batch)) }
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        // A panic can't leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
