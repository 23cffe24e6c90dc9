//! Numbers that are zero in a forked child before anything runs there. The kernel sees to it (`MADV_WIPEONFORK`), also
//! where a child was made by a bare `clone`, which runs no fork handlers. A kernel that cannot leaves them to the handler.

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// A number on a line of its own, at a place that is never freed.
#[derive(Clone, Copy)]
pub(crate) struct ForkZeroed(&'static AtomicU64);

impl Default for ForkZeroed {
    /// A new one, zero.
    fn default() -> Self {
        static CURRENT: AtomicPtr<Chunk> = AtomicPtr::new(ptr::null_mut());
        loop {
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: null, or a chunk that was leaked.
            if let Some(cell) = unsafe { current.as_ref() }.and_then(Chunk::take) {
                return cell;
            }
            let fresh = Box::into_raw(Box::new(Chunk::new()));
            if CURRENT.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: made above, and nobody else has seen it. Its page stays: threads race here for few of them.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

impl ForkZeroed {
    /// Where it is.
    pub(super) fn as_static(self) -> &'static AtomicU64 {
        self.0
    }
}

impl Deref for ForkZeroed {
    type Target = AtomicU64;

    #[inline]
    fn deref(&self) -> &AtomicU64 {
        self.0
    }
}

/// Numbers side by side, each alone on a line of memory.
const PER_CHUNK: usize = 64;

#[repr(align(64))]
struct CacheLine(AtomicU64);

/// A page of numbers, given out one by one. What says how many is not on the page.
struct Chunk {
    lines: &'static [CacheLine; PER_CHUNK],
    taken: AtomicUsize,
}

impl Chunk {
    fn new() -> Self {
        let lines = system::zeroed_on_fork_page()
            .unwrap_or_else(|| Box::leak(Box::new([const { CacheLine(AtomicU64::new(0)) }; PER_CHUNK])));
        Chunk { lines, taken: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<ForkZeroed> {
        let line = self.lines.get(self.taken.fetch_add(1, Ordering::Relaxed))?;
        Some(ForkZeroed(&line.0))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::ptr;

    use super::{CacheLine, PER_CHUNK};

    /// Zeroed memory that is zero again in a child; `None` where the kernel has no such thing or none left.
    pub(super) fn zeroed_on_fork_page() -> Option<&'static [CacheLine; PER_CHUNK]> {
        let size = size_of::<[CacheLine; PER_CHUNK]>();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for new memory, which is in nobody's way.
        let page = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the memory was mapped above for us alone, in whole pages.
        if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: nobody has seen it.
            unsafe { libc::munmap(page, size) };
            return None;
        }
        // SAFETY: zeroed, aligned to a page, of that size, and never unmapped; a child finds a valid array too, of zeros.
        Some(unsafe { &*page.cast() })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::{CacheLine, PER_CHUNK};

    pub(super) fn zeroed_on_fork_page() -> Option<&'static [CacheLine; PER_CHUNK]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_line_of_its_own() {
        let mut places: Vec<_> =
            (0..3 * PER_CHUNK).map(|_| ptr::from_ref(ForkZeroed::default().as_static()).addr()).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 64));
        assert!(places.iter().all(|place| place % 64 == 0));
    }
}
