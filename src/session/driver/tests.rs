//! Tests of the driver itself: what is kept for its work, and callers whose answer is late.

use std::sync::mpsc::channel;
use std::thread;

use super::flights::tests::driver;
use super::*;
use crate::event::Operation;
use crate::queue::Queue;
use crate::store::MemoryStore;

fn refresh() -> RefreshToken {
    RefreshToken::new(Secret::new("r").unwrap())
}

/// A machine that is busy may stop a thread for any time.
#[test]
fn a_caller_takes_its_answer_at_its_deadline_although_the_thread_that_tells_it_is_stopped() {
    let driver = driver(MemoryStore::default());
    let request = |timeout| driver.token_request(timeout, Duration::ZERO);
    let (release, released) = channel::<()>();
    let stopped: Reply = Box::new(|_| Box::new(move || released.recv().unwrap_or_default()));
    driver.add_waiter(driver.new_id(), request(FOREVER), stopped);
    let patience = Duration::from_millis(500);
    thread::scope(|threads| {
        let caller = threads.spawn(|| driver.ask(patience, request(patience)));
        while driver.state().work().waiting.len() < 2 {
            thread::yield_now();
        }
        // Tells both, the first one first.
        threads.spawn(|| driver.close(Duration::ZERO));
        let error = caller.join().unwrap().map(|_| ()).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_CLOSED, "{error}");
        drop(release);
    });
}

/// Idle work is dropped, and with it a refresh token that nobody has noted anywhere else.
#[test]
fn work_is_kept_as_long_as_any_part_of_it_is_needed() {
    type Needs = (&'static str, fn(&mut Work));
    let needs: [Needs; 11] = [
        ("a waiter", |work| drop(work.waiting.insert(1, Box::new(|_| Box::new(|| {}))))),
        ("a thread that answers", |work| work.answering = 1),
        ("a request", |work| drop(work.requests.insert(1, None))),
        ("a subscriber", |work| {
            let to = Queue::default().begin(7, Operation::Subscription).unwrap();
            work.subscribers.push(Subscriber { to, level: Level::PG_LOG_INFO });
        }),
        ("a flight", |work| work.in_flight = Some((Cause::Asked, Duration::ZERO))),
        ("the refresh token of a private pair", |work| work.private_refresh = Some(refresh())),
        ("a token that may be spent", |work| work.maybe_spent = refresh().into_maybe_spent()),
        ("a token at risk", |work| work.at_risk = refresh().into_maybe_spent()),
        ("a token that an error may repeat", |work| work.presented = Secret::new("r")),
        ("a report", |work| {
            work.reported.push_back((Fingerprint::of(&Secret::new("a").unwrap()), 1));
        }),
        ("the error of a file", |work| work.file_error = Some("missing".into())),
    ];
    assert!(Work::default().is_done());
    for (name, add) in needs {
        let mut work = Work::default();
        add(&mut work);
        assert!(!work.is_done(), "{name}");
    }
}
