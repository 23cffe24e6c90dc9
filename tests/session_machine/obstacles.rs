//! After a failure: pauses, looks into a shared store, and notices.

use std::time::Duration;

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::{Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::{FlightOutcome, FlightStats};
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::Refusal;

use crate::scene::{Scene, at, committed, digest, ended, news, outcome_of, refused, sharing};

#[test]
fn a_success_ends_the_pause_that_the_service_asked_for() {
    let mut scene = Scene::new();
    let limited = Error::new(Status::PG_ERR_RATE_LIMITED, "wait");
    let limited = Error { retry_after: Some(Duration::from_secs(3600)), ..limited };
    scene.step(ended(Err(limited)), 3500);
    assert!(digest(&scene.ask(3501, 5, 0)).0.is_none(), "told to wait");
    scene.step(ended(Ok(committed(2, 3502))), 3502);
    assert!(digest(&scene.ask(7000, 5, 0)).0.is_some());
}

/// A session on a shared store, whose token has expired and whose last call failed with this error at second 3601.
fn after_failure(error: Error) -> Scene {
    let policy = Policy { is_shared: true, ..Policy::default() };
    let mut scene = Scene { machine: Machine::new(policy, true, 0, at(0)), callers: 0 };
    scene.machine.adopt(committed(1, 0), at(0), &mut || 1.0);
    let actions = scene.ask(3600, 5, 0);
    let Plan { have_worked, strikes, private_issue_jitter, .. } = digest(&actions).0.unwrap();
    assert_eq!(
        (*have_worked, *private_issue_jitter),
        (true, Duration::from_secs(1)),
        "without a token the random delay is short"
    );
    let log =
        FlightStats { issues: 1, spent: error.status == Status::PG_ERR_REFUSED, ..FlightStats::default() };
    let refusal = Refusal::after(strikes + 1, *have_worked, error.clone(), at(3601));
    let outcome = FlightOutcome { refusal: Some(refusal), ..outcome_of(Err(error), log) };
    scene.machine.step(SessionEvent::FlightEnded(Box::new(outcome)), at(3601), &mut || 1.0);
    scene
}

#[test]
fn an_obstacle_does_not_stop_looks_into_the_store() {
    let asked = Error::new(Status::PG_ERR_RATE_LIMITED, "later");
    let mut scene = after_failure(Error { retry_after: Some(Duration::from_secs(60)), ..asked });
    let actions = scene.ask(3603, 5, 0);
    assert!(digest(&actions).0.unwrap().looks_only);
    let adopted = FlightStats { adopted: true, looked_only: true, ..FlightStats::default() };
    let ended_event = SessionEvent::FlightEnded(Box::new(outcome_of(Ok(committed(2, 3602)), adopted)));
    assert!(digest(&scene.step(ended_event, 3604)).1.contains(&Ok(2)));
}

#[test]
fn credentials_that_have_worked_are_tried_again_after_a_second() {
    let mut scene = after_failure(Error::new(Status::PG_ERR_REFUSED, "no"));
    assert!(digest(&scene.ask(3603, 5, 0)).0.is_some_and(|plan| !plan.looks_only));
}

#[test]
fn a_caller_without_a_token_ends_a_pause_after_its_minimum() {
    let mut scene = after_failure(Error::new(Status::PG_ERR_CONNECT, "down"));
    // The pauses grow: the second may last for four seconds.
    for now in [3603, 3605] {
        scene.machine.step(SessionEvent::Tick, at(now), &mut || 1.0);
        let failed = outcome_of(Err(Error::new(Status::PG_ERR_CONNECT, "down")), FlightStats::default());
        scene.machine.step(SessionEvent::FlightEnded(Box::new(failed)), at(now), &mut || 1.0);
    }
    assert!(digest(&scene.step(SessionEvent::Tick, 3607)).0.is_none(), "the pause goes on");
    assert!(digest(&scene.ask(3607, 5, 0)).0.is_some_and(|plan| !plan.looks_only));
}

#[test]
fn during_an_obstacle_callers_cause_one_look_into_the_store_a_second() {
    let mut scene = sharing();
    scene.ask(3600, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert!(digest(&scene.ask(3601, 5, 0)).0.is_none(), "the store was read a moment ago");
    let actions = scene.ask(3602, 5, 0);
    let (plan, answers) = digest(&actions);
    assert!(plan.unwrap().looks_only && answers.is_empty());
    let nothing = Error::new(Status::PG_ERR_STORE, "nothing newer");
    let log = FlightStats { looked_only: true, ..FlightStats::default() };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome_of(Err(nothing), log))), 3602);
    assert_eq!(digest(&actions).1, [Err(Status::PG_ERR_RATE_LIMITED)]);
    assert_eq!(news(&actions), [""; 0], "a look that finds nothing is no failed refresh");
    scene.ask(3603, 5, 0);
    let log = FlightStats { looked_only: true, adopted: true, ..FlightStats::default() };
    let actions =
        scene.step(SessionEvent::FlightEnded(Box::new(outcome_of(Ok(committed(2, 3602)), log))), 3603);
    assert_eq!(digest(&actions).1, [Ok(2)]);
    assert!(scene.machine.obstacle(at(3603)).is_none(), "a pair of another process ends the obstacle");
}

#[test]
fn a_timer_looks_into_the_store_for_a_caller_that_waits_during_an_obstacle() {
    let mut scene = sharing();
    scene.ask(3600, 1000, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert_eq!(scene.machine.next_wake(at(3601)), Some(Duration::from_secs(3602)));
    assert!(digest(&scene.step(SessionEvent::Tick, 3602)).0.unwrap().looks_only);
}

#[test]
fn an_unshared_memory_store_is_not_looked_into() {
    let mut scene = Scene::new();
    scene.ask(3600, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert_eq!(digest(&scene.ask(3610, 5, 0)), (None, vec![Err(Status::PG_ERR_RATE_LIMITED)]));
}

#[test]
fn without_the_store_the_random_delay_depends_on_the_remaining_life() {
    for (now, private_issue_jitter) in [(3500, 10.0), (3560, 5.0), (3590, 1.0)] {
        let actions = Scene::new().ask(now, 60, 0);
        assert_eq!(
            digest(&actions).0.unwrap().private_issue_jitter,
            Duration::from_secs_f64(private_issue_jitter),
            "{now}"
        );
    }
}

#[test]
fn degraded_and_recovered_are_each_emitted_once() {
    let mut scene = Scene::new();
    let failure = || ended(Err(Error::new(Status::PG_ERR_CONNECT, "down")));
    scene.ask(3590, 5, 0);
    assert_eq!(news(&scene.step(failure(), 3591)), ["refresh failed", "degraded"]);
    scene.ask(3700, 5, 0);
    assert_eq!(news(&scene.step(failure(), 3701)), ["refresh failed"]);
    scene.ask(3800, 5, 0);
    assert_eq!(news(&scene.step(ended(Ok(committed(2, 3801))), 3801)), ["rotated", "recovered"]);
    scene.ask(7300, 5, 0);
    assert_eq!(news(&scene.step(ended(Ok(committed(3, 7301))), 7301)), ["rotated"]);
    scene.step(SessionEvent::Close, 7302);
    assert_eq!(news(&scene.step(failure(), 7303)), [""; 0], "a closed session emits nothing");
}
