//! Tokens that the service refuses.

use std::time::Duration;

use paymentsgate_auth::event::Level;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Revoke, Route};

use crate::fixture::{Fixture, lines, log_of};
use crate::support::{NOW, PATIENCE};

#[test]
fn a_reported_token_is_replaced_once_and_an_old_one_costs_nothing() {
    let fixture = Fixture::new();
    let old = fixture.token();
    fixture.pass(60);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    let new = fixture.token();
    assert_eq!(new.generation, 2);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
    let counters = fixture.session.health().unwrap().counters;
    assert_eq!(counters.rejected, 2, "a report of a token that was replaced is not counted");
}

#[test]
fn the_refresh_after_a_report_carries_the_refused_token() {
    let fixture = Fixture::new();
    let old = fixture.token();
    fixture.pass(60);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    fixture.token();
    let refresh = fixture.sandbox.counters().route(Route::Refresh).last.unwrap();
    assert_eq!(refresh.bearer(), Some(old.token.access.expose()));
}

#[test]
fn tokens_that_are_refused_young_are_replaced_once_and_then_with_pauses() {
    let fixture = Fixture::new();
    fixture.session.reject(*fixture.token().token.fingerprint()).unwrap();
    let second = fixture.token();
    assert_eq!(fixture.calls(), (2, 0), "a token that is refused young is replaced by an Issue");
    let error = fixture.session.reject(*second.token.fingerprint()).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_REJECTED_FRESH);
    let wait = error.retry_after.unwrap();
    assert!(wait <= Duration::from_millis(1250) && error.text.contains("store"), "{wait:?} {error}");
    assert_eq!(fixture.token().generation, 2, "it is still served");
    assert_eq!(fixture.calls(), (2, 0));
    let health = fixture.session.health().unwrap();
    assert_eq!((health.refused_young, health.replacement_seconds_left.is_some()), (1, true));
    fixture.pass(2);
    fixture.session.reject(*second.token.fingerprint()).unwrap();
    assert_eq!(fixture.token().generation, 3);
    assert_eq!(fixture.calls(), (3, 0));
}

#[test]
fn a_request_carries_the_token_and_a_revoked_one_is_replaced_once() {
    let fixture = Fixture::new();
    let wallet = || ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    assert_eq!(fixture.session.request(wallet(), None).unwrap().status, 200);
    fixture.pass(60);
    let token = fixture.token();
    let log = log_of(&fixture.session, Level::PG_LOG_INFO);
    fixture.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().into()));
    assert_eq!(fixture.session.request(wallet(), None).unwrap().status, 200);
    assert_eq!(fixture.calls(), (1, 1));
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 3);
    fixture.session.close(PATIENCE).unwrap();
    let lines = lines(&log);
    assert!(lines.iter().any(|line| line == "GET /wallet: the token was refused; retrying"), "{lines:?}");
}

#[test]
fn fast_revocations_in_a_row_are_replaced_after_growing_pauses() {
    let fixture = Fixture::new();
    let session = fixture.open(&[]);
    fixture.pass(60);
    for _ in 0..2 {
        fixture.revoke(&session);
        assert_eq!(fixture.wallet(&session), 200, "at once");
        fixture.pass(5);
    }
    // Revocations that come faster than that are replaced only after a pause.
    fixture.revoke(&session);
    assert_eq!(fixture.wallet(&session), 200);
    for pause in [2, 3, 5] {
        fixture.revoke(&session);
        assert_eq!(fixture.wallet(&session), 401, "the next replacement waits for the pause");
        fixture.pass(pause);
        assert_eq!(fixture.wallet(&session), 200);
    }
}

#[test]
fn many_reports_of_one_token_make_one_log_line() {
    let fixture = Fixture::new();
    let session = fixture.open(&[]);
    let token = session.token(PATIENCE, NOW).unwrap();
    fixture.pass(60);
    let log = log_of(&session, Level::PG_LOG_INFO);
    for _ in 0..1000 {
        session.reject(*token.token.fingerprint()).unwrap();
    }
    session.token(PATIENCE, NOW).unwrap();
    session.close(PATIENCE).unwrap();
    let lines = lines(&log);
    let refused: Vec<_> = lines.iter().filter(|line| line.contains("refused the token")).collect();
    assert_eq!(refused.len(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("reported ")), "{lines:?}");
}
