//! Failures that one process met, as other processes see them.

use std::collections::BTreeMap;
use std::time::Duration;

use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Fault, Revoke, Route};
use serde_json::{Value, json};

use crate::Fixture;
use crate::credentials::credentials;
use crate::support::{NOW, PATIENCE};

fn answer(status: u16, body: Option<Value>, headers: &[(&str, &str)]) -> Action {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Action::Status { status, body, headers }
}

fn html(status: u16) -> Action {
    answer(status, Some(json!("<html>no</html>")), &[("Content-Type", "text/html")])
}

#[test]
fn eight_processes_and_one_rate_limit_make_one_call() {
    let fixture = Fixture::new();
    let sessions: Vec<_> = (0..8).map(|_| fixture.session()).collect();
    fixture
        .sandbox
        .inject(Fault::new(Route::Any, answer(429, None, &[("Retry-After", "60")])).forever())
        .unwrap();
    for session in &sessions {
        let error = session.token(Duration::from_secs(5), NOW).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_RATE_LIMITED, "{error}");
        assert!(error.retry_after.unwrap() > Duration::from_secs(50));
    }
    assert_eq!(fixture.calls(), (1, 0));
    fixture.sandbox.clear_faults();
    fixture.pass(61);
    for session in &sessions {
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    }
    assert_eq!(fixture.calls(), (2, 0));
}

#[test]
fn during_an_obstacle_a_session_still_gets_a_pair_that_another_process_obtained() {
    for refusal in [answer(429, None, &[("Retry-After", "3000")]), answer(401, None, &[]), html(403)] {
        let fixture = Fixture::new();
        let (one, other) = (fixture.session(), fixture.session());
        fixture.sandbox.inject(Fault::new(Route::Issue, refusal).forever()).unwrap();
        one.token(Duration::from_secs(3), NOW).unwrap_err();
        fixture.sandbox.clear_faults();
        // A process whose credentials are set again does not wait for the end of the obstacle.
        other.set_credentials(credentials(&fixture, &fixture.sandbox.credentials().public_key)).unwrap();
        assert_eq!(other.token(PATIENCE, NOW).unwrap().generation, 1);
        fixture.pass(2);
        assert_eq!(one.token(Duration::from_secs(5), NOW).unwrap().generation, 1);
        assert_eq!(fixture.calls(), (2, 0));
        assert!(one.health().unwrap().obstacle.is_none());
    }
}

#[test]
fn credentials_that_have_worked_are_retried_soon_by_the_next_process_too() {
    let fixture = Fixture::new();
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 1);
    fixture.pass(3601);
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.sandbox.inject(Fault::new(Route::Issue, answer(401, None, &[])).times(3)).unwrap();
    // The caller waits through the first pause of a second.
    for wait in [5, 30] {
        let error = fixture.session().token(Duration::from_secs(4), NOW).unwrap_err();
        let (left, wait) = (error.retry_after.unwrap(), Duration::from_secs(wait));
        assert!(left <= wait && left + Duration::from_secs(3) > wait, "{left:?}");
        fixture.pass(wait.as_secs());
    }
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 2);
}
