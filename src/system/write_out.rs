//! Has the kernel begin to write a file to disk, and goes on.

#![expect(unsafe_code, reason = "no crate here has sync_file_range(2)")]

use std::{fs::File, os::fd::AsRawFd};

/// Begins to write out what of a file is in the page cache alone, so that whoever syncs it later waits for the rest only. It
/// makes nothing durable, and an error is that one's to see.
pub fn write_out(file: &File) {
    // SAFETY: a system call on a descriptor that is open, and on no memory. A length of zero is up to the end of the file.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
