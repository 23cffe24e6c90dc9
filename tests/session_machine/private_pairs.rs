//! Pairs that could not be written to the store.

use std::time::Duration;

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::SessionEvent;
use paymentsgate_auth::session::outcome::{FlightOutcome, FlightStats};
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Pair;

use crate::scene::{Scene, at, committed, digest, news, outcome_of, sharing};

fn down() -> Error {
    Error::new(Status::PG_ERR_STORE, "down")
}

/// A session that obtained a pair at second 3501 while the store was down.
fn with_a_private_pair() -> Scene {
    let mut scene = sharing();
    scene.ask(3500, 5, 0);
    let stats = FlightStats { issues: 1, ..FlightStats::default() };
    let outcome = FlightOutcome { store_error: Some(down()), ..outcome_of(Ok(committed(2, 3501)), stats) };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3501);
    assert_eq!((digest(&actions).1, news(&actions)), (vec![Ok(2)], vec!["rotated", "degraded"]));
    scene
}

#[test]
fn a_private_pair_is_offered_to_the_store_after_half_a_minute() {
    let mut scene = with_a_private_pair();
    assert_eq!(scene.machine.next_wake(at(3501)), Some(Duration::from_secs(3531)));
    assert!(digest(&scene.step(SessionEvent::Tick, 3530)).0.is_none());
    let actions = scene.step(SessionEvent::Tick, 3531);
    let plan = digest(&actions).0.unwrap();
    assert_eq!((plan.base, plan.stored, plan.offers_private_pair), (2, 1, true));
}

#[test]
fn an_offer_that_the_store_does_not_take_is_repeated_and_is_no_failure_of_the_refresh() {
    let mut scene = with_a_private_pair();
    scene.step(SessionEvent::Tick, 3531);
    let pair = Pair { token: committed(2, 3501).token().clone(), refresh: None };
    let outcome =
        FlightOutcome { private_pair: Some(pair), ..outcome_of(Err(down()), FlightStats::default()) };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3532);
    assert_eq!(news(&actions), [""; 0]);
    // With random values of 0.5 the pause without callers lasts for 165 s.
    assert!(digest(&scene.step(SessionEvent::Tick, 3532 + 164)).0.is_none());
    let actions = scene.step(SessionEvent::Tick, 3532 + 165);
    assert!(digest(&actions).0.unwrap().offers_private_pair);
}

#[test]
fn neither_a_stored_pair_nor_one_close_to_its_end_nor_one_of_another_record_is_offered() {
    assert!(digest(&sharing().step(SessionEvent::Tick, 2999)).0.is_none(), "it is stored");
    let mut scene = with_a_private_pair();
    // Two minutes before its end.
    let actions = scene.step(SessionEvent::Tick, 3501 + 3480);
    assert!(!digest(&actions).0.unwrap().offers_private_pair);
    let mut scene = with_a_private_pair();
    scene.step(SessionEvent::NewCredentials { has_new_record: true }, 3502);
    assert!(digest(&scene.step(SessionEvent::Tick, 3600)).0.is_none());
}
