//! Replaces `src/sync.rs`.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
