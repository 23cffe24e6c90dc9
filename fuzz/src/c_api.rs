//! The C interface: random sequences of legal calls, from several threads, on one client, session and queue. An owner frees each
//! object once, and every status and output is as the header says.

#![allow(unsafe_code, reason = "the C interface is called as a program in C calls it")]

mod interpreter;
mod owner;
mod service;
mod store;

use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::ffi::*;
use tempfile::NamedTempFile;

use super::credentials::file;
use super::input::Input;
use super::scripted::{ACCESS, PUBLIC_KEY, REFRESH};
use interpreter::{Shared, play};
use owner::{Owner, c_text, produced, succeeded};
use store::{FREED, table};

/// base64 of 32 times `k`.
const STORE_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

static AUTHORITY: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    file(made.cert.pem().as_bytes())
});

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    service::behave(input.piece());
    let (account, has_store, is_sealed, order) = (input.byte(), input.flag(), input.flag(), input.byte());
    let freed = FREED.load(Ordering::SeqCst);
    {
        let config = Owner::new(pg_config_new(), pg_config_free);
        set(&config, "base_url", &service::url());
        set(&config, "request_timeout_ms", "50");
        // The system's authorities would be read for each client.
        set(&config, "tls.system_roots", "false");
        set(&config, "tls.ca_file", AUTHORITY.path().to_str().unwrap());
        account_settings(&config, account);
        if has_store {
            let table = table();
            // SAFETY: the table is complete, and its context is valid until `free`.
            succeeded(|error| unsafe { pg_config_set_store(config.get_mut(), ptr::from_ref(&table), error) });
        }
        if is_sealed && has_store {
            set(&config, "store_key", STORE_KEY);
        }
        // SAFETY: the objects live until their owners go.
        let shared = unsafe {
            let client =
                produced(pg_client_free, |out, error| pg_client_new(config.get(), out, error)).unwrap();
            let session = produced(pg_session_free, |out, error| {
                pg_session_open(client.get(), config.get(), out, error)
            });
            let queue = produced(pg_queue_free, |out, error| pg_queue_new(out, error)).unwrap();
            Shared { client, session: session.ok(), queue }
        };
        drop(config);
        let scripts = [input.piece(), input.piece(), input.piece()];
        thread::scope(|scope| {
            for script in scripts.into_iter().filter(|script| !script.is_empty()) {
                let shared = &shared;
                scope.spawn(move || play(script, shared));
            }
        });
        shared.free(order);
    }
    let wanted = freed + u64::from(has_store);
    let begun = Instant::now();
    while FREED.load(Ordering::SeqCst) < wanted {
        assert!(begun.elapsed() < Duration::from_secs(20), "the context of the store is never freed");
        thread::yield_now();
    }
    assert_eq!(FREED.load(Ordering::SeqCst), wanted, "the context of the store is freed once");
}

/// Where the session's tokens come from.
fn account_settings(config: &Owner<pg_config>, kind: u8) {
    match kind % 4 {
        0 => set(config, "static_token", ACCESS),
        1 => {
            set(config, "access_token", ACCESS);
            set(config, "refresh_token", REFRESH);
            set(config, "access_token_expires_in_s", "60");
        }
        // Without credentials no session opens, and all calls on it are calls on NULL.
        2 => {}
        _ => {
            set(config, "account_id", "account-1");
            set(config, "public_key", PUBLIC_KEY);
        }
    }
}

fn set(config: &Owner<pg_config>, name: &str, value: &str) {
    let (name, value) = (c_text(name), c_text(value));
    // SAFETY: the texts are valid for the call, and nobody else uses the settings.
    succeeded(|error| unsafe { pg_config_set(config.get_mut(), name.as_ptr(), value.as_ptr(), error) });
}
