//! What calls leave behind on a thread's stack: ciphers work on copies of keys and plaintext there, and nobody else
//! wipes those.

#![expect(unsafe_code, reason = "without it, the compiler leaves out what nothing reads")]

use std::arch::asm;

/// What opening and sealing a record, and a MAC, go down to, in bytes. They leave key material within the first 4 KiB
/// (measured, without optimisation), and each read pays for this.
pub const SHALLOW: usize = 8 * 1024;
/// What unlocking goes down to: Argon2, key wrapping and derivation, which are rare.
pub const DEEP: usize = 64 * 1024;

/// Does a piece of work and then wipes the stack that it used, of which it names a depth: what is left there would stay for
/// as long as nothing deeper is called, and be copied with whatever is moved from there.
pub fn on_wiped_stack<const DEPTH: usize, T>(work: impl FnOnce() -> T) -> T {
    // INVARIANT: neither this nor `wipe` is inlined, so that both have their frames in the same place.
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = apart(work);
    wipe::<DEPTH>();
    result
}

#[inline(never)]
fn wipe<const DEPTH: usize>() {
    let mut frame = [0_u8; DEPTH];
    // SAFETY: no instruction at all; to the compiler it may read the frame, so the zeros must be there.
    unsafe { asm!("/* {0} */", in(reg) &raw mut frame, options(nostack, preserves_flags)) };
}
