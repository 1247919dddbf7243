//! Whether somebody has a file open for writing.

#![expect(unsafe_code, reason = "no crate here has leases (F_SETLEASE)")]

use std::{fs::File, os::fd::AsRawFd};

/// `F_SETSIG` of Linux's fcntl.h, which libc lacks.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody has a file open for writing, or may write to a mapping of it; `None` where the kernel does not tell: the
/// file is another user's and we lack CAP_LEASE, or the file system has no leases.
///
/// A read lease is granted only on what nobody has open for writing (fcntl(2), "Leases"); it is given back at once.
pub fn is_open_for_writing(file: &File) -> Option<bool> {
    let descriptor = file.as_raw_fd();
    // Whoever opens the file for writing while we hold the lease has the kernel tell us, and waits until it is given back,
    // for microseconds. SIGURG is ignored by default, SIGIO would end us.
    // SAFETY: `descriptor` is open, and these commands take integers.
    unsafe { libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) };
    // SAFETY: as above.
    if unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
        return Some(false);
    }
    let error = std::io::Error::last_os_error();
    (error.kind() == std::io::ErrorKind::WouldBlock).then_some(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_writer_is_seen_until_it_closes_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let writer = File::create(&path).expect("made");
        let reader = File::open(&path).expect("opened");
        assert_eq!(is_open_for_writing(&reader), Some(true));
        let other = File::open(&path).expect("opened");
        drop(writer);
        assert_eq!(is_open_for_writing(&reader), Some(false));
        drop(other);
        // The lease was given back: whoever writes does not wait.
        fs::write(&path, "again").expect("written");
    }

    /// Without a signal of our own choosing the first of these would end the process.
    #[test]
    fn whoever_begins_to_write_meanwhile_ends_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "").expect("made");
        let reader = File::open(&path).expect("opened");
        std::thread::scope(|scope| {
            scope.spawn(|| (0..2_000).for_each(|_| fs::write(&path, "more").expect("written")));
            (0..20_000).for_each(|_| assert!(is_open_for_writing(&reader).is_some()));
        });
    }
}
