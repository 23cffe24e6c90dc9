//! Single flight: one call for all callers; and flights that panic.

use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Operation;
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Grant;
use pg_sandbox::{Action, Point, Route};

use crate::fixture::{Fixture, Fragile};
use crate::support::{NOW, PATIENCE, eventually};

/// This many threads ask at the same moment.
fn crowd(fixture: &Fixture, threads: usize) -> Vec<Result<ShardedArc<Grant>, Error>> {
    let together = Barrier::new(threads);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    fixture.session.token(PATIENCE, NOW)
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_fresh_token_costs_no_call() {
    let fixture = Fixture::new();
    let first = fixture.token();
    for _ in 0..1000 {
        assert_eq!(fixture.session.token(NOW, NOW).unwrap().generation, first.generation);
    }
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn a_thousand_threads_at_expiry_make_one_call() {
    let fixture = Fixture::new();
    assert_eq!(crowd(&fixture, 1000).len(), 1000);
    assert_eq!(fixture.calls(), (1, 0));
    fixture.pass(3600);
    let tokens = crowd(&fixture, 1000);
    assert!(tokens.iter().all(|token| token.as_ref().unwrap().generation == 2));
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn in_the_advisory_window_no_caller_waits_and_one_refresh_runs() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600 - 130);
    // A session without callers starts no refresh; the next caller starts it.
    fixture.fault(Route::Refresh, Point::Before, Action::Delay { ms: 300 });
    assert_eq!(fixture.session.token(NOW, Duration::from_secs(3000)).unwrap().generation, 1);
    eventually("a background refresh", || fixture.token().generation == 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn callers_that_demand_a_new_token_at_once_share_one_call() {
    let fixture = Fixture::new();
    let first = fixture.token();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        fixture.fault(Route::Refresh, Point::Before, Action::Delay { ms: 300 });
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let newer = fixture.session.refresh(PATIENCE).unwrap();
                assert_ne!(*newer.token.fingerprint(), *first.token.fingerprint());
            });
        }
    });
    assert_eq!(fixture.calls(), (1, 1));
    fixture.fault(Route::Any, Point::Before, Action::Hang);
    let error = fixture.session.refresh(Duration::from_millis(200)).unwrap_err();
    assert_eq!(
        error.status,
        Status::PG_ERR_TIMEOUT,
        "a token that is not newer does not answer the call: {error}"
    );
    assert_eq!(fixture.token().generation, 2, "the existing token is still served");
}

#[test]
fn a_panic_in_a_flight_wakes_all_waiters_and_the_session_stays_usable() {
    let fixture = Fixture::new();
    let session = Fragile::session(&fixture, 0);
    let error = session.token(PATIENCE, NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_INTERNAL);
    assert!(!error.text.contains("hunter2"), "{}", error.text);
    fixture.pass(60);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
}

#[test]
fn a_panic_in_a_flight_prints_nothing() {
    let panics = "flight::a_panic_in_a_flight_wakes_all_waiters_and_the_session_stays_usable";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([panics, "--exact", "--nocapture"]).env("RUST_BACKTRACE", "full");
    let ran = command.output().unwrap();
    let [out, err] = [ran.stdout, ran.stderr].map(|printed| String::from_utf8(printed).unwrap());
    assert!(out.contains("1 passed") && !out.contains("hunter2"), "{out}{err}");
    assert_eq!(err, "");
}

#[test]
fn a_panic_ends_calls_that_were_started_on_a_queue() {
    let fixture = Fixture::new();
    let queue = Queue::default();
    let end = || queue.poll(PATIENCE).unwrap().unwrap().body.error().unwrap().status;
    let session = Fragile::session(&fixture, 0);
    session.token_start(queue.begin(1, Operation::Token).unwrap(), PATIENCE, NOW);
    assert_eq!(end(), Status::PG_ERR_INTERNAL);

    let session = Fragile::session(&fixture, 1);
    session.token(PATIENCE, NOW).unwrap();
    let wallet = || ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    session.request_start(queue.begin(1, Operation::Response).unwrap(), wallet(), None);
    assert_eq!(end(), Status::PG_ERR_INTERNAL);
    assert_eq!(session.request(wallet(), None).unwrap().status, 200, "the session stays usable");
    session.close(PATIENCE).unwrap();
    assert!(queue.poll(NOW).unwrap().is_none());
}
