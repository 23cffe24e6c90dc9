//! Where a thread notes what it is reading.

use std::ptr;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// Written by its thread, read by whoever replaces a value.
pub(crate) struct HazardPointer {
    protected: AtomicPtr<()>,
    /// Taken for one read only. Used by nobody but its owner.
    is_temporary: AtomicBool,
}

impl Default for HazardPointer {
    fn default() -> Self {
        HazardPointer { protected: AtomicPtr::new(ptr::null_mut()), is_temporary: AtomicBool::new(false) }
    }
}

impl HazardPointer {
    /// Whether nothing is protected here, so that something can be.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.protected.load(Ordering::Relaxed).is_null()
    }

    /// Notes a pointer until the pin is dropped.
    #[inline]
    pub(super) fn protect(&self, pointer: *mut ()) -> Protection<'_> {
        self.protected.store(pointer, Ordering::Relaxed);
        Protection(self)
    }

    pub(super) fn protects(&self, pointer: *mut ()) -> bool {
        self.protected.load(Ordering::Acquire) == pointer
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary.load(Ordering::Relaxed)
    }

    pub(super) fn set_temporary(&self, is_temporary: bool) {
        self.is_temporary.store(is_temporary, Ordering::Relaxed);
    }
}

/// As long as it lives, what it pins is not freed.
pub(super) struct Protection<'a>(&'a HazardPointer);

impl Drop for Protection<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.protected.store(ptr::null_mut(), Ordering::Release);
    }
}
