//! Puts a file into a directory that somebody watches: it is there whole or not at all, and never in the place of another.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    str::FromStr,
};

use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, fstat, fsync, openat, renameat_with, syncfs,
        unlinkat,
    },
    io::Errno,
};

use super::files::FileError;

/// Where a file waits until it is whole, below the directory that it is delivered to.
pub const DRAFTS: &str = "tmp";
/// The longest name, in bytes: what is added to it for receipts fits into the 255 that a name may have.
const NAME_LEN: usize = 180;

/// A delivered file's name: one plain component that is no hidden file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// Text is not a name to deliver under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// It leaves the directory, or can't be printed.
    #[error("a name is text without a slash or control characters")]
    NotPlain,
    /// Files with such names are not looked at.
    #[error("a name does not begin with a dot")]
    Hidden,
    /// There would be no room for what is added to it.
    #[error("a name has 1 to {NAME_LEN} bytes")]
    Length,
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if text.contains(|c: char| c == '/' || c.is_control()) {
            Err(NotAName::NotPlain)
        } else if text.starts_with('.') {
            Err(NotAName::Hidden)
        } else if (1..=NAME_LEN).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAName::Length)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that is being written in `tmp/`. It goes when this is dropped, unless it was delivered.
///
/// INVARIANT: each step is by descriptor, so that nobody who may write to the directory can send root, who may deliver too,
/// somewhere else meanwhile.
pub struct Delivery<'a> {
    directory: &'a Path,
    root: OwnedFd,
    drafts: OwnedFd,
    draft: String,
    file: File,
}

impl<'a> Delivery<'a> {
    /// Begins a file, private to whoever owns the directory.
    ///
    /// # Errors
    /// One that [`FileError::is_missing`] where there is no such directory, or no `tmp/` in it.
    pub fn begin(directory: &'a Path) -> Result<Self, FileError> {
        let drafts_path = directory.join(DRAFTS);
        let into = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Who may write to a directory need not be able to list it.
        let open_at = |at: BorrowedFd<'_>, path: &Path, flags: OFlags| match openat(at, path, flags, Mode::empty()) {
            Err(Errno::ACCESS) => openat(at, path, flags | OFlags::PATH, Mode::empty()),
            opened => opened,
        };
        let root = open_at(CWD, directory, into).map_err(failed("open", directory))?;
        let drafts =
            open_at(root.as_fd(), Path::new(DRAFTS), into | OFlags::NOFOLLOW).map_err(failed("open", &drafts_path))?;
        let draft =
            format!("{:016x}", getrandom::u64().map_err(|error| io("write", &drafts_path)(io::Error::other(error)))?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&drafts, &draft, flags, Mode::from_raw_mode(0o600)).map_err(failed("write", &drafts_path))?;
        let delivery = Self { directory, root, drafts, draft, file: file.into() };
        delivery.hand_over().map_err(failed("write", &drafts_path))?;
        Ok(delivery)
    }

    /// A file that only its owner may read would be of no use to whoever owns the directory: root gives it away, and
    /// others let the directory's group read it, which it then has.
    fn hand_over(&self) -> Result<(), Errno> {
        let (owner, us) = (fstat(&self.root)?, rustix::process::geteuid());
        let is_theirs = owner.st_uid != us.as_raw();
        let is_shared = !us.is_root() && is_theirs && fstat(&self.file)?.st_gid == owner.st_gid;
        fchmod(&self.file, Mode::from_raw_mode(if is_shared { 0o640 } else { 0o600 }))?;
        if us.is_root() && is_theirs {
            fchown(&self.file, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
        }
        Ok(())
    }

    /// Where its content goes.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts it in place under a name, and all of it on stable storage.
    ///
    /// # Errors
    /// One that [`FileError::is_already_there`] when the name is taken; what has it isn't touched.
    pub fn deliver(self, name: &Name) -> Result<(), FileError> {
        let path = self.directory.join(&name.0);
        self.file.sync_all().map_err(io("write", &path))?;
        renameat_with(&self.drafts, &self.draft, &self.root, &name.0, RenameFlags::NOREPLACE)
            .map_err(failed("create", &path))?;
        // What can't be read can't be synced for itself: all of its file system is.
        let sync = |directory: &OwnedFd| match fsync(directory.as_fd()) {
            Err(Errno::BADF) => syncfs(&self.file),
            synced => synced,
        };
        sync(&self.root).and_then(|()| sync(&self.drafts)).map_err(failed("sync", self.directory))
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        // Once delivered there is nothing of that name; another failure leaves a private file in `tmp/`, no more.
        let _ = unlinkat(&self.drafts, &self.draft, AtFlags::empty());
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { action, path, source }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> FileError {
    let failed = io(action, path);
    move |error| failed(error.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    fn directory() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(DRAFTS)).unwrap();
        directory
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn deliver(directory: &Path, name: &str, content: &[u8]) -> Result<(), FileError> {
        let mut delivery = Delivery::begin(directory)?;
        delivery.file().write_all(content).unwrap();
        delivery.deliver(&name.parse().unwrap())
    }

    #[test]
    fn a_delivered_file_is_whole_private_and_alone() {
        let directory = directory();
        deliver(directory.path(), "a.json", b"content").unwrap();
        let path = directory.path().join("a.json");
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(directory.path()), ["a.json", DRAFTS]);
        assert!(names(&directory.path().join(DRAFTS)).is_empty());
    }

    #[test]
    fn a_name_that_is_taken_stays_whose_it_is() {
        let directory = directory();
        deliver(directory.path(), "a.json", b"first").unwrap();
        assert!(deliver(directory.path(), "a.json", b"second").unwrap_err().is_already_there());
        assert!(deliver(directory.path(), DRAFTS, b"second").unwrap_err().is_already_there());
        assert_eq!(fs::read(directory.path().join("a.json")).unwrap(), b"first");
        assert!(names(&directory.path().join(DRAFTS)).is_empty());
    }

    #[test]
    fn cut_off_before_it_is_delivered_it_leaves_something_in_tmp_at_most() {
        let directory = directory();
        let drafts = directory.path().join(DRAFTS);
        let mut delivery = Delivery::begin(directory.path()).unwrap();
        assert_eq!((names(directory.path()), names(&drafts).len()), (vec![DRAFTS.to_owned()], 1));
        delivery.file().write_all(b"half").unwrap();
        assert_eq!((names(directory.path()), names(&drafts).len()), (vec![DRAFTS.to_owned()], 1));
        drop(delivery);
        assert!(names(&drafts).is_empty());
        let killed = Delivery::begin(directory.path()).unwrap();
        std::mem::forget(killed);
        assert_eq!((names(directory.path()), names(&drafts).len()), (vec![DRAFTS.to_owned()], 1));
    }

    #[test]
    fn a_directory_that_is_missing_or_elsewhere_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Delivery::begin(&directory.path().join("none")).err().unwrap().is_missing());
        assert!(Delivery::begin(directory.path()).err().unwrap().is_missing());
        std::os::unix::fs::symlink("/tmp", directory.path().join(DRAFTS)).unwrap();
        assert!(Delivery::begin(directory.path()).is_err());
    }

    #[test]
    fn a_name_is_one_visible_component_with_room_behind_it() {
        let long = "x".repeat(181);
        let wrong = [
            ("a/b", NotAName::NotPlain),
            ("..", NotAName::Hidden),
            (".a", NotAName::Hidden),
            ("a\nb", NotAName::NotPlain),
            ("a\0", NotAName::NotPlain),
            ("", NotAName::Length),
            (&long, NotAName::Length),
        ];
        for (text, error) in wrong {
            assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        }
        assert_eq!("a b.json".parse::<Name>().unwrap().to_string(), "a b.json");
    }

    /// As docs/drop-files.md sets such a directory up.
    #[test]
    fn what_an_importer_delivers_its_directorys_group_may_read() {
        const IMPORTER: u32 = 65_533;
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root");
            return;
        }
        let directory = directory();
        let path = directory.path().to_owned();
        for shared in [path.clone(), path.join(DRAFTS)] {
            std::os::unix::fs::chown(&shared, Some(65_532), Some(IMPORTER)).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(0o3730)).unwrap();
        }
        let drop_it = move || {
            let id = libc::c_long::from(IMPORTER);
            // SAFETY: the system calls take integers, and change this thread alone.
            #[expect(unsafe_code, reason = "to be another user in one thread")]
            unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
                libc::syscall(libc::SYS_setresgid, id, id, id);
                libc::syscall(libc::SYS_setresuid, id, id, id);
            }
            deliver(&path, "a.json", b"sealed")
        };
        std::thread::spawn(drop_it).join().unwrap().unwrap();
        let status = fs::metadata(directory.path().join("a.json")).unwrap();
        assert_eq!(status.permissions().mode() & 0o7777, 0o640, "the daemon can't read it");
    }
}
