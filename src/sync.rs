//! Locks, and the atomics of the lock-free parts. `tests/loom` replaces this file with loom's locks and atomics, and runs those
//! parts, and some in which threads meet, through every order in which their steps can happen.
//!
//! # Lock order
//!
//! A thread that holds a lock takes only locks further down:
//!
//! 1. the state of a session (`Driver::state`);
//! 2. the timers' agenda, the state of a queue, a reloaded file's current value, a store's warnings, the words that
//!    follow a generation.
//!
//! A store's operation has an order of its own, and no session's state is locked during it: the turn of the operation
//! (`Limited`), the record's state, then the table of file locks. On a Redis server: the link, then its last use and its channels.
//!
//! Every other lock is taken alone. No lock is held while the host's code runs (callbacks, cancel hooks), except the turn of an
//! operation on a custom store. While a thread or a task waits for a file or a socket it holds at most the turn and the record's
//! state (files), or the link (the connection to a Redis server).

use std::sync::{LockResult, PoisonError};

/// For a constant, in which loom cannot make its own.
pub(crate) use std::sync::atomic::AtomicPtr as ConstAtomicPtr;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread_local;

/// Locks a mutex, poisoned or not: a panic is caught at the boundary, and the calls that follow still work.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

/// The guard that a lock or a wait gives, poisoned or not.
pub(crate) fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}
