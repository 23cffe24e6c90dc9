//! Tests of a driver: what it keeps for its work, what it wakes, and callers whose answer is late.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::thread;

use tokio::sync::oneshot::error::TryRecvError;

use super::super::requests;
use super::flights::tests::{PATIENCE, driver, driver_without_time};
use super::*;
use crate::event::Operation;
use crate::queue::Queue;
use crate::request::ApiRequest;
use crate::store::MemoryStore;

/// Longer than a test may take: what waits for so long is not woken.
const LONG: Duration = Duration::from_secs(3600);

/// Begins work of a driver; the result ends it.
type Begins = fn(&Arc<Driver>) -> Box<dyn FnOnce() + '_>;

fn credentials(public_key: &str) -> Arc<Credentials> {
    let [account_id, public_key] = ["account", public_key].map(|text| Secret::new(text).unwrap());
    Arc::new(Credentials { account_id, public_key })
}

#[test]
fn a_canceled_operation_leaves_no_waiter() {
    let (driver, queue) = (driver(MemoryStore::default()), Queue::default());
    driver.ask_for(queue.begin(7, Operation::Token).unwrap(), driver.token_request(LONG, Duration::ZERO));
    assert_eq!(driver.state().work().waiting.len(), 1);
    queue.cancel(7).unwrap();
    assert!(driver.state().work().waiting.is_empty());
}

#[test]
fn the_end_of_a_request_and_of_an_answer_wakes_a_close() {
    let begin: [Begins; 2] = [
        |driver| {
            let (id, _) = driver.begin_request().unwrap();
            Box::new(move || driver.end_request(id))
        },
        |driver| {
            let answering = Answering::begin(driver, driver.state());
            Box::new(move || drop(answering))
        },
    ];
    // In some of the rounds the close waits already.
    for begin in begin.iter().cycle().take(100) {
        let driver = driver(MemoryStore::default());
        let end = begin(&driver);
        assert!(!driver.close(Duration::ZERO), "there is work");
        let (closed, (begins, begun), (sender, closing)) = (driver.clone(), mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            begins.send(()).unwrap();
            sender.send(closed.close(LONG))
        });
        begun.recv().unwrap();
        thread::yield_now();
        end();
        assert_eq!(closing.recv_timeout(PATIENCE), Ok(true));
        assert!(driver.begin_request().is_none(), "it is closed");
    }
}

/// A wake-up panics if the host has closed the descriptor of our reactor.
#[test]
fn a_close_is_whole_even_if_the_wake_ups_of_its_requests_panic() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a defect");
        }
    }
    let driver = driver(MemoryStore::default());
    let mut requests = [(); 3].map(|()| driver.begin_request().unwrap());
    let waker = Waker::from(Arc::new(Panics));
    for (_, stopped) in &mut requests[..2] {
        assert!(Pin::new(stopped).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(!driver.close(Duration::ZERO), "the requests have not ended");
    assert!(driver.is_closed());
    for (_, stopped) in &mut requests {
        assert!(stopped.try_recv() == Err(TryRecvError::Closed), "it is stopped");
    }
}

#[test]
fn a_driver_without_work_keeps_none() {
    let driver = driver(MemoryStore::default());
    let (id, _) = driver.begin_request().unwrap();
    assert_eq!(driver.state().work().requests.len(), 1);
    driver.end_request(id);
    driver.leave(driver.new_id());
    assert!(driver.state().work.is_none());
    assert!(!driver.follows_refused_young.load(Ordering::Relaxed), "an answer of the service takes no lock");
}

#[test]
fn only_another_key_with_a_store_has_another_record() {
    let driver = driver(MemoryStore::default());
    let set = |key: &str, has_store: bool| {
        driver.state().work().maybe_spent = RefreshToken::new(Secret::new("r").unwrap()).into_maybe_spent();
        let store = has_store.then(|| Arc::new(MemoryStore::default()) as Arc<dyn Store>);
        driver.set_credentials(NewCredentials { credentials: credentials(key), store }).unwrap();
        let mut state = driver.state();
        (state.record_number, state.work().maybe_spent.is_some())
    };
    assert_eq!(set("key", true), (0, true), "the same key");
    assert_eq!(set("another key", false), (0, true), "the store stays");
    assert_eq!(set("a third key", true), (1, false));
    assert_eq!(set("a fourth key", true), (2, false));
}

#[test]
fn without_timers_every_waiter_gets_the_reason() {
    let driver = driver(MemoryStore::default());
    let request = driver.token_request(LONG, Duration::ZERO);
    for id in [1, 2] {
        driver.add_waiter(id, request, Box::new(|_| Box::new(|| {})));
    }
    let error = Error::new(Status::PG_ERR_SYSTEM, "no timers");
    let actions = driver.state().release_all_waiters(driver.now(), &error);
    let answered = actions.iter().filter_map(|action| match action {
        Action::Answer(id, Err(error)) => Some((*id, error.text.as_str())),
        _ => None,
    });
    assert_eq!(answered.collect::<Vec<_>>(), [(1, "no timers"), (2, "no timers")]);
}

#[test]
fn a_fired_timer_is_set_anew_and_another_one_stays() {
    let driver = driver_without_time();
    driver.add_waiter(1, driver.token_request(LONG, Duration::ZERO), Box::new(|_| Box::new(|| {})));
    let first = driver.state().due.unwrap();
    driver.tick((first.0, first.1 - 1));
    assert_eq!(driver.state().due, Some(first), "another timer fired");
    driver.tick(first);
    assert!(
        driver.state().due.is_some_and(|due| due.0 == first.0 && due != first),
        "the deadline is still to come"
    );
}

#[test]
fn a_request_that_its_deadline_ends_may_have_acted_unless_it_only_reads() {
    for (method, may_have_acted) in [("GET", false), ("POST", true)] {
        let request = ApiRequest::new(method, "/wallet", &[], None).unwrap();
        let error = requests::run(&driver_without_time(), request, Duration::from_millis(1)).unwrap_err();
        assert_eq!(
            (error.status, error.may_have_acted),
            (Status::PG_ERR_TIMEOUT, may_have_acted),
            "{method}"
        );
    }
}

#[test]
fn a_request_that_is_dropped_leaves_no_waiter() {
    let driver = driver_without_time();
    let mut asked = Box::pin(requests::token(&driver, Duration::MAX, Duration::ZERO));
    assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(driver.state().work().waiting.len(), 1);
    drop(asked);
    assert!(driver.state().work().waiting.is_empty());
}

fn refresh() -> RefreshToken {
    RefreshToken::new(Secret::new("r").unwrap())
}

/// A machine that is busy may stop a thread for any time.
#[test]
fn a_caller_takes_its_answer_at_its_deadline_although_the_thread_that_tells_it_is_stopped() {
    let driver = driver(MemoryStore::default());
    let request = |timeout| driver.token_request(timeout, Duration::ZERO);
    let (release, released) = mpsc::channel::<()>();
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
