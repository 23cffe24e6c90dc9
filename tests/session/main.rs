//! A session against the emulator over real TLS, on a clock that the tests set.

#![allow(unsafe_code, reason = "the generation word is read as C reads it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod clocks;
mod close;
mod credentials;
mod deadlines;
mod failures;
mod fixture;
mod flight;
mod forward;
mod operator;
mod pair;
mod queue;
mod rejection;
mod state;
mod static_token;
#[path = "../support/mod.rs"]
mod support;
