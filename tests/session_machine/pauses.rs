//! How long the session waits after a failure.

use std::time::Duration;

use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::{Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::FlightStats;
use paymentsgate_auth::status::Status;

use crate::scene::{Scene, at, committed, digest, ended, outcome_of};

fn down() -> SessionEvent {
    ended(Err(Error::new(Status::PG_ERR_CONNECT, "down")))
}

#[test]
fn the_pauses_while_a_caller_waits_grow_to_three_times_the_last_one() {
    let mut scene = Scene { machine: Machine::new(Policy::default(), true, 0, at(0)), callers: 0 };
    assert!(digest(&scene.ask(0, 1000, 0)).0.is_some());
    // Half way between half a second and three times the last pause, which at first is half a second.
    for (now, pause) in [(1, 1.0), (2, 1.75), (4, 2.875)] {
        scene.step(down(), now);
        let until = at(now).boot + Duration::from_secs_f64(pause);
        assert_eq!(scene.machine.next_wake(at(now)), Some(until));
        scene.step(SessionEvent::Tick, until.as_secs_f64().ceil() as u64);
        assert!(scene.machine.is_in_flight());
    }
}

#[test]
fn without_callers_the_next_try_comes_exactly_at_the_end_of_the_pause() {
    let mut scene = Scene::new();
    scene.ask(3500, 5, 0);
    assert_eq!(digest(&scene.step(down(), 3501)).1, [Ok(1)]);
    // Half way between 30 s and 300 s.
    assert!(digest(&scene.step(SessionEvent::Tick, 3501 + 164)).0.is_none());
    assert_eq!(scene.machine.next_wake(at(3501 + 164)), Some(Duration::from_secs(3501 + 165)));
    assert!(digest(&scene.step(SessionEvent::Tick, 3501 + 165)).0.is_some());
}

/// A session without credentials whose Refresh at second 3501 was lost, so that the next one presents the token for the last time.
fn with_a_last_try() -> Scene {
    let policy = Policy { on_ambiguous: OnAmbiguous::Replay, ..Policy::default() };
    let mut scene = Scene { machine: Machine::new(policy, false, 0, at(0)), callers: 0 };
    scene.machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    scene.ask(3500, 5, 0);
    let stats = FlightStats { refreshes: 1, leaves_maybe_spent: true, ..FlightStats::default() };
    let lost = outcome_of(Err(Error::new(Status::PG_ERR_CONNECTION_LOST, "lost")), stats);
    scene.step(SessionEvent::FlightEnded(Box::new(lost)), 3501);
    scene
}

#[test]
fn the_last_try_is_made_when_the_token_can_no_longer_be_handed_out() {
    let mut scene = with_a_last_try();
    for now in [3510, 3569] {
        assert_eq!(digest(&scene.ask(now, 5, 0)), (None, vec![Ok(1)]));
    }
    assert!(digest(&scene.ask(3570, 5, 0)).0.is_some());
}

#[test]
fn the_last_try_is_made_at_once_if_the_token_is_refused() {
    let mut scene = with_a_last_try();
    let (_, actions) = scene.machine.report(*committed(1, 0).token().fingerprint(), at(3502));
    assert!(digest(&actions).0.is_none(), "without a caller the pause goes on");
    assert!(digest(&scene.ask(3503, 5, 0)).0.is_some());
}
