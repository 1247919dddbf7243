//! Has the kernel begin to write a file to disk, and goes on.

#![expect(unsafe_code, reason = "no crate here has sync_file_range(2)")]

use std::{fs::File, os::fd::AsRawFd};

/// What is written out is whole pages, in bytes: to the last one more is appended, which would have to wait for the disk.
const PAGE: u64 = 4096;

/// Begins to write out what of the first `len` bytes of a file is in the page cache alone, so that whoever syncs it later waits
/// for the rest only. It makes nothing durable, and an error is that one's to see.
pub fn write_out(file: &File, len: u64) {
    let Ok(whole) = i64::try_from(len - len % PAGE) else { return };
    // A length of zero is all.
    if whole > 0 {
        // SAFETY: a system call on a descriptor that is open, and on no memory.
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, whole, libc::SYNC_FILE_RANGE_WRITE) };
    }
}
