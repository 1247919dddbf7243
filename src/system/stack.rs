//! What calls leave behind on a thread's stack: ciphers and parsers work on copies there, and nobody wipes those.

use std::hint::black_box;

/// How deep below its caller [`wipe`] goes, in bytes. Deeper than any call of this program goes from where it waits.
const DEPTH: usize = 128 * 1024;

/// Overwrites what calls that have returned left below the caller's frame.
#[inline(never)]
pub fn wipe() {
    // The compiler may not leave out what it has to assume is looked at.
    black_box(&mut [0_u8; DEPTH]);
}
