//! A lock-free list of slots that only grows: a slot is added when none is free, reused after its release, and never
//! freed. So a thread that walks the list, or has kept an address, never meets freed memory.

use std::iter;
use std::ops::Deref;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// A slot on a cache line of its own: threads that write to two slots do not slow each other (no false sharing).
#[repr(align(64))]
pub(crate) struct Slot<T> {
    value: T,
    index: usize,
    is_taken: AtomicBool,
    next: AtomicPtr<Slot<T>>,
}

impl<T> Slot<T> {
    /// Counted from 0, in the order in which the slots were added.
    #[inline]
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Lets another owner acquire the slot.
    pub(super) fn release(&self) {
        self.is_taken.store(false, Ordering::Release);
    }
}

impl<T> Deref for Slot<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// All slots of one kind.
pub(crate) struct SlotList<T> {
    pub(super) first: AtomicPtr<Slot<T>>,
}

impl<T: Default + 'static> SlotList<T> {
    /// A slot that no other owner has until it is released.
    pub(super) fn acquire(&self) -> &'static Slot<T> {
        let acquire = |slot: &&Slot<T>| {
            let (taken, not_taken) = (Ordering::Acquire, Ordering::Relaxed);
            slot.is_taken.compare_exchange(false, true, taken, not_taken).is_ok()
        };
        self.iter().find(acquire).unwrap_or_else(|| self.add())
    }

    fn add(&self) -> &'static Slot<T> {
        let mut first = self.first.load(Ordering::Acquire);
        let (value, is_taken) = (T::default(), AtomicBool::new(true));
        let slot = Box::into_raw(Box::new(Slot { value, index: 0, is_taken, next: AtomicPtr::new(first) }));
        loop {
            // SAFETY: `first` is null or a leaked slot; no other thread has seen `slot` yet.
            let (before, new) = unsafe { (first.as_ref(), &mut *slot) };
            new.index = before.map_or(0, |before| before.index + 1);
            new.next = AtomicPtr::new(first);
            match self.first.compare_exchange(first, slot, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: shared and leaked from now on.
                Ok(_) => return unsafe { &*slot },
                Err(other) => first = other,
            }
        }
    }

    /// Every slot, acquired or free.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Slot<T>> {
        // SAFETY: null, or a leaked slot, which is never freed.
        let slot = |pointer: *mut Slot<T>| unsafe { pointer.as_ref() };
        let first = slot(self.first.load(Ordering::Acquire));
        iter::successors(first, move |before| slot(before.next.load(Ordering::Relaxed)))
    }
}
