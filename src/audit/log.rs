//! Appends entries to the log, each chained to the one before.

use std::{
    fs::File,
    io, mem,
    os::unix::fs::FileExt,
    path::PathBuf,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
};

use tokio::task::yield_now;

use super::{
    anchor::Anchor,
    chain::{Alone, Chain, Found},
    config::{Config, Sync},
    entry::{Said, Scribe},
    event::{Action, Event, Outcome},
    generations::Generations,
    mirror::Mirror,
    queue::{Queue, Queues},
    rotate,
    segment::StubError,
    tail::{Head, Tail},
};
use crate::{
    clauses::clauses,
    system::{
        files::{FileError, open_private},
        journald::Journald,
    },
};

/// How often one who wants to write looks whether another is through, before it waits.
const LOOKS: usize = 100;

/// How much room for lines is kept from one batch to the next, in bytes.
const LINES: usize = 64 * 1024;

/// Why an entry could not be recorded, or the log not opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log can't be read or written. Nothing may be answered or sent upstream.
    #[error("the audit log {} can't be written", path.display())]
    Unwritable {
        /// The log's file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The log is not a private file of ours.
    #[error("the audit log can't be trusted")]
    File(#[from] FileError),
    /// The last whole line is not an entry of this vault's.
    #[error("the last entry of the audit log {} is not this vault's", .0.display())]
    Foreign(PathBuf),
    /// There is no entry.
    #[error("the audit log {} is lost: it is empty, or not there", .0.display())]
    Lost(PathBuf),
    /// Entries that this process wrote are not there any more.
    #[error("the audit log {} was cut off or taken away", .0.display())]
    Cut(PathBuf),
    /// What is left of removed segments is not this vault's.
    #[error("the audit log can't be trusted")]
    Stub(#[from] StubError),
}

impl AuditError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Foreign(_) | Self::Cut(_) => Some(
                "trayvault audit verify says where it breaks; keep it as evidence, move it aside and a new one begins"
                    .to_owned(),
            ),
            Self::Lost(_) => Some(
                "put it back; if it can't be had: trayvault run --accept-rollback, once, begins a new one".to_owned(),
            ),
            Self::Unwritable { .. } | Self::Stub(StubError::File(_)) => None,
            Self::Stub(StubError::Foreign) => Some("put the file back from a backup".to_owned()),
        }
    }
}

/// Why the last entry could not be written.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The clauses of an [`AuditError`].
    pub reason: String,
    /// What to do about it, where that is not plain.
    pub hint: Option<String>,
}

/// The log of one daemon or command. Cheap to clone; entries come in one order.
#[derive(Clone)]
pub struct AuditLog(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) directory: PathBuf,
    /// Where the segment is that grows.
    pub(super) path: PathBuf,
    pub(super) config: Config,
    pub(super) scribe: Scribe,
    pub(super) generations: Generations,
    pub(super) chain: Mutex<Chain>,
    pub(super) queues: Queues,
    pub(super) mirror: Mirror,
}

impl AuditLog {
    /// Writes an entry. It is in the kernel's hands when this returns, so it outlives a crash of the daemon; where `sync` is
    /// `always`, it is on stable storage.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]: what the entry was for must not happen.
    pub fn record(&self, event: &Event) -> Result<(), AuditError> {
        self.append(event).map(drop)
    }

    /// The same for what many ask at once: the entries of all who have come so far on the same thread are written, and synced,
    /// in one piece. Dropped before it is through, its entry is written with that thread's next, or with the next of
    /// [`Self::record`].
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn record_together(&self, event: Event) -> Result<(), Arc<AuditError>> {
        let queue = self.0.queues.own();
        let (written, mut turn) = queue.join(event);
        if turn.is_some() {
            // Others who are being answered get as far as this; and where there are any, those who have asked meanwhile.
            yield_now().await;
            if queue.is_shared() {
                yield_now().await;
            }
        }
        loop {
            if let Some(turn) = turn.take() {
                self.let_others_write().await;
                self.write_waiting(queue);
                drop(turn);
                self.remove_old();
            }
            // INVARIANT: waited for from before the look, so that nothing is missed that comes after it.
            let news = written.news();
            if let Some(result) = written.get() {
                return result.clone();
            }
            news.await;
            if written.get().is_none() {
                turn = queue.turn();
            }
        }
    }

    /// While another thread writes, this one goes on with what else it has to do, for a while: it would take longer to fall
    /// asleep and wake up.
    async fn let_others_write(&self) {
        for _ in 0..LOOKS {
            if !matches!(self.0.chain.try_lock(), Err(TryLockError::WouldBlock)) {
                return;
            }
            thread::yield_now();
            yield_now().await;
        }
    }

    /// Writes an entry and waits until it is on stable storage: for what can't be undone.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_synced(&self, event: &Event) -> Result<(), AuditError> {
        let file = self.append(event)?;
        file.sync_data().map_err(|source| self.unwritable(source))
    }

    /// INVARIANT: the chain is held: the kernel tells of a write that failed once, to whoever syncs the file next.
    fn sync_if_all_are(&self, file: Arc<File>) -> Result<Arc<File>, AuditError> {
        match self.0.config.sync {
            Sync::Acts => {}
            Sync::Always => file.sync_data().map_err(|source| self.unwritable(source))?,
        }
        Ok(file)
    }

    /// The generations of the databases: what the log's last entry knew of at first, and what they tell since.
    pub fn generations(&self) -> &Generations {
        &self.0.generations
    }

    /// From now on, entries go to journald too, once they are written.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn mirror_to(&self, journald: Journald) -> io::Result<()> {
        self.0.mirror.start(journald)
    }

    pub(super) fn tell_anchor(&self, anchor: Anchor) {
        self.0.mirror.tell_anchor(anchor);
    }

    /// Returns once nobody is in the way of the next entry. Whether it can be written is another matter:
    /// [`failure`](Self::failure).
    pub fn go_on(&self) {
        let mut chain = self.chain();
        drop(self.take_turn(&mut chain));
    }

    /// The last entry.
    pub fn head(&self) -> Anchor {
        let chain = self.chain();
        Anchor::new(chain.sequence, chain.mac)
    }

    /// How many bytes of entries there is room for, if the disk has no more.
    pub fn room_left(&self) -> Option<u64> {
        let chain = self.chain();
        chain.reserved.is_last.then(|| chain.reserved.up_to.saturating_sub(chain.end))
    }

    /// Why the last entry could not be written, if it could not.
    pub fn failure(&self) -> Option<Failure> {
        self.chain().failure.clone()
    }

    /// How many entries the log has, and how many this process could not write.
    pub fn tally(&self) -> (u64, u64) {
        let chain = self.chain();
        (chain.sequence, chain.failures)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chain().sequence == 0
    }

    fn append(&self, event: &Event) -> Result<Arc<File>, AuditError> {
        self.0.queues.each().for_each(|queue| self.write_waiting(queue));
        let (events, said) = (slice::from_ref(event), self.0.scribe.say([event]));
        let mut chain = self.chain();
        let written = self.append_said(&mut chain, events, &said).and_then(|file| self.sync_if_all_are(file));
        drop(chain);
        self.remove_old();
        written
    }

    fn write_waiting(&self, queue: &Queue) {
        let Some(batch) = queue.take() else { return };
        // Others write meanwhile.
        let said = self.0.scribe.say(&batch.entries);
        let mut chain = self.chain_soon();
        let written = self.append_said(&mut chain, &batch.entries, &said).and_then(|file| self.sync_if_all_are(file));
        drop(chain);
        batch.is_written(written.map(drop).map_err(Arc::new));
    }

    pub(super) fn append_noting(&self, chain: &mut Chain, events: &[Event]) -> Result<Arc<File>, AuditError> {
        self.append_said(chain, events, &self.0.scribe.say(events))
    }

    fn append_said(&self, chain: &mut Chain, events: &[Event], said: &Said) -> Result<Arc<File>, AuditError> {
        let written = self.append_to(chain, events, said);
        chain.failure = written.as_ref().err().map(|error| Failure { reason: clauses(error), hint: error.hint() });
        chain.failures += written.as_ref().err().map_or(0, |_| events.len() as u64);
        written
    }

    pub(super) fn chain(&self) -> MutexGuard<'_, Chain> {
        // It changes only once an entry is written.
        self.0.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain, for which one who is about to have it looks out for a while.
    fn chain_soon(&self) -> MutexGuard<'_, Chain> {
        for _ in 0..LOOKS {
            match self.0.chain.try_lock() {
                Err(TryLockError::WouldBlock) => thread::yield_now(),
                Ok(chain) => return chain,
                Err(TryLockError::Poisoned(_)) => break,
            }
        }
        self.chain()
    }

    fn append_to(&self, chain: &mut Chain, events: &[Event], said: &Said) -> Result<Arc<File>, AuditError> {
        let alone = self.take_turn(chain)?;
        chain.reserve();
        let mut lines = mem::take(&mut chain.lines);
        lines.clear();
        let torn = || Event::new(Action::Repair, Outcome::Done).because("a torn last line was cut off");
        let repair = chain.was_torn.then(torn);
        let (scribe, generations, before) = (&self.0.scribe, self.0.generations.now(), (chain.sequence, chain.mac));
        let before = match &repair {
            Some(repair) => scribe.write(&mut lines, before, &scribe.say([repair]), generations),
            None => before,
        };
        let (sequence, mac) = scribe.write(&mut lines, before, said, generations);
        // What a failed write left behind is overwritten, so that an entry is whole or not there.
        if let Err(source) = chain.file.write_all_at(&lines, chain.end) {
            // Best effort: if the cut fails as well, the next entry overwrites it or the next start cuts it.
            let _ = chain.file.set_len(chain.end);
            // With what was cut off went the room behind it.
            chain.reserved.up_to = 0;
            return Err(self.unwritable(source));
        }
        let first = chain.sequence + 1;
        (chain.sequence, chain.mac, chain.was_torn) = (sequence, mac, false);
        chain.end += lines.len() as u64;
        lines.shrink_to(LINES);
        chain.lines = lines;
        drop(alone);
        for (sequence, event) in (first..).zip(repair.iter().chain(events)) {
            self.0.mirror.tell(sequence, event);
        }
        Ok(Arc::clone(&chain.file))
    }

    /// The lock on the segment that grows, and the chain where it ends: a command may write while a daemon does, and either
    /// may have begun a new segment.
    fn take_turn(&self, chain: &mut Chain) -> Result<Alone, AuditError> {
        loop {
            let mut alone = Alone::with(&chain.file).map_err(|source| self.unwritable(source))?;
            let there = match Found::at(&self.0.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Another process may have died as it began a new segment.
                    drop(alone);
                    rotate::go_on(&self.0.directory, &self.0.scribe).map_err(|source| self.unwritable(source))?;
                    alone = Alone::with(&chain.file).map_err(|source| self.unwritable(source))?;
                    Found::at(&self.0.path).map_err(|_| AuditError::Cut(self.0.path.clone()))?
                }
                there => there.map_err(|source| self.unwritable(source))?,
            };
            if self.catch_up(chain, &there)? && !self.rotate_if_due(chain) {
                return Ok(alone);
            }
        }
    }

    /// Goes on behind what another process has written since; `false` if it went on in another segment, whose lock is not
    /// ours.
    fn catch_up(&self, chain: &mut Chain, there: &Found) -> Result<bool, AuditError> {
        if there.id != chain.id {
            let file = Arc::new(open_private(&self.0.path)?);
            let id = Found::of(&file).map_err(|source| self.unwritable(source))?.id;
            let Some(Head { first, time }) = Head::read(&file).map_err(|source| self.unwritable(source))? else {
                return Err(AuditError::Foreign(self.0.path.clone()));
            };
            if first <= chain.first {
                return Err(AuditError::Cut(self.0.path.clone()));
            }
            // Where it ends is found once it is locked.
            (chain.file, chain.id, chain.first, chain.began, chain.end) = (file, id, first, time, 0);
            chain.reserved.up_to = 0;
            return Ok(false);
        }
        if there.len == chain.end {
            return Ok(true);
        }
        let tail = Tail::read(&chain.file).map_err(|source| self.unwritable(source))?;
        let lines = tail.last_lines.as_ref().ok_or_else(|| AuditError::Foreign(self.0.path.clone()))?;
        let link = self.0.scribe.link(lines).ok_or_else(|| AuditError::Foreign(self.0.path.clone()))?;
        if link.sequence < chain.sequence {
            return Err(AuditError::Cut(self.0.path.clone()));
        }
        if tail.torn {
            // Whoever was writing has died: the lock is ours.
            chain.file.set_len(tail.end).map_err(|source| self.unwritable(source))?;
            chain.reserved.up_to = 0;
            chain.was_torn = true;
        }
        self.0.generations.reached(link.anchored);
        (chain.sequence, chain.mac, chain.end) = (link.sequence, link.mac, tail.end);
        Ok(true)
    }

    pub(super) fn unwritable(&self, source: io::Error) -> AuditError {
        AuditError::Unwritable { path: self.0.path.clone(), source }
    }
}
