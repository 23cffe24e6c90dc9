//! The parts of the library that threads share, built with loom's atomics and locks instead of the system's. Each
//! public function is a model: loom runs it in every possible order of its steps. `tests/models.rs` calls
//! them; the models are not tests themselves, since the unit tests of these parts cannot run under loom.

#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]
#![allow(unsafe_code, reason = "the parts contain unsafe code, and loom's cells need it")]
#![allow(dead_code, reason = "a model uses only some functions of its part")]

pub mod hazard_cell;
pub mod one_shot;
mod runtime;
mod sync;

#[path = "../../../src/session"]
mod session {
    pub(crate) mod one_shot;
}
