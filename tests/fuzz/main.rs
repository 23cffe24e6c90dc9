//! Plays the corpus of each fuzz target, with the inputs that once failed, without a fuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// A test for each target.
macro_rules! targets {
    ($($name:ident),+) => {
        $(
            #[test]
            fn $name() {
                play(stringify!($name), targets::$name::run);
            }
        )+
    };
}

targets!(answers, c_api, credentials, errors, http, json, pem, records, redis, settings, times);

fn play(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{}: no inputs", corpus.display());
    run(&[]);
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        // The panic has shown why.
        assert!(catch_unwind(|| run(&bytes)).is_ok(), "{} fails", input.display());
    }
}
