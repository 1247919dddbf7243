//! The log's file, and where its chain stands.

use std::{fs::File, io, os::fd::AsFd, path::Path, sync::Arc};

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, CWD, FallocateFlags, StatxFlags, fallocate, statx},
    io::Errno,
};

use super::{log::Failure, verify::MAC_LEN};
use crate::system::write_out::write_out;

/// How much room is kept behind the last entry, in bytes: some thousands of entries, so that reads go on when the disk is
/// full.
const RESERVE: u64 = 4 * 1024 * 1024;

pub(super) struct Chain {
    pub(super) file: Arc<File>,
    pub(super) id: FileId,
    pub(super) sequence: u64,
    pub(super) mac: [u8; MAC_LEN],
    /// Where the last whole entry ends. Anything behind it is a torn write.
    pub(super) end: u64,
    /// The sequence number of the file's first entry, and when that was written.
    pub(super) first: u64,
    pub(super) began: Timestamp,
    /// After a failure to begin a new segment: from where on it is tried again.
    pub(super) not_before: u64,
    /// Whether segments may have become too old.
    pub(super) has_closed: bool,
    /// A torn last line was cut off, which no entry says yet.
    pub(super) was_torn: bool,
    /// Up to where there is room for sure, and whether more could be had.
    pub(super) reserved: Reserved,
    /// Where lines are put together.
    pub(super) lines: Vec<u8>,
    /// Why the last entry could not be written.
    pub(super) failure: Option<Failure>,
    /// Entries that could not be written.
    pub(super) failures: u64,
}

/// Which file it is: as long as it is open, no other is the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: (u32, u32),
    inode: u64,
}

/// What is found where a file should be.
pub(super) struct Found {
    pub(super) id: FileId,
    pub(super) len: u64,
}

impl Found {
    /// Under a name, without following a link.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Self::look(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn of(file: &File) -> io::Result<Self> {
        Self::look(file, Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Does not ask for the times: of a file whose times were seen the next write has to set new ones (Linux 6.13).
    fn look(directory: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Self> {
        let found = statx(directory, path, flags, StatxFlags::INO | StatxFlags::SIZE)?;
        let id = FileId { device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino };
        Ok(Self { id, len: found.stx_size })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Reserved {
    pub(super) up_to: u64,
    /// The disk had no more.
    pub(super) is_last: bool,
}

impl Chain {
    /// Keeps room for the entries to come. Where the file system can't, or has none left, they are written as long as it
    /// goes.
    pub(super) fn reserve(&mut self) {
        if self.reserved.up_to.saturating_sub(self.end) >= RESERVE / 2 {
            return;
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.end, RESERVE) {
            Ok(()) => {
                self.reserved = Reserved { up_to: self.end + RESERVE, is_last: false };
                // Little is left of it to wait for when this file is closed and synced, which all wait for who want to be
                // answered.
                write_out(&self.file, self.end);
            }
            Err(error) => self.reserved.is_last = error == Errno::NOSPC || error == Errno::DQUOT,
        }
    }
}

/// The lock on the file, which other processes wait for; given back when dropped.
pub(super) struct Alone(Arc<File>);

impl Alone {
    pub(super) fn with(file: &Arc<File>) -> io::Result<Self> {
        file.lock()?;
        Ok(Self(Arc::clone(file)))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Nothing can be done if it fails, and it goes with the process in any case.
        let _ = self.0.unlock();
    }
}
