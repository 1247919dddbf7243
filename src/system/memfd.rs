//! A file that is in memory alone, has no name, and can't be changed any more: for a program that inherits it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create},
    io::{Errno, fcntl_dupfd_cloexec},
};

/// The lowest descriptor that is given out: scripts redirect single digits (`exec 3>…`) without asking what is there.
const LOWEST: i32 = 10;

/// Makes one of these bytes, and seals it (memfd_create(2), "File-sealing"). The name is for whoever looks into `/proc`.
///
/// # Errors
/// There is no memory for it, or no descriptor.
pub fn sealed(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // A kernel before 6.3.
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        made => made?,
    };
    let mut file = File::from(descriptor);
    file.write_all(content)?;
    // The mode keeps nobody out: without a name it is reached by whoever inherits it, whatever user they become, and by
    // whoever may trace them (proc(5), "/proc/pid/fd").
    fchmod(&file, Mode::from_raw_mode(0o444))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(fcntl_dupfd_cloexec(&file, LOWEST)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn it_is_read_by_path_from_its_beginning_each_time_and_never_changed() {
        let descriptor = sealed("TOKEN", b"content").expect("made");
        assert!(descriptor.as_raw_fd() >= LOWEST);
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        for _ in 0..2 {
            assert_eq!(fs::read(&path).expect("read"), b"content");
        }
        let mut file = File::from(descriptor);
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err() && file.set_len(99).is_err());
        assert_eq!(fs::read(&path).expect("read"), b"content");
        let sealed = rustix::fs::fcntl_get_seals(&file).expect("seals");
        assert!(sealed.contains(SealFlags::SEAL), "{sealed:?}");
        assert!(rustix::io::fcntl_getfd(&file).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
    }
}
