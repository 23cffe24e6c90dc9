//! A value that any number of threads read while another one replaces it. A reader pins what it reads: it notes the
//! pointer in its thread's slot, and looks whether the pointer is still the current one. Whoever replaces a value looks
//! through all slots before freeing it, and keeps what is pinned for the next time. So a reader writes to no memory
//! that another thread writes to, and nobody ever waits for anybody: a slot whose thread was left behind by a fork
//! may stay set for ever.

use std::ptr;

use super::barrier;
use super::here::{free_slot, slots};
use crate::sync::{AtomicPtr, Ordering};

/// The value, or none.
pub(crate) struct Pinned<T> {
    current: AtomicPtr<Node<T>>,
    /// Values that were replaced and may still be read.
    retired: AtomicPtr<Node<T>>,
}

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
    #[inline]
    pub(crate) fn read<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        let slot = free_slot();
        let mut seen = self.current.load(Ordering::Relaxed);
        let _pin = loop {
            let pin = slot.pin(seen.cast());
            barrier::light();
            // Either this sees that the value was replaced, or whoever replaced it sees the pin.
            let now = self.current.load(Ordering::Acquire);
            if now == seen {
                break pin;
            }
            seen = now;
        };
        // SAFETY: null, or a node that nobody frees while it is pinned.
        look(unsafe { seen.as_ref() }.map(|node| &node.value))
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
        let is_certain = next.is_null() || barrier::heavy();
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
