//! Processes that are killed, or stopped past their lease, at every step of a flight.

use std::thread;
use std::time::{Duration, Instant};

use pg_sandbox::{Action, Fault, Point, Route};
use rustix::process::Signal;

use crate::proxy::{ACQUIRE, RENEW, Trouble, WRITE};
use crate::shared::{Fixture, generation};
use crate::support::eventually;

/// The step at which a child is killed.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// At the last of these commands to the store; the earlier ones pass.
    Store(&'static [&'static str], Trouble),
    /// At the call to the service.
    Call(Point),
}

/// A refresh in a child that stops at this step.
fn fly_to(fixture: &Fixture, step: Step) -> crate::child::Asking {
    let proxy = fixture.proxy();
    let mut child = fixture.child(&proxy.url());
    match step {
        Step::Store(questions, trouble) => {
            let (last, earlier) = questions.split_last().unwrap();
            // Releases a held command.
            earlier.iter().for_each(|question| proxy.next(question, Trouble::None));
            proxy.next(last, trouble);
            child.go();
            proxy.await_struck(questions.len());
        }
        Step::Call(point) => {
            fixture.sandbox.inject(Fault::new(Route::Refresh, Action::Hang).at(point)).unwrap();
            child.go();
            // The hang must have struck, or it would wait for the next call.
            eventually("a refresh that hangs", || fixture.sandbox.faults().is_empty());
        }
    }
    child
}

const STEPS: [Step; 8] = [
    Step::Store(&[ACQUIRE], Trouble::Hold),
    Step::Store(&[ACQUIRE], Trouble::HoldAnswer),
    Step::Store(&[WRITE], Trouble::Hold),
    Step::Store(&[WRITE], Trouble::HoldAnswer),
    Step::Call(Point::Before),
    Step::Call(Point::After),
    Step::Store(&[WRITE, WRITE], Trouble::Hold),
    Step::Store(&[WRITE, WRITE], Trouble::HoldAnswer),
];

#[test]
fn kill_9_at_every_step_of_a_flight() {
    let fixture = Fixture::new();
    fixture.seed();
    for (generation_before, (number, step)) in (1..).zip(STEPS.into_iter().enumerate()) {
        let (issues, refreshes) = fixture.calls();
        let child = fly_to(&fixture, step);
        let presented = fixture.calls().1 - refreshes;
        assert_eq!(presented, u64::from(number >= 4), "{step:?}");
        child.kill();
        // The proxy's connection ends too, with the held command.
        fixture.redis.end_lease();
        assert_eq!(generation(&fixture.session()), generation_before + 1, "{step:?}");
        let (more_issues, more_refreshes) = fixture.calls();
        // Before the intent the refresh token is still good; after the commit there is a new pair.
        let expected = match number {
            0..=2 => (0, 1),
            3 => (1, 0),
            4..=6 => (1, 1),
            _ => (0, 1),
        };
        assert_eq!((more_issues - issues, more_refreshes - refreshes), expected, "{step:?}");
        fixture.pass(3600);
    }
}

/// No process has a token yet, and the one that calls dies: how long until another one has a token.
#[test]
fn after_the_holder_dies_in_its_first_flight_others_wait_for_its_lease_to_end() {
    let fixture = Fixture::new();
    fixture.sandbox.inject(Fault::new(Route::Issue, Action::Hang).at(Point::Before)).unwrap();
    let mut holder = fixture.child(&fixture.redis.url());
    holder.go();
    eventually("an issue that hangs", || fixture.sandbox.faults().is_empty());
    let session = fixture.session();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generation(&session));
        eventually("a waiter", || fixture.redis.count("subscribe") == 1);
        holder.kill();
        let died = Instant::now();
        assert_eq!(waiting.join().unwrap(), 1);
        let took = died.elapsed();
        println!("redis: a token {} ms after kill -9 of the holder", took.as_millis());
        assert!(took <= Duration::from_secs(7), "{took:?}");
    });
}

#[test]
fn a_holder_keeps_its_lease_during_a_long_call() {
    let fixture = Fixture::new();
    assert_eq!(generation(&fixture.session()), 1);
    // A refresh is due and the token is valid for minutes: a call is given up early only if callers have no token.
    fixture.pass(3300);
    fixture.hang_refresh();
    let proxy = fixture.proxy();
    let mut holder = fixture.child(&proxy.url());
    holder.go();
    eventually("a refresh that hangs", || fixture.sandbox.faults().is_empty());
    assert_eq!(proxy.asked(RENEW), 0, "not before two seconds have passed");
    let left = || -> u64 { fixture.redis.cli(&["pttl", &fixture.redis.key("lock")]).parse().unwrap() };
    let mut renewed = 0;
    for _ in 0..3 {
        assert!((1..=6000).contains(&left()), "{}", left());
        eventually("a renewal", || proxy.asked(RENEW) > renewed);
        renewed = proxy.asked(RENEW);
    }
    assert_eq!(fixture.calls(), (1, 1));
}

/// A child is stopped at its n-th write, another process takes over, and the child continues.
fn stopped_at(writes: &'static [&'static str], expected: (u64, u64)) {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let mut child = fixture.child(&proxy.url());
    let (last, earlier) = writes.split_last().unwrap();
    earlier.iter().for_each(|question| proxy.next(question, Trouble::None));
    proxy.next(last, Trouble::Hold);
    child.go();
    proxy.await_struck(writes.len());
    child.signal(Signal::STOP);
    fixture.redis.end_lease();
    let other = fixture.session();
    let newer = other.token(crate::support::PATIENCE, crate::support::NOW).unwrap();
    assert_eq!(newer.generation, 2);
    let record = fixture.redis.field("record");
    proxy.go_on();
    eventually("the late write", || fixture.redis.count("eval") as usize > writes.len() + 4);
    child.signal(Signal::CONT);
    assert_eq!(child.token(), newer.token.fingerprint().to_string(), "it adopts the newer pair");
    assert_eq!(fixture.redis.field("record"), record, "and its own is dropped");
    assert_eq!(fixture.calls(), expected);
    fixture.pass(3600);
    assert_eq!(generation(&other), 3);
    assert_eq!(fixture.calls(), (expected.0, expected.1 + 1));
}

#[test]
fn a_process_stopped_past_its_lease_before_its_intent_presents_nothing() {
    stopped_at(&[WRITE], (1, 1));
}

#[test]
fn a_process_stopped_past_its_lease_after_its_call_drops_its_pair() {
    stopped_at(&[WRITE, WRITE], (2, 1));
}

#[test]
fn a_lease_that_ended_during_the_call_is_renewed_if_no_other_took_it() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    proxy.next(WRITE, Trouble::None);
    proxy.next(WRITE, Trouble::Hold);
    thread::scope(|scope| {
        let flying = scope.spawn(|| generation(&session));
        proxy.await_struck(2);
        fixture.redis.end_lease();
        proxy.go_on();
        assert_eq!(flying.join().unwrap(), 2);
    });
    assert_eq!(generation(&fixture.session()), 2);
    assert_eq!(fixture.calls(), (1, 1));
}
