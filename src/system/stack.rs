//! What calls leave behind on a thread's stack: ciphers work on copies of keys and plaintext there, and nobody else
//! wipes those.

#![expect(unsafe_code, reason = "without it, the compiler leaves out what nothing reads")]

use std::arch::asm;

/// How much of the stack is wiped, in bytes. The deepest of what `crypto` calls leaves key material within the first
/// 4 KiB (measured, without optimisation).
const WIPED: usize = 8 * 1024;

/// Does a piece of work and then wipes the stack that it used: what is left there would stay for as long as nothing deeper
/// is called, and be copied with whatever is moved from there.
pub fn on_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    // INVARIANT: neither this nor `wipe` is inlined, so that both have their frames in the same place.
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = apart(work);
    wipe();
    result
}

#[inline(never)]
fn wipe() {
    let mut frame = [0_u8; WIPED];
    // SAFETY: no instruction at all; to the compiler it may read the frame, so the zeros must be there.
    unsafe { asm!("/* {0} */", in(reg) &raw mut frame, options(nostack, preserves_flags)) };
}
