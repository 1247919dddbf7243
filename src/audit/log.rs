//! Appends entries to the log, each chained to the one before.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    FILE_NAME,
    event::{Action, Actor, Event, Outcome},
    verify::{MAC_LEN, entry_mac, split_mac},
};
use crate::{
    authentication::{AuthenticationId, Owner, Principal},
    crypto::{hkdf_sha256, hmac_sha256},
    secret::Key,
    system::files::{FileError, open_private},
};

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
}

/// The log of one daemon or command. Cheap to clone; entries come in one order.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    path: PathBuf,
    session: Uuid,
    key: Key,
    fingerprint_key: Key,
    chain: Mutex<Chain>,
}

struct Chain {
    file: File,
    sequence: u64,
    mac: [u8; MAC_LEN],
    /// Where the last whole entry ends. Anything behind it is a torn write.
    end: u64,
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
    generation: Option<u64>,
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
    /// that is recorded; so is it that the log is not there any more, or empty.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]; [`AuditError::Foreign`] if the last entry's MAC can't be read.
    pub fn open(directory: &Path, key: Key) -> Result<Self, AuditError> {
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
        let tail = Tail::read(&mut file).map_err(unwritable)?;
        let (sequence, mac) = match &tail.last_line {
            None => (0, [0; MAC_LEN]),
            Some(line) => last_link(line).ok_or_else(|| AuditError::Foreign(path.clone()))?,
        };
        if tail.torn {
            file.set_len(tail.end).and_then(|()| file.sync_data()).map_err(unwritable)?;
        }
        let log = Self(Arc::new(Shared {
            session: Uuid::new_v4(),
            fingerprint_key: hkdf_sha256(&key, b"", "trayvault audit identifiers v1"),
            key,
            chain: Mutex::new(Chain { file, sequence, mac, end: tail.end }),
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

    fn is_empty(&self) -> bool {
        self.0.chain.lock().unwrap_or_else(PoisonError::into_inner).sequence == 0
    }

    fn append(&self, event: &Event) -> Result<File, AuditError> {
        let mut chain = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
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
            generation: event.generation,
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

/// The end of the file: the last whole line, and whether something torn comes behind it.
struct Tail {
    last_line: Option<Vec<u8>>,
    end: u64,
    torn: bool,
}

impl Tail {
    /// An entry is far shorter than this; what a crash left behind may be longer.
    const WINDOW: u64 = 64 * 1024;

    fn read(file: &mut File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut size = Self::WINDOW;
        loop {
            let start = length.saturating_sub(size);
            file.seek(SeekFrom::Start(start))?;
            let mut window = Vec::new();
            file.read_to_end(&mut window)?;
            // Two line ends, or the beginning: a whole line between them, or nothing whole at all.
            let mut ends = window.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
            let (last, before) = (ends.next(), ends.next());
            if start > 0 && before.is_none() {
                size *= 2;
                continue;
            }
            let last_line = last.map(|end| window[before.map_or(0, |before| before + 1)..end].to_vec());
            let end = last.map_or(start, |last| start + last as u64 + 1);
            return Ok(Self { last_line, end, torn: end < length });
        }
    }
}

fn last_link(line: &[u8]) -> Option<(u64, [u8; MAC_LEN])> {
    #[derive(serde::Deserialize)]
    struct Sequence {
        seq: u64,
    }
    let (_, mac) = split_mac(line)?;
    let Sequence { seq } = serde_json::from_slice(line).ok()?;
    Some((seq, mac))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
