//! Appends entries to the log, each chained to the one before.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    FILE_NAME,
    event::{Action, Actor, Event, Outcome},
    generations::{Anchored, Generations},
    tail::{Link, Tail, last_link},
    verify::{MAC_LEN, entry_mac},
};
use crate::{
    authentication::{AuthenticationId, Owner, Principal},
    clauses::clauses,
    crypto::{hex, hkdf_sha256, hmac_sha256},
    secret::Key,
    system::files::{FileError, open_private},
};

/// How much room is kept behind the last entry, in bytes: some thousands of entries, so that reads go on when the disk is
/// full.
const RESERVE: u64 = 4 * 1024 * 1024;

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
            Self::Unwritable { .. } => None,
        }
    }
}

/// The log of one daemon or command. Cheap to clone; entries come in one order.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    path: PathBuf,
    session: Uuid,
    key: Key,
    fingerprint_key: Key,
    generations: Generations,
    chain: Mutex<Chain>,
}

struct Chain {
    file: File,
    sequence: u64,
    mac: [u8; MAC_LEN],
    /// Where the last whole entry ends. Anything behind it is a torn write.
    end: u64,
    /// Up to where there is room for sure, and whether more could be had.
    reserved: Reserved,
    /// Why the last entry could not be written.
    failure: Option<String>,
}

#[derive(Clone, Copy)]
struct Reserved {
    up_to: u64,
    /// The disk had no more.
    is_last: bool,
}

impl Chain {
    /// Keeps room for the entries to come. Where the file system can't, or has none left, they are written as long as it
    /// goes.
    fn reserve(&mut self) {
        if self.reserved.up_to.saturating_sub(self.end) >= RESERVE / 2 {
            return;
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.end, RESERVE) {
            Ok(()) => self.reserved = Reserved { up_to: self.end + RESERVE, is_last: false },
            Err(error) => self.reserved.is_last = error == Errno::NOSPC || error == Errno::DQUOT,
        }
    }
}

/// Gives the lock on a file back. The lock is the open file's, which outlives this descriptor of it.
struct Unlocks(File);

impl Drop for Unlocks {
    fn drop(&mut self) {
        // Nothing can be done if it fails, and it goes with the process in any case.
        let _ = self.0.unlock();
    }
}

/// One line of the log, without its MAC.
#[derive(Serialize)]
struct Entry<'a> {
    v: u8,
    seq: u64,
    time: Timestamp,
    session: Uuid,
    action: Action,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    generations: Anchored,
}

impl AuditLog {
    /// Begins the log of a vault that was just made, in `directory`, which must exist.
    ///
    /// # Errors
    /// As [`Self::open`]; also when there is a log already.
    pub fn create(directory: &Path, key: Key) -> Result<Self, AuditError> {
        let path = directory.join(FILE_NAME);
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|source| AuditError::Unwritable { path, source })?;
        let log = Self::open_any(directory, key)?;
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
    pub fn open(directory: &Path, key: Key) -> Result<Self, AuditError> {
        let log = Self::open_any(directory, key)?;
        if log.is_empty() { Err(AuditError::Lost(log.0.path.clone())) } else { Ok(log) }
    }

    /// As [`Self::open`], but where there is no entry a new log begins, and records that.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_or_begin(directory: &Path, key: Key) -> Result<Self, AuditError> {
        let log = Self::open_any(directory, key)?;
        if log.is_empty() {
            let reason = "the log was empty or not there: what was in it is lost";
            log.record_synced(&Event::new(Action::Repair, Outcome::Failed).because(reason))?;
        }
        Ok(log)
    }

    fn open_any(directory: &Path, key: Key) -> Result<Self, AuditError> {
        let path = directory.join(FILE_NAME);
        let unwritable = |source| AuditError::Unwritable { path: path.clone(), source };
        let mut file = open_private(&path)?;
        let alone = file.try_clone().and_then(|file| file.lock().map(|()| Unlocks(file))).map_err(unwritable)?;
        let tail = Tail::read(&mut file).map_err(unwritable)?;
        let Link { sequence, mac, anchored } = match &tail.last_lines {
            None => Link { sequence: 0, mac: [0; MAC_LEN], anchored: Anchored::default() },
            Some(lines) => last_link(&key, lines).ok_or_else(|| AuditError::Foreign(path.clone()))?,
        };
        if tail.torn {
            file.set_len(tail.end).and_then(|()| file.sync_data()).map_err(unwritable)?;
        }
        drop(alone);
        let log = Self(Arc::new(Shared {
            session: Uuid::new_v4(),
            fingerprint_key: hkdf_sha256(&key, b"", "trayvault audit identifiers v1"),
            key,
            generations: Generations::from(anchored),
            chain: Mutex::new(Chain {
                file,
                sequence,
                mac,
                end: tail.end,
                reserved: Reserved { up_to: 0, is_last: false },
                failure: None,
            }),
            path,
        }));
        if tail.torn {
            log.record_synced(&Event::new(Action::Repair, Outcome::Done).because("a torn last line was cut off"))?;
        }
        Ok(log)
    }

    /// Writes an entry. It is in the kernel's hands when this returns, so it outlives a crash of the daemon.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]: what the entry was for must not happen.
    pub fn record(&self, event: &Event) -> Result<(), AuditError> {
        self.append(event).map(|_| ())
    }

    /// Writes an entry and waits until it is on stable storage: for what can't be undone.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_synced(&self, event: &Event) -> Result<(), AuditError> {
        let file = self.append(event)?;
        file.sync_data().map_err(|source| self.unwritable(source))
    }

    /// The generations of the databases: what the log's last entry knew of at first, and what they tell since.
    pub fn generations(&self) -> &Generations {
        &self.0.generations
    }

    /// How many bytes of entries there is room for, if the disk has no more.
    pub fn room_left(&self) -> Option<u64> {
        let chain = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.reserved.is_last.then(|| chain.reserved.up_to.saturating_sub(chain.end))
    }

    /// Why the last entry could not be written, if it could not.
    pub fn failure(&self) -> Option<String> {
        self.0.chain.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    fn is_empty(&self) -> bool {
        self.0.chain.lock().unwrap_or_else(PoisonError::into_inner).sequence == 0
    }

    fn append(&self, event: &Event) -> Result<File, AuditError> {
        let mut chain = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.append_to(&mut chain, event);
        chain.failure = written.as_ref().err().map(|error| clauses(error));
        written
    }

    fn append_to(&self, chain: &mut Chain, event: &Event) -> Result<File, AuditError> {
        // A command may write while a daemon does.
        let alone = chain.file.try_clone().and_then(|file| file.lock().map(|()| Unlocks(file)));
        let _alone = alone.map_err(|source| self.unwritable(source))?;
        self.catch_up(chain)?;
        chain.reserve();
        let mut line = self.line(chain.sequence + 1, event);
        let mac = entry_mac(&self.0.key, &chain.mac, line.as_bytes());
        line.pop();
        line.push_str(",\"mac\":\"");
        line.push_str(&hex(&mac));
        line.push_str("\"}\n");

        let end = chain.end;
        // What a failed write left behind is overwritten, so that an entry is whole or not there.
        let written = chain
            .file
            .seek(SeekFrom::Start(end))
            .and_then(|_| chain.file.write_all(line.as_bytes()))
            .and_then(|()| chain.file.try_clone());
        match written {
            Ok(file) => {
                chain.sequence += 1;
                chain.mac = mac;
                chain.end += line.len() as u64;
                Ok(file)
            }
            Err(source) => {
                // Best effort: if the cut fails as well, the next entry overwrites it or the next start cuts it.
                let _ = chain.file.set_len(end);
                Err(self.unwritable(source))
            }
        }
    }

    /// Goes on behind what another process has written since.
    fn catch_up(&self, chain: &mut Chain) -> Result<(), AuditError> {
        let found = chain.file.metadata().map_err(|source| self.unwritable(source))?;
        let is_there = std::fs::symlink_metadata(&self.0.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()));
        if !is_there {
            return Err(AuditError::Cut(self.0.path.clone()));
        }
        if found.len() == chain.end {
            return Ok(());
        }
        let tail = Tail::read(&mut chain.file).map_err(|source| self.unwritable(source))?;
        let lines = tail.last_lines.as_ref().ok_or_else(|| AuditError::Foreign(self.0.path.clone()))?;
        let link = last_link(&self.0.key, lines).ok_or_else(|| AuditError::Foreign(self.0.path.clone()))?;
        if link.sequence < chain.sequence {
            return Err(AuditError::Cut(self.0.path.clone()));
        }
        if tail.torn {
            // Whoever was writing has died: the lock is ours.
            chain.file.set_len(tail.end).map_err(|source| self.unwritable(source))?;
            chain.reserved.up_to = 0;
        }
        self.0.generations.reached(link.anchored);
        (chain.sequence, chain.mac, chain.end) = (link.sequence, link.mac, tail.end);
        Ok(())
    }

    fn line(&self, sequence: u64, event: &Event) -> String {
        let owner = event.target.owner.as_ref();
        let entry = Entry {
            v: 1,
            seq: sequence,
            time: Timestamp::now(),
            session: self.0.session,
            action: event.action,
            outcome: event.outcome,
            reason: event.reason,
            rule: event.rule.as_deref(),
            actor: event.actor.as_ref(),
            authentication: event.target.authentication,
            principal: owner.map(Owner::principal),
            owner: owner.map(|owner| self.fingerprint(owner)),
            intent: event.target.intent,
            request: event.request,
            count: event.count,
            slot: event.slot,
            epoch: event.epoch,
            generations: self.0.generations.now(),
        };
        serde_json::to_string(&entry).unwrap_or_else(|_| unreachable!("an entry has string keys and plain values"))
    }

    /// Whom an entry names, without naming them: the first 8 bytes of an HMAC, in hex.
    fn fingerprint(&self, owner: &Owner) -> String {
        let kind: &[u8] = match owner {
            Owner::EndUser { .. } => b"end user\0",
            Owner::Workspace => b"workspace\0",
        };
        hex(&hmac_sha256(&self.0.fingerprint_key, &[kind, owner.key().as_bytes()])[..8])
    }

    fn unwritable(&self, source: io::Error) -> AuditError {
        AuditError::Unwritable { path: self.0.path.clone(), source }
    }
}
