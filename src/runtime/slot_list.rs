//! Places in memory that are made at need and never freed: whoever looks through them, or kept an address, meets none
//! that is gone. One that is given back goes to the next who asks.

use std::iter;
use std::ops::Deref;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// On a line of its own, so that those who write to two places do not disturb each other.
#[repr(align(64))]
pub(crate) struct Place<T> {
    content: T,
    number: usize,
    is_taken: AtomicBool,
    next: AtomicPtr<Place<T>>,
}

impl<T> Place<T> {
    /// From 0 on, in the order in which places were made.
    #[inline]
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Leaves the place to the next.
    pub(super) fn give_back(&self) {
        self.is_taken.store(false, Ordering::Release);
    }
}

impl<T> Deref for Place<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.content
    }
}

/// All places of a kind.
pub(crate) struct Places<T> {
    pub(super) first: AtomicPtr<Place<T>>,
}

impl<T: Default + 'static> Places<T> {
    /// A place that is nobody else's until it is given back.
    pub(super) fn take(&self) -> &'static Place<T> {
        let take = |place: &&Place<T>| {
            let (taken, not_taken) = (Ordering::Acquire, Ordering::Relaxed);
            place.is_taken.compare_exchange(false, true, taken, not_taken).is_ok()
        };
        self.iter().find(take).unwrap_or_else(|| self.add())
    }

    fn add(&self) -> &'static Place<T> {
        let mut first = self.first.load(Ordering::Acquire);
        let (content, is_taken) = (T::default(), AtomicBool::new(true));
        let place =
            Box::into_raw(Box::new(Place { content, number: 0, is_taken, next: AtomicPtr::new(first) }));
        loop {
            // SAFETY: the one is null or a place that was leaked; of the other nobody else knows yet.
            let (before, new) = unsafe { (first.as_ref(), &mut *place) };
            new.number = before.map_or(0, |before| before.number + 1);
            new.next = AtomicPtr::new(first);
            match self.first.compare_exchange(first, place, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: leaked as of now, and shared.
                Ok(_) => return unsafe { &*place },
                Err(other) => first = other,
            }
        }
    }

    /// Every place, taken or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Place<T>> {
        // SAFETY: null, or a place that was leaked and is never freed.
        let place = |pointer: *mut Place<T>| unsafe { pointer.as_ref() };
        let first = place(self.first.load(Ordering::Acquire));
        iter::successors(first, move |before| place(before.next.load(Ordering::Relaxed)))
    }
}
