//! Locks and atomics of the parts that several threads share. `tests/loom` replaces this file with loom's types, and
//! runs those parts through every order in which their steps can happen.

use std::sync::{LockResult, PoisonError};

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Locks a mutex, poisoned or not: a panic is caught at the boundary, and the calls that follow still work.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

/// The guard that a lock or a wait gives, poisoned or not.
pub(crate) fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}
