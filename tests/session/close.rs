//! The end of a session.

use std::thread;
use std::time::Duration;

use paymentsgate_auth::event::Operation;
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Fault, Point, Route};

use crate::fixture::Fixture;
use crate::support::{NOW, PATIENCE, eventually};

#[test]
fn close_wakes_the_waiters_and_no_call_starts_afterwards() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| fixture.session.token(PATIENCE, NOW));
        eventually("a running call", || fixture.calls().0 == 1);
        let error = fixture.session.close(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_TIMEOUT, "a call hangs: {error}");
        assert_eq!(waiting.join().unwrap().unwrap_err().status, Status::PG_ERR_CLOSED);
    });
    assert_eq!(fixture.session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_CLOSED);
    assert_eq!(fixture.session.health().unwrap_err().status, Status::PG_ERR_CLOSED);
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn a_token_that_comes_after_close_is_not_handed_out() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::After, Action::Delay { ms: 200 });
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a running call", || fixture.calls().0 == 1);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.session.token(NOW, NOW).unwrap_err().status, Status::PG_ERR_CLOSED);
}

#[test]
fn a_closed_session_does_not_retry() {
    let fixture = Fixture::new();
    let failing = Action::Status { status: 503, body: None, headers: Default::default() };
    fixture.sandbox.inject(Fault::new(Route::Issue, Action::Delay { ms: 200 }).forever()).unwrap();
    fixture.sandbox.inject(Fault::new(Route::Issue, failing).forever()).unwrap();
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a running call", || fixture.calls().0 == 1);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn close_cancels_requests_and_waits_for_their_end() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.sandbox.inject(Fault::new(Route::Wallet, Action::Hang)).unwrap();
    let queue = Queue::default();
    let wallet = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    fixture.session.request_start(queue.begin(1, Operation::Response).unwrap(), wallet, None);
    eventually("a running request", || fixture.sandbox.counters().calls(Route::Wallet) == 1);
    fixture.session.close(PATIENCE).unwrap();
    let end = queue.poll(PATIENCE).unwrap().unwrap();
    let error = end.body.error().unwrap();
    assert!(error.status == Status::PG_ERR_CLOSED && error.may_have_acted, "{error}");
    assert!(queue.poll(NOW).unwrap().is_none());
}
