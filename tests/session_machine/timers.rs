//! When the session next needs a tick.

use std::time::Duration;

use paymentsgate_auth::session::decision::{Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::status::Status;

use crate::scene::{Scene, at, committed, digest, ended, refused, sharing};

fn wake(scene: &Scene, now: u64) -> Option<u64> {
    scene.machine.next_wake(at(now)).map(|at| at.as_secs())
}

#[test]
fn while_a_flight_runs_only_the_withdrawal_and_the_callers_set_a_timer() {
    let mut scene = Scene::new();
    assert!(digest(&scene.ask(3001, 5, 0)).0.is_some());
    assert_eq!(wake(&scene, 3001), Some(3480), "the token turns mandatory");
    let mut scene = Scene::new();
    let newer = SessionEvent::Ask {
        id: 1,
        deadline: Duration::from_secs(60),
        min_remaining: Duration::ZERO,
        wants_newer: true,
    };
    scene.step(newer, 2);
    assert_eq!(wake(&scene, 2), Some(60), "the current token never satisfies this caller");
}

#[test]
fn a_session_without_callers_and_with_an_expired_token_sets_no_timer() {
    let mut scene = Scene::new();
    scene.step(SessionEvent::Tick, 8000);
    assert_eq!(wake(&scene, 8000), None);
}

#[test]
fn a_session_is_idle_exactly_one_lifetime_after_its_last_caller() {
    for (last, is_idle) in [(2700, true), (2701, false)] {
        let mut scene = Scene::new();
        scene.ask(last, 5, 0);
        scene.step(ended(Ok(committed(2, 3300))), 3300);
        // The background refresh of the second token is due.
        assert_eq!(digest(&scene.step(SessionEvent::Tick, 6300)).0.is_none(), is_idle, "{last}");
    }
}

#[test]
fn an_obstacle_sets_a_timer_for_its_end_if_a_flight_is_wanted() {
    // A token in use, and no caller.
    let mut scene = Scene::new();
    scene.ask(3590, 5, 0);
    let actions = refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3591);
    assert_eq!(digest(&actions).1, [Err(Status::PG_ERR_RATE_LIMITED)]);
    assert_eq!(wake(&scene, 3591), Some(3591 + 900));
    // A caller, and no token.
    let mut scene = Scene { machine: Machine::new(Policy::default(), true, 0, at(0)), callers: 0 };
    scene.ask(0, 1000, 0);
    assert_eq!(digest(&refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 1)).1, []);
    assert_eq!(wake(&scene, 1), Some(1 + 900));
}

#[test]
fn without_callers_no_timer_looks_into_the_store() {
    let mut scene = sharing();
    scene.ask(3600, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert_eq!(wake(&scene, 3601), Some(3601 + 900));
}
