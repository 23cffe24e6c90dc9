//! A value that any number of threads read while another one replaces it. A reader pins what it reads: it notes the
//! pointer in its thread's slot, and looks whether the pointer is still the current one. Whoever replaces a value looks
//! through all slots before freeing it, and keeps what is pinned for the next time. So a reader writes to no memory
//! that another thread writes to, and nobody ever waits for anybody: a slot whose thread was left behind by a fork
//! may stay set for ever.

use std::ptr;

use super::fence;
use super::hazard_pointer::{Pin, Slot};
use super::thread_slot::{free_slot, own_slot, slots};
use crate::sync::{AtomicPtr, Ordering};

/// The value, or none.
pub(crate) struct Pinned<T> {
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
unsafe impl<T: Send + Sync> Send for Pinned<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Pinned<T> {}

impl<T> Pinned<T> {
    /// With a first value.
    pub(crate) fn new(value: Option<T>) -> Self {
        Pinned { current: AtomicPtr::new(boxed(value)), retired: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Lets `look` see the value there is.
    pub(crate) fn read<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        self.read_as(|value, _| look(value))
    }

    /// The same for a `look` that has use for a number which no other reader has meanwhile.
    pub(crate) fn read_as<R>(&self, look: impl FnOnce(Option<&T>, usize) -> R) -> R {
        let slot = free_slot();
        loop {
            let (seen, _pin) = self.pin(&slot);
            fence::light();
            if let Some(value) = self.pinned(seen) {
                return look(value, slot.number());
            }
        }
    }

    /// The same in a hurry, for a reader who has another way: only where there is a value that nobody replaces at this
    /// moment, and not for a thread's first read nor for one inside another. Up to `look` it makes no call.
    #[inline]
    pub(crate) fn glance<R>(&self, look: impl FnOnce(&T, usize) -> Option<R>) -> Option<R> {
        let slot = own_slot()?;
        let (seen, _pin) = self.pin(slot);
        fence::quick_light()?;
        look(self.pinned(seen)??, slot.number())
    }

    /// What is the current one, noted until the pin is dropped.
    #[inline]
    fn pin<'a>(&self, slot: &'a Slot) -> (*mut Node<T>, Pin<'a>) {
        let seen = self.current.load(Ordering::Relaxed);
        (seen, slot.pin(seen.cast()))
    }

    /// Behind a fence, what was noted, if it still is the current one. Either this sees that it was replaced, or whoever
    /// replaced it sees the pin.
    #[inline]
    fn pinned(&self, seen: *mut Node<T>) -> Option<Option<&T>> {
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
        self.free_retired();
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

    fn free_retired(&self) {
        let mut next = self.retired.swap(ptr::null_mut(), Ordering::Acquire);
        // What was taken off the list was replaced before this fence, and no pin that comes after it can hold.
        let is_certain = next.is_null() || fence::heavy();
        while !next.is_null() {
            let node = next;
            // SAFETY: the list was ours with the swap above.
            next = unsafe { &*node }.next.load(Ordering::Relaxed);
            if !is_certain || slots().iter().any(|slot| slot.holds(node.cast())) {
                self.retire(node);
            } else {
                // SAFETY: made by `boxed`, no longer current, on no list, and nobody has it pinned.
                drop(unsafe { Box::from_raw(node) });
            }
        }
    }
}

impl<T> Drop for Pinned<T> {
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

impl<T> Default for Pinned<T> {
    fn default() -> Self {
        Pinned::new(None)
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
        let pinned = Pinned::new(Some(first.clone()));
        pinned.replace(Some(second.clone()));
        assert_eq!(Arc::strong_count(&first), 1);
        pinned.read(|outer| {
            pinned.replace(Some(third.clone()));
            // The thread's own slot is taken; this one finds another.
            pinned.read(|inner| assert_eq!((outer.map(|n| **n), inner.map(|n| **n)), (Some(2), Some(3))));
            pinned.replace(None);
            assert_eq!((Arc::strong_count(&second), Arc::strong_count(&third)), (2, 1));
            assert!(pinned.read(|value| value.is_none()));
        });
        pinned.replace(None);
        assert_eq!(Arc::strong_count(&second), 1);
        pinned.replace(Some(third.clone()));
        drop(pinned);
        assert_eq!(Arc::strong_count(&third), 1);
    }

    #[test]
    fn a_glance_sees_what_a_read_sees_and_is_not_for_one_inside_another() {
        let pinned = Pinned::new(Some(7));
        let glance = || pinned.glance(|value, _| Some(*value));
        pinned.read(|_| assert_eq!(glance(), None));
        assert_eq!(glance(), Some(7));
        assert_eq!(pinned.glance(|_, _| glance()), None);
        pinned.replace(None);
        assert_eq!(glance(), None);
    }

    #[test]
    fn a_panic_ends_the_pin() {
        let (first, pinned) = (Arc::new(1), Pinned::default());
        pinned.replace(Some(first.clone()));
        let panic = || pinned.read(|_| panic!("while it is pinned"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).is_err());
        pinned.replace(None);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn threads_read_while_one_replaces() {
        let pinned = Pinned::new(Some(vec![0_u64; 8]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while pinned.read(|value| {
                        let value = value.map_or(&[][..], |value| &value[..]);
                        assert!(value.iter().all(|number| *number == value[0]));
                        value[0] < 2000
                    }) {}
                });
            }
            scope.spawn(|| (1..=2000).for_each(|number| pinned.replace(Some(vec![number; 8]))));
        });
    }
}
