//! Opening the log, and going on where it ends.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;

use super::{
    chain::{Alone, Chain, Found, Reserved},
    config::Config,
    entry::Scribe,
    event::{Action, Event, Outcome},
    generations::Generations,
    log::{AuditError, AuditLog, Shared},
    mirror::Mirror,
    queue::Queues,
    rotate,
    segment::{self, FILE_NAME, Stub},
    tail::{Head, Link, Tail},
    verify::MAC_LEN,
};
use crate::{secret::Key, system::files::open_private};

impl AuditLog {
    /// Begins the log of a vault that was just made, in `directory`, which must exist.
    ///
    /// # Errors
    /// As [`Self::open`]; also when there is a log already.
    pub fn create(directory: &Path, key: Key) -> Result<Self, AuditError> {
        let path = directory.join(FILE_NAME);
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|source| AuditError::Unwritable { path, source })?;
        let log = Self::open_any(directory, key, Config::default())?;
        log.record_synced(&Event::new(Action::CreateVault, Outcome::Done))?;
        Ok(log)
    }

    /// Opens the log in `directory`, which must exist, and goes on with its chain. A torn last line is cut off, and
    /// that is recorded.
    ///
    /// # Errors
    /// [`AuditError::Lost`] if there is no entry, for the vault's creation is the first of every log: with the log goes
    /// what the databases are compared with. [`AuditError::Unwritable`]; [`AuditError::Foreign`] if the last entry's MAC
    /// does not fit.
    pub fn open(directory: &Path, key: Key, config: Config) -> Result<Self, AuditError> {
        let log = Self::open_any(directory, key, config)?;
        if log.is_empty() { Err(AuditError::Lost(log.0.path.clone())) } else { Ok(log) }
    }

    /// As [`Self::open`], but where there is no entry a new log begins, and records that.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_or_begin(directory: &Path, key: Key, config: Config) -> Result<Self, AuditError> {
        let log = Self::open_any(directory, key, config)?;
        if log.is_empty() {
            let reason = "the log was empty or not there: what was in it is lost";
            let lost = Event::new(Action::Repair, Outcome::Failed).because(reason);
            match log.last_closed()? {
                None => log.record_synced(&lost)?,
                Some((sequence, mac)) => {
                    let mut chain = log.chain();
                    (chain.sequence, chain.mac, chain.first) = (sequence, mac, sequence + 1);
                    let begins = Event::new(Action::BeginSegment, Outcome::Done);
                    let file = log.append_noting(&mut chain, &[begins, lost])?;
                    file.sync_data().map_err(|source| log.unwritable(source))?;
                }
            }
        }
        Ok(log)
    }

    /// Where what is left of the log ends, if the segment that grows is not: numbers that were given are not given again.
    fn last_closed(&self) -> Result<Option<(u64, [u8; MAC_LEN])>, AuditError> {
        let directory = &self.0.directory;
        let Some(last) = segment::closed(directory).map_err(|source| self.unwritable(source))?.pop() else {
            let stub = Stub::read(directory, self.0.scribe.key())?;
            return Ok(stub.and_then(|stub| Some((stub.last, stub.mac()?))));
        };
        let tail =
            File::open(&last.path).and_then(|file| Tail::read(&file)).map_err(|source| self.unwritable(source))?;
        let link = tail.last_lines.as_ref().and_then(|lines| self.0.scribe.link(lines));
        link.map(|link| Some((link.sequence, link.mac))).ok_or(AuditError::Foreign(last.path))
    }

    fn open_any(directory: &Path, key: Key, config: Config) -> Result<Self, AuditError> {
        let path = directory.join(FILE_NAME);
        let unwritable = |source| AuditError::Unwritable { path: path.clone(), source };
        let scribe = Scribe::new(key, config.identifiers);
        let (file, id, alone) = loop {
            rotate::go_on(directory, &scribe).map_err(unwritable)?;
            let file = Arc::new(open_private(&path)?);
            let alone = Alone::with(&file).map_err(unwritable)?;
            // Another process may have put the next segment in its place meanwhile.
            let id = Found::of(&file).map_err(unwritable)?.id;
            if Found::at(&path).is_ok_and(|there| there.id == id) {
                break (file, id, alone);
            }
        };
        let tail = Tail::read(&file).map_err(unwritable)?;
        let link = match &tail.last_lines {
            None => Link::default(),
            Some(lines) => scribe.link(lines).ok_or_else(|| AuditError::Foreign(path.clone()))?,
        };
        let head = Head::read(&file).map_err(unwritable)?;
        if tail.torn {
            file.set_len(tail.end).and_then(|()| file.sync_data()).map_err(unwritable)?;
        }
        drop(alone);
        let log = Self(Arc::new(Shared {
            scribe,
            generations: Generations::from(link.anchored),
            chain: Mutex::new(Chain {
                file,
                id,
                sequence: link.sequence,
                mac: link.mac,
                end: tail.end,
                first: head.as_ref().map_or(1, |head| head.first),
                began: head.map_or_else(Timestamp::now, |head| head.time),
                not_before: 0,
                has_closed: true,
                was_torn: tail.torn,
                reserved: Reserved { up_to: 0, is_last: false },
                lines: Vec::new(),
                failure: None,
                failures: 0,
            }),
            queues: Queues::default(),
            mirror: Mirror::default(),
            directory: directory.to_owned(),
            path,
            config,
        }));
        Ok(log)
    }
}
