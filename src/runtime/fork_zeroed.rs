//! Numbers that are zero in a forked child before any code runs there.
//!
//! The kernel sets them to zero (`MADV_WIPEONFORK`), also in a child that a bare `clone` made, which runs no fork
//! handlers. Where the kernel cannot, a fork handler (`pthread_atfork`) does.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::{iter, ptr};

/// A number on a cache line of its own, in memory that is never freed.
#[derive(Clone, Copy)]
pub(crate) struct ForkZeroed(&'static AtomicU64);

/// The chunks of this process, the newest first. None is ever freed.
static CHUNKS: AtomicPtr<Chunk> = AtomicPtr::new(ptr::null_mut());

impl Default for ForkZeroed {
    /// A new number, zero.
    fn default() -> Self {
        register_handler();
        loop {
            let newest = CHUNKS.load(Ordering::Acquire);
            // SAFETY: null, or a chunk that is never freed.
            if let Some(number) = unsafe { newest.as_ref() }.and_then(Chunk::take) {
                return number;
            }
            let fresh = Box::into_raw(Box::new(Chunk::new(newest)));
            if CHUNKS.compare_exchange(newest, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: made above, and no other thread has seen it. Its page is leaked: threads rarely race here.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

/// Before the first number is given out, so that a child never finds one that is not zero.
fn register_handler() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Two threads may both register: the handler does no harm twice.
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handler only reads and writes atomics, and the library is never unloaded (-z nodelete).
        let is_refused = unsafe { libc::pthread_atfork(None, None, Some(zero_all)) } != 0;
        REGISTERED.store(!is_refused, Ordering::Release);
    }
}

/// Runs in a forked child before any other code does.
extern "C" fn zero_all() {
    zero_from(CHUNKS.load(Ordering::Acquire));
}

fn zero_from(newest: *mut Chunk) {
    // SAFETY: null, or a chunk that is never freed.
    let chunk = |pointer: *mut Chunk| unsafe { pointer.as_ref() };
    let chunks = iter::successors(chunk(newest), |newer| chunk(newer.next));
    // A number that is zero already is not written, so that its page stays shared with the parent.
    let not_zero = chunks.flat_map(|chunk| chunk.lines).filter(|line| line.0.load(Ordering::Relaxed) != 0);
    not_zero.for_each(|line| line.0.store(0, Ordering::Release));
}

impl ForkZeroed {
    /// The number itself.
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

/// How many numbers a chunk has: with a cache line for each they fill a page.
const PER_CHUNK: usize = 64;

#[repr(align(64))]
struct CacheLine(AtomicU64);

/// A page of numbers that are given out one by one. The count is not on the page, which a fork would zero.
struct Chunk {
    lines: &'static [CacheLine; PER_CHUNK],
    taken: AtomicUsize,
    /// The chunk that was made before.
    next: *mut Chunk,
}

impl Chunk {
    fn new(next: *mut Chunk) -> Self {
        let lines = system::zeroed_on_fork_page()
            .unwrap_or_else(|| Box::leak(Box::new([const { CacheLine(AtomicU64::new(0)) }; PER_CHUNK])));
        Chunk { lines, taken: AtomicUsize::new(0), next }
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

    /// Zeroed memory that is zero again in a child; `None` where the kernel does not support it or has no memory left.
    pub(super) fn zeroed_on_fork_page() -> Option<&'static [CacheLine; PER_CHUNK]> {
        let size = size_of::<[CacheLine; PER_CHUNK]>();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for new memory, at an address that the kernel chooses.
        let page = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the memory was mapped above, in whole pages, and nothing else uses it.
        if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: mapped above, and nothing else uses it.
            unsafe { libc::munmap(page, size) };
            return None;
        }
        // SAFETY: zeroed, page-aligned, of that size, and never unmapped; a child finds a valid array of zeros too.
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
    fn each_number_has_a_cache_line_of_its_own() {
        let mut addresses: Vec<_> =
            (0..3 * PER_CHUNK).map(|_| ptr::from_ref(ForkZeroed::default().as_static()).addr()).collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 64));
        assert!(addresses.iter().all(|address| address % 64 == 0));
    }

    #[test]
    fn the_fork_handler_zeroes_the_numbers_of_every_chunk() {
        let older = Chunk::new(ptr::null_mut());
        let newer = Chunk::new(ptr::from_ref(&older).cast_mut());
        let numbers = [&older, &newer, &newer].map(|chunk| chunk.take().unwrap());
        numbers.iter().for_each(|number| number.store(7, Ordering::Relaxed));
        zero_from(ptr::from_ref(&newer).cast_mut());
        assert_eq!(numbers.map(|number| number.load(Ordering::Relaxed)), [0; 3]);
    }
}
