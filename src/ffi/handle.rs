//! How C holds each handle. To free a borrowed one, or to add an owner to one that has a single owner, does not compile.

use std::sync::Arc;

/// A type behind a pointer of the C interface. Any thread may hold one.
pub(super) trait Handle: Send + Sync {
    /// [`Owned`], [`Shared`] or [`Borrowed`].
    type Ownership;
}

/// One owner: C frees it once.
pub(super) struct Owned;
/// Counted: each owner frees it once.
pub(super) struct Shared;
/// Lent to C until a callback returns: C never frees it.
pub(super) struct Borrowed;

/// What C can free.
pub(super) trait Release {
    /// Gives up the caller's ownership.
    ///
    /// # Safety
    ///
    /// The object came from [`give`] or [`share`], and the caller is an owner of it.
    unsafe fn release<H>(object: *mut H);
}

impl Release for Owned {
    unsafe fn release<H>(object: *mut H) {
        // SAFETY: from `give`, and the only owner gives it up.
        drop(unsafe { Box::from_raw(object) });
    }
}

impl Release for Shared {
    unsafe fn release<H>(object: *mut H) {
        // SAFETY: from `share`, and an owner gives its share up.
        drop(unsafe { Arc::from_raw(object) });
    }
}

/// Makes C the owner.
pub(super) fn give<H: Handle<Ownership = Owned>>(object: H) -> *mut H {
    Box::into_raw(Box::new(object))
}

/// Makes C an owner.
pub(super) fn share<H: Handle<Ownership = Shared>>(object: Arc<H>) -> *mut H {
    Arc::into_raw(object).cast_mut()
}

/// Adds an owner; NULL for NULL.
///
/// # Safety
///
/// NULL, or from [`share`], and an owner keeps it for the call.
pub(super) unsafe fn retain<H: Handle<Ownership = Shared>>(object: *const H) -> *mut H {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        unsafe { Arc::increment_strong_count(object) };
    }
    object.cast_mut()
}

/// Takes an owner away, and frees the object with the last one; NULL is fine.
///
/// # Safety
///
/// NULL, or from [`give`] or [`share`], and the caller is an owner and gives it up.
pub(super) unsafe fn release<H: Handle<Ownership: Release>>(object: *mut H) {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        unsafe { H::Ownership::release(object) };
    }
}
