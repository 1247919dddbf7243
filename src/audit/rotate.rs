//! From one segment to the next, and the end of old ones.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    chain::{Alone, Chain, Found, Reserved},
    entry::Scribe,
    event::{Action, Event, Outcome},
    log::{AuditError, AuditLog},
    segment::{self, Closed, FILE_NAME, NEXT_NAME, Stub},
    tail::{Head, Link, Tail},
};
use crate::{
    clauses::clauses,
    system::files::{open_private, remove_if_there, sync_directory},
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Ends a move to a new segment that a crash cut off. The new one is whole before the old one loses its name: where there is
/// no log under its name, and one that goes on behind the last segment, that was under way.
pub(super) fn go_on(directory: &Path, scribe: &Scribe) -> io::Result<()> {
    let (path, next) = (directory.join(FILE_NAME), directory.join(NEXT_NAME));
    let is_cut_off = || Ok::<_, io::Error>(!path.try_exists()? && next.try_exists()?);
    // Cut off before the old one lost its name, nothing counts on the new one.
    if !is_cut_off()? {
        return Ok(());
    }
    let Some(last) = segment::closed(directory)?.pop() else { return Ok(()) };
    // Whoever is between the two renames has the lock on the one that is closed.
    let _alone = Alone::with(&Arc::new(File::open(&last.path)?))?;
    if !is_cut_off()? {
        return Ok(());
    }
    let links = |path: &Path| -> io::Result<Option<Link>> {
        Ok(Tail::read(&File::open(path)?)?.last_lines.as_ref().and_then(|lines| scribe.link(lines)))
    };
    match (links(&last.path)?, links(&next)?) {
        (Some(before), Some(after)) if after.sequence == before.sequence + 1 => fs::rename(next, path),
        _ => Ok(()),
    }
}

impl AuditLog {
    /// Begins a new segment where this one is large or old enough; whether it did, and the chain is in another file then.
    pub(super) fn rotate_if_due(&self, chain: &mut Chain) -> bool {
        let config = &self.0.config;
        let is_old = || Timestamp::now().duration_since(chain.began).unsigned_abs() >= config.segment_age;
        // A segment has an entry of its own besides the one that begins it.
        if chain.sequence <= chain.first
            || chain.end < chain.not_before
            || (chain.end < config.segment_size && !is_old())
        {
            return false;
        }
        match self.rotate(chain) {
            Ok(()) => true,
            Err(error) => {
                // There is room in this one still, perhaps: an entry more counts for more than a segment's size.
                tracing::warn!(error = clauses(&error), "a new segment of the audit log could not be begun");
                chain.not_before = chain.end + config.segment_size / 8;
                false
            }
        }
    }

    fn rotate(&self, chain: &mut Chain) -> Result<(), AuditError> {
        let directory = &self.0.directory;
        let next = directory.join(NEXT_NAME);
        remove_if_there(&next)?;
        let file = open_private(&next)?;
        let (mut line, event) = (Vec::new(), Event::new(Action::BeginSegment, Outcome::Done));
        let before = (chain.sequence, chain.mac);
        let (sequence, mac) =
            self.0.scribe.write(&mut line, before, &self.0.scribe.say([&event]), self.0.generations.now());
        let unwritable = |source| self.unwritable(source);
        let id = Found::of(&file).map_err(unwritable)?.id;
        chain.file.sync_data().map_err(unwritable)?;
        file.write_all_at(&line, 0).and_then(|()| file.sync_all()).map_err(unwritable)?;
        // INVARIANT: from here to the second rename, `go_on` ends what a crash cuts off.
        let closed = directory.join(segment::closed_name(chain.first));
        fs::rename(&self.0.path, &closed).map_err(unwritable)?;
        fs::rename(&next, &self.0.path).map_err(|error| {
            // If that fails as well, the next start goes on.
            let _ = fs::rename(&closed, &self.0.path);
            unwritable(error)
        })?;
        sync_directory(directory).inspect_err(|_| {
            // The chain stays where it is, so the file has to have its name.
            let _ = fs::rename(&self.0.path, &next).and_then(|()| fs::rename(&closed, &self.0.path));
        })?;
        // Best effort: the room that was kept behind its end is nobody's now.
        let _ = chain.file.set_len(chain.end);
        *chain = Chain {
            file: Arc::new(file),
            id,
            sequence,
            mac,
            end: line.len() as u64,
            first: sequence,
            began: Timestamp::now(),
            not_before: 0,
            has_closed: true,
            was_torn: chain.was_torn,
            reserved: Reserved { up_to: 0, is_last: false },
            lines: Vec::new(),
            failure: chain.failure.take(),
            failures: chain.failures,
        };
        Ok(())
    }

    /// Removes the segments that are older than they are kept, if any may be.
    pub(super) fn remove_old(&self) {
        let Some(days) = self.0.config.keep_days else { return };
        if !std::mem::take(&mut self.chain().has_closed) {
            return;
        }
        // Kept for longer than there is a calendar, all are.
        let Ok(oldest) = Timestamp::now().checked_sub(DAY * i32::try_from(days).unwrap_or(i32::MAX)) else { return };
        if let Err(error) = self.remove_older_than(oldest) {
            tracing::warn!(error = clauses(&error), "old segments of the audit log could not be removed");
        }
    }

    fn remove_older_than(&self, oldest: Timestamp) -> Result<(), AuditError> {
        let unwritable = |source| self.unwritable(source);
        let (directory, key) = (&self.0.directory, self.0.scribe.key());
        // INVARIANT: one at a time, of all threads and processes, so that no stub is replaced by an earlier one. What this one
        // records itself may begin a segment, and get here again.
        let alone = File::open(directory).map_err(unwritable)?;
        match alone.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let stub = Stub::read(directory, key)?;
        let mut closed = segment::closed(directory).map_err(unwritable)?;
        // What a crash left behind after its stub was written.
        let gone = stub.as_ref().map_or(0, |stub| stub.last);
        closed.retain(|closed| {
            let stays = closed.first > gone;
            if !stays {
                // Best effort: with what can't be removed the stub must not begin anew.
                let _ = fs::remove_file(&closed.path);
            }
            stays
        });
        let mut removed = Removed::default();
        for segment in closed {
            let Some(end) = self.end_of(&segment).map_err(unwritable)? else { break };
            let expected = removed.last.as_ref().map_or(gone, |last| last.link.sequence) + 1;
            // A gap before it is left to be seen.
            if end.time >= oldest || segment.first != expected || end.first != expected {
                break;
            }
            removed.add(segment, end);
        }
        let Some(last) = removed.last else { return Ok(()) };
        let from = stub.as_ref().map_or(removed.from.unwrap_or(last.time), |stub| stub.from);
        let segments = stub.map_or(0, |stub| stub.segments) + removed.segments.len() as u64;
        self.record_synced(
            &Event::new(Action::RemoveSegments, Outcome::Begun)
                .because("they are older than they are kept")
                .count(removed.segments.len() as u64),
        )?;
        // INVARIANT: what tells a removal from a cut is on stable storage before anything is gone.
        Stub::new(last.link.sequence, &last.link.mac, segments, from, last.time).write(directory, key)?;
        for segment in removed.segments {
            fs::remove_file(&segment.path).map_err(unwritable)?;
        }
        Ok(sync_directory(directory)?)
    }

    /// Where a closed segment ends; `None` for one that is not as it was written, which is left as evidence.
    fn end_of(&self, closed: &Closed) -> io::Result<Option<End>> {
        let file = File::open(&closed.path)?;
        let Some(lines) = Tail::read(&file)?.last_lines else { return Ok(None) };
        let (began, link, time) = (Head::read(&file)?, self.0.scribe.link(&lines), lines.time());
        Ok(began.zip(link.zip(time)).map(|(head, (link, time))| End {
            first: head.first,
            began: head.time,
            link,
            time,
        }))
    }
}

struct End {
    first: u64,
    began: Timestamp,
    link: Link,
    time: Timestamp,
}

#[derive(Default)]
struct Removed {
    segments: Vec<Closed>,
    from: Option<Timestamp>,
    last: Option<End>,
}

impl Removed {
    fn add(&mut self, segment: Closed, end: End) {
        self.from.get_or_insert(end.began);
        self.segments.push(segment);
        self.last = Some(end);
    }
}
