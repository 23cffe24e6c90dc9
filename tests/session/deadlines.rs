//! The deadlines of callers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::event::Operation;
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::transport::{HttpTransport, Request, Sending, Transport};
use pg_sandbox::{Action, Point, Route};

use crate::fixture::{Fixture, answer};
use crate::support::{NOW, PATIENCE, TestClock, config, eventually};

/// Blocks the library's thread at the first request, until the test releases it.
struct BlocksTheThread {
    requests: Arc<AtomicU64>,
    go_on: Mutex<mpsc::Receiver<()>>,
    inner: HttpTransport,
}

impl Transport for BlocksTheThread {
    fn send(&self, request: Request) -> Sending<'_> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == 0 {
            self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        self.inner.send(request)
    }
}

#[test]
fn a_deadline_of_zero_does_not_block_and_still_starts_a_flight() {
    let fixture = Fixture::new();
    let error = fixture.session.token(NOW, NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    eventually("a token", || fixture.session.token(NOW, NOW).is_ok());
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn many_callers_with_one_deadline_all_get_a_timeout() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    let together = Barrier::new(200);
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                together.wait();
                let error = fixture.session.token(Duration::from_millis(100), NOW).unwrap_err();
                assert_eq!(error.status, Status::PG_ERR_TIMEOUT, "{error}");
            });
        }
    });
}

#[test]
fn each_waiter_has_its_own_deadline_and_leaving_does_not_stop_the_flight() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, Action::Delay { ms: 700 });
    let error = fixture.session.token(Duration::from_millis(50), NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    assert_eq!(fixture.token().generation, 1);
    assert_eq!(fixture.calls(), (1, 0), "the flight of the caller that left served the next one");
}

#[test]
fn a_timeout_and_health_name_the_first_cause_while_the_flight_runs() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, answer(503, None, &[]));
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    let waiting = || fixture.session.token(Duration::from_secs(3), NOW).unwrap_err();
    let error = waiting();
    assert_eq!((error.status, error.cause), (Status::PG_ERR_TIMEOUT, Some(Status::PG_ERR_SERVER)));
    assert!(error.text.contains("503"), "{error}");
    let health = fixture.session.health().unwrap();
    assert!(health.refreshing && health.last_error.unwrap().contains("503"));
}

#[test]
fn a_deadline_counts_from_the_call_even_if_the_librarys_thread_is_busy() {
    let fixture = Fixture::new();
    let (config, requests) = (config(&fixture.sandbox), Arc::new(AtomicU64::new(0)));
    let (go_on, told) = mpsc::channel();
    let url = fixture.sandbox.urls().https.parse().unwrap();
    let inner = config.transport(url, Arc::new(TestClock)).unwrap();
    let transport = BlocksTheThread { requests: requests.clone(), go_on: Mutex::new(told), inner };
    let client = Client::with_parts(&config, Box::new(transport), Arc::new(TestClock)).unwrap();
    let session = Session::open(&client, &config).unwrap();

    let queue = Queue::default();
    client.issue_start(queue.begin(1, Operation::Token).unwrap(), None, None);
    eventually("the library's thread is busy", || requests.load(Ordering::SeqCst) == 1);
    let second = Duration::from_secs(1);
    let wallet = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    client.issue_start(queue.begin(2, Operation::Token).unwrap(), None, Some(second));
    session.request_start(queue.begin(3, Operation::Response).unwrap(), wallet, Some(second));
    fixture.pass(2);
    go_on.send(()).unwrap();

    let ends: BTreeMap<u64, Option<Status>> = (0..3)
        .map(|_| queue.poll(PATIENCE).unwrap().unwrap())
        .map(|event| (event.id, event.body.error().map(|error| error.status)))
        .collect();
    let late = Some(Status::PG_ERR_TIMEOUT);
    assert_eq!(ends, BTreeMap::from([(1, None), (2, late), (3, late)]));
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 0);
    session.close(PATIENCE).unwrap();
}
