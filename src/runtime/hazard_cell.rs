//! A value that any number of threads read while another thread replaces it, with hazard pointers.
//!
//! A reader protects what it reads: it publishes the pointer in its thread's hazard pointer, and checks that the pointer
//! is still the current one. A thread that replaces a value looks through all hazard pointers before it frees the old
//! value, and retires a protected one until the next replacement. So a reader writes to no memory that another thread
//! writes to, and no thread ever waits for another. A hazard pointer of a thread that a fork left behind may stay set: it
//! then costs the memory of one value.
//!
//! Libraries in its place, measured with `make bench-read`: the processor time of a copy of a token of 248 bytes in one, two
//! and eight threads, as a multiple of the C floor, and the instructions of a copy. The slots of the threads stayed in both
//! trials, because the count of reads needs them.
//!
//! | | processor time | instructions |
//! |---|---|---|
//! | this cell | 1.04, 1.06, 1.06 | 120 |
//! | `haphazard` 0.1.8 | 1.66, 1.66, 1.67 | 152 |
//! | `arc-swap` 1.9.5 | 2.77, 2.81, 2.84 | 206 |
//!
//! `haphazard` passes a full fence in each read, and is not fork-safe: it has a lock bit on its list of free hazard pointers,
//! on which a forked child can spin without end. `arc-swap` has two atomic read-modify-write operations in each read.

use std::ptr;

use super::hazard_pointer::{HazardPointer, Protection};
use super::thread_slot::{idle_slot, own_idle_slot};
use super::{all_slots, fence};
use crate::sync::{AtomicPtr, Ordering};

/// The value, or none.
pub(crate) struct HazardCell<T> {
    current: AtomicPtr<Node<T>>,
    /// Values that were replaced, and that a thread may still read.
    retired: AtomicPtr<Node<T>>,
}

/// The value comes first, so that a node's address is its value's.
#[repr(C)]
struct Node<T> {
    value: T,
    /// The next in the list of retired nodes.
    next: AtomicPtr<Node<T>>,
}

// SAFETY: threads share the values, and any thread may free one: `T` must be `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for HazardCell<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for HazardCell<T> {}

impl<T> HazardCell<T> {
    /// A cell with a first value, or none.
    pub(crate) fn new(value: Option<T>) -> Self {
        HazardCell { current: AtomicPtr::new(boxed(value)), retired: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Calls `visit` with the current value.
    pub(crate) fn read<R>(&self, visit: impl FnOnce(Option<&T>) -> R) -> R {
        self.read_with_slot(|value, _| visit(value))
    }

    /// The same; `visit` also gets the number of the reader's slot, which no other reader has at the same time.
    pub(crate) fn read_with_slot<R>(&self, visit: impl FnOnce(Option<&T>, usize) -> R) -> R {
        let slot = idle_slot();
        loop {
            let (seen, _protection) = self.protect(&slot);
            fence::light();
            if let Some(value) = self.validate(seen) {
                return visit(value, slot.index());
            }
        }
    }

    /// The fast path of a reader that falls back on [`HazardCell::read_with_slot`]. `None`: there is no value, a thread
    /// replaces it at this moment, or this is a thread's first read or a read inside another. Makes no function call
    /// before `visit`.
    #[inline]
    pub(crate) fn try_read<R>(&self, visit: impl FnOnce(&T, usize) -> Option<R>) -> Option<R> {
        let slot = own_idle_slot()?;
        let (seen, _protection) = self.protect(slot);
        fence::try_light()?;
        visit(self.validate(seen)??, slot.index())
    }

    /// The current pointer, published until the protection is dropped. Valid only after [`HazardCell::validate`].
    #[inline]
    fn protect<'a>(&self, slot: &'a HazardPointer) -> (*mut Node<T>, Protection<'a>) {
        let seen = self.current.load(Ordering::Relaxed);
        (seen, slot.protect(seen.cast()))
    }

    /// After a light fence: the protected value, if it is still the current one. Either this reader sees that the value
    /// was replaced, or the thread that replaced it sees the hazard pointer.
    #[inline]
    fn validate(&self, seen: *mut Node<T>) -> Option<Option<&T>> {
        let is_current = self.current.load(Ordering::Acquire) == seen;
        // SAFETY: null, or a node that no thread frees while it is protected.
        is_current.then(|| unsafe { seen.as_ref() }.map(|node| &node.value))
    }

    /// Replaces the value, and frees the retired values that no thread reads any more.
    pub(crate) fn replace(&self, value: Option<T>) {
        let old = self.current.swap(boxed(value), Ordering::AcqRel);
        if !old.is_null() {
            self.retire(old);
        }
        self.reclaim();
    }

    fn retire(&self, node: *mut Node<T>) {
        let mut first = self.retired.load(Ordering::Relaxed);
        loop {
            // SAFETY: only a thread that takes a node off the list frees it, and this node is not on the list yet.
            unsafe { &*node }.next.store(first, Ordering::Relaxed);
            match self.retired.compare_exchange_weak(first, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => first = other,
            }
        }
    }

    fn reclaim(&self) {
        let mut next = self.retired.swap(ptr::null_mut(), Ordering::Acquire);
        // The nodes taken were replaced before this fence: a hazard pointer published after it does not validate.
        let is_fenced = next.is_null() || fence::heavy();
        while !next.is_null() {
            let node = next;
            // SAFETY: the swap above gave the list to this thread alone.
            next = unsafe { &*node }.next.load(Ordering::Relaxed);
            if !is_fenced || all_slots::get().iter().any(|slot| slot.protects(node.cast())) {
                self.retire(node);
            } else {
                // SAFETY: made by `boxed`, not current any more, on no list, and protected by no thread.
                drop(unsafe { Box::from_raw(node) });
            }
        }
    }
}

impl<T> Drop for HazardCell<T> {
    fn drop(&mut self) {
        let current = self.current.swap(ptr::null_mut(), Ordering::Acquire);
        if !current.is_null() {
            self.retire(current);
        }
        let mut next = self.retired.swap(ptr::null_mut(), Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: made by `boxed`; a thread that still read it would borrow this cell.
            let node = unsafe { Box::from_raw(next) };
            next = node.next.load(Ordering::Relaxed);
        }
    }
}

impl<T> Default for HazardCell<T> {
    fn default() -> Self {
        HazardCell::new(None)
    }
}

fn boxed<T>(value: Option<T>) -> *mut Node<T> {
    value.map_or(ptr::null_mut(), |value| {
        Box::into_raw(Box::new(Node { value, next: AtomicPtr::new(ptr::null_mut()) }))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_unread_value_is_freed_at_once_and_a_protected_one_at_the_next_replacement() {
        let (first, second, third) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let cell = HazardCell::new(Some(first.clone()));
        cell.replace(Some(second.clone()));
        assert_eq!(Arc::strong_count(&first), 1);
        cell.read(|outer| {
            cell.replace(Some(third.clone()));
            // The thread's own slot is in use; this read acquires another.
            cell.read(|inner| assert_eq!((outer.map(|n| **n), inner.map(|n| **n)), (Some(2), Some(3))));
            cell.replace(None);
            assert_eq!((Arc::strong_count(&second), Arc::strong_count(&third)), (2, 1));
            assert!(cell.read(|value| value.is_none()));
        });
        cell.replace(None);
        assert_eq!(Arc::strong_count(&second), 1);
        cell.replace(Some(third.clone()));
        drop(cell);
        assert_eq!(Arc::strong_count(&third), 1);
    }

    #[test]
    fn try_read_sees_what_read_sees_and_gives_none_inside_another_read() {
        let cell = HazardCell::new(Some(7));
        let try_read = || cell.try_read(|value, _| Some(*value));
        cell.read(|_| assert_eq!(try_read(), None));
        assert_eq!(try_read(), Some(7));
        assert_eq!(cell.try_read(|_, _| try_read()), None);
        cell.replace(None);
        assert_eq!(try_read(), None);
    }

    #[test]
    fn a_panic_ends_the_protection() {
        let (first, cell) = (Arc::new(1), HazardCell::default());
        cell.replace(Some(first.clone()));
        let panic = || cell.read(|_| panic!("while it is protected"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).is_err());
        cell.replace(None);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn threads_read_while_one_replaces() {
        let cell = HazardCell::new(Some(vec![0_u64; 8]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while cell.read(|value| {
                        let value = value.map_or(&[][..], |value| &value[..]);
                        assert!(value.iter().all(|number| *number == value[0]));
                        value[0] < 2000
                    }) {}
                });
            }
            scope.spawn(|| (1..=2000).for_each(|number| cell.replace(Some(vec![number; 8]))));
        });
    }
}
