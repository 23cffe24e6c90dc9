//! Where a thread notes what it is reading.

use std::ptr;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// Written by its thread, read by whoever replaces a value.
pub(crate) struct Slot {
    pinned: AtomicPtr<()>,
    /// Taken for one read only. Used by nobody but its owner.
    is_spare: AtomicBool,
}

impl Default for Slot {
    fn default() -> Self {
        Slot { pinned: AtomicPtr::new(ptr::null_mut()), is_spare: AtomicBool::new(false) }
    }
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

    pub(super) fn is_spare(&self) -> bool {
        self.is_spare.load(Ordering::Relaxed)
    }

    pub(super) fn set_spare(&self, is_spare: bool) {
        self.is_spare.store(is_spare, Ordering::Relaxed);
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
