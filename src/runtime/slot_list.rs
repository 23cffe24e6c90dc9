//! SlotList in memory that are made at need and never freed: whoever looks through them, or kept an address, meets none
//! that is gone. One that is given back goes to the next who asks.

use std::iter;
use std::ops::Deref;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// On a line of its own, so that those who write to two places do not disturb each other.
#[repr(align(64))]
pub(crate) struct Slot<T> {
    value: T,
    index: usize,
    is_taken: AtomicBool,
    next: AtomicPtr<Slot<T>>,
}

impl<T> Slot<T> {
    /// From 0 on, in the order in which places were made.
    #[inline]
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Leaves the slot to the next.
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

/// All places of a kind.
pub(crate) struct SlotList<T> {
    pub(super) first: AtomicPtr<Slot<T>>,
}

impl<T: Default + 'static> SlotList<T> {
    /// A slot that is nobody else's until it is given back.
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
            // SAFETY: the one is null or a slot that was leaked; of the other nobody else knows yet.
            let (before, new) = unsafe { (first.as_ref(), &mut *slot) };
            new.index = before.map_or(0, |before| before.index + 1);
            new.next = AtomicPtr::new(first);
            match self.first.compare_exchange(first, slot, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: leaked as of now, and shared.
                Ok(_) => return unsafe { &*slot },
                Err(other) => first = other,
            }
        }
    }

    /// Every slot, taken or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Slot<T>> {
        // SAFETY: null, or a slot that was leaked and is never freed.
        let slot = |pointer: *mut Slot<T>| unsafe { pointer.as_ref() };
        let first = slot(self.first.load(Ordering::Acquire));
        iter::successors(first, move |before| slot(before.next.load(Ordering::Relaxed)))
    }
}
