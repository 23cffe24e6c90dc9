//! Memory that is wiped when it is freed. Our own copies of secrets are zeroed where they are dropped; the buffers of
//! the HTTP and TLS libraries are not, and tokens pass through them. This covers them all, at the one place through
//! which every allocation of the library goes. The host's allocations are not touched.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, wiping. Growing a block moves it, so that the old place is wiped too.
struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

// SAFETY: every call is handed on to the system's allocator as it came; the memory is ours until it is freed.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has `layout.size()` bytes and nobody uses them any more.
        unsafe { wipe(block, layout.size()) };
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

/// A plain fill in front of a free is removed by the optimizer; this is not.
#[cfg(target_os = "linux")]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller gives a block of that size.
    unsafe { libc::explicit_bzero(block.cast(), size) };
}

#[cfg(not(target_os = "linux"))]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller gives a block of that size.
    zeroize::Zeroize::zeroize(unsafe { std::slice::from_raw_parts_mut(block, size) });
}
