//! The memory of sessions that have a token and nothing to do. The only test of its program, so that nothing else allocates.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#![allow(unsafe_code, reason = "the C library tells how much is allocated")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use paymentsgate_auth::client::Client;
use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::transport::{Exchange, RawResponse, Request, Sending, Transport};

const SESSIONS: usize = 2000;
/// What a session may have besides the texts of its credentials and its pair. Each of the four has up to 24 bytes of the
/// allocator's and a NUL around it. The maps of timers and of sessions are trees, whose share of a session varies a little.
const OVERHEAD: usize = 1260;

const ACCOUNT: &str = "00000000-0000-4000-8000-000000000000";
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
const ACCESS: &str = "an.access.token";
const REFRESH: &str = "a.refresh.token";

/// Answers each request with the same pair.
struct Service;

impl Transport for Service {
    fn send(&self, _: Request) -> Sending<'_> {
        let body = format!(r#"{{"access_token":"{ACCESS}","refresh_token":"{REFRESH}","expires_in":3600}}"#);
        let answer = RawResponse { status: 200, body: body.into_bytes().into(), ..RawResponse::default() };
        let sent = Some(SystemClock.now());
        Box::pin(std::future::ready(Exchange { sent, result: Ok(answer) }))
    }
}

fn allocated() -> usize {
    // SAFETY: reads the allocator's own numbers.
    unsafe { libc::mallinfo2() }.uordblks
}

#[test]
fn an_idle_session_has_little_besides_its_texts() {
    let key = STANDARD.encode(PEM);
    let mut config = Config::default();
    for (name, value) in [("base_url", "https://api.invalid"), ("account_id", ACCOUNT), ("public_key", &key)]
    {
        config.set(name, value).unwrap();
    }
    let client = Client::with_parts(&config, Box::new(Service), Arc::new(SystemClock)).unwrap();
    let session = || {
        let session = Session::open(&client, &config).unwrap();
        let token = session.token(Duration::from_secs(60), Duration::ZERO).unwrap();
        assert_eq!(token.token.access.expose(), ACCESS);
        session
    };
    // Also starts the thread of the library.
    let first = session();
    let before = allocated();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| session()).collect();
    let each = (allocated() - before) / SESSIONS;
    let texts = ACCOUNT.len() + key.len() + ACCESS.len() + REFRESH.len();
    assert!(each <= texts + OVERHEAD, "{each} bytes each, of which {texts} are texts");
    drop((first, sessions));
}
