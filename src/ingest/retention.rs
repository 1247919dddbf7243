//! Removes outcomes that were kept long enough.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;

use super::layout::{Layout, LayoutError};
use crate::system::overwrite::overwrite;

/// Removes what is older than `keep` from `done/` and `rejected/`; how much it was. An outcome's age is that of its
/// status (ctime), which a rename sets and nobody else can. One that can't be removed stays, and is told of.
pub(super) fn remove_old(layout: &Layout, keep: Duration, now: Timestamp) -> Result<u64, LayoutError> {
    let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    let before = now.as_second().saturating_sub(keep);
    let mut removed = 0;
    for path in [layout.done(), layout.rejected()] {
        let directory = Layout::open(&path)?;
        for entry in fs::read_dir(&path).map_err(Layout::unlistable)? {
            let entry = entry.map_err(Layout::unlistable)?;
            let Ok(status) = entry.metadata() else { continue };
            if status.ctime() >= before {
                continue;
            }
            let name = entry.file_name();
            if status.is_file() {
                // What was rejected may be plaintext. Best effort: not all of it is ours to write to.
                let _ = overwrite(&directory, Path::new(&name));
            }
            match remove(&entry.path(), status.is_dir()) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(file = ?name, %error, "an outcome that was kept long enough can't be removed");
                }
            }
        }
    }
    Ok(removed)
}

/// Removes what a crash left of an outcome that was being written: a name of its own, or a second one of what has its
/// own already, for which `ingest show` would refuse it. Only while nothing is written there.
pub(super) fn remove_unfinished(layout: &Layout) -> Result<(), LayoutError> {
    for path in [layout.done(), layout.rejected()] {
        let directory = Layout::open(&path)?;
        for entry in fs::read_dir(&path).map_err(Layout::unlistable)? {
            let name = entry.map_err(Layout::unlistable)?.file_name();
            // No outcome is called so, for nothing is taken in that is.
            if !name.as_bytes().starts_with(b".") {
                continue;
            }
            // Where nothing is sealed it may be plaintext. What has a second name is left as it is.
            let _ = overwrite(&directory, Path::new(&name));
            if let Err(error) = fs::remove_file(path.join(&name)) {
                tracing::warn!(file = ?name, %error, "what is left of an outcome can't be removed");
            }
        }
    }
    Ok(())
}

fn remove(path: &Path, is_directory: bool) -> io::Result<()> {
    if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_an_outcome_goes_and_the_outcome_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path().join("drop"), false);
        layout.prepare().expect("a layout");
        let outcome = layout.rejected().join("a.json");
        fs::write(&outcome, "sealed").expect("written");
        fs::hard_link(&outcome, layout.rejected().join(".a.json.0123456789abcdef")).expect("linked");
        fs::write(layout.done().join(".b.json.receipt.json.0123456789abcdef"), "{").expect("written");
        remove_unfinished(&layout).expect("removed");
        assert_eq!(fs::read(&outcome).expect("there"), b"sealed");
        assert_eq!(fs::metadata(&outcome).expect("there").nlink(), 1);
        assert_eq!(fs::read_dir(layout.done()).expect("there").count(), 0);
    }

    #[test]
    fn what_was_kept_long_enough_goes_whatever_it_is_and_the_rest_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path().join("drop"), false);
        layout.prepare().expect("a layout");
        fs::write(layout.done().join("a.receipt.json"), "{}").expect("written");
        fs::write(layout.rejected().join("a"), "sealed").expect("written");
        fs::create_dir_all(layout.rejected().join("directory/inside")).expect("made");
        std::os::unix::fs::symlink("/nowhere", layout.rejected().join("link")).expect("linked");
        let keep = Duration::from_secs(60);
        let later = |seconds| Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(remove_old(&layout, keep, later(50)).expect("looked"), 0);
        assert_eq!(remove_old(&layout, keep, later(70)).expect("looked"), 4);
        assert_eq!(fs::read_dir(layout.rejected()).expect("there").count(), 0);
    }
}
