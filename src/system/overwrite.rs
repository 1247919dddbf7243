//! Overwriting a file's content in place. What that is worth depends on what is below: docs/drop-files.md says.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

use rustix::fs::{OFlags, fstat, syncfs};

use super::files::open_entry;
use crate::failpoint::failpoint;

const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Puts zeros over the content of a regular file with one name, in a directory. [`sync_file_system`] brings them to the
/// disk; to unlink the file before that would let the kernel drop them.
///
/// # Errors
/// It could not be opened for writing, or written to.
pub fn overwrite(directory: &File, name: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let descriptor = open_entry(directory, name, flags)?;
    let status = fstat(&descriptor)?;
    if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::RegularFile || status.st_nlink != 1
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut left = usize::try_from(status.st_size).unwrap_or_default();
    let mut file = File::from(descriptor);
    while left > 0 {
        let now = left.min(ZEROS.len());
        file.write_all(&ZEROS[..now])?;
        left -= now;
        failpoint!("overwrite.part");
    }
    Ok(())
}

/// Brings everything that was written to a file system to its disk (syncfs(2)): once for many files.
///
/// # Errors
/// The disk failed.
pub fn sync_file_system(on: impl AsFd) -> io::Result<()> {
    Ok(syncfs(on)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_with_one_name_is_overwritten_and_all_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let directory = File::open(dir.path()).expect("opened");
        let content = vec![7_u8; ZEROS.len() * 2 + 5];
        for name in ["file", "target", "one"] {
            fs::write(dir.path().join(name), &content).expect("made");
        }
        overwrite(&directory, Path::new("file")).expect("overwritten");
        sync_file_system(&directory).expect("synced");
        assert!(fs::read(dir.path().join("file")).expect("read").iter().all(|byte| *byte == 0));
        assert_eq!(fs::metadata(dir.path().join("file")).expect("there").len(), content.len() as u64);

        std::os::unix::fs::symlink("target", dir.path().join("link")).expect("linked");
        fs::hard_link(dir.path().join("one"), dir.path().join("two")).expect("linked");
        for name in ["link", "two", "../file", "."] {
            assert!(overwrite(&directory, Path::new(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read(dir.path().join("target")).expect("read"), content);
        assert_eq!(fs::read(dir.path().join("one")).expect("read"), content);
    }
}
