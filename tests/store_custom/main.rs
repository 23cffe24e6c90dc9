//! Sessions on a custom store of the host, against the emulator over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod conformance;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::sync::{Arc, Barrier, MutexGuard};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::clock::Clock;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::HostStore;
use pg_sandbox::{Options, Route, Sandbox};
use support::{NOW, PATIENCE, TestClock, client, config, eventually, turn};
use table::{Call, Table, Trouble};

struct Fixture {
    sandbox: Sandbox,
    table: Arc<Table>,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new() -> Self {
        let _turn = turn();
        Fixture { sandbox: Sandbox::start(Options::default()).unwrap(), table: Arc::default(), _turn }
    }

    /// Resets the service and the store.
    fn reset(&mut self) {
        self.sandbox.reset();
        self.table = Arc::default();
    }

    fn config(&self) -> Config {
        let mut config = config(&self.sandbox);
        config.set_store(HostStore::new(self.table.clone()));
        config
    }

    /// A session with its own client, as in another process.
    fn session(&self, settings: &[(&str, &str)]) -> Session {
        self.open(settings).unwrap()
    }

    fn open(&self, settings: &[(&str, &str)]) -> Result<Session, Error> {
        let mut config = self.config();
        settings.iter().for_each(|(name, value)| config.set(name, value).unwrap());
        Session::open(&client(&config, &self.sandbox.urls().https), &config)
    }

    fn pass(&self, seconds: u64) {
        support::pass(&self.sandbox, seconds);
    }

    fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }
}

/// Checks that the session reports this error.
fn says(session: &Session, words: &str) {
    let is_said = || session.health().unwrap().last_error.is_some_and(|error| error.contains(words));
    eventually(words, is_said);
}

#[test]
fn many_callers_on_three_sessions_make_one_call_each_time() {
    let fixture = Fixture::new();
    let sessions: Vec<_> = (0..3).map(|_| Arc::new(fixture.session(&[]))).collect();
    for round in 0..4 {
        let together = Arc::new(Barrier::new(24));
        let threads: Vec<_> = (0..24)
            .map(|number| {
                let (session, together) = (sessions[number % 3].clone(), together.clone());
                thread::spawn(move || {
                    together.wait();
                    session.token(PATIENCE, NOW).unwrap().generation
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), round + 1);
        }
        assert_eq!(fixture.calls(), (1, round));
        fixture.pass(3590);
    }
}

#[test]
fn a_new_process_continues_with_the_stored_pair() {
    let fixture = Fixture::new();
    let first = fixture.session(&[]).token(PATIENCE, NOW).unwrap();
    let next = fixture.session(&[]).token(PATIENCE, NOW).unwrap();
    assert!(next.token.access.expose() == first.token.access.expose());
    assert_eq!(fixture.calls(), (1, 0));
    eventually("the lock is freed", || !fixture.table.is_locked());
}

/// Each call of a flight fails while the existing token can still be handed out.
#[test]
fn a_session_survives_a_failure_of_each_store_call() {
    let mut fixture = Fixture::new();
    for call in [Call::Lock, Call::Load, Call::Save, Call::Unlock] {
        for trouble in [Trouble::Fail, Trouble::FailAfterwards, Trouble::FailForever] {
            for after in 0.. {
                let context = format!("{call:?} {after} {trouble:?}");
                fixture.reset();
                let session = fixture.session(&[("on_store_down", "fail")]);
                assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1, "{context}");
                eventually("the lock is freed", || !fixture.table.is_locked());
                fixture.table.arm(call, after, trouble);
                fixture.pass(3540);
                assert!(session.token(PATIENCE, NOW).is_ok(), "{context}");
                eventually("the flight is over", || !session.health().unwrap().refreshing);
                let came = fixture.table.is_over();
                if (call, trouble) == (Call::Load, Trouble::Fail) {
                    eventually("a session that cannot read frees the lock", || !fixture.table.is_locked());
                }
                fixture.table.repair();
                // Stands for the time after which a lease ends that no session frees.
                fixture.table.end_leases();

                fixture.pass(40);
                let token = session.token(PATIENCE, NOW).unwrap();
                assert!(token.token.remaining(TestClock.now()) > Duration::from_secs(60), "{context}");
                let (issues, refreshes) = fixture.calls();
                assert!(issues <= 2 && refreshes <= 1, "{context}: {issues} and {refreshes}");
                // Another process continues from there.
                fixture.pass(3590);
                assert!(fixture.session(&[]).token(PATIENCE, NOW).is_ok(), "{context}");
                fixture.calls();
                session.close(PATIENCE).unwrap();
                if !came {
                    assert!(after > 0, "{context}: the flight makes no such call");
                    break;
                }
            }
        }
    }
}

#[test]
fn an_error_contains_the_text_of_the_store() {
    let fixture = Fixture::new();
    let session = fixture.session(&[("on_store_down", "fail")]);
    fixture.table.arm(Call::Lock, 0, Trouble::FailForever);
    assert!(session.token(NOW, NOW).is_err());
    says(&session, "store (custom): `lock` failed: no Lock today; the session goes on and tries again");
    assert_eq!(fixture.calls(), (0, 0));
}

#[test]
fn without_the_store_a_session_obtains_a_private_pair() {
    let fixture = Fixture::new();
    fixture.table.arm(Call::Lock, 0, Trouble::FailForever);
    assert_eq!(fixture.session(&[]).token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), (1, 0));
    assert!(fixture.table.bytes().is_empty());
}

/// The session waits until its deadline; a lock that comes late is released.
#[test]
fn a_store_call_that_hangs_is_abandoned() {
    let fixture = Fixture::new();
    let session = fixture.session(&[("on_store_down", "fail")]);
    fixture.table.arm(Call::Lock, 0, Trouble::Hang);
    assert!(session.token(NOW, NOW).is_err());
    says(&session, "no answer within 5 s");
    assert_eq!(fixture.table.hanging(), 1);
    let other = fixture.session(&[]);
    assert_eq!(other.token(PATIENCE, NOW).unwrap().generation, 1, "other accounts are not delayed");
    session.close(PATIENCE).unwrap();
    let calls = fixture.table.calls();
    fixture.table.repair();
    eventually("the late lock is freed", || fixture.table.calls() > calls && !fixture.table.is_locked());
    assert_eq!(fixture.session(&[]).token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn hanging_sessions_use_eight_threads_at_most_and_none_of_other_clients() {
    let fixture = Fixture::new();
    fixture.table.arm(Call::Lock, 0, Trouble::HangForever);
    let hung_store = HostStore::new(fixture.table.clone());
    let hung: Vec<_> = (0..20)
        .map(|_| {
            let mut config = config(&fixture.sandbox);
            config.set_store(hung_store.clone());
            let session = Session::open(&client(&config, &fixture.sandbox.urls().https), &config).unwrap();
            let _ = session.token(NOW, NOW);
            session
        })
        .collect();
    eventually("eight threads hang", || fixture.table.hanging() == 8);
    // A session with its own store, whose host name is also resolved on a thread.
    let table = Arc::new(Table::default());
    let mut config = config(&fixture.sandbox);
    config.set_store(HostStore::new(table));
    let url = fixture.sandbox.urls().https.replace("127.0.0.1", "localhost");
    let session = Session::open(&client(&config, &url), &config).unwrap();
    assert!(session.token(PATIENCE, NOW).is_ok());
    assert_eq!(fixture.table.hanging(), 8);
    fixture.table.repair();
    for session in hung {
        let _ = session.close(NOW);
    }
}

/// A process that still knows the old record must not mistake the new one for it.
#[test]
fn a_record_that_the_host_removed_starts_with_a_new_version() {
    let fixture = Fixture::new();
    fixture.session(&[]).token(PATIENCE, NOW).unwrap();
    let first = fixture.table.versions();
    fixture.table.remove_records();
    fixture.session(&[]).token(PATIENCE, NOW).unwrap();
    let second = fixture.table.versions();
    assert!(second[0] > first[0] + 1000, "{first:?} {second:?}");
    assert_eq!(fixture.calls(), (2, 0));
}

#[test]
fn records_of_a_custom_store_are_sealed_with_the_key() {
    let fixture = Fixture::new();
    let is_plain = |token: &str| {
        let bytes = fixture.table.bytes();
        bytes.windows(token.len()).any(|window| window == token.as_bytes())
    };
    let token = fixture.session(&[]).token(PATIENCE, NOW).unwrap();
    assert!(is_plain(token.token.access.expose()));
    fixture.table.remove_records();
    let key = [("store_key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let token = fixture.session(&key).token(PATIENCE, NOW).unwrap();
    assert!(!is_plain(token.token.access.expose()));
    let session = fixture.session(&[("on_store_down", "fail")]);
    assert!(session.token(NOW, NOW).is_err());
    says(&session, "the record is sealed, and no store_key is set");
}

#[test]
fn two_stores_in_one_configuration_are_a_conflict() {
    let fixture = Fixture::new();
    for settings in [
        &[("store", "file:/nowhere")][..],
        &[("store", "redis://localhost")][..],
        &[("access_token", "a"), ("refresh_token", "r")][..],
    ] {
        let error = fixture.open(settings).map(|_| ()).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_CONFLICTING_SETTINGS, "{settings:?}");
    }
    assert!(fixture.open(&[("store", "memory:")]).is_ok());
    assert_eq!(fixture.table.calls(), 0);
}
