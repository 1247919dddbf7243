//! Opens and reads a dropped file, if it is one that may be read.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::{AtFlags, OFlags};

use super::{
    contents,
    refusal::{Kind, Refusal},
};
use crate::{
    secret::SecretBytes,
    system::{files, lease},
};

/// A file that was last written to less than this ago, and holds no document, may have more to come.
const YOUNG: Duration = Duration::from_secs(2);

/// Which files may be read.
#[derive(Clone, Debug)]
pub(super) struct Permitted {
    /// Whose, besides the daemon's user's and root's.
    pub(super) owners: Vec<u32>,
    /// The largest document, in bytes; sealed it is larger.
    pub(super) max_size: u64,
}

/// A file that may be read, and that nobody writes to.
pub(super) struct Opened {
    file: File,
    status: Metadata,
}

/// Why a file was not read.
pub(super) enum Unread {
    /// It is not one that may be.
    Refused(Refusal),
    /// It is still being written.
    Growing,
    /// It is not there.
    Gone,
    /// It can't be, for now.
    Failed(io::Error),
}

impl Permitted {
    /// Opens a file in a directory: a regular file with one name, of an owner who may, that nobody else may write to and
    /// nobody has open for writing. What kind of file it is, is looked at before it is opened (to open a device does
    /// things), and all of it again on what was opened.
    pub(super) fn open(&self, directory: &File, name: &Path) -> Result<Opened, Unread> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let status = File::from(open_beneath(directory, name, flags)?).metadata().map_err(Unread::Failed)?;
        self.check(&status).map_err(Unread::Refused)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(open_beneath(directory, name, flags)?);
        let status = file.metadata().map_err(Unread::Failed)?;
        self.check(&status).map_err(Unread::Refused)?;
        // Where the kernel does not tell, that the file is at rest has to do.
        if lease::is_open_for_writing(&file) == Some(true) {
            return Err(Unread::Growing);
        }
        Ok(Opened { file, status })
    }

    fn check(&self, status: &Metadata) -> Result<(), Refusal> {
        let refuse = |reason: &str, hint: &str| Err(Refusal::new(Kind::File, reason).hint(hint));
        let kind = status.file_type();
        if !kind.is_file() {
            let what = match () {
                () if kind.is_symlink() => "it is a symbolic link",
                () if kind.is_fifo() => "it is a FIFO",
                () if kind.is_socket() => "it is a socket",
                () if kind.is_dir() => "it is a directory",
                () => "it is a device",
            };
            return refuse(what, "drop a regular file");
        }
        if status.nlink() != 1 {
            return refuse("the file has other names (hard links)", "drop a copy of its own");
        }
        let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&status.uid());
        if !is_ours && !self.owners.contains(&status.uid()) {
            return refuse(
                "the file belongs to another user",
                "drop it as the daemon's user, as root, or as one that ingest.owners names",
            );
        }
        if status.mode() & 0o022 != 0 {
            return refuse("others may write to the file", "drop it with mode 0600");
        }
        if status.len() > contents::sealed_size(self.max_size) {
            return Err(contents::too_large(self.max_size));
        }
        Ok(())
    }
}

impl Opened {
    /// Whether it was written to so recently that there may be more to come.
    pub(super) fn is_young(&self, now: Timestamp) -> bool {
        let written = i128::from(self.status.mtime()) * 1_000_000_000 + i128::from(self.status.mtime_nsec());
        let age = now.as_nanosecond() - written;
        (0..i128::try_from(YOUNG.as_nanos()).unwrap_or(i128::MAX)).contains(&age)
    }

    /// Reads it into one buffer, one byte longer than the file to see whether it grew; a buffer that grew would leave a
    /// copy behind.
    pub(super) fn read(self) -> Result<SecretBytes, Unread> {
        let length = usize::try_from(self.status.len()).unwrap_or(usize::MAX);
        let mut buffer = Vec::with_capacity(length.saturating_add(1));
        let limit = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.file.take(limit).read_to_end(&mut buffer);
        let bytes = SecretBytes::new(buffer);
        let read = read.map_err(Unread::Failed)?;
        if read > length { Err(Unread::Growing) } else { Ok(bytes) }
    }
}

/// Reads a regular file of ours with one name that may not be read as a document, to be sealed: one that is too large, or
/// that others may write to. `None` if it is another kind of file, or larger than `limit`.
pub(super) fn read_to_seal(directory: &File, name: &Path, limit: u64) -> Option<SecretBytes> {
    let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_regular = rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    if !is_regular || status.st_nlink != 1 || status.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open_beneath(directory, name, flags).ok()?);
    let status = file.metadata().ok()?;
    if !status.is_file() || status.nlink() != 1 || status.len() > limit {
        return None;
    }
    Opened { file, status }.read().ok()
}

fn open_beneath(directory: &File, name: &Path, flags: OFlags) -> Result<std::os::fd::OwnedFd, Unread> {
    // With O_PATH a link itself is opened, and refused for what it is.
    files::open_entry(directory, name, flags).map_err(|error| match error {
        rustix::io::Errno::NOENT => Unread::Gone,
        rustix::io::Errno::ACCESS => Unread::Refused(
            Refusal::new(Kind::File, "the daemon may not read the file").hint("drop it so that the daemon may read it"),
        ),
        error => Unread::Failed(error.into()),
    })
}
