//! The lock-free parts of the library, built with loom's atomics instead of the system's. Each
//! public function is a model: loom runs it through every order in which its steps can happen. `tests/models.rs` calls
//! the models. They are not tests in this crate, because the unit tests inside the parts do not run under loom.

#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]
#![allow(unsafe_code, reason = "the parts have some, and loom's cells need it")]
#![allow(dead_code, reason = "a part has more to it than its model needs")]

pub mod hazard_cell;
mod runtime;
mod sync;
