//! Where a thread notes what it is reading. Slots are made at need and never freed: whoever looks through them meets
//! no slot that is gone, and a thread that ends leaves its own to the next one.

use std::{iter, ptr};

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// On a line of its own, that only its thread writes to.
#[repr(align(64))]
pub(crate) struct Slot {
    pinned: AtomicPtr<()>,
    is_taken: AtomicBool,
    /// Taken for one read only. Used by nobody but its owner.
    is_spare: AtomicBool,
    next: AtomicPtr<Slot>,
}

impl Slot {
    /// Whether nothing is pinned here, so that something can be.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.pinned.load(Ordering::Relaxed).is_null()
    }

    /// Notes a pointer until the pin is dropped.
    #[inline]
    pub(super) fn pin(&self, pointer: *mut ()) -> Pin<'_> {
        self.pinned.store(pointer, Ordering::Relaxed);
        Pin(self)
    }

    pub(super) fn holds(&self, pointer: *mut ()) -> bool {
        self.pinned.load(Ordering::Acquire) == pointer
    }

    #[inline]
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare.load(Ordering::Relaxed)
    }

    pub(super) fn set_spare(&self, is_spare: bool) {
        self.is_spare.store(is_spare, Ordering::Relaxed);
    }

    /// Leaves the slot to the next thread.
    pub(super) fn give_back(&self) {
        self.is_taken.store(false, Ordering::Release);
    }
}

/// As long as it lives, what it pins is not freed.
pub(super) struct Pin<'a>(&'a Slot);

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.pinned.store(ptr::null_mut(), Ordering::Release);
    }
}

/// All slots of the process.
pub(crate) struct Slots {
    pub(super) first: AtomicPtr<Slot>,
}

impl Slots {
    /// A slot that is nobody else's until it is given back.
    pub(super) fn take(&self) -> &Slot {
        let taken = |slot: &&Slot| {
            let (unordered, ordered) = (Ordering::Relaxed, Ordering::Acquire);
            slot.is_taken.compare_exchange(false, true, ordered, unordered).is_ok()
        };
        self.iter().find(taken).unwrap_or_else(|| self.add())
    }

    fn add(&self) -> &Slot {
        let mut first = self.first.load(Ordering::Acquire);
        let slot: &Slot = Box::leak(Box::new(Slot {
            pinned: AtomicPtr::new(ptr::null_mut()),
            is_taken: AtomicBool::new(true),
            is_spare: AtomicBool::new(false),
            next: AtomicPtr::new(first),
        }));
        let pointer = ptr::from_ref(slot).cast_mut();
        while let Err(other) =
            self.first.compare_exchange_weak(first, pointer, Ordering::AcqRel, Ordering::Acquire)
        {
            first = other;
            slot.next.store(first, Ordering::Relaxed);
        }
        slot
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        let slot = |pointer: *mut Slot| {
            // SAFETY: null, or a slot that was leaked and is never freed.
            unsafe { pointer.as_ref() }
        };
        let first = slot(self.first.load(Ordering::Acquire));
        iter::successors(first, move |before| slot(before.next.load(Ordering::Relaxed)))
    }
}
