//! The bodies of the fuzz targets. The programs in `fuzz_targets` give them the bytes of a fuzzer, and `tests/fuzz` those of
//! the corpus.

#![allow(unreachable_pub, reason = "as a module of a test nothing is public")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

pub mod answers;
pub mod c_api;
pub mod credentials;
pub mod errors;
pub mod http;
mod input;
pub mod json;
pub mod pem;
pub mod records;
pub mod redis;
mod scripted;
pub mod settings;
pub mod times;

/// Ends the program at any panic, also at one that the library would catch.
#[allow(dead_code, clippy::print_stderr, reason = "for the programs of a fuzzer alone, not for the tests")]
pub fn end_at_a_panic() {
    // Its first call sets its own hook, which must not come later.
    paymentsgate_auth::ffi::pg_abi_version();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
}
