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
