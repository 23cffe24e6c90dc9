//! The fork protocol: whatever holds threads, sockets or locks sits in a [`PerProcess`], which knows the process that
//! made it. A child finds its parent's value, leaks it (its thread does not exist here, its locks may be held for ever,
//! its connections belong to the parent) and makes its own.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::word;
use crate::error::Error;

/// A value that belongs to one process: a forked child leaks the parent's and makes its own. Lock-free, since a
/// lock could be held by another thread at the moment of the fork and then never be freed in the child.
pub(crate) struct PerProcess<T> {
    slot: AtomicPtr<Owned<T>>,
}

struct Owned<T> {
    pid: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        PerProcess { slot: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value, if it has been made.
    pub(crate) fn get(&self) -> Option<&T> {
        let seen = self.slot.load(Ordering::Acquire);
        // SAFETY: the slot holds null or a leaked box, freed only by our drop, which needs `&mut self`.
        unsafe { seen.as_ref() }.filter(|owned| owned.pid == pid()).map(|owned| &owned.value)
    }

    /// This process's value, made now if there is none. Threads that race make one each; one is kept.
    pub(crate) fn get_or_try_init(&self, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
        let seen = self.slot.load(Ordering::Acquire);
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let pid = pid();
        let fresh = Box::into_raw(Box::new(Owned { pid, value: make()? }));
        let kept = match self.slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: `fresh` was made above and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                winner
            }
        };
        // SAFETY: as above; a winner can only have been put there by a thread of this process.
        Ok(unsafe { &(*kept).value })
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: null or a leaked box that only we own now.
        if unsafe { slot.as_ref() }.is_some_and(|owned| owned.pid == pid()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(slot) });
        }
    }
}

static PID: AtomicU32 = AtomicU32::new(0);

/// This process, without a system call after the first time.
pub(crate) fn pid() -> u32 {
    match known_pid() {
        0 => learn_pid(),
        known => known,
    }
}

/// This process, or 0 as long as nobody has asked.
#[inline]
pub(crate) fn known_pid() -> u32 {
    PID.load(Ordering::Acquire)
}

#[cold]
fn learn_pid() -> u32 {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    extern "C" fn in_child() {
        PID.store(0, Ordering::Release);
        word::reset_all();
    }
    // Two threads may both register: the handler does no harm twice.
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handler only stores to atomics, and the library is never unloaded (-z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
    let id = std::process::id();
    PID.store(id, Ordering::Release);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_process_is_left_alone() {
        let cell = PerProcess::new();
        assert_eq!(*cell.get_or_try_init(|| Ok(1)).unwrap(), 1);
        assert_eq!(*cell.get_or_try_init(|| Ok(2)).unwrap(), 1);
        // SAFETY: nobody else uses the cell; this is what a child finds after a fork.
        unsafe { (*cell.slot.load(Ordering::Acquire)).pid ^= 1 };
        assert_eq!(*cell.get_or_try_init(|| Ok(3)).unwrap(), 3);
    }
}
