//! The drop directory: dropped files at its top level, and below it what is ours.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::system::files::{FileError, private_directory, shared_directory, sync_directory};

/// How long a file must have been left alone before it is claimed.
const REST: Duration = Duration::from_millis(200);

/// The longest name that is kept whole, in bytes: what is added to it in `done/` and `rejected/`, for a moment too, must
/// fit into the 255 that a name may have.
const NAME_LEN: usize = 180;

/// The longest ending that is kept when a name is cut, in bytes, such as `.ndjson.age`.
const ENDING_LEN: usize = 16;

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
    /// A file can't be renamed into it.
    #[error("{} is on another file system than the drop directory", .0.display())]
    OtherFileSystem(PathBuf),
}

/// What at the top level is not dropped: ours, and what a file system puts into its root.
const NOT_DROPPED: [&str; 4] = ["tmp", "done", "rejected", "lost+found"];

/// Where things are.
#[derive(Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// Whether others than the daemon's user and root deliver.
    is_shared: bool,
}

/// Something that was dropped and is at rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dropped {
    /// When its status was changed last, which a rename does too: seconds and nanoseconds since the epoch.
    arrived_at: (i64, i64),
    pub(super) name: OsString,
    /// In bytes.
    pub(super) size: u64,
}

/// What a look into the directory found.
#[derive(Default)]
pub(super) struct Found {
    /// In order of arrival.
    pub(super) dropped: Vec<Dropped>,
    /// Whether there is more that may still be being written.
    pub(super) unrested: bool,
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
    /// The layout below a directory, to which others than the daemon's user and root may deliver.
    pub(super) fn new(root: PathBuf, is_shared: bool) -> Self {
        Self { root, is_shared }
    }

    /// Makes sure of every directory: made with mode 0700, or ours and writable by nobody else; where others deliver, by
    /// their group too.
    pub(super) fn prepare(&self) -> Result<(), LayoutError> {
        let entrance = if self.is_shared { shared_directory } else { private_directory };
        for directory in [self.root.clone(), self.root.join("tmp")] {
            entrance(&directory)?;
        }
        for directory in [self.claimed(), self.done(), self.rejected()] {
            private_directory(&directory)?;
        }
        let device = |path: &Path| fs::metadata(path).map(|status| status.dev()).map_err(failed("look at a directory"));
        let root = device(&self.root)?;
        for directory in [self.claimed(), self.rejected()] {
            if device(&directory)? != root {
                return Err(LayoutError::OtherFileSystem(directory));
            }
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

    /// What was dropped, whatever kind of file it is.
    pub(super) fn look(&self, now: Timestamp) -> Result<Found, LayoutError> {
        let mut found = Found::default();
        for entry in fs::read_dir(&self.root).map_err(failed("list what is dropped"))? {
            let entry = entry.map_err(failed("list what is dropped"))?;
            let name = entry.file_name();
            // One that is gone again was taken back.
            let Ok(status) = entry.metadata() else { continue };
            if name.as_bytes().starts_with(b".") || (status.is_dir() && NOT_DROPPED.iter().any(|ours| name == *ours)) {
                continue;
            }
            let arrived_at = (status.ctime(), status.ctime_nsec());
            if is_at_rest(arrived_at, now) {
                found.dropped.push(Dropped { arrived_at, name, size: status.len() });
            } else {
                found.unrested = true;
            }
        }
        found.dropped.sort_unstable();
        Ok(found)
    }

    /// Takes what was dropped for ourselves; `None` if it is gone again: it was taken back.
    pub(super) fn claim(&self, dropped: &Dropped) -> io::Result<Option<Claimed>> {
        // In order of arrival, so that what is claimed is in order too.
        let (id, name) = (Uuid::now_v7(), cut(&dropped.name));
        let entry = format!("{id}.{name}");
        match renameat_with(
            CWD,
            self.root.join(&dropped.name),
            CWD,
            self.claimed().join(&entry),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(Some(Claimed { id, name, entry })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The claimed files, those of an earlier run too, in order of arrival.
    pub(super) fn all_claimed(&self) -> Result<Vec<Claimed>, LayoutError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.claimed()).map_err(failed("list what is claimed"))? {
            let entry = entry.map_err(failed("list what is claimed"))?.file_name();
            all.extend(entry.into_string().ok().and_then(Claimed::from_entry));
        }
        all.sort_unstable_by(|one: &Claimed, other| one.entry.cmp(&other.entry));
        Ok(all)
    }

    /// A directory of the layout, opened.
    pub(super) fn open(directory: &Path) -> Result<File, LayoutError> {
        File::open(directory).map_err(failed("open a directory"))
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

    /// What it means that a directory can't be listed.
    pub(super) fn unlistable(source: io::Error) -> LayoutError {
        failed("list the outcomes")(source)
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
}

/// Whether a file was last touched (its status, which the kernel keeps and nobody can set) long enough ago. A time
/// well ahead of ours says nothing, and is no reason to wait.
fn is_at_rest((seconds, nanoseconds): (i64, i64), now: Timestamp) -> bool {
    let touched = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let rest = i128::try_from(REST.as_nanos()).unwrap_or(i128::MAX);
    (now.as_nanosecond() - touched).abs() >= rest
}

/// A name as text that leaves room for what is added to it.
fn cut(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    if name.len() <= NAME_LEN {
        return name.into_owned();
    }
    // What it holds, one document or many, is told by how its name ends.
    let boundary = |mut at: usize| {
        while !name.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (_, last) = name.split_at(boundary(name.len() - ENDING_LEN));
    let ending = last.find('.').map_or("", |dot| &last[dot..]);
    format!("{}{ending}", &name[..boundary(NAME_LEN - ending.len())])
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
        assert!(!is_at_rest((1_700_000_000, 400_000_000), now));
        assert!(!is_at_rest((1_700_000_000, 600_000_000), now));
        assert!(is_at_rest((1_700_000_000, 300_000_000), now));
        assert!(is_at_rest((1_700_000_009, 0), now));
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
