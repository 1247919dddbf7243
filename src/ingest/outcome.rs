//! What is left for whoever dropped a file: a receipt, or the file itself with the reason why not. Never over another, and
//! once however often it is begun again.

mod notes;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, chmodat, renameat_with};
use serde::Serialize;
use uuid::Uuid;

use self::notes::{Bulk, Note, Reason, Receipt, RejectedLines};
use super::{
    claim,
    intent::{Acked, Duplicate, End, Rejected, Slip},
    journal::LineEnd,
    layout::{Claimed, Layout},
    refusal::Refusal,
};
use crate::{
    failpoint::failpoint,
    sealed::SealError,
    secret::SecretBytes,
    system::{
        files::{FileError, create_new, create_new_unsynced, read_private, sync_directory},
        overwrite::sync_file_system,
    },
    vault::Keyring,
};

/// The mode of everything that is left.
const PRIVATE: u32 = 0o600;

/// What a receipt is called, besides its file.
pub(super) const RECEIPT: &str = ".receipt.json";

/// What a reason is called, besides its file.
pub(super) const REASON: &str = ".reason.json";

/// No receipt or reason is longer: a file of many documents has a line for each.
const NOTE_LEN: u64 = 64 * 1024 * 1024;

/// A file that may not be read as a document is sealed nonetheless if it is no larger than this, in bytes.
const SEALED_AT_MOST: u64 = 16 * 1024 * 1024;

/// Why an outcome can't be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutcomeError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A rejected document can't be sealed.
    #[error("a rejected document can't be sealed")]
    Seal(#[from] SealError),
    /// The vault is locked.
    #[error(transparent)]
    IsLocked(#[from] crate::vault::IsLocked),
}

/// Writes outcomes.
#[derive(Clone)]
pub(super) struct Outcomes {
    pub(super) layout: Layout,
    pub(super) keyring: Arc<Keyring>,
    /// Whether rejected documents are sealed to the vault.
    pub(super) seal_rejected: bool,
}

/// When the disk has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Before this returns.
    Now,
    /// When the caller has synced the file system, which it does before it removes what this was made from.
    Later,
}

impl Outcomes {
    /// The same, which seal whatever the configuration says if they `must`.
    pub(super) fn sealing(&self, must: bool) -> Self {
        Self { seal_rejected: self.seal_rejected || must, ..self.clone() }
    }

    /// Writes the receipt of what was done.
    pub(super) fn accepted(&self, slip: &Slip, acked: &Acked) -> Result<(), OutcomeError> {
        self.receipt(slip.id, &slip.file, &Receipt::of_acked(slip, acked))
    }

    /// Writes the receipt of a copy of what was done before.
    pub(super) fn duplicate(&self, slip: &Slip, duplicate: &Duplicate) -> Result<(), OutcomeError> {
        self.receipt(slip.id, &slip.file, &Receipt::of_duplicate(slip, duplicate))
    }

    /// Writes the receipt of a file of many documents, with a line for each, and leaves the rejected ones, if there are
    /// some, with their reasons. `rejected` are their documents.
    pub(super) fn bulk(&self, bulk: Uuid, lines: &[LineEnd], rejected: &[SecretBytes]) -> Result<(), OutcomeError> {
        let Some(first) = lines.first() else { return Ok(()) };
        let file = &first.slip.file;
        let reasons: Vec<_> = lines
            .iter()
            .filter_map(|line| match &line.end {
                End::Rejected(Rejected { refusal, .. }) => Some((line.slip.line?.number, refusal)),
                _ => None,
            })
            .collect();
        if !reasons.is_empty() {
            let length = rejected.iter().map(|document| document.expose_secret().len() + 1).sum();
            let mut text = Vec::with_capacity(length);
            for document in rejected {
                text.extend_from_slice(document.expose_secret());
                text.push(b'\n');
            }
            let reason = RejectedLines::new(bulk, file, self.seal_rejected, &reasons);
            self.leave(bulk, file, &SecretBytes::new(text), &reason, Lasting::Now)?;
        }
        self.receipt(bulk, file, &Bulk::of(bulk, file, lines))
    }

    fn receipt(&self, id: Uuid, file: &str, receipt: &impl Serialize) -> Result<(), OutcomeError> {
        let note = notes::to_json(receipt);
        let done = self.layout.done();
        for base in names(file, id) {
            let path = done.join(format!("{base}{RECEIPT}"));
            // Whole on the disk before it has its name: whoever waits for it never finds an empty one, power lost or not.
            match create_new(&path, &note, PRIVATE) {
                Err(error) if error.is_already_there() && !is_of(&path, id) => {}
                Err(error) if !error.is_already_there() => return Err(error.into()),
                _ => {
                    failpoint!("outcome.receipt_left");
                    return Ok(sync_directory(&done)?);
                }
            }
        }
        Err(taken(&done).into())
    }

    /// Leaves a document that was rejected, with its reason.
    pub(super) fn rejected(
        &self,
        (id, file): (Uuid, &str),
        document: &SecretBytes,
        (refusal, at): (&Refusal, Timestamp),
        lasting: Lasting,
    ) -> Result<(), OutcomeError> {
        let reason = Reason { intent: id, file, refusal, at, sealed: self.seal_rejected };
        self.leave(id, file, document, &reason, lasting)
    }

    /// The document first: where its reason is, it is there too.
    fn leave(
        &self,
        id: Uuid,
        file: &str,
        document: &SecretBytes,
        reason: &impl Serialize,
        lasting: Lasting,
    ) -> Result<(), OutcomeError> {
        let rejected = self.layout.rejected();
        let sealed;
        let content = if self.seal_rejected {
            sealed = self.keyring.recipient().seal(document.expose_secret())?;
            &sealed[..]
        } else {
            document.expose_secret()
        };
        let note = notes::to_json(reason);
        for base in names(file, id) {
            let (path, reason) = (rejected.join(&base), rejected.join(format!("{base}{REASON}")));
            match create_new_unsynced(&path, content, PRIVATE) {
                Err(error) if error.is_already_there() && !self.is_same(&path, document)? => continue,
                Err(error) if !error.is_already_there() => return Err(error.into()),
                _ => {}
            }
            failpoint!("outcome.document_left");
            match create_new_unsynced(&reason, &note, PRIVATE) {
                // The name is another's whose document was the same; ours is left beside it.
                Err(error) if error.is_already_there() && !is_of(&reason, id) => continue,
                Err(error) if !error.is_already_there() => return Err(error.into()),
                _ => {}
            }
            failpoint!("outcome.reason_left");
            if lasting == Lasting::Now {
                sync(&path, &rejected)?;
                sync(&reason, &rejected)?;
            }
            return Ok(());
        }
        Err(taken(&rejected).into())
    }

    /// Whether a file that is there already is this document: an earlier try got as far as this.
    fn is_same(&self, path: &Path, document: &SecretBytes) -> Result<bool, OutcomeError> {
        let Ok(there) = read_private(path, 2 * SEALED_AT_MOST) else { return Ok(false) };
        if !crate::sealed::is_sealed(&there) {
            return Ok(SecretBytes::from(there).equals(document));
        }
        Ok(self.keyring.identity()?.open(&there, SEALED_AT_MOST).is_ok_and(|there| there.equals(document)))
    }

    /// Moves a claimed file aside that may not be read, with the reason; sealed, if it is one of ours that can be. Whether
    /// it is still there, for the caller to remove.
    pub(super) fn unread(
        &self,
        claimed: &Claimed,
        directory: &File,
        (refusal, at): (&Refusal, Timestamp),
    ) -> Result<bool, OutcomeError> {
        let entry = Path::new(&claimed.entry);
        if self.seal_rejected
            && let Some(content) = claim::read_to_seal(directory, entry, SEALED_AT_MOST)
        {
            self.rejected((claimed.id, &claimed.name), &content, (refusal, at), Lasting::Later)?;
            return Ok(true);
        }
        let reason = Reason { intent: claimed.id, file: &claimed.name, refusal, at, sealed: false };
        self.move_aside(claimed, &notes::to_json(&reason))?;
        Ok(false)
    }

    /// The reason first: the claim stays until it is there.
    fn move_aside(&self, claimed: &Claimed, note: &[u8]) -> Result<(), FileError> {
        let from = self.layout.claimed().join(&claimed.entry);
        narrow(&from);
        let rejected = self.layout.rejected();
        for base in names(&claimed.name, claimed.id) {
            let (path, reason) = (rejected.join(&base), rejected.join(format!("{base}{REASON}")));
            match create_new_unsynced(&reason, note, PRIVATE) {
                Err(error) if error.is_already_there() && !is_of(&reason, claimed.id) => continue,
                Err(error) if !error.is_already_there() => return Err(error),
                _ => {}
            }
            failpoint!("outcome.reason_of_moved");
            match renameat_with(CWD, &from, CWD, &path, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    failpoint!("outcome.moved");
                    sync(&reason, &rejected)?;
                    return sync_directory(&self.layout.claimed());
                }
                Err(rustix::io::Errno::EXIST) => {
                    std::fs::remove_file(&reason).map_err(|error| io_error(&reason, error))?;
                }
                Err(error) => return Err(io_error(&path, error.into())),
            }
        }
        Err(taken(&rejected))
    }

    /// Whether a claimed file's outcome is written already: its reason stands in `rejected/`.
    pub(super) fn has_reason(&self, claimed: &Claimed) -> bool {
        let rejected = self.layout.rejected();
        names(&claimed.name, claimed.id).iter().any(|base| is_of(&rejected.join(format!("{base}{REASON}")), claimed.id))
    }
}

/// The names that an outcome may have: the file's, and where that is taken by another, one of its own.
fn names(file: &str, id: Uuid) -> [String; 2] {
    [file.to_owned(), format!("{file}.{id}")]
}

/// Takes from group and others what they may do with a file of ours.
fn narrow(path: &Path) {
    let is_ours = std::fs::symlink_metadata(path).is_ok_and(|status| {
        use std::os::unix::fs::MetadataExt;
        // The mode of a file with other names is theirs too.
        status.is_file() && status.nlink() == 1
    });
    if is_ours {
        // Best effort: the directory is private in any case.
        let _ = chmodat(CWD, path, Mode::from_raw_mode(PRIVATE), AtFlags::empty());
    }
}

/// Whether a receipt or a reason is an intent's.
fn is_of(path: &Path, intent: Uuid) -> bool {
    read_private(path, NOTE_LEN)
        .ok()
        .and_then(|note| serde_json::from_slice::<Note>(&note).ok())
        .is_some_and(|note| note.intent == intent)
}

fn sync(file: &Path, directory: &Path) -> Result<(), FileError> {
    match File::open(file).and_then(|file| file.sync_all()) {
        // Whoever it is for has taken it already: another in its place would be one too many.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(file, error)),
        _ => {}
    }
    sync_directory(directory)
}

/// Brings to the disk what was written with [`Lasting::Later`].
pub(super) fn settle(layout: &Layout) -> Result<(), FileError> {
    let root = layout.root();
    File::open(root).and_then(|root| sync_file_system(&root)).map_err(|error| io_error(root, error))
}

fn taken(directory: &Path) -> FileError {
    io_error(directory, io::ErrorKind::AlreadyExists.into())
}

fn io_error(path: &Path, source: io::Error) -> FileError {
    FileError::Io { action: "write the outcome to", path: PathBuf::from(path), source }
}
