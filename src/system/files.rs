//! Trust in the file system: owner, mode and type are checked on the opened descriptor, never on a path that
//! may mean another file a moment later.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat, open};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::failpoint::failpoint;

/// A file or directory that can't be used, or that must not be trusted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else is where a file or a directory was expected.
    #[error("{} is not a {wanted}", path.display())]
    Type {
        /// What was found there.
        path: PathBuf,
        /// What it should have been.
        wanted: &'static str,
    },
    /// It belongs to a user who could change it under us.
    #[error("{} belongs to uid {owner}", path.display())]
    Owner {
        /// What belongs to somebody else.
        path: PathBuf,
        /// To whom.
        owner: u32,
    },
    /// Its mode lets others in.
    #[error("{} has mode {mode:04o}, which lets others in", path.display())]
    Mode {
        /// What is too open.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The same without those of group and others that are too much.
        wanted: u32,
    },
    /// It is larger than what it is said to be can be, or grew while it was read.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// What is too large.
        path: PathBuf,
        /// How large it may be, in bytes.
        limit: u64,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.is(io::ErrorKind::NotFound)
    }

    /// Whether [`create_new`] found the file already there.
    pub fn is_already_there(&self) -> bool {
        self.is(io::ErrorKind::AlreadyExists)
    }

    fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == kind)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mode { path, wanted, .. } => Some(format!("chmod {wanted:03o} {}", path.display())),
            // Root reads everything; to take a file away from the daemon's user would lock the daemon out.
            Self::Owner { owner, .. } if us() == 0 => Some(format!("run this as the user it belongs to: #{owner}")),
            Self::Owner { path, .. } => Some(format!("chown {} {}", us(), path.display())),
            Self::Type { path, wanted } => {
                Some(format!("name the {wanted} itself, not a link to it: {}", path.display()))
            }
            Self::Io { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// Reads a file that nobody else may read: a regular file (no symbolic link), owned by us or root, without any
/// access for group and others, of at most `limit` bytes.
pub fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_owned(path, limit, 0o600)
}

/// As [`read_private`], for a file in `$CREDENTIALS_DIRECTORY`: where systemd gives the service's user access
/// by an ACL, the ACL's mask shows as read permission of the group (systemd.exec(5), "Credentials").
pub fn read_credential(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_owned(path, limit, 0o640)
}

fn read_owned(path: &Path, limit: u64, at_most: u32) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // NONBLOCK, because to open a FIFO for reading would otherwise wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let (mut file, status) = open_checked(path, flags, FileType::RegularFile)?;
    check_access(path, &status, &[us(), 0], at_most)?;

    let too_large = || FileError::TooLarge { path: path.to_owned(), limit };
    let size = u64::try_from(status.st_size).map_err(|_| too_large())?;
    let length = usize::try_from(size).map_err(|_| too_large())?;
    if size > limit {
        return Err(too_large());
    }
    // One byte more than the file has shows that it grew; the buffer itself never does, so that no
    // reallocation leaves a copy behind.
    let mut content = Zeroizing::new(vec![0; length + 1]);
    let mut filled = 0;
    while filled < content.len() {
        match file.read(&mut content[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", path)(error)),
        }
    }
    if filled > length {
        return Err(too_large());
    }
    content.truncate(filled);
    Ok(content)
}

/// Puts a new file in the place of the old one, if there is one: a private temporary in the same directory,
/// synced, renamed, and the directory synced. Whoever opens `path` finds the old content whole or the new.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = Temporary::write(path, mode, |file| file.write_all(content))?;
    std::fs::rename(&temporary.path, path).map_err(FileError::io("replace", path))?;
    sync_directory(parent(path))
}

/// Makes a file that wasn't there, whole or not at all, and syncs it and its directory.
///
/// # Errors
/// One that [`FileError::is_already_there`] when there is something of that name; it isn't touched.
pub fn create_new(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    create_new_with(path, mode, |file| file.write_all(content))
}

/// As [`create_new`], with what `write` puts into it.
pub fn create_new_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    let temporary = Temporary::write(path, mode, write)?;
    // link(2), and not a rename: it fails where the name is taken.
    std::fs::hard_link(&temporary.path, path).map_err(FileError::io("create", path))?;
    drop(temporary);
    sync_directory(parent(path))
}

/// As [`create_new`], without waiting for the disk: for many files at once, with one
/// [`sync_file_system`](super::overwrite::sync_file_system) after them.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_unsynced(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = Temporary::create(path, mode, |file| file.write_all(content))?;
    failpoint!("files.written");
    std::fs::hard_link(&temporary.path, path).map_err(FileError::io("create", path))?;
    failpoint!("files.linked");
    Ok(())
}

/// Makes sure of a file of ours for somebody else to open (SQLite): it is created empty with mode 0600, or it
/// is a regular file, owned by us, that nobody else has access to.
///
/// INVARIANT: an existing file is looked at through an `O_PATH` descriptor. To close any other descriptor of
/// it would drop every POSIX lock that this process holds on it, SQLite's among them.
pub fn private_file(path: &Path) -> Result<(), FileError> {
    let mode = Mode::from_raw_mode(0o600);
    match open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, mode) {
        Ok(_) => sync_directory(parent(path)),
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let (_, status) = open_checked(path, flags, FileType::RegularFile)?;
            check_access(path, &status, &[us()], 0o600)
        }
        Err(error) => Err(FileError::io("create", path)(error.into())),
    }
}

/// Opens a file of ours to read and write, and creates it where it is not: a regular file (no symbolic link), owned by
/// us, that nobody else has access to.
pub fn open_private(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor = match open(path, flags, Mode::from_raw_mode(0o600)) {
        Err(Errno::LOOP) => {
            return Err(FileError::Type { path: path.to_owned(), wanted: "regular file" });
        }
        result => result.map_err(|error| FileError::io("open", path)(error.into()))?,
    };
    let status = fstat(&descriptor).map_err(|error| FileError::io("examine", path)(error.into()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(FileError::Type { path: path.to_owned(), wanted: "regular file" });
    }
    check_access(path, &status, &[us()], 0o600)?;
    Ok(File::from(descriptor))
}

/// Whether the file system lets us write to a file.
pub fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Moves a file within its file system, over what is there, and syncs both directories. One that isn't there is none the
/// less to be gone from where it would be moved to.
pub fn move_if_there(from: &Path, to: &Path) -> Result<(), FileError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => remove_if_there(to)?,
        other => other.map_err(FileError::io("move", from))?,
    }
    sync_directory(parent(to))?;
    sync_directory(parent(from))
}

/// Removes a file, if there is one, and syncs its directory.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::io("remove", path)).and_then(|()| sync_directory(parent(path))),
    }
}

/// Removes a directory of ours and what is in it, if there is one.
pub fn remove_directory_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::io("remove", path)),
    }
}

/// Holds the lock of this name until the file is dropped; `None` if somebody else does (flock(2)).
pub fn try_lock(path: &Path) -> Result<Option<File>, FileError> {
    let file = open_private(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(FileError::io("lock", path)(source)),
    }
}

/// Waits until nobody else holds the lock of this name, and holds it until the file is dropped (flock(2)).
pub fn lock(path: &Path) -> Result<File, FileError> {
    let file = open_private(path)?;
    file.lock().map_err(FileError::io("lock", path))?;
    Ok(file)
}

/// Opens what has this name in a directory, without following it if it is a link.
///
/// # Errors
/// `EINVAL` for what is not one name; otherwise what the kernel answered.
pub fn open_entry(directory: &File, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    // One name leads nowhere else, and its last part is no link: openat2's RESOLVE_BENEATH adds nothing to that, and
    // systemd's RestrictSUIDSGID= forbids that call as a whole.
    if !matches!(name.components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
        return Err(Errno::INVAL);
    }
    rustix::fs::openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Makes sure of a directory of ours: it is created, with parents where they are missing, with mode 0700, or
/// it is owned by us and writable by nobody else. A symbolic link to such a directory will do, since
/// systemd's `DynamicUser=` makes one of a state directory; what is checked is what it leads to.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    create_missing(path)?;
    let (_, status) = open_checked(path, OFlags::RDONLY | OFlags::DIRECTORY, FileType::Directory)?;
    check_access(path, &status, &[us()], 0o755)
}

/// Makes sure of a directory that others deliver to: as [`private_directory`], or its group may write to it as well, if its
/// sticky bit keeps them from each other's files (`chmod 1770`).
pub fn shared_directory(path: &Path) -> Result<(), FileError> {
    create_missing(path)?;
    let (_, status) = open_checked(path, OFlags::RDONLY | OFlags::DIRECTORY, FileType::Directory)?;
    let is_sticky = Mode::from_raw_mode(status.st_mode).contains(Mode::SVTX);
    check_access(path, &status, &[us()], if is_sticky { 0o775 } else { 0o755 })
}

/// Makes sure of a directory that others may pass through to what is in it (a socket): it is created with mode 0755, its
/// parent being there, or it is owned by us or root and writable by nobody else.
pub fn public_directory(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(FileError::io("create", path)(error)),
        _ => {}
    }
    let (_, status) = open_checked(path, OFlags::RDONLY | OFlags::DIRECTORY, FileType::Directory)?;
    check_access(path, &status, &[us(), 0], 0o755)
}

fn create_missing(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path) != path => {
            create_missing(parent(path))?;
            create_missing(path)
        }
        Err(error) => Err(FileError::io("create", path)(error)),
    }
}

/// Makes the names in a directory (what was created, renamed or removed) survive a loss of power.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(FileError::io("sync", path))
}

/// A file beside the one that it will become; removed when dropped, unless it was renamed away.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn write(target: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Self, FileError> {
        let temporary = Self::create(target, mode, write)?;
        temporary.file.sync_all().map_err(FileError::io("write", target))?;
        Ok(temporary)
    }

    fn create(target: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Self, FileError> {
        let failed = || FileError::io("write", target);
        let name = target.file_name().ok_or_else(|| failed()(io::ErrorKind::InvalidInput.into()))?;
        let random = getrandom::u64().map_err(|error| failed()(io::Error::other(error)))?;
        let path = parent(target).join(format!(".{}.{random:016x}", name.display()));

        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = open(&path, flags, Mode::from_raw_mode(0o600)).map_err(|error| failed()(error.into()))?;
        let mut temporary = Self { path, file: File::from(file) };
        write(&mut temporary.file)
            // The mode that was asked for, whatever the umask.
            .and_then(|()| fchmod(&temporary.file, Mode::from_raw_mode(mode)).map_err(Into::into))
            .map_err(failed())?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of that name; another failure leaves a private file, no more.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open_checked(path: &Path, flags: OFlags, wanted: FileType) -> Result<(File, Stat), FileError> {
    let wrong_type = || FileError::Type {
        path: path.to_owned(),
        wanted: if wanted == FileType::Directory { "directory" } else { "regular file" },
    };
    let descriptor = match open(path, flags | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(wrong_type()),
        result => result.map_err(|error| FileError::io("open", path)(error.into()))?,
    };
    let status = fstat(&descriptor).map_err(|error| FileError::io("examine", path)(error.into()))?;
    if FileType::from_raw_mode(status.st_mode) == wanted {
        Ok((File::from(descriptor), status))
    } else {
        Err(wrong_type())
    }
}

/// Group and others may have no more than `at_most`; what the owner may do is the owner's affair.
fn check_access(path: &Path, status: &Stat, owners: &[u32], at_most: u32) -> Result<(), FileError> {
    let mode = Mode::from_raw_mode(status.st_mode).bits();
    let excess = mode & 0o077 & !at_most;
    if !owners.contains(&status.st_uid) {
        Err(FileError::Owner { path: path.to_owned(), owner: status.st_uid })
    } else if excess != 0 {
        Err(FileError::Mode { path: path.to_owned(), mode, wanted: mode & !excess })
    } else {
        Ok(())
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The directory that a name is in; the working directory for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn file(mode: u32, content: &str) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_private_file_is_read_whole() {
        for allowed in [0o600, 0o400] {
            let (_dir, path) = file(allowed, "secret");
            assert_eq!(read_private(&path, 6).unwrap().as_slice(), b"secret");
        }
    }

    #[test]
    fn a_file_that_others_have_access_to_is_refused_with_what_to_do() {
        for open_mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            let (_dir, path) = file(open_mode, "secret");
            let error = read_private(&path, 100).err().unwrap();
            assert!(matches!(error, FileError::Mode { .. }), "{open_mode:o}");
            assert_eq!(error.hint().unwrap(), format!("chmod 600 {}", path.display()));
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn only_a_systemd_credential_may_show_group_read() {
        let (_dir, path) = file(0o440, "secret");
        assert!(read_credential(&path, 100).is_ok());
        for open_mode in [0o460, 0o444] {
            fs::set_permissions(&path, Permissions::from_mode(open_mode)).unwrap();
            assert!(matches!(read_credential(&path, 100), Err(FileError::Mode { .. })));
        }
    }

    #[test]
    fn a_symbolic_link_a_directory_and_a_fifo_are_refused_at_once() {
        let (dir, path) = file(0o600, "secret");
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read_private(&link, 100), Err(FileError::Type { .. })));
        assert!(matches!(read_private(dir.path(), 100), Err(FileError::Type { .. })));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(matches!(read_private(&fifo, 100), Err(FileError::Type { .. })));
    }

    #[test]
    fn a_file_over_its_limit_is_not_read() {
        let (_dir, path) = file(0o600, "secret");
        assert!(matches!(read_private(&path, 5), Err(FileError::TooLarge { limit: 5, .. })));
    }

    #[test]
    fn a_missing_file_is_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_private(&dir.path().join("none"), 1).err().unwrap().is_missing());
    }

    #[test]
    fn replacing_leaves_the_new_content_its_mode_and_nothing_else() {
        let (dir, path) = file(0o644, "old");
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(&dir), ["file"]);
    }

    #[test]
    fn a_replacement_that_fails_leaves_no_temporary() {
        let (dir, path) = file(0o600, "old");
        let taken = dir.path().join("directory");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(replace(&taken, b"new", 0o600).is_err());
        fs::remove_dir_all(&taken).unwrap();
        assert_eq!(names(&dir), [path.file_name().unwrap().to_str().unwrap()]);
    }

    #[test]
    fn creating_never_replaces() {
        let (dir, path) = file(0o600, "old");
        assert!(create_new(&path, b"new", 0o600).err().unwrap().is_already_there());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        create_new(&dir.path().join("other"), b"new", 0o640).unwrap();
        assert_eq!(mode(&dir.path().join("other")), 0o640);
        assert_eq!(names(&dir).len(), 2);
    }

    #[test]
    fn a_private_directory_is_made_with_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        private_directory(&path).unwrap();
        private_directory(&path).unwrap();
        assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o700, 0o700));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for open_mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(dir.path(), Permissions::from_mode(open_mode)).unwrap();
            let error = private_directory(dir.path()).unwrap_err();
            assert!(matches!(error, FileError::Mode { .. }), "{open_mode:o}");
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(private_directory(dir.path()).is_ok());
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let (dir, path) = file(0o600, "secret");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert!(matches!(read_private(&path, 9), Err(FileError::Owner { owner: 65534, .. })));
            assert!(matches!(private_file(&path), Err(FileError::Owner { .. })));
            std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
            assert!(matches!(private_directory(dir.path()), Err(FileError::Owner { .. })));
        }
    }
}
