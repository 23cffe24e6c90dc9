//! What the parts that threads meet in are built from. `tests/loom` puts the same names of its own in this place, and
//! runs those parts through every order in which their steps can happen.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
