//! A hazard pointer: the place where a thread publishes the address of what it reads, so that no other thread frees it.

use std::ptr;

use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// Written by the thread that reads a value, read by threads that replace one.
pub(crate) struct HazardPointer {
    protected: AtomicPtr<()>,
    /// Acquired for a single read. Only the owner uses this.
    is_temporary: AtomicBool,
}

impl Default for HazardPointer {
    fn default() -> Self {
        HazardPointer { protected: AtomicPtr::new(ptr::null_mut()), is_temporary: AtomicBool::new(false) }
    }
}

impl HazardPointer {
    /// Whether it protects nothing, so that it can be used.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.protected.load(Ordering::Relaxed).is_null()
    }

    /// Publishes a pointer until the protection is dropped. A thread that sees it in place of
    /// an earlier pointer must know that the owner's earlier reads are over: hence `Release`.
    #[inline]
    pub(super) fn protect(&self, pointer: *mut ()) -> Protection<'_> {
        self.protected.store(pointer, Ordering::Release);
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

/// While it lives, and once the caller has validated the pointer, the value is not freed.
pub(super) struct Protection<'a>(&'a HazardPointer);

impl Drop for Protection<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.protected.store(ptr::null_mut(), Ordering::Release);
    }
}
