//! An allocator that wipes what it frees. HTTP, TLS and JSON libraries leave copies of what went through them in
//! buffers that they free; this is where those end.

#![expect(unsafe_code, reason = "a GlobalAlloc is unsafe to implement")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    arch::asm,
};

/// The system's allocator, with every block overwritten with zeros before it is given back.
pub struct Wiping;

// SAFETY: every call is passed on to `System` with the arguments it came with; in between, only bytes of a block
// that the caller gives up are written. `realloc` is left to its default, which is alloc, copy and our dealloc, so
// that a buffer that grows leaves no copy behind either.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc::alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long and, by the contract of `dealloc`, nobody else's any more.
        unsafe { block.write_bytes(0, layout.size()) };
        // SAFETY: no instruction at all; to the compiler it may read the block, so the write before it must happen.
        unsafe { asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags)) };
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}
