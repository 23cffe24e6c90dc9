//! Replaces `src/sync.rs`.

use std::sync::{LockResult, PoisonError};

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

pub(crate) fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}
