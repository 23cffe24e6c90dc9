//! Shared by the tests of sessions: a clock that they set, and clients of the emulator.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::clock::{BootId, Clock, Moment, SystemClock};
use paymentsgate_auth::config::Config;
use pg_sandbox::Sandbox;

pub(crate) const NOW: Duration = Duration::ZERO;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How far both clocks are set forward. The library has one timer for all sessions, so the tests share one clock.
pub(crate) static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
/// How far the wall clock alone is set forward or back.
pub(crate) static WALL_AHEAD_S: AtomicI64 = AtomicI64::new(0);
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Moment {
        let ahead = Duration::from_millis(AHEAD_MS.load(Ordering::SeqCst));
        let now = SystemClock.now();
        let wall = now.wall + ahead;
        let alone = WALL_AHEAD_S.load(Ordering::SeqCst);
        let by = Duration::from_secs(alone.unsigned_abs());
        Moment { boot: now.boot + ahead, wall: if alone < 0 { wall - by } else { wall + by } }
    }

    fn boot_id(&self) -> Option<BootId> {
        SystemClock.boot_id()
    }
}

/// Lets one test run at a time, with equal clocks at its start.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    WALL_AHEAD_S.store(0, Ordering::SeqCst);
    turn
}

/// Time passes for the library and for the service.
pub(crate) fn pass(sandbox: &Sandbox, seconds: u64) {
    AHEAD_MS.fetch_add(seconds * 1000, Ordering::SeqCst);
    sandbox.advance(Duration::from_secs(seconds));
}

pub(crate) fn config(sandbox: &Sandbox) -> Config {
    let address = sandbox.address();
    let mut config = Config::default();
    config.set("base_url", &sandbox.urls().https).unwrap();
    config.set("tls.ca_file", address.ca_file.to_str().unwrap()).unwrap();
    config.set("credentials_file", address.credentials_file.to_str().unwrap()).unwrap();
    config
}

/// A client that uses the clock of the tests.
pub(crate) fn client(config: &Config, url: &str) -> Arc<Client> {
    let clock = Arc::new(TestClock);
    let transport = config.transport(url.parse().unwrap(), clock.clone()).unwrap();
    Client::with_parts(config, Box::new(transport), clock).unwrap()
}

/// Waits for a condition, since the library works on its own thread.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}
