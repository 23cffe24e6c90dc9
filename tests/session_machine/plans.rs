//! What the machine tells a flight to do.

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::{Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::FlightStats;
use paymentsgate_auth::session::phase::Phase;
use paymentsgate_auth::session::plan::{Cause, Plan};
use paymentsgate_auth::status::Status;

use crate::scene::{Scene, at, committed, digest, ended, outcome_of};

fn without_a_token(policy: Policy) -> Scene {
    Scene { machine: Machine::new(policy, true, 0, at(0)), callers: 0 }
}

/// The plan of the flight that a new caller causes.
fn asked(scene: &mut Scene, now: u64) -> Plan {
    digest(&scene.ask(now, 5, 0)).0.cloned().expect("the caller causes a flight")
}

#[test]
fn the_plan_says_why_the_flight_is_made() {
    let mut scene = without_a_token(Policy::default());
    assert!(digest(&scene.step(SessionEvent::Tick, 1)).0.is_none(), "nobody has asked");
    assert_eq!(scene.machine.phase(at(1)), Phase::Expired);
    assert_eq!(asked(&mut scene, 2).cause, Cause::First);
    assert_eq!(asked(&mut Scene::new(), 3500).cause, Cause::Asked);
    let actions = Scene::new().step(SessionEvent::Tick, 3001);
    assert_eq!(digest(&actions).0.unwrap().cause, Cause::Background);
    let (_, actions) = Scene::new().machine.report(*committed(1, 0).token().fingerprint(), at(1000));
    assert_eq!(digest(&actions).0.unwrap().cause, Cause::Rejected);
    let names = [Cause::First, Cause::Background, Cause::Asked, Cause::Rejected].map(Cause::name);
    assert_eq!(names, ["first", "background", "asked", "rejected"]);
}

#[test]
fn a_private_pair_is_allowed_only_without_a_token_to_hand_out() {
    let allowed = |fail_without_store, now| {
        let mut scene = without_a_token(Policy { fail_without_store, ..Policy::default() });
        let without = asked(&mut scene, 0).allows_private_pair;
        scene.step(ended(Ok(committed(1, 0))), 0);
        (without, asked(&mut scene, now).allows_private_pair)
    };
    assert_eq!(allowed(false, 3001), (true, false), "the advisory token is still handed out");
    assert_eq!(allowed(false, 3500), (true, true));
    assert_eq!(allowed(true, 3500), (false, false));
}

#[test]
fn new_credentials_ignore_a_back_off_until_they_were_presented() {
    let failed = |issues| {
        let stats = FlightStats { issues, ..FlightStats::default() };
        SessionEvent::FlightEnded(Box::new(outcome_of(
            Err(Error::new(Status::PG_ERR_CONNECT, "down")),
            stats,
        )))
    };
    let new = || SessionEvent::NewCredentials { has_new_record: false };
    // What happens after the first flight has started at second 3500, and whether the next one obeys a back-off.
    for (name, events, respects) in [
        ("no new credentials", vec![failed(0)], true),
        ("replaced before the flight made a call", vec![new(), failed(0)], false),
        ("replaced while the old ones were presented", vec![new(), failed(1)], false),
        ("replaced after it", vec![failed(1), new(), failed(0)], false),
        ("replaced after it and presented", vec![failed(1), new(), failed(1)], true),
        (
            "replaced after it, and a pair has come",
            vec![failed(1), new(), ended(Ok(committed(2, 100)))],
            true,
        ),
    ] {
        let mut scene = Scene::new();
        assert!(asked(&mut scene, 3500).respects_back_off);
        let actions: Vec<_> = events.into_iter().flat_map(|event| scene.step(event, 3501)).collect();
        // With new credentials there is no pause.
        let at_once =
            if scene.machine.is_in_flight() { digest(&actions[actions.len() - 1..]).0 } else { None };
        let plan = at_once.cloned().unwrap_or_else(|| asked(&mut scene, 3710));
        assert_eq!(plan.respects_back_off, respects, "{name}");
        assert!(plan.can_issue);
    }
}

#[test]
fn credentials_count_as_proven_once_a_pair_of_theirs_was_seen_in_the_store() {
    let mut scene = without_a_token(Policy::default());
    assert!(!asked(&mut scene, 0).have_worked);
    for have_worked in [true, false] {
        let stats = FlightStats { have_worked, ..FlightStats::default() };
        let failure = outcome_of(Err(Error::new(Status::PG_ERR_CONNECT, "down")), stats);
        scene.step(SessionEvent::FlightEnded(Box::new(failure)), 1);
        assert!(asked(&mut scene, 100).have_worked, "it is not forgotten");
    }
}
