//! Tokens that the service refuses, and how often they are replaced.

use std::time::Duration;

use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::FlightStats;
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::session::rejection::ReportVerdict;
use paymentsgate_auth::store::Committed;

use crate::scene::{Scene, at, committed, digest, ended, outcome_of};

/// The service's answer to a plan: a token of this generation, issued at `born`.
fn successor(plan: &Plan, generation: u64, born: u64) -> SessionEvent {
    let mut token = committed(generation, born).token().clone();
    token.refused_young = plan.refused_young;
    issue_ended(Committed { has_refresh: true, ..Committed::private(token, generation) })
}

fn issue_ended(successor: Committed) -> SessionEvent {
    SessionEvent::FlightEnded(Box::new(outcome_of(
        Ok(successor),
        FlightStats { issues: 1, ..FlightStats::default() },
    )))
}

/// Reports the token of this generation, and ends the flight that follows in the same second.
fn report(scene: &mut Scene, generation: u64, now: u64) -> ReportVerdict {
    let (verdict, actions) = scene.machine.report(*committed(generation, 0).token().fingerprint(), at(now));
    if let Some(plan) = digest(&actions).0.cloned() {
        scene.step(successor(&plan, generation + 1, now), now);
    }
    verdict
}

fn later(seconds: u64) -> ReportVerdict {
    // With random values of 0.5 a pause is an eighth longer.
    ReportVerdict::RejectedFresh { retry_after: Duration::from_millis(seconds * 1125) }
}

trait Minus {
    fn minus(self, seconds: u64) -> ReportVerdict;
}

impl Minus for ReportVerdict {
    fn minus(self, seconds: u64) -> ReportVerdict {
        let ReportVerdict::RejectedFresh { retry_after } = self else { panic!("{self:?}") };
        ReportVerdict::RejectedFresh { retry_after: retry_after - Duration::from_secs(seconds) }
    }
}

#[test]
fn two_revocations_in_a_row_cost_two_calls_and_no_pause() {
    let mut scene = Scene::new();
    assert_eq!(report(&mut scene, 1, 1000), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 2, 1005), ReportVerdict::Renewing);
    assert_eq!(digest(&scene.ask(1006, 5, 0)).1, [Ok(3)]);
}

#[test]
fn many_reports_of_one_token_count_once() {
    let mut scene = Scene::new();
    assert_eq!(report(&mut scene, 1, 1000), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 2, 1001), ReportVerdict::Renewing);
    for _ in 0..5 {
        assert_eq!(report(&mut scene, 3, 1001), later(1));
        assert_eq!(digest(&scene.ask(1001, 5, 0)).1, [Ok(3)], "it is still served");
    }
    assert_eq!(report(&mut scene, 3, 1003), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 4, 1003), later(2), "the second pause, not the sixth");
}

#[test]
fn a_service_that_refuses_every_token_is_asked_once_a_minute_without_end() {
    let mut scene = Scene::new();
    let (mut generation, mut last) = (1, 0);
    let mut replaced = Vec::new();
    for now in 1000..4000 {
        if report(&mut scene, generation, now) == ReportVerdict::Renewing {
            replaced.push(now - last);
            (generation, last) = (generation + 1, now);
        }
    }
    assert_eq!(
        replaced[1..9],
        [1, 2, 3, 5, 9, 18, 36, 68],
        "1 s, doubled up to a minute, and an eighth more"
    );
    assert!(replaced[8..].iter().all(|pause| *pause == 68) && replaced.len() > 40, "{replaced:?}");
}

#[test]
fn a_token_that_was_accepted_or_unreported_for_half_a_minute_is_replaced_at_once() {
    let mut scene = Scene::new();
    report(&mut scene, 1, 1000);
    report(&mut scene, 2, 1001);
    report(&mut scene, 3, 1003);
    assert_eq!(report(&mut scene, 4, 1004), later(2).minus(1));
    scene.machine.accept(*committed(4, 0).token().fingerprint());
    assert_eq!(
        report(&mut scene, 4, 1005),
        ReportVerdict::Renewing,
        "an accepted token restarts the row at one second"
    );
    assert_eq!(report(&mut scene, 5, 1036), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 6, 1037), ReportVerdict::Renewing, "the row has ended");
}

#[test]
fn a_pause_between_replacements_does_not_stop_looks_into_the_store() {
    let policy = Policy { is_shared: true, ..Policy::default() };
    let mut scene = Scene { machine: Machine::new(policy, true, 0, at(0)), callers: 0 };
    scene.machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    for (generation, now) in [(1, 1001), (2, 1002), (3, 1004)] {
        assert_eq!(report(&mut scene, generation, now), ReportVerdict::Renewing);
    }
    let refused = *committed(4, 0).token().fingerprint();
    let looks = |scene: &mut Scene, now| {
        let (verdict, actions) = scene.machine.report(refused, at(now));
        assert!(matches!(verdict, ReportVerdict::RejectedFresh { .. }), "{verdict:?}");
        digest(&actions).0.map(|plan| plan.looks_only)
    };
    assert_eq!(looks(&mut scene, 1004), None, "the flight that brought the token has just looked");
    assert_eq!(looks(&mut scene, 1005), Some(true));
    assert_eq!(looks(&mut scene, 1005), None, "one look at a time");
    let adopted = FlightStats { adopted: true, looked_only: true, ..FlightStats::default() };
    scene.step(SessionEvent::FlightEnded(Box::new(outcome_of(Ok(committed(5, 1005)), adopted))), 1005);
    assert_eq!(digest(&scene.ask(1005, 5, 0)).1, [Ok(5)]);
}

#[test]
fn a_new_token_with_the_same_text_does_not_end_a_refusal() {
    let mut scene = Scene::new();
    let refused = *committed(1, 0).token().fingerprint();
    let (_, actions) = scene.machine.report(refused, at(1000));
    assert_eq!(digest(&actions).0.unwrap().refused, Some(refused));
    let same = committed(1, 1001).token().clone();
    let same = Committed { has_refresh: true, ..Committed::private(same, 2) };
    let actions = scene.step(ended(Ok(same)), 1001);
    assert!(!actions.iter().any(|action| matches!(action, Action::Publish(Some(_)))));
    assert!(digest(&actions).0.is_none(), "not at once: that could repeat without end");
    assert!(digest(&scene.step(SessionEvent::Tick, 1001 + 301)).0.is_some(), "but after a pause");
}

#[test]
fn a_just_adopted_old_token_is_refused_as_an_old_one() {
    for (born, issue_only) in [(0, false), (990, true)] {
        let mut machine = Machine::new(Policy::default(), true, 0, at(1000));
        machine.adopt(committed(1, born), at(1000), &mut || 0.5);
        let (_, actions) = machine.report(*committed(1, born).token().fingerprint(), at(1001));
        assert_eq!(digest(&actions).0.unwrap().issue_only, issue_only, "born at {born}");
    }
}

#[test]
fn the_row_of_refused_tokens_and_the_rest_of_its_pause_can_be_read() {
    let row = |scene: &Scene, now| scene.machine.refused_young(at(now));
    let without_a_token = Scene { machine: Machine::new(Policy::default(), true, 0, at(0)), callers: 0 };
    assert_eq!(row(&without_a_token, 0), (0, Duration::ZERO));
    let mut scene = Scene::new();
    report(&mut scene, 1, 1000);
    assert_eq!(row(&scene, 1000), (0, Duration::ZERO), "an old token was refused");
    report(&mut scene, 2, 1001);
    assert_eq!(row(&scene, 1001), (1, Duration::from_millis(1125)));
    assert_eq!(row(&scene, 1002), (1, Duration::from_millis(125)));
    assert_eq!(row(&scene, 1003), (1, Duration::ZERO));
    report(&mut scene, 3, 1003);
    assert_eq!(row(&scene, 1003), (2, Duration::from_millis(2250)));
}
