//! A private directory in memory: on tmpfs or ramfs, which never write to a disk of their own (tmpfs may be swapped out). It is
//! gone when its process is: removed by it, or by the next one that makes such a directory.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, fstatfs, mkdirat, open, openat, renameat, statat,
        unlinkat,
    },
    io::Errno,
};

/// What all their names begin with.
const PREFIX: &str = "trayvault-exec-";

/// How often one is made anew that another process swept away before it was locked.
const ATTEMPTS: u32 = 10;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of Linux's magic.h.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Such a directory; removed, with what is in it, when dropped.
pub struct Volatile {
    path: PathBuf,
    place: OwnedFd,
    name: String,
    /// Locked, which shows that its process lives.
    directory: OwnedFd,
}

impl Volatile {
    /// Makes one in the first of these places that will do: in memory, of ours or root's, and where others may write to it too,
    /// with the sticky bit that keeps them from what is ours. Those of processes that have ended are removed from there.
    ///
    /// # Errors
    /// What the last place refused with; `NotFound` if none will do.
    pub fn create(places: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for path in places {
            let Ok(place) = open(&path, DIRECTORY, Mode::empty()) else { continue };
            if !is_safe(&place)? {
                continue;
            }
            sweep(&place);
            match Self::create_in(&path, place) {
                Ok(made) => return Ok(made),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn create_in(path: &Path, place: OwnedFd) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let name = format!("{PREFIX}{:016x}", getrandom::u64().map_err(io::Error::other)?);
            mkdirat(&place, &name, Mode::RWXU)?;
            let Some(directory) = lock(&place, &name)? else { continue };
            let is_there = statat(&place, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|now| {
                fstat(&directory).is_ok_and(|ours| (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino))
            });
            if is_there {
                return Ok(Self { path: path.join(&name), place, name, directory });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Puts a file there, or another in its place, whole: for nobody but us to read, and nobody to write. Its path.
    ///
    /// # Errors
    /// There is no room.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let temporary = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // One that could not be finished.
        let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
        File::from(openat(&self.directory, &temporary, flags, Mode::RUSR)?).write_all(content)?;
        renameat(&self.directory, &temporary, &self.directory, name)?;
        Ok(self.path.join(name))
    }
}

impl Drop for Volatile {
    fn drop(&mut self) {
        remove(&self.place, &self.name, &self.directory);
    }
}

fn is_safe(place: &OwnedFd) -> io::Result<bool> {
    let status = fstat(place)?;
    let mode = Mode::from_raw_mode(status.st_mode);
    let is_trusted = status.st_uid == us() || status.st_uid == 0;
    let is_shared = mode.intersects(Mode::WGRP | Mode::WOTH);
    let file_system = u64::try_from(fstatfs(place)?.f_type).unwrap_or_default();
    Ok(is_trusted && (!is_shared || mode.contains(Mode::SVTX)) && IN_MEMORY.contains(&file_system))
}

/// Removes those of processes that have ended. Best effort: what can't be removed now can the next time.
fn sweep(place: &OwnedFd) {
    let Ok(entries) = Dir::read_from(place) else { return };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(PREFIX)) else { continue };
        if let Ok(Some(directory)) = lock(place, name)
            && fstat(&directory).is_ok_and(|status| status.st_uid == us())
        {
            remove(place, name, &directory);
        }
    }
}

/// Opens and locks one; none if its process holds the lock.
fn lock(place: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let directory = match openat(place, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(directory)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn remove(place: &OwnedFd, name: &str, directory: &OwnedFd) {
    if let Ok(entries) = Dir::read_from(directory) {
        for entry in entries.flatten() {
            // Directories refuse, `.` and `..` among them.
            let _ = unlinkat(directory, entry.file_name(), AtFlags::empty());
        }
    }
    let _ = unlinkat(place, name, AtFlags::REMOVEDIR);
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A place of this test's own: others sweep the shared one.
    fn place() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").expect("a directory on tmpfs")
    }

    fn names(place: &Path) -> usize {
        fs::read_dir(place).expect("a directory").count()
    }

    #[test]
    fn a_file_is_ours_alone_is_replaced_whole_and_goes_with_its_directory() {
        let place = place();
        let volatile = Volatile::create([place.path().to_owned()]).expect("made");
        let path = volatile.write("TOKEN", b"one").expect("written");
        let old = File::open(&path).expect("opened");
        assert_eq!(volatile.write("TOKEN", b"two").expect("written"), path);
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(io::read_to_string(&old).expect("read"), "one");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&volatile.path)), (0o400, 0o700));
        assert_eq!(names(&volatile.path), 1);
        drop(volatile);
        assert_eq!(names(place.path()), 0);
    }

    #[test]
    fn what_an_ended_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let place = place();
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).expect("made");
        fs::write(left.join("TOKEN"), "secret").expect("written");
        fs::create_dir(place.path().join("other")).expect("made");
        let one = Volatile::create([place.path().to_owned()]).expect("made");
        let two = Volatile::create([place.path().to_owned()]).expect("made");
        assert!(!left.exists() && one.path.exists() && two.path.exists());
        assert_eq!(names(place.path()), 3);
    }

    #[test]
    fn a_place_on_a_disk_or_that_others_may_change_is_passed_over() {
        let on_disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let open = place();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
        let places = [on_disk.path().to_owned(), open.path().to_owned(), "/nonexistent".into()];
        let refused = Volatile::create(places.clone()).err().expect("none will do");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o1777)).expect("a mode");
        let made = Volatile::create(places).expect("made");
        assert!(made.path.starts_with(open.path()));
    }
}
