//! The parts of the library without locks, and some in which threads meet, built with loom's locks and atomics instead of
//! the system's. Each public function of a module is a model: loom runs it through every order in which its steps can
//! happen. `tests/models.rs` calls the models. They are not tests in this crate, because the unit tests inside the parts do
//! not run under loom.

// Cargo compiles it for tests too if it is given the name of one; the unit tests in the parts need the whole library.
#![cfg(not(test))]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]
#![allow(unsafe_code, reason = "the parts have some, and loom's cells need it")]
#![allow(dead_code, reason = "a part has more to it than its model needs")]
#![allow(unreachable_pub, reason = "what is public in the library")]

/// `src/session/timers.rs` names tokio's `Notify`, which is [`sync::Notify`] here.
extern crate self as tokio;

mod clock;
mod defect;
#[path = "../../../src/error.rs"]
mod error;
mod event;
mod notifier;
#[path = "../../../src/queue.rs"]
mod queue;
pub mod queue_models;
pub mod runtime;
pub mod session;
#[path = "../../../src/status.rs"]
mod status;
mod sync;

/// Checks all orders with at most `switches` switches away from a thread that could go on; `None`: all orders.
fn check(switches: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(move || {
        runtime::begin_model();
        model();
    });
}
