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
pub(super) struct Queue(Mutex<Batch>);

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
