//! Another archive in Rust. It panics and catches, on the caller's thread and on one of its own.

use std::panic::catch_unwind;

/// The number of panics that were caught: 2.
#[unsafe(no_mangle)]
pub extern "C" fn other_panics() -> u32 {
    let here = catch_unwind(|| panic!("on the caller's thread")).is_err();
    let there = std::thread::spawn(|| panic!("on its own thread")).join().is_err();
    u32::from(here) + u32::from(there)
}
