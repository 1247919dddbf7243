//! Reads a claimed file, if it is one that may be read.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    layout::{Claimed, Layout},
    refusal::{Kind, Refusal},
};
use crate::secret::SecretBytes;

/// A document that doesn't parse may still be being written for this long after its last change.
const YOUNG: Duration = Duration::from_secs(2);

/// A file that was read.
pub(super) struct Content {
    pub(super) bytes: SecretBytes,
    /// Whether it changed so recently that there may be more to come.
    pub(super) young: bool,
}

/// Why a claimed file was not read.
pub(super) enum Unread {
    /// It is not one that may be.
    Refused(Refusal),
    /// It is still being written.
    Growing,
    /// It can't be, for now.
    Failed(io::Error),
}

/// Reads a claimed file: a regular file with one name, ours or root's, that nobody else may write to, of at most
/// `max_size` bytes. What kind of file it is, is looked at before it is opened (to open a device does things), and all
/// of it again on what was opened.
pub(super) fn read(claimed: &Claimed, layout: &Layout, max_size: u64, now: Timestamp) -> Result<Content, Unread> {
    let status = std::fs::symlink_metadata(layout.claimed().join(&claimed.entry)).map_err(Unread::Failed)?;
    permit(&status, max_size).map_err(Unread::Refused)?;
    let file = claimed.open(layout).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unread::Refused(
            Refusal::new(Kind::File, "the daemon may not read the file").hint("drop it as the daemon's user"),
        ),
        _ => Unread::Failed(error),
    })?;
    let status = file.metadata().map_err(Unread::Failed)?;
    permit(&status, max_size).map_err(Unread::Refused)?;
    let bytes = read_at_most(file, status.len(), max_size)?;
    Ok(Content { bytes, young: is_young(&status, now) })
}

fn permit(status: &Metadata, max_size: u64) -> Result<(), Refusal> {
    let refuse = |reason: &str, hint: &str| Err(Refusal::new(Kind::File, reason).hint(hint));
    let kind = status.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_symlink() => "it is a symbolic link",
            () if kind.is_fifo() => "it is a FIFO",
            () if kind.is_socket() => "it is a socket",
            () => "it is not a regular file",
        };
        return refuse(what, "drop a regular file");
    }
    if status.nlink() != 1 {
        return refuse("the file has other names (hard links)", "drop a copy of its own");
    }
    if status.uid() != 0 && status.uid() != rustix::process::geteuid().as_raw() {
        return refuse("the file belongs to another user", "drop it as the daemon's user or as root");
    }
    if status.mode() & 0o022 != 0 {
        return refuse("others may write to the file", "drop it with mode 0600");
    }
    if status.len() > max_size {
        let reason = format!("the file is larger than {max_size} bytes");
        return refuse(&reason, "ingest.max_size is the limit");
    }
    Ok(())
}

/// Reads a file into one buffer, one byte longer than the file to see whether it grew; a buffer that grew would leave
/// a copy behind.
fn read_at_most(file: File, length: u64, max_size: u64) -> Result<SecretBytes, Unread> {
    let length = usize::try_from(length.min(max_size)).unwrap_or(usize::MAX);
    let mut buffer = Vec::with_capacity(length.saturating_add(1));
    let limit = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(limit).read_to_end(&mut buffer);
    let bytes = SecretBytes::new(buffer);
    let read = read.map_err(Unread::Failed)?;
    if read > length {
        return Err(Unread::Growing);
    }
    Ok(bytes)
}

fn is_young(status: &Metadata, now: Timestamp) -> bool {
    let changed = i128::from(status.mtime()) * 1_000_000_000 + i128::from(status.mtime_nsec());
    let age = now.as_nanosecond() - changed;
    (0..i128::try_from(YOUNG.as_nanos()).unwrap_or(i128::MAX)).contains(&age)
}
