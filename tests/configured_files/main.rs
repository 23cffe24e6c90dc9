//! Files that settings name: replaced while a client lives, broken, missing or encrypted; on real sockets with real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod credentials;
mod tls;

use std::fs;
use std::path::Path;
use std::time::Duration;

use pg_sandbox::{Options, Sandbox};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Puts a file in another's place, as `mv` does.
fn replace(at: &Path, with: impl AsRef<[u8]>) {
    let new = at.with_extension("new");
    fs::write(&new, with).unwrap();
    fs::rename(&new, at).unwrap();
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).unwrap()
}
