//! Who waits for an entry to be written: one task writes at a time, and what comes meanwhile is written by the next one in
//! one piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{
    event::Event,
    log::{AuditError, AuditLog},
};

/// Entries in one write.
const MOST: usize = 256;

type Written = Result<(), Arc<AuditError>>;

#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    entries: Vec<(Event, oneshot::Sender<Written>)>,
    /// Somebody writes, and sees to those who wait.
    is_led: bool,
}

/// Whose turn it is.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
pub(super) enum Turn {
    /// The caller's, who writes its entry itself and then [hands on](Lead::hand_on).
    Now(Event),
    /// Somebody else's, who writes this one too.
    Later(oneshot::Receiver<Written>),
}

impl Queue {
    pub(super) fn join(&self, event: Event) -> Turn {
        let mut waiting = self.waiting();
        if !waiting.is_led {
            waiting.is_led = true;
            return Turn::Now(event);
        }
        let (sender, receiver) = oneshot::channel();
        waiting.entries.push((event, sender));
        Turn::Later(receiver)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic can't leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever writes. Dropped before it has handed on, by a panic or the end of the runtime, it leaves nobody waiting: they are
/// told that nothing is known of their entries.
pub(super) struct Lead(Option<AuditLog>);

impl Lead {
    pub(super) fn of(log: AuditLog) -> Self {
        Self(Some(log))
    }

    /// Has those who came meanwhile seen to, by a task of its own: whoever was first waits for nobody.
    pub(super) fn hand_on(mut self) {
        let Some(log) = self.0.take() else { return };
        let mut waiting = log.queue().waiting();
        if waiting.entries.is_empty() {
            waiting.is_led = false;
            return;
        }
        drop(waiting);
        tokio::spawn(Self(Some(log)).write());
    }

    async fn write(self) {
        // More of those who are being answered get as far as this.
        tokio::task::yield_now().await;
        let Some(log) = &self.0 else { return };
        let batch: Vec<_> = {
            let mut waiting = log.queue().waiting();
            let len = waiting.entries.len().min(MOST);
            waiting.entries.drain(..len).collect()
        };
        let written = log.record_all(&batch.iter().map(|(event, _)| event).collect::<Vec<_>>());
        for (_, sender) in batch {
            // Nobody waits any more where a connection has ended.
            let _ = sender.send(written.clone());
        }
        self.hand_on();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            let mut waiting = log.queue().waiting();
            waiting.is_led = false;
            waiting.entries.clear();
        }
    }
}
