//! Single decisions of the session's state machine, without I/O, each at a given time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod credentials;
mod flights;
mod obstacles;
mod pauses;
mod phases;
mod plans;
mod private_pairs;
mod rejection;
mod scene;
mod timers;
