//! Sessions without credentials, with refused or new credentials, and with another record.

use std::time::Duration;

use paymentsgate_auth::clock::FOREVER;
use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Notice;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::{FlightOutcome, FlightStats};
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::Refusal;
use paymentsgate_auth::token::RefreshToken;

use crate::scene::{Scene, at, committed, digest, ended, news, outcome_of, refused, sharing};

/// A session without credentials, from a pair.
fn from_a_pair(on_ambiguous: OnAmbiguous) -> Scene {
    let policy = Policy { on_ambiguous, host_keeps: true, ..Policy::default() };
    let mut machine = Machine::new(policy, false, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    Scene { machine, callers: 0 }
}

#[test]
fn a_session_with_only_a_pair_replays_it() {
    for (chosen, planned) in [
        (OnAmbiguous::Issue, OnAmbiguous::Replay),
        (OnAmbiguous::Replay, OnAmbiguous::Replay),
        (OnAmbiguous::Fail, OnAmbiguous::Fail),
    ] {
        let actions = from_a_pair(chosen).ask(3590, 5, 0);
        let plan = digest(&actions).0.unwrap();
        assert!(plan.on_ambiguous == planned && plan.host_keeps && !plan.may_issue && !plan.can_issue);
    }
    let actions = Scene::new().ask(3590, 5, 0);
    assert!(digest(&actions).0.unwrap().on_ambiguous == OnAmbiguous::Issue, "with credentials it issues");
}

#[test]
fn a_replay_waits_until_the_token_expires_or_is_refused() {
    for is_refused in [false, true] {
        let mut scene = from_a_pair(OnAmbiguous::Issue);
        scene.ask(2900, 5, 0);
        let maybe_spent = RefreshToken::new(Secret::new("perhaps spent").unwrap()).into_maybe_spent();
        let lost = Error::new(Status::PG_ERR_CONNECTION_LOST, "lost");
        scene.step(
            SessionEvent::FlightEnded(Box::new(FlightOutcome {
                maybe_spent,
                ..outcome_of(Err(lost), FlightStats::default())
            })),
            2901,
        );
        if is_refused {
            scene.machine.report(*committed(1, 0).token().fingerprint(), at(2902));
        }
        let replays = digest(&scene.ask(2910, 5, 0)).0.is_some();
        assert_eq!(replays, is_refused);
    }
}

#[test]
fn a_spent_pair_without_credentials_ends_in_an_error_without_retries() {
    let mut scene = from_a_pair(OnAmbiguous::Issue);
    scene.ask(3590, 5, 0);
    let log = FlightStats { refreshes: 1, refused: true, spent: true, ..FlightStats::default() };
    let refused = Error::new(Status::PG_ERR_REFUSED, "refused");
    let outcome = outcome_of(Err(refused), log);
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3591);
    assert_eq!(digest(&actions).1, [Err(Status::PG_ERR_NO_CREDENTIALS)]);
    assert_eq!(digest(&scene.ask(4000, 5, 0)).1, [Err(Status::PG_ERR_NO_CREDENTIALS)]);
    assert_eq!(scene.machine.next_wake(at(4000)), None, "no timer is set, since no call can help");
    assert!(
        digest(&scene.step(SessionEvent::NewCredentials { has_new_record: false }, 4001))
            .0
            .is_some_and(|plan| plan.may_issue)
    );
}

#[test]
fn with_on_ambiguous_fail_a_lost_answer_fails_calls_until_new_credentials_come() {
    let policy = Policy { on_ambiguous: OnAmbiguous::Fail, ..Policy::default() };
    let mut machine = Machine::new(policy, true, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    let mut scene = Scene { machine, callers: 0 };
    scene.ask(3590, 5, 0);
    let log = FlightStats { refreshes: 1, ambiguous: true, spent: true, ..FlightStats::default() };
    let lost = Error::new(Status::PG_ERR_CONNECTION_LOST, "lost");
    let refusal = Refusal::after(0, true, lost.clone(), at(3591));
    let outcome = FlightOutcome {
        lost_answer: Some(lost.clone()),
        refusal: Some(refusal),
        ..outcome_of(Err(lost), log)
    };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3591);
    let ambiguous = |action: &Action| matches!(action, Action::Notify(Notice::Ambiguous(_)));
    assert!(actions.iter().any(ambiguous));
    assert_eq!(digest(&scene.ask(9000, 5, 0)).1, [Err(Status::PG_ERR_CONNECTION_LOST)]);
    assert!(digest(&scene.step(SessionEvent::NewCredentials { has_new_record: false }, 9001)).0.is_some());
}

#[test]
fn another_key_means_another_record_while_the_token_stays_in_use() {
    let mut scene = sharing();
    scene.step(SessionEvent::NewCredentials { has_new_record: true }, 10);
    assert_eq!(digest(&scene.ask(20, 5, 0)), (None, vec![Ok(1)]), "it works as before");
    let actions = scene.ask(3500, 5, 0);
    let plan = digest(&actions).0.unwrap();
    assert!(
        plan.stored == 0 && !plan.offers_private_pair,
        "any pair in the new record counts as newer: {plan:?}"
    );
}

#[test]
fn a_pair_obtained_for_the_old_record_is_not_used_for_the_new_one() {
    let mut scene = sharing();
    scene.ask(3600, 60, 0);
    scene.step(SessionEvent::NewCredentials { has_new_record: true }, 3601);
    let actions = scene.step(ended(Ok(committed(2, 3601))), 3602);
    let (plan, answers) = digest(&actions);
    assert!(
        answers.is_empty() && plan.is_some_and(|plan| plan.stored == 0),
        "the next flight uses the new key"
    );
}

#[test]
fn a_new_pair_brings_no_credentials() {
    let mut scene = from_a_pair(OnAmbiguous::Issue);
    scene.ask(3500, 5, 0);
    scene.step(ended(Ok(committed(2, 3501))), 3501);
    assert!(!digest(&scene.ask(7000, 5, 0)).0.unwrap().can_issue);
}

#[test]
fn each_refusal_has_its_back_off() {
    let wait = |strikes, have_worked, status, retry_after: Option<u64>| {
        let error = Error { retry_after: retry_after.map(Duration::from_secs), ..Error::new(status, "no") };
        (Refusal::after(strikes, have_worked, error, at(100)).until - at(100).boot).as_secs_f64()
    };
    for (have_worked, waits) in
        [(false, [30.0, 120.0, 900.0, 900.0, 900.0]), (true, [1.0, 5.0, 30.0, 120.0, 900.0])]
    {
        for (strikes, seconds) in (1..).zip(waits) {
            assert_eq!(wait(strikes, have_worked, Status::PG_ERR_REFUSED, None), seconds);
        }
    }
    for status in [Status::PG_ERR_RATE_LIMITED, Status::PG_ERR_BLOCKED, Status::PG_ERR_REDIRECT] {
        assert_eq!(wait(1, true, status, None), 1.5, "{status:?}");
        assert_eq!(wait(1, true, status, Some(10)), 10.0, "{status:?}");
    }
    assert_eq!(wait(0, true, Status::PG_ERR_CONNECTION_LOST, None), FOREVER.as_secs_f64());
}

/// The end of a flight in which the service refused the credentials for the `strikes`th time.
fn credentials_refused(strikes: usize, now: u64) -> SessionEvent {
    let error = Error::new(Status::PG_ERR_REFUSED, "no");
    let stats = FlightStats { issues: 1, credentials_refused: true, spent: true, ..FlightStats::default() };
    let refusal = Some(Refusal::after(strikes, true, error.clone(), at(now)));
    SessionEvent::FlightEnded(Box::new(FlightOutcome { refusal, ..outcome_of(Err(error), stats) }))
}

#[test]
fn refused_credentials_are_reported_and_tried_again_after_the_back_off() {
    let mut scene = Scene::new();
    assert_eq!(digest(&scene.ask(3600, 60, 0)).0.unwrap().strikes, 0);
    let actions = scene.step(credentials_refused(2, 3601), 3601);
    assert_eq!(news(&actions), ["credentials rejected", "refresh failed", "degraded"]);
    let obstacle = scene.machine.obstacle(at(3602)).unwrap().explain(at(3602));
    assert_eq!(
        (obstacle.status, obstacle.retry_after),
        (Status::PG_ERR_REFUSED, Some(Duration::from_secs(4)))
    );
    assert!(digest(&scene.step(SessionEvent::Tick, 3605)).0.is_none());
    let actions = scene.step(SessionEvent::Tick, 3606);
    assert_eq!(digest(&actions).0.unwrap().strikes, 2);
}

#[test]
fn a_refusal_of_the_old_credentials_says_nothing_about_the_new_ones() {
    let mut scene = Scene::new();
    scene.ask(3600, 60, 0);
    scene.step(SessionEvent::NewCredentials { has_new_record: false }, 3600);
    let actions = scene.step(credentials_refused(1, 3601), 3601);
    assert_eq!(news(&actions), ["refresh failed", "degraded"]);
    assert_eq!(digest(&actions).0.unwrap().strikes, 0, "the new ones are presented at once");
}

#[test]
fn a_refusal_of_issue_does_not_stop_a_refresh_and_a_limit_does() {
    for (status, is_stopped) in [(Status::PG_ERR_BLOCKED, false), (Status::PG_ERR_RATE_LIMITED, true)] {
        let mut scene = Scene::new();
        scene.ask(3500, 5, 0);
        refused(&mut scene, status, 0, 3501);
        // The pause for callers has ended, and the back-off of a second and a half has not.
        assert_eq!(digest(&scene.ask(3502, 5, 0)).0.is_none(), is_stopped, "{status:?}");
    }
}

#[test]
fn a_session_without_credentials_takes_no_refusal_over() {
    let mut scene = from_a_pair(OnAmbiguous::Issue);
    scene.ask(3500, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 0, 3501);
    assert!(digest(&scene.ask(3502, 5, 0)).0.is_some_and(|plan| !plan.can_issue));
}
