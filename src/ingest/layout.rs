//! The drop directory: dropped files at its top level, and below it what is ours.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::system::files::{FileError, private_directory, sync_directory};

/// How long a file must have been left alone before it is claimed.
const REST: Duration = Duration::from_millis(200);

/// The longest name that is kept whole, in bytes: what is added to it in `done/` and `rejected/`, for a moment too, must
/// fit into the 255 that a name may have.
const NAME_LEN: usize = 180;

/// Why the drop directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A directory can't be made, or others could write to it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refused.
    #[error("can't {action} in the drop directory")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Where things are.
#[derive(Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

/// A claimed file. Nobody delivers to it any more, but whoever has it open may still write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    /// The intent that it becomes.
    pub(super) id: Uuid,
    /// The name that it was dropped under, as text and cut to [`NAME_LEN`].
    pub(super) name: String,
    /// Its name among the claimed.
    pub(super) entry: String,
}

impl Layout {
    /// The layout below a directory.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes sure of every directory: made with mode 0700, or ours and writable by nobody else.
    pub(super) fn prepare(&self) -> Result<(), LayoutError> {
        for directory in [self.root.clone(), self.claimed(), self.done(), self.rejected(), self.root.join("tmp")] {
            private_directory(&directory)?;
        }
        Ok(())
    }

    /// Where files are dropped.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where claimed files wait to be read.
    pub(super) fn claimed(&self) -> PathBuf {
        self.root.join(".claimed")
    }

    /// Where receipts go.
    pub(super) fn done(&self) -> PathBuf {
        self.root.join("done")
    }

    /// Where rejected files go.
    pub(super) fn rejected(&self) -> PathBuf {
        self.root.join("rejected")
    }

    /// Claims every dropped file that is at rest, whatever kind of file it is; directories are not looked at.
    ///
    /// Whether there are others that may still be being written.
    pub(super) fn claim(&self, now: Timestamp) -> Result<bool, LayoutError> {
        let mut unrested = false;
        for entry in fs::read_dir(&self.root).map_err(failed("list what is dropped"))? {
            let entry = entry.map_err(failed("list what is dropped"))?;
            let name = entry.file_name();
            // One that is gone again was taken back.
            let Ok(status) = entry.metadata() else { continue };
            if name.as_bytes().starts_with(b".") || status.is_dir() {
                continue;
            }
            if is_at_rest(status.ctime(), status.ctime_nsec(), now) {
                self.claim_one(&name)?;
            } else {
                unrested = true;
            }
        }
        Ok(unrested)
    }

    fn claim_one(&self, name: &OsStr) -> Result<(), LayoutError> {
        let to = self.claimed().join(format!("{}.{}", Uuid::new_v4(), cut(name)));
        match renameat_with(CWD, self.root.join(name), CWD, to, RenameFlags::NOREPLACE) {
            // One that is gone again was taken back.
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("claim a file")(error.into())),
        }
    }

    /// The claimed files, those of an earlier run too.
    pub(super) fn all_claimed(&self) -> Result<Vec<Claimed>, LayoutError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.claimed()).map_err(failed("list what is claimed"))? {
            let entry = entry.map_err(failed("list what is claimed"))?.file_name();
            all.extend(entry.into_string().ok().and_then(Claimed::from_entry));
        }
        Ok(all)
    }

    /// Removes a claimed file, whose document is journaled. [`Self::settle_removals`] makes it last.
    pub(super) fn remove(&self, claimed: &Claimed) -> Result<(), LayoutError> {
        match fs::remove_file(self.claimed().join(&claimed.entry)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove a claimed file")(error)),
            _ => Ok(()),
        }
    }

    /// Makes claims survive a loss of power: a file that came back to the top level after its document was journaled
    /// would be taken for another.
    pub(super) fn settle_claims(&self) -> Result<(), LayoutError> {
        sync_directory(&self.claimed())?;
        Ok(sync_directory(&self.root)?)
    }

    /// Makes removals survive a loss of power.
    pub(super) fn settle_removals(&self) -> Result<(), LayoutError> {
        Ok(sync_directory(&self.claimed())?)
    }

    /// The drop directory as the watch knows it: one that was made again is another.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fs::metadata(&self.root).ok().map(|status| (status.dev(), status.ino()))
    }
}

impl Claimed {
    fn from_entry(entry: String) -> Option<Self> {
        let (id, rest) = entry.split_at_checked(uuid::fmt::Hyphenated::LENGTH)?;
        let (id, name) = (id.parse().ok()?, rest.strip_prefix('.')?.to_owned());
        Some(Self { id, name, entry })
    }

    /// The file, opened without following a link and without waiting, and what it is.
    pub(super) fn open(&self, layout: &Layout) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let directory = File::open(layout.claimed())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(directory, &self.entry, flags, Mode::empty(), resolve)?.into())
    }
}

/// Whether a file was last touched (its status, which the kernel keeps and nobody can set) long enough ago. A time
/// well ahead of ours says nothing, and is no reason to wait.
fn is_at_rest(seconds: i64, nanoseconds: i64, now: Timestamp) -> bool {
    let touched = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let rest = i128::try_from(REST.as_nanos()).unwrap_or(i128::MAX);
    (now.as_nanosecond() - touched).abs() >= rest
}

/// A name as text that leaves room for what is added to it.
fn cut(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let end = (0..=NAME_LEN.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].to_owned()
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> LayoutError {
    move |source| LayoutError::Io { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_touched_is_not_at_rest() {
        let now = Timestamp::from_millisecond(1_700_000_000_500).expect("a time");
        assert!(!is_at_rest(1_700_000_000, 400_000_000, now));
        assert!(!is_at_rest(1_700_000_000, 600_000_000, now));
        assert!(is_at_rest(1_700_000_000, 300_000_000, now));
        assert!(is_at_rest(1_700_000_009, 0, now));
    }

    #[test]
    fn a_claim_keeps_the_name_as_far_as_it_fits() {
        let id = Uuid::from_u128(7);
        let entry = format!("{id}.acme.json");
        let claimed = Claimed::from_entry(entry.clone()).expect("a claim");
        assert_eq!(claimed, Claimed { id, name: "acme.json".to_owned(), entry });
        assert_eq!(Claimed::from_entry("something else".to_owned()), None);
        assert_eq!(cut(OsStr::new(&"é".repeat(127))).len(), NAME_LEN);
        assert_eq!(cut(OsStr::new(&format!("x{}", "é".repeat(127)))).len(), NAME_LEN - 1);
        assert_eq!(cut(OsStr::from_bytes(b"a\xff")), "a\u{fffd}");
    }
}
