//! Failures of the service and of the network: what a session still hands out, and which call it makes next.

use std::time::Duration;

use pg_sandbox::{Action, Fault, Point, Revoke, Route};

use crate::fixture::{Fixture, answer};
use crate::support::{NOW, PATIENCE, eventually};

#[test]
fn a_lost_answer_costs_one_issue_and_the_refresh_token_is_never_seen_again() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600);
    fixture.fault(Route::Refresh, Point::After, Action::Reset);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (2, 1));
    assert_eq!(fixture.sandbox.counters().most_presentations, 1);
    assert_eq!(fixture.session.health().unwrap().counters.ambiguous, 1);
}

#[test]
fn a_refused_refresh_token_costs_one_issue() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.pass(3600);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (2, 1));
    assert_eq!(fixture.session.health().unwrap().counters.refused, 1);
}

#[test]
fn a_rate_limit_keeps_the_refresh_token() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3500);
    let limited =
        Action::Status { status: 429, body: None, headers: [("Retry-After".into(), "1".into())].into() };
    fixture.fault(Route::Refresh, Point::Before, limited);
    assert_eq!(fixture.token().generation, 1, "the token is still valid and is handed out");
    fixture.pass(100);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(
        fixture.calls(),
        (1, 2),
        "the same refresh token was presented again, and no Issue was needed"
    );
}

#[test]
fn while_the_service_is_down_the_token_is_served_until_it_expires() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600 - 60);
    fixture.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Accept).forever()).unwrap();
    fixture.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Before).forever()).unwrap();
    assert_eq!(fixture.token().generation, 1);
    fixture.pass(40);
    assert!(
        fixture.session.token(Duration::from_millis(200), NOW).is_err(),
        "an expired token is not handed out"
    );
    fixture.sandbox.clear_faults();
    fixture.pass(60);
    assert_eq!(fixture.token().generation, 2, "the session recovers by itself");
}

#[test]
fn a_refresh_that_hangs_is_given_up_when_callers_have_no_token() {
    let fixture = Fixture::new();
    let session = fixture.open(&[("issue_timeout_ms", "1500")]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(3601);
    fixture.fault(Route::Refresh, Point::Before, Action::Hang);
    assert_eq!(session.token(Duration::from_secs(10), NOW).unwrap().generation, 2, "not after 45 s");
    assert_eq!(fixture.sandbox.counters().most_presentations, 1);
}

#[test]
fn a_caller_after_a_long_outage_ends_the_pause() {
    let fixture = Fixture::new();
    let session = fixture.open(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(3601);
    fixture.sandbox.inject(Fault::new(Route::Any, answer(503, None, &[])).forever()).unwrap();
    // The pauses grow to half a minute.
    for _ in 0..6 {
        fixture.pass(40);
        session.token(Duration::from_millis(10), NOW).unwrap_err();
        eventually("the end of a flight", || !session.health().unwrap().refreshing);
    }
    fixture.sandbox.clear_faults();
    fixture.pass(2);
    session.token(Duration::from_secs(3), NOW).unwrap();
}
