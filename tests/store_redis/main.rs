//! Sessions that share a real Redis server, against the emulator over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a child process reports to its parent")]

mod access;
mod child;
mod crashes;
mod faults;
mod proxy;
mod records;
mod replicas;
#[path = "../support/redis_server.rs"]
mod server;
mod shared;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
