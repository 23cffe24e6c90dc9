//! Who owns each handle. Freeing a borrowed handle, or adding an owner to an owned one, does not compile.

use std::sync::Arc;

use crate::runtime::sharded_arc::ShardedArc;

/// A type behind an opaque pointer of the C interface. Any thread may use one.
pub(super) trait Handle: Send + Sync {
    /// [`Owned`], [`Shared`], [`Sharded`] or [`Borrowed`].
    type Ownership;
}

/// C is the only owner, and frees it once. A `Box`.
pub(super) struct Owned;
/// C may have several owners; each frees it once. An `Arc`.
pub(super) struct Shared;
/// The same, for what many threads take and free all the time. A `ShardedArc`.
pub(super) struct Sharded;
/// The library owns it, and lends it to C: C never frees it.
pub(super) struct Borrowed;

/// The kinds of ownership that C can give up.
pub(super) trait Release {
    /// Gives up the caller's ownership.
    ///
    /// # Safety
    ///
    /// The object is from [`give`], [`share`] or [`share_sharded`], and the caller owns it.
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

impl Release for Sharded {
    unsafe fn release<H>(object: *mut H) {
        // SAFETY: from `share_sharded`, and an owner gives its share up.
        drop(unsafe { ShardedArc::from_raw(object) });
    }
}

/// Gives an object to C.
pub(super) fn give<H: Handle<Ownership = Owned>>(object: H) -> *mut H {
    Box::into_raw(Box::new(object))
}

/// Makes C one of the owners.
pub(super) fn share<H: Handle<Ownership = Shared>>(object: Arc<H>) -> *mut H {
    Arc::into_raw(object).cast_mut()
}

/// Adds an owner; NULL for NULL.
///
/// # Safety
///
/// `object` is NULL, or from [`share`] and owned by the caller.
pub(super) unsafe fn retain<H: Handle<Ownership = Shared>>(object: *const H) -> *mut H {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        unsafe { Arc::increment_strong_count(object) };
    }
    object.cast_mut()
}

/// Makes C one of the owners.
#[inline]
pub(super) fn share_sharded<H: Handle<Ownership = Sharded>>(object: ShardedArc<H>) -> *mut H {
    object.into_raw().cast_mut()
}

/// Adds an owner; NULL for NULL.
///
/// # Safety
///
/// `object` is NULL, or from [`share_sharded`] and owned by the caller.
pub(super) unsafe fn retain_sharded<H: Handle<Ownership = Sharded>>(object: *const H) -> *mut H {
    if !object.is_null() {
        // SAFETY: the caller's promise; its own share is given back.
        let owned = unsafe { ShardedArc::from_raw(object) };
        std::mem::forget(owned.clone());
        std::mem::forget(owned);
    }
    object.cast_mut()
}

/// Takes an owner away, and frees the object with the last one. Does nothing for NULL.
///
/// # Safety
///
/// `object` is NULL, or from [`give`], [`share`] or [`share_sharded`] and owned by the caller, who does not use it again.
pub(super) unsafe fn release<H: Handle<Ownership: Release>>(object: *mut H) {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        unsafe { H::Ownership::release(object) };
    }
}
