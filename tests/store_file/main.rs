//! The file store: sharing, crashes at every step, failing disks, and files that it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod clocks;
mod contention;
mod crashes;
mod disk;
mod faults;
#[path = "../support/faulty_disk.rs"]
#[allow(dead_code, reason = "the simulated fleet uses the rest")]
mod faulty_disk;
mod fixture;
mod group;
mod inspection;
mod lock;
mod refusals;
mod seal;
mod sharing;
