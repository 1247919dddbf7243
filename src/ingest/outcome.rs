//! What is left for whoever dropped a file: a receipt, or the file itself with the reason why not. Never over another.

use std::{io, path::Path};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, chmodat, renameat_with};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    document::Action,
    intent::{Acked, Effect, Intent},
    layout::{Claimed, Layout},
    refusal::Refusal,
};
use crate::{
    authentication::AuthenticationId,
    secret::SecretBytes,
    system::files::{FileError, create_new, read_private, sync_directory},
};

/// The mode of everything that is left.
const PRIVATE: u32 = 0o600;

/// No receipt or reason is longer.
const NOTE_LEN: u64 = 64 * 1024;

/// `done/NAME.receipt.json`: what was done. It holds no secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    intent: Uuid,
    file: &'a str,
    action: Action,
    outcome: Effect,
    authentication_id: AuthenticationId,
    received_at: Timestamp,
    sent_at: Timestamp,
    settled_at: Timestamp,
    schema_checked: bool,
}

/// `rejected/NAME.reason.json`: why not, without any value of the document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason<'a> {
    intent: Uuid,
    file: &'a str,
    #[serde(flatten)]
    refusal: &'a Refusal,
    at: Timestamp,
}

/// What a receipt or a reason says of whose it is.
#[derive(Deserialize)]
struct Note {
    intent: Uuid,
}

/// Writes the receipt of an intent, once however often it is asked to.
pub(super) fn write_receipt(layout: &Layout, intent: &Intent<Acked>) -> Result<(), FileError> {
    let (slip, acked) = (&intent.slip, &intent.state);
    let receipt = Receipt {
        intent: slip.id,
        file: &slip.file,
        action: slip.action,
        outcome: acked.effect,
        authentication_id: acked.authentication,
        received_at: slip.received_at,
        sent_at: acked.sent.sent_at,
        settled_at: acked.settled_at,
        schema_checked: acked.sent.schema_checked,
    };
    place(&layout.done(), &slip.file, ".receipt.json", slip.id, &to_json(&receipt), |_| Ok(true))
}

/// Leaves a journaled document that was rejected, with its reason, once however often it is asked to.
pub(super) fn reject_document(
    layout: &Layout,
    (id, file): (Uuid, &str),
    document: &SecretBytes,
    refusal: &Refusal,
    at: Timestamp,
) -> Result<(), FileError> {
    let reason = Reason { intent: id, file, refusal, at };
    place(&layout.rejected(), file, ".reason.json", id, &to_json(&reason), |path| {
        match create_new(path, document.expose_secret(), PRIVATE) {
            Err(error) if error.is_already_there() => {
                // Ours if an earlier try got as far as this.
                let there = read_private(path, u64::try_from(document.expose_secret().len()).unwrap_or(u64::MAX));
                Ok(there.is_ok_and(|there| SecretBytes::from(there).equals(document)))
            }
            other => other.map(|()| true),
        }
    })
}

/// Moves a claimed file that was rejected aside, with its reason, once however often it is asked to.
pub(super) fn reject_claimed(
    layout: &Layout,
    claimed: &Claimed,
    refusal: &Refusal,
    at: Timestamp,
) -> Result<(), FileError> {
    let reason = Reason { intent: claimed.id, file: &claimed.name, refusal, at };
    let from = layout.claimed().join(&claimed.entry);
    let narrow = std::fs::symlink_metadata(&from).is_ok_and(|status| {
        use std::os::unix::fs::MetadataExt;
        // The mode of a file with other names is theirs too.
        status.is_file() && status.nlink() == 1
    });
    if narrow {
        // Best effort: the directory is private in any case.
        let _ = chmodat(CWD, &from, Mode::from_raw_mode(PRIVATE), AtFlags::empty());
    }
    place(
        &layout.rejected(),
        &claimed.name,
        ".reason.json",
        claimed.id,
        &to_json(&reason),
        |path| match renameat_with(CWD, &from, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(io_error(path, error.into())),
        },
    )?;
    sync_directory(&layout.rejected())?;
    sync_directory(&layout.claimed())
}

/// Writes `NAME` with `suffix` into a directory and has `companion` put what belongs to it at `NAME`; where either name
/// is taken by another, `NAME.INTENT` is used for both.
fn place(
    directory: &Path,
    name: &str,
    suffix: &str,
    intent: Uuid,
    note: &[u8],
    companion: impl Fn(&Path) -> Result<bool, FileError>,
) -> Result<(), FileError> {
    for base in [name.to_owned(), format!("{name}.{intent}")] {
        let path = directory.join(format!("{base}{suffix}"));
        let ours = match create_new(&path, note, PRIVATE) {
            Err(error) if error.is_already_there() => is_of(&path, intent),
            other => other.map(|()| true)?,
        };
        if ours && companion(&directory.join(&base))? {
            return Ok(());
        }
        if ours {
            std::fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
        }
    }
    Err(io_error(directory, io::ErrorKind::AlreadyExists.into()))
}

/// Whether a receipt or a reason is an intent's.
fn is_of(path: &Path, intent: Uuid) -> bool {
    read_private(path, NOTE_LEN)
        .ok()
        .and_then(|note| serde_json::from_slice::<Note>(&note).ok())
        .is_some_and(|note| note.intent == intent)
}

fn io_error(path: &Path, source: io::Error) -> FileError {
    FileError::Io { action: "write the outcome to", path: path.to_owned(), source }
}

fn to_json(note: &impl Serialize) -> Vec<u8> {
    let mut json =
        serde_json::to_vec_pretty(note).unwrap_or_else(|_| unreachable!("a note has string keys and plain values"));
    json.push(b'\n');
    json
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::refusal::Kind, *};

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_rejected_document_is_left_once_and_never_over_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path().join("drop"));
        layout.prepare().expect("a layout");
        let refusal = Refusal::new(Kind::Schema, "no");
        let document = SecretBytes::new(b"{}".to_vec());
        let other = SecretBytes::new(b"[]".to_vec());
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 0..2 {
            reject_document(&layout, (first, "a.json"), &document, &refusal, Timestamp::UNIX_EPOCH).expect("left");
            reject_document(&layout, (second, "a.json"), &other, &refusal, Timestamp::UNIX_EPOCH).expect("left");
        }
        let unique = format!("a.json.{second}");
        assert_eq!(
            names(&layout.rejected()),
            ["a.json", &unique, &format!("{unique}.reason.json"), "a.json.reason.json"]
        );
        assert_eq!(fs::read(layout.rejected().join("a.json")).expect("kept"), b"{}");
        assert_eq!(fs::read(layout.rejected().join(unique)).expect("kept"), b"[]");
    }
}
