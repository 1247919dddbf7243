//! Memory for what stays in the process and must not leave it: keys and tokens.
//!
//! Pages come from memfd_secret(2) (Linux 5.14 and later): they are taken out of the kernel's own map, can't be swapped, and
//! are read for nobody from outside, by `/proc/PID/mem`, ptrace(2) or a core, not even for root. Where the kernel has none,
//! they are anonymous pages, locked (mlock(2)) and left out of cores and forks (madvise(2)).

#![expect(unsafe_code, reason = "memory is mapped, and handed out as slices")]

use std::{
    ffi::c_void,
    os::fd::{FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use rustix::{
    fs::ftruncate,
    mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous},
};
use zeroize::Zeroize;

/// What is handed out is a whole number of these, in bytes: a 256-bit key is one.
const UNIT: usize = 32;
/// What is mapped at once, in bytes. Locked memory is rationed (`RLIMIT_MEMLOCK`, memfd_secret(2) counts too), and this
/// holds hundreds of keys and tokens.
const REGION: usize = 32 * 1024;

/// How well the pages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Neither: the process may lock no more memory. They are left out of cores and forks all the same.
    Unlocked,
    /// Locked, and left out of cores and forks.
    Locked,
    /// memfd_secret(2).
    Secret,
}

/// How well this process can keep secrets: found out by mapping the first pages.
pub fn protection() -> Protection {
    pool().regions.iter().map(|region| region.protection).min().unwrap_or(Protection::Unlocked)
}

/// A block of such memory, of a fixed length; wiped when it is dropped.
pub struct SecretMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the block is this value's alone until it is dropped, as a `Box<[u8]>`'s is.
unsafe impl Send for SecretMemory {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for SecretMemory {}

impl SecretMemory {
    /// A block of `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self { start: pool().take(len), len }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is that of `len` bytes that are mapped for good, were zeroed when they were taken, and belong
        // to this value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Its bytes, to be filled in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the exclusive reference makes it the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SecretMemory {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        pool().give_back(self.start, self.len);
    }
}

/// The regions of the process. They are never unmapped: there are few, and what is in them is wiped.
struct Pool {
    regions: Vec<Region>,
}

struct Region {
    start: NonNull<u8>,
    protection: Protection,
    /// Which units are taken.
    taken: Vec<bool>,
}

// SAFETY: the pointer is to memory that is mapped for good and reached through the pool's lock only.
unsafe impl Send for Region {}

/// The pool, with its first region.
fn pool() -> MutexGuard<'static, Pool> {
    static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();
    // A panic can't leave it half-changed: nothing between two changes can panic.
    POOL.get_or_init(|| Mutex::new(Pool { regions: vec![Region::map(REGION)] }))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn take(&mut self, len: usize) -> NonNull<u8> {
        let units = len.div_ceil(UNIT).max(1);
        let found = self.regions.iter_mut().find_map(|region| region.take(units));
        found.unwrap_or_else(|| {
            let mut region = Region::map((units * UNIT).next_multiple_of(REGION));
            let taken = region.take(units);
            self.regions.push(region);
            #[expect(clippy::expect_used, reason = "the region was made for it")]
            taken.expect("a new region has room for what it was made for")
        })
    }

    fn give_back(&mut self, start: NonNull<u8>, len: usize) {
        let units = len.div_ceil(UNIT).max(1);
        let of_region = self.regions.iter_mut().find_map(|region| Some((region.unit_of(start)?, region)));
        if let Some((unit, region)) = of_region {
            region.taken[unit..unit + units].fill(false);
        }
    }
}

impl Region {
    fn map(len: usize) -> Self {
        let (start, protection) =
            map_secret(len).map_or_else(|_| map_anonymous(len), |start| (start, Protection::Secret));
        Self { start, protection, taken: vec![false; len / UNIT] }
    }

    /// The first run of free units.
    fn take(&mut self, units: usize) -> Option<NonNull<u8>> {
        let first = self.taken.windows(units).position(|run| !run.contains(&true))?;
        self.taken[first..first + units].fill(true);
        // SAFETY: the run lies within the region.
        Some(unsafe { self.start.add(first * UNIT) })
    }

    fn unit_of(&self, block: NonNull<u8>) -> Option<usize> {
        let offset = block.addr().get().checked_sub(self.start.addr().get())?;
        (offset / UNIT < self.taken.len()).then_some(offset / UNIT)
    }
}

/// Maps `len` bytes of memfd_secret(2).
fn map_secret(len: usize) -> std::io::Result<NonNull<u8>> {
    // The manual page says FD_CLOEXEC; what the kernel takes is O_CLOEXEC (mm/secretmem.c).
    // SAFETY: a system call that takes one integer and gives a descriptor or an error.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Some(descriptor) = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0) else {
        return Err(std::io::Error::last_os_error());
    };
    // SAFETY: the kernel just gave this descriptor, and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    ftruncate(&descriptor, len as u64)?;
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let start = unsafe { mmap(ptr::null_mut(), len, READ_WRITE, MapFlags::SHARED, &descriptor, 0)? };
    leave_out(start, len);
    // The pages come with the first write. Better now than an end by SIGBUS where there is no memory for them.
    // SAFETY: the mapping was made `len` bytes long just now.
    unsafe { start.cast::<u8>().write_bytes(0, len) };
    NonNull::new(start.cast()).ok_or_else(std::io::Error::last_os_error)
}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

fn map_anonymous(len: usize) -> (NonNull<u8>, Protection) {
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE) };
    let start = mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>()));
    let Some(start) = start else {
        // As Rust's own collections do when memory is out.
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; REGION]>())
    };
    leave_out(start.as_ptr().cast(), len);
    // SAFETY: the range was mapped just now.
    let locked = unsafe { mlock(start.as_ptr().cast(), len) };
    (start, if locked.is_ok() { Protection::Locked } else { Protection::Unlocked })
}

/// Leaves a mapping out of cores and forks. Best effort: the process is undumpable in any case, and doesn't fork.
fn leave_out(start: *mut c_void, len: usize) {
    for advice in [Advice::LinuxDontDump, Advice::LinuxDontFork] {
        // SAFETY: the range was mapped just now; neither advice changes what is in it.
        let _ = unsafe { madvise(start, len, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(byte: u8, len: usize) -> SecretMemory {
        let mut memory = SecretMemory::zeroed(len);
        memory.bytes_mut().fill(byte);
        memory
    }

    #[test]
    fn blocks_do_not_meet_and_hold_what_was_put_there() {
        let blocks: Vec<_> = (1..=200_u8).map(|byte| filled(byte, usize::from(byte))).collect();
        for block in &blocks {
            let byte = u8::try_from(block.bytes().len()).unwrap();
            assert!(block.bytes().iter().all(|one| *one == byte), "block {byte}");
        }
    }

    #[test]
    fn a_block_that_was_given_back_is_wiped_and_handed_out_again() {
        let mut pool = Pool { regions: vec![Region::map(REGION)] };
        let one = pool.take(UNIT);
        assert_ne!(pool.take(UNIT), one);
        pool.give_back(one, UNIT);
        assert_eq!(pool.take(1), one);

        let blocks: Vec<_> = (0..100).map(|_| filled(0xa5, 1_000)).collect();
        drop(blocks);
        assert!((0..100).all(|_| SecretMemory::zeroed(1_000).bytes() == [0; 1_000]));
    }

    #[test]
    fn more_than_a_region_has_a_region_of_its_own() {
        let large = filled(7, 3 * REGION + 1);
        assert_eq!(large.bytes().len(), 3 * REGION + 1);
        assert_eq!(SecretMemory::zeroed(0).bytes(), b"");
    }

    #[test]
    fn pages_are_locked_or_secret_and_left_out_of_cores_and_forks() {
        let block = filled(7, UNIT);
        let address = block.bytes().as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut in_it = false;
        let mut flags = "";
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = bounds {
                in_it = (from..to).contains(&address);
                if in_it && protection() == Protection::Secret {
                    assert!(line.contains("secretmem"), "{line}");
                }
            } else if in_it && line.starts_with("VmFlags:") {
                flags = line;
            }
        }
        assert!(flags.contains(" dd") && flags.contains(" dc"), "{flags}");
        assert!(protection() == Protection::Unlocked || flags.contains(" lo"), "{flags}");
    }

    #[test]
    fn without_secret_pages_there_are_locked_ones() {
        let (start, protection) = map_anonymous(REGION);
        assert!(protection >= Protection::Locked, "RLIMIT_MEMLOCK is too low for a test");
        // SAFETY: the region was just mapped, and stays.
        let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), REGION) };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
