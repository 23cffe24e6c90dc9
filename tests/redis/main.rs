//! Sessions that share a real Redis server, against the emulator over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a child tells its parent")]

mod access;
#[path = "../bench/mod.rs"]
mod bench;
mod child;
mod crashes;
mod faults;
mod proxy;
mod records;
mod replicas;
mod server;
mod shared;
mod sharing;
