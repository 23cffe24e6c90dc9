//! A value that any number of threads read while another one replaces it. A reader pins what it reads: it notes the
//! pointer in its thread's slot, and looks whether the pointer is still the current one. Whoever replaces a value looks
//! through all slots before freeing it, and keeps what is pinned for the next time. So a reader writes to no memory
//! that another thread writes to, and nobody ever waits for anybody: a slot whose thread was left behind by a fork
//! may stay set for ever.

use std::ptr;

use super::fence;
use super::hazard_pointer::{HazardPointer, Protection};
use super::thread_slot::{idle_slot, own_idle_slot, slots};
use crate::sync::{AtomicPtr, Ordering};

/// The value, or none.
pub(crate) struct HazardCell<T> {
    current: AtomicPtr<Node<T>>,
    /// Values that were replaced and may still be read.
    retired: AtomicPtr<Node<T>>,
}

/// In this order, so that a value's address is its node's.
#[repr(C)]
struct Node<T> {
    value: T,
    /// The next retired one.
    next: AtomicPtr<Node<T>>,
}

// SAFETY: values are shared between threads, and freed by whichever replaces one.
unsafe impl<T: Send + Sync> Send for HazardCell<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for HazardCell<T> {}

impl<T> HazardCell<T> {
    /// With a first value.
    pub(crate) fn new(value: Option<T>) -> Self {
        HazardCell { current: AtomicPtr::new(boxed(value)), retired: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Lets `look` see the value there is.
    pub(crate) fn read<R>(&self, visit: impl FnOnce(Option<&T>) -> R) -> R {
        self.read_with_slot(|value, _| visit(value))
    }

    /// The same for a `look` that has use for a number which no other reader has meanwhile.
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

    /// The same in a hurry, for a reader who has another way: only where there is a value that nobody replaces at this
    /// moment, and not for a thread's first read nor for one inside another. Up to `look` it makes no call.
    #[inline]
    pub(crate) fn try_read<R>(&self, visit: impl FnOnce(&T, usize) -> Option<R>) -> Option<R> {
        let slot = own_idle_slot()?;
        let (seen, _protection) = self.protect(slot);
        fence::try_light()?;
        visit(self.validate(seen)??, slot.index())
    }

    /// What is the current one, noted until the pin is dropped.
    #[inline]
    fn protect<'a>(&self, slot: &'a HazardPointer) -> (*mut Node<T>, Protection<'a>) {
        let seen = self.current.load(Ordering::Relaxed);
        (seen, slot.protect(seen.cast()))
    }

    /// Behind a fence, what was noted, if it still is the current one. Either this sees that it was replaced, or whoever
    /// replaced it sees the pin.
    #[inline]
    fn validate(&self, seen: *mut Node<T>) -> Option<Option<&T>> {
        let is_current = self.current.load(Ordering::Acquire) == seen;
        // SAFETY: null, or a node that nobody frees while it is pinned.
        is_current.then(|| unsafe { seen.as_ref() }.map(|node| &node.value))
    }

    /// Puts another value in its place, and frees those that nobody reads any more.
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
            // SAFETY: a retired node is freed only by whoever takes it off the list, and it is not on it yet.
            unsafe { &*node }.next.store(first, Ordering::Relaxed);
            match self.retired.compare_exchange_weak(first, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => first = other,
            }
        }
    }

    fn reclaim(&self) {
        let mut next = self.retired.swap(ptr::null_mut(), Ordering::Acquire);
        // What was taken off the list was replaced before this fence, and no pin that comes after it can hold.
        let is_fenced = next.is_null() || fence::heavy();
        while !next.is_null() {
            let node = next;
            // SAFETY: the list was ours with the swap above.
            next = unsafe { &*node }.next.load(Ordering::Relaxed);
            if !is_fenced || slots().iter().any(|slot| slot.protects(node.cast())) {
                self.retire(node);
            } else {
                // SAFETY: made by `boxed`, no longer current, on no list, and nobody has it pinned.
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
            // SAFETY: made by `boxed`; whoever still read it would borrow us.
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
    fn what_nobody_reads_is_freed_at_once_and_what_somebody_reads_with_the_next() {
        let (first, second, third) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let cell = HazardCell::new(Some(first.clone()));
        cell.replace(Some(second.clone()));
        assert_eq!(Arc::strong_count(&first), 1);
        cell.read(|outer| {
            cell.replace(Some(third.clone()));
            // The thread's own slot is taken; this one finds another.
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
