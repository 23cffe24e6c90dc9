//! Fork safety: a value that belongs to one process, and the epoch that tells a process from the one it was forked from.
//!
//! What holds threads, sockets or locks is stored in a [`PerProcess`], which knows the process that made it. A forked
//! child finds its parent's value, leaks it and makes its own: the parent's threads do not exist in the child, its locks
//! may stay held, and its connections belong to the parent. The epoch grows with each fork. A process id would not do: it
//! can be used again, and each process namespace has a process 1.

use std::ptr;
use std::sync::atomic::AtomicU64;

use once_cell::race::OnceRef;

use super::fork_zeroed::ForkZeroed;
use crate::error::Error;
use crate::sync::{ConstAtomicPtr, Ordering};

/// A value that belongs to one process: a forked child leaks the parent's and makes its own. Lock-free: another thread
/// could hold a lock at the moment of the fork, and the child could then never take it.
pub(crate) struct PerProcess<T> {
    slot: ConstAtomicPtr<Owned<T>>,
}

struct Owned<T> {
    epoch: u64,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        PerProcess { slot: ConstAtomicPtr::new(ptr::null_mut()) }
    }

    /// The value of this process, if it has been made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.of_this_process(self.slot.load(Ordering::Acquire))
    }

    /// The value of this process, made now if there is none. Threads that race make one each; one of them is kept.
    pub(crate) fn get_or_try_init(&self, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
        self.get_or_replace(|_| true, |_| make())
    }

    /// The same, but replaces a value that is not usable any more, which `make` gets. The old value is leaked: other threads may
    /// still use it.
    pub(crate) fn get_or_replace<'a>(
        &'a self,
        is_usable: impl Fn(&T) -> bool,
        make: impl FnOnce(Option<&'a T>) -> Result<T, Error>,
    ) -> Result<&'a T, Error> {
        let seen = self.slot.load(Ordering::Acquire);
        let old = self.of_this_process(seen);
        if let Some(value) = old.filter(|value| is_usable(value)) {
            return Ok(value);
        }
        let epoch = epoch();
        let fresh = Box::into_raw(Box::new(Owned { epoch, value: make(old)? }));
        let kept = match self.slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: `fresh` was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                winner
            }
        };
        // SAFETY: never freed while `self` is borrowed; the winner was stored by a thread of this process.
        Ok(unsafe { &(*kept).value })
    }

    fn of_this_process(&self, seen: *mut Owned<T>) -> Option<&T> {
        // SAFETY: null, or a leaked box that only our drop frees, which needs `&mut self`.
        unsafe { seen.as_ref() }.filter(|owned| owned.epoch == epoch()).map(|owned| &owned.value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let slot = self.slot.load(Ordering::Acquire);
        // SAFETY: null, or a leaked box that only this value owns now.
        if unsafe { slot.as_ref() }.is_some_and(|owned| owned.epoch == epoch()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(slot) });
        }
    }
}

/// Where the epoch is stored, once a process of this line of forks has asked for it. It is zero in a child until the
/// child asks.
static EPOCH: OnceRef<'static, AtomicU64> = OnceRef::new();

/// The number of this process in its line of forks: greater than that of any ancestor. Makes no system call after the
/// first time.
pub(crate) fn epoch() -> u64 {
    match EPOCH.get().map_or(0, |cell| cell.load(Ordering::Acquire)) {
        0 => begin_epoch(),
        known => known,
    }
}

#[cold]
fn begin_epoch() -> u64 {
    /// No epoch so far is greater, here or in an ancestor.
    static GREATEST: AtomicU64 = AtomicU64::new(0);
    let cell = EPOCH.get_or_init(|| ForkZeroed::default().as_static());
    // Counted before it is stored: a child that is forked in between must not take the same number.
    let next = GREATEST.fetch_add(1, Ordering::AcqRel) + 1;
    cell.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire).map_or_else(|first| first, |_| next)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::runtime::word::{Word, exclusive};

    #[test]
    fn a_value_of_another_process_is_left_alone() {
        let cell = PerProcess::new();
        assert_eq!(*cell.get_or_try_init(|| Ok(1)).unwrap(), 1);
        assert_eq!(*cell.get_or_try_init(|| Ok(2)).unwrap(), 1);
        // SAFETY: only this test uses the cell; this is what a child finds after a fork.
        unsafe { (*cell.slot.load(Ordering::Acquire)).epoch += 1 };
        assert_eq!(*cell.get_or_try_init(|| Ok(3)).unwrap(), 3);
    }

    #[test]
    fn a_value_that_is_not_usable_any_more_is_replaced() {
        let cell = PerProcess::new();
        let is_usable = |value: &i32| *value > 1;
        let make = |old: Option<&i32>| Ok(old.map_or(1, |old| old + 1));
        assert_eq!(*cell.get_or_replace(is_usable, make).unwrap(), 1);
        assert_eq!(*cell.get_or_replace(is_usable, make).unwrap(), 2);
        assert_eq!(*cell.get_or_replace(is_usable, make).unwrap(), 2);
        assert!(cell.get_or_replace(|_| false, |_| Err(crate::session::machine::closed())).is_err());
        assert_eq!(cell.get(), Some(&2));
    }

    /// Runs `check` in a child that `fork` makes, and returns its result. The check must not allocate.
    #[cfg(target_os = "linux")]
    fn holds_in_child(fork: impl Fn() -> libc::pid_t, check: impl Fn() -> bool) -> bool {
        match fork() {
            0 => {
                // SAFETY: ends the child without running the exit handlers; the alarm ends a child that hangs.
                unsafe {
                    libc::alarm(20);
                    libc::_exit(i32::from(!check()))
                }
            }
            child => {
                let mut status = -1;
                // SAFETY: waits for our own child; `status` is a valid place for its exit status.
                let ended = unsafe { libc::waitpid(child, &mut status, 0) };
                ended == child && child > 0 && status == 0
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn each_fork_has_an_epoch_of_its_own() {
        let _exclusive = exclusive();
        let word = Word::new();
        word.set(7);
        let cell = PerProcess::new();
        cell.get_or_try_init(|| Ok(1)).unwrap();
        let ours = epoch();
        // SAFETY: makes a child, which only reads and writes atomics.
        let bare = || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t };
        // SAFETY: as above.
        let ordinary = || unsafe { libc::fork() };
        let is_new = || cell.get().is_none() && word.get() == 0 && epoch() > ours && epoch() == epoch();
        // No ordinary fork after a bare one: the C library would wait for locks of threads that do not exist there.
        for (child, grandchild) in [(true, true), (false, true), (false, false)] {
            let fork = |is_bare: bool| move || if is_bare { bare() } else { ordinary() };
            let in_child = || {
                let epoch_of_child = epoch();
                is_new() && holds_in_child(fork(grandchild), || is_new() && epoch() > epoch_of_child)
            };
            assert!(holds_in_child(fork(child), in_child), "bare clone: {child}, then {grandchild}");
        }
        assert_eq!((epoch(), word.get(), cell.get()), (ours, 7, Some(&1)));
    }
}
