//! Takes the place of `src/sync.rs`.

pub(crate) use std::sync::PoisonError;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
