//! The phases of a token: which tokens are served, which callers wait, and when a flight starts.

use std::time::Duration;

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::clock::Moment;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::FlightStats;
use paymentsgate_auth::session::plan::Cause;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::Committed;
use paymentsgate_auth::token::{Grant, Token};

use crate::scene::{Scene, at, committed, digest, ended, news, outcome_of};

#[test]
fn a_fresh_token_is_served_and_no_flight_starts() {
    let actions = Scene::new().ask(2000, 5, 0);
    assert_eq!(digest(&actions), (None, vec![Ok(1)]));
}

#[test]
fn an_advisory_token_is_served_while_one_flight_starts() {
    let mut scene = Scene::new();
    // With random values of 0.5 the background refresh starts 600 s before the end.
    assert!(digest(&scene.ask(2999, 5, 0)).0.is_none());
    let actions = scene.ask(3001, 5, 0);
    let (plan, answers) = digest(&actions);
    assert_eq!(answers, [Ok(1)]);
    assert_eq!(plan.unwrap().base, 1);
    assert!(digest(&scene.ask(3002, 5, 0)).0.is_none(), "there is a flight already");
}

#[test]
fn a_caller_in_the_mandatory_phase_waits_and_falls_back_on_the_valid_token() {
    let mut scene = Scene::new();
    let actions = scene.ask(3500, 60, 0);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    let lost = Error::new(Status::PG_ERR_CONNECT, "no way");
    assert_eq!(digest(&scene.step(ended(Err(lost)), 3501)).1, [Ok(1)]);
}

#[test]
fn an_expired_token_is_not_handed_out() {
    let mut scene = Scene::new();
    let actions = scene.ask(3571, 60, 0);
    assert!(digest(&actions).1.is_empty());
    assert_eq!(digest(&scene.step(SessionEvent::Leave(1), 3580)).1, [Err(Status::PG_ERR_TIMEOUT)]);
    // A caller that does not wait, a second before the last half minute, and then.
    assert_eq!(digest(&Scene::new().ask(3569, 0, 0)).1, [Ok(1)]);
    assert_eq!(digest(&Scene::new().ask(3570, 0, 0)).1, [Err(Status::PG_ERR_TIMEOUT)]);
}

#[test]
fn asking_for_more_life_than_is_left_counts_as_mandatory_until_a_new_token_comes() {
    let mut scene = Scene::new();
    let actions = scene.ask(1000, 60, 3000);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    assert_eq!(digest(&scene.step(ended(Ok(committed(2, 1001))), 1001)).1, [Ok(2)]);
    assert_eq!(digest(&scene.ask(1002, 60, 99_999)), (None, vec![Ok(2)]), "a new one is not replaced again");
    assert_eq!(
        digest(&scene.ask(2000, 60, 3601)),
        (None, vec![Ok(2)]),
        "a demand that no token can meet is ignored"
    );
}

#[test]
fn a_lifetime_without_callers_ends_the_background_refresh() {
    let mut scene = Scene::new();
    scene.step(ended(Ok(committed(2, 3300))), 3300);
    assert!(digest(&scene.step(SessionEvent::Tick, 3300 + 3100)).0.is_none());
    assert_eq!(
        scene.machine.next_wake(at(6400)),
        Some(Duration::from_secs(6430)),
        "the timer only checks for readers"
    );
    assert!(digest(&scene.ask(6401, 5, 0)).0.is_some(), "the next caller starts it again");
}

#[test]
fn a_session_with_keep_warm_refreshes_without_callers() {
    let mut machine = Machine::new(Policy { keep_warm: true, ..Policy::default() }, true, 0, at(0));
    machine.adopt(committed(2, 3600), at(3600), &mut || 0.5);
    let due = machine.next_wake(at(3600 + 2999)).unwrap();
    assert_eq!(due, Duration::from_secs(3600 + 3000));
    let actions = machine.step(SessionEvent::Tick, at(3600 + 3000), &mut || 0.5);
    assert!(digest(&actions).0.is_some());
}

#[test]
fn a_wall_clock_that_ran_ahead_makes_the_token_mandatory_once() {
    let mut scene = Scene::new();
    let jumped = Moment { wall: at(1000).wall + Duration::from_secs(61), ..at(1000) };
    let ask = |id| SessionEvent::Ask {
        id,
        deadline: Duration::from_secs(1060),
        min_remaining: Duration::ZERO,
        wants_newer: false,
    };
    let actions = scene.machine.step(ask(1), jumped, &mut || 0.5);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    let lost = ended(Err(Error::new(Status::PG_ERR_CONNECT, "no way")));
    assert_eq!(digest(&scene.machine.step(lost, jumped, &mut || 0.5)).1, [Ok(1)]);
    let later =
        Moment { boot: jumped.boot + Duration::from_secs(40), wall: jumped.wall + Duration::from_secs(40) };
    let actions = scene.machine.step(ask(2), later, &mut || 0.5);
    assert_eq!(digest(&actions), (None, vec![Ok(1)]), "once");
}

#[test]
fn a_short_lived_token_is_refreshed_in_the_background_as_soon_as_the_floor_allows() {
    let mut machine = Machine::new(Policy { keep_warm: true, ..Policy::default() }, true, 0, at(0));
    let lifetime = Lifetime::of(Duration::from_secs(46));
    let token = Token::new(Secret::new("short").unwrap(), lifetime, at(0));
    let grant = ShardedArc::new(Grant { token, generation: 1, refresh: None });
    machine.adopt(Committed { grant, has_refresh: true, has_uncertain_age: false }, at(0), &mut || 0.0);
    let due = machine.next_wake(at(0)).unwrap();
    assert!(due > at(1).boot && due < at(46).boot, "{due:?}");
    let then = Moment { boot: due, wall: at(0).wall + due };
    assert!(digest(&machine.step(SessionEvent::Tick, then, &mut || 0.0)).0.is_some());
}

#[test]
fn a_valid_token_is_handed_out_after_half_of_the_callers_deadline() {
    let mut scene = Scene::new();
    assert_eq!(digest(&scene.ask(3500, 8, 0)).1, [], "it is about to expire, and a flight starts");
    assert_eq!(digest(&scene.step(SessionEvent::Tick, 3503)).1, []);
    assert_eq!(digest(&scene.step(SessionEvent::Tick, 3504)).1, [Ok(1)]);
    assert_eq!(digest(&scene.ask(3505, 60, 0)).1, []);
    assert_eq!(
        digest(&scene.step(SessionEvent::Tick, 3510)).1,
        [Ok(1)],
        "and after five seconds at the latest"
    );
}

#[test]
fn the_timer_is_set_for_half_of_the_callers_deadline_or_five_seconds() {
    for (patience, content) in [(4, 2), (60, 5)] {
        let mut scene = Scene::new();
        assert!(digest(&scene.ask(3500, patience, 0)).1.is_empty());
        assert_eq!(scene.machine.next_wake(at(3500)), Some(Duration::from_secs(3500 + content)));
        assert_eq!(digest(&scene.step(SessionEvent::Tick, 3500 + content)).1, [Ok(1)]);
    }
}

#[test]
fn a_caller_can_ask_for_a_newer_token_in_any_phase() {
    let mut scene = Scene::new();
    let ask = |id| SessionEvent::Ask {
        id,
        deadline: Duration::from_secs(60),
        min_remaining: Duration::ZERO,
        wants_newer: true,
    };
    let actions = scene.step(ask(1), 2);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    assert!(digest(&scene.step(ask(2), 3)).0.is_none(), "one flight for all");
    let newer = SessionEvent::FlightEnded(Box::new(outcome_of(
        Ok(committed(2, 3)),
        FlightStats { refreshes: 1, ..FlightStats::default() },
    )));
    assert_eq!(digest(&scene.step(newer, 3)).1, [Ok(2), Ok(2)]);
    let actions = scene.step(ask(3), 4);
    assert_eq!(digest(&actions).0.unwrap().base, 2);
    assert_eq!(digest(&scene.step(SessionEvent::Leave(3), 5)).1, [Err(Status::PG_ERR_TIMEOUT)]);
}

#[test]
fn a_caller_that_wants_another_token_gets_the_same_one_only_from_a_flight_that_could_bring_another() {
    let stored = FlightStats::default();
    for (stats, is_answered) in [
        (FlightStats { refreshes: 1, ..stored }, true),
        (FlightStats { issues: 1, ..stored }, true),
        (FlightStats { adopted: true, ..stored }, true),
        (stored, false),
    ] {
        let mut scene = Scene::new();
        let deadline = Duration::from_secs(60);
        let min_remaining = Duration::ZERO;
        scene.step(SessionEvent::Ask { id: 1, deadline, min_remaining, wants_newer: true }, 2);
        let same = SessionEvent::FlightEnded(Box::new(outcome_of(Ok(committed(1, 3)), stats)));
        let actions = scene.step(same, 3);
        let (plan, answers) = digest(&actions);
        assert_eq!(
            (answers, plan.is_none()),
            (vec![Ok(1); usize::from(is_answered)], is_answered),
            "{stats:?}"
        );
    }
}

#[test]
fn a_token_that_has_just_come_is_replaced_only_if_it_cannot_be_used_or_the_wall_clock_has_jumped() {
    let renewed = || {
        let mut scene = Scene::new();
        scene.ask(3500, 60, 0);
        scene.step(ended(Ok(committed(2, 3501))), 3501);
        scene
    };
    // A demand that the token no longer meets.
    assert!(digest(&renewed().ask(3530, 60, 3590)).0.is_none(), "half a minute has not passed");
    assert!(digest(&renewed().ask(3531, 60, 3590)).0.is_some());
    let jumped = Moment { wall: at(3510).wall + Duration::from_secs(61), ..at(3510) };
    let [deadline, min_remaining] = [3570, 0].map(Duration::from_secs);
    let ask = SessionEvent::Ask { id: 2, deadline, min_remaining, wants_newer: false };
    assert!(digest(&renewed().machine.step(ask, jumped, &mut || 0.5)).0.is_some());
    let mut adopted_late = Scene::new();
    adopted_late.machine.adopt(committed(1, 0), at(3580), &mut || 0.5);
    assert!(digest(&adopted_late.ask(3581, 60, 0)).0.is_some());
}

#[test]
fn a_token_of_unknown_age_is_renewed_before_use_if_possible() {
    let mut scene = Scene::new();
    let doubted = Committed { has_uncertain_age: true, ..committed(1, 0) };
    scene.machine.adopt(doubted, at(0), &mut || 0.5);
    let actions = scene.ask(1, 5, 0);
    let (plan, answers) = digest(&actions);
    assert!(plan.is_some_and(|plan| plan.cause == Cause::Asked) && answers.is_empty());
    let failed = ended(Err(Error::new(Status::PG_ERR_CONNECT, "down")));
    assert_eq!(digest(&scene.step(failed, 2)).1, [Ok(1)], "it is the only token");
    assert_eq!(digest(&scene.ask(3, 5, 0)).1, [Ok(1)], "and is served from then on");
}

#[test]
fn a_token_is_withdrawn_once_when_it_becomes_mandatory() {
    let mut scene = Scene::new();
    scene.step(ended(Ok(committed(2, 3300))), 3300);
    let withdrawn = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Withdraw));
    let moment = 3300 + 3600 - 120;
    assert!(!withdrawn(&scene.step(SessionEvent::Tick, moment - 1)));
    assert_eq!(scene.machine.next_wake(at(moment - 1)), Some(Duration::from_secs(moment)));
    assert!(withdrawn(&scene.step(SessionEvent::Tick, moment)));
    assert!(!withdrawn(&scene.step(SessionEvent::Tick, moment + 1)));
}

#[test]
fn a_refused_token_or_a_closed_session_causes_no_withdrawal() {
    let mut refused = Scene::new();
    refused.machine.report(*committed(1, 0).token().fingerprint(), at(60));
    let mut closed = Scene::new();
    closed.step(SessionEvent::Close, 60);
    for mut scene in [refused, closed] {
        let actions = scene.step(SessionEvent::Tick, 3599);
        assert!(!actions.iter().any(|action| matches!(action, Action::Withdraw)), "{actions:?}");
    }
}

#[test]
fn close_answers_the_callers_that_wait_for_a_flight() {
    let mut scene = Scene::new();
    assert!(digest(&scene.ask(3600, 60, 0)).1.is_empty());
    assert_eq!(digest(&scene.step(SessionEvent::Close, 3601)).1, [Err(Status::PG_ERR_CLOSED)]);
}

#[test]
fn close_refuses_a_caller_that_waits_although_the_token_is_usable() {
    let mut scene = Scene::new();
    assert!(digest(&scene.ask(3500, 60, 0)).1.is_empty());
    assert_eq!(digest(&scene.step(SessionEvent::Close, 3501)).1, [Err(Status::PG_ERR_CLOSED)]);
}

/// Whether a token is published, and for how long.
fn published(actions: &[Action]) -> Option<Option<u64>> {
    actions.iter().find_map(|action| match action {
        Action::Publish(committed) => Some(committed.as_ref().map(Committed::generation)),
        _ => None,
    })
}

#[test]
fn a_pair_is_published_unless_its_age_is_unknown_or_the_session_is_closed() {
    let mut scene = Scene::new();
    scene.ask(3500, 5, 0);
    assert_eq!(published(&scene.step(ended(Ok(committed(2, 3501))), 3501)), Some(Some(2)));
    scene.ask(7000, 5, 0);
    let doubted = Committed { has_uncertain_age: true, ..committed(3, 7001) };
    assert_eq!(published(&scene.step(ended(Ok(doubted)), 7001)), Some(None));
    scene.step(SessionEvent::Close, 7002);
    let actions = scene.step(ended(Ok(committed(4, 7003))), 7003);
    assert_eq!((published(&actions), news(&actions)), (None, vec![]));
    let actions = scene.step(SessionEvent::Tick, 7003 + 3600);
    assert!(!actions.iter().any(|action| matches!(action, Action::Withdraw)), "{actions:?}");
}

/// The only answer: an error.
fn error_of(actions: Vec<Action>) -> Error {
    let answer = actions.into_iter().find_map(|action| match action {
        Action::Answer(_, answer) => answer.err(),
        _ => None,
    });
    answer.expect("a caller gets an error")
}

#[test]
fn the_error_of_a_deadline_names_the_last_failure_or_else_the_running_call() {
    let mut scene = Scene::new();
    scene.ask(3600, 60, 0);
    let error = error_of(scene.step(SessionEvent::Leave(1), 3601));
    assert_eq!((error.status, error.cause), (Status::PG_ERR_TIMEOUT, None));
    assert!(error.text.ends_with("ask again"), "{}", error.text);
    scene.machine.note_call("refresh", at(3602));
    scene.ask(3602, 60, 0);
    let error = error_of(scene.step(SessionEvent::Leave(2), 3606));
    assert!(error.text.ends_with("The service has not answered refresh for 4000 ms"), "{}", error.text);
    scene.machine.note_failure(&Error {
        http_status: Some(503),
        ..Error::new(Status::PG_ERR_SERVER, "the service failed")
    });
    scene.ask(3607, 60, 0);
    let error = error_of(scene.step(SessionEvent::Leave(3), 3608));
    assert!(error.text.ends_with("The last attempt failed: the service failed"), "{}", error.text);
    assert_eq!((error.cause, error.http_status), (Some(Status::PG_ERR_SERVER), Some(503)));
    assert_eq!(scene.machine.last_failure().map(|error| error.status), Some(Status::PG_ERR_SERVER));
    scene.step(ended(Ok(committed(2, 3609))), 3609);
    assert!(scene.machine.last_failure().is_none());
}

#[test]
fn the_state_of_a_session_can_be_read() {
    let policy = Policy { host_keeps: true, ..Policy::default() };
    for (policy, owes_rotation) in [(policy, true), (Policy::default(), false)] {
        let mut machine = Machine::new(policy, true, 0, at(0));
        machine.adopt(committed(7, 0), at(0), &mut || 0.5);
        let mut scene = Scene { machine, callers: 0 };
        assert_eq!(scene.machine.current().map(Committed::generation), Some(7));
        assert!(!scene.machine.is_in_flight() && !scene.machine.owes_rotation());
        // Half a minute before its end the token is no longer handed out.
        assert_eq!(scene.machine.usable_for(at(3500)), Duration::from_secs(70));
        assert_eq!(scene.machine.usable_for(at(3580)), Duration::ZERO);
        scene.ask(3580, 5, 0);
        assert!(scene.machine.is_in_flight() && !scene.machine.is_closed());
        assert_eq!(scene.machine.owes_rotation(), owes_rotation);
        scene.step(SessionEvent::Close, 3581);
        assert!(scene.machine.is_closed());
    }
}
