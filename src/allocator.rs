//! An allocator that wipes memory when it is freed. The library zeroes its own copies of secrets when they are dropped; the
//! HTTP and TLS libraries do not zero their buffers, and tokens pass through those. The allocator covers all of them:
//! every allocation of the library goes through it. The host's allocations do not.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with a wipe before each free. There is no `realloc` of its own: the default one moves the block
/// and frees the old one, which is wiped too.
struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

// SAFETY: every call is passed unchanged to the system's allocator; a block is valid until it is freed.
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
        // SAFETY: the block has `layout.size()` bytes, which the caller does not use any more.
        unsafe { wipe(block, layout.size()) };
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

/// The optimizer would remove a plain fill before a free. It cannot know what assembler does with the block, and keeps this one.
/// `explicit_bzero` is the same; glibc has it since 2.25 alone.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "x86", target_arch = "arm"))]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller gives a block of that size.
    unsafe { block.write_bytes(0, size) };
    // SAFETY: there is no instruction, so nothing is done with the block.
    unsafe { std::arch::asm!("/* {block} */", block = in(reg) block, options(nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "x86", target_arch = "arm")))]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller gives a block of that size.
    zeroize::Zeroize::zeroize(unsafe { std::slice::from_raw_parts_mut(block, size) });
}
