//! A session against the emulator over real TLS, on a clock that the tests set.

#![allow(unsafe_code, reason = "the generation word is read as C reads it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use support::{NOW, PATIENCE, TestClock, WALL_AHEAD_S, client, config, eventually, pass, turn};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::{Body, Level, Notice, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Grant;
use paymentsgate_auth::transport::{Exchange, HttpTransport, Request, Sending, Transport};
use pg_sandbox::{Action, Fault, Options, Point, Revoke, Rotation, Route, Sandbox};

struct Fixture {
    sandbox: Sandbox,
    client: Arc<Client>,
    session: Session,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new() -> Self {
        let turn = turn();
        let sandbox = Sandbox::start(Options::default()).unwrap();
        let config = config(&sandbox);
        let client = client(&config, &sandbox.urls().https);
        let session = Session::open(&client, &config).unwrap();
        Fixture { sandbox, client, session, _turn: turn }
    }

    fn token(&self) -> Arc<Grant> {
        self.session.token(PATIENCE, NOW).unwrap()
    }

    /// Time passes for the library and for the service.
    fn pass(&self, seconds: u64) {
        pass(&self.sandbox, seconds);
    }

    /// The wall clock is set, by so many seconds.
    fn set_wall(&self, by: i64) {
        WALL_AHEAD_S.fetch_add(by, Ordering::SeqCst);
    }

    /// Whether the token is handed out from memory.
    fn is_fresh(&self) -> bool {
        self.session.fresh(Duration::ZERO).is_some()
    }

    fn word(&self) -> u64 {
        // SAFETY: valid as long as the session, and written by atomics alone.
        unsafe { (*self.session.generation_word().cast::<AtomicU64>()).load(Ordering::Acquire) }
    }

    fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }

    fn fault(&self, route: Route, point: Point, action: Action) {
        self.sandbox.inject(Fault::new(route, action).at(point)).unwrap();
    }
}

fn failure(status: u16) -> Action {
    Action::Status { status, body: None, headers: BTreeMap::new() }
}

/// So many threads ask at the same moment.
fn crowd(fixture: &Fixture, threads: usize) -> Vec<Result<Arc<Grant>, Error>> {
    let together = Barrier::new(threads);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    fixture.session.token(PATIENCE, NOW)
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_fresh_token_costs_no_call() {
    let fixture = Fixture::new();
    let first = fixture.token();
    for _ in 0..1000 {
        assert_eq!(fixture.session.token(NOW, NOW).unwrap().generation, first.generation);
    }
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn a_thousand_threads_at_expiry_make_one_call() {
    let fixture = Fixture::new();
    assert_eq!(crowd(&fixture, 1000).len(), 1000);
    assert_eq!(fixture.calls(), (1, 0));
    fixture.pass(3600);
    let tokens = crowd(&fixture, 1000);
    assert!(tokens.iter().all(|token| token.as_ref().unwrap().generation == 2));
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn in_the_advisory_window_nobody_waits_and_one_refresh_runs() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600 - 130);
    // A session that nobody has asked is left alone; the tick comes with the next question.
    fixture.fault(Route::Refresh, Point::Before, Action::Delay { ms: 300 });
    assert_eq!(fixture.session.token(NOW, Duration::from_secs(3000)).unwrap().generation, 1);
    eventually("a background refresh", || fixture.token().generation == 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn deadline_zero_never_blocks_and_still_gets_things_going() {
    let fixture = Fixture::new();
    let error = fixture.session.token(NOW, NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    eventually("a token", || fixture.session.token(NOW, NOW).is_ok());
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn a_lost_answer_costs_one_issue_and_the_refresh_token_is_never_seen_again() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600);
    fixture.fault(Route::Refresh, Point::After, Action::Reset);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (2, 1));
    assert_eq!(fixture.sandbox.counters().most_presentations, 1);
    assert_eq!(fixture.session.health().unwrap().counters.ambiguous, 1);
}

#[test]
fn a_refused_refresh_token_costs_one_issue() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.pass(3600);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (2, 1));
    assert_eq!(fixture.session.health().unwrap().counters.refused, 1);
}

#[test]
fn a_rate_limit_keeps_the_refresh_token() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3500);
    let limited =
        Action::Status { status: 429, body: None, headers: [("Retry-After".into(), "1".into())].into() };
    fixture.fault(Route::Refresh, Point::Before, limited);
    assert_eq!(fixture.token().generation, 1, "the token still lives and is handed out");
    fixture.pass(100);
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (1, 2), "the same refresh token went again, and no Issue was needed");
}

#[test]
fn near_the_end_a_dead_service_still_leaves_the_token_there_is() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.pass(3600 - 60);
    fixture.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Accept).forever()).unwrap();
    fixture.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Before).forever()).unwrap();
    assert_eq!(fixture.token().generation, 1);
    fixture.pass(40);
    assert!(
        fixture.session.token(Duration::from_millis(200), NOW).is_err(),
        "an expired token is not handed out"
    );
    fixture.sandbox.clear_faults();
    fixture.pass(60);
    assert_eq!(fixture.token().generation, 2, "and it heals by itself");
}

#[test]
fn a_reported_token_is_replaced_once_and_an_old_one_costs_nothing() {
    let fixture = Fixture::new();
    let old = fixture.token();
    fixture.pass(60);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    let new = fixture.token();
    assert_eq!(new.generation, 2);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    assert_eq!(fixture.token().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn the_refresh_after_a_report_carries_the_refused_token() {
    let fixture = Fixture::new();
    let old = fixture.token();
    fixture.pass(60);
    fixture.session.reject(*old.token.fingerprint()).unwrap();
    fixture.token();
    let refresh = fixture.sandbox.counters().route(Route::Refresh).last.unwrap();
    assert_eq!(refresh.bearer(), Some(old.token.access.expose()));
}

#[test]
fn a_crowd_at_one_deadline_is_told_of_the_deadline() {
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
fn tokens_that_are_refused_young_are_replaced_once_and_then_with_pauses() {
    let fixture = Fixture::new();
    fixture.session.reject(*fixture.token().token.fingerprint()).unwrap();
    let second = fixture.token();
    assert_eq!(fixture.calls(), (2, 0), "the successor of a token refused when new comes from Issue");
    let error = fixture.session.reject(*second.token.fingerprint()).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_REJECTED_FRESH);
    let wait = error.retry_after.unwrap();
    assert!(wait <= Duration::from_millis(1250) && error.text.contains("store"), "{wait:?} {error}");
    assert_eq!(fixture.token().generation, 2, "it goes on being served");
    assert_eq!(fixture.calls(), (2, 0));
    let health = fixture.session.health().unwrap();
    assert_eq!((health.refused_young, health.replacement_seconds_left.is_some()), (1, true));
    fixture.pass(2);
    fixture.session.reject(*second.token.fingerprint()).unwrap();
    assert_eq!(fixture.token().generation, 3);
    assert_eq!(fixture.calls(), (3, 0));
}

#[test]
fn a_new_token_is_got_on_demand_and_by_all_who_demand_it_at_once() {
    let fixture = Fixture::new();
    let first = fixture.token();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        fixture.fault(Route::Refresh, Point::Before, Action::Delay { ms: 300 });
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let newer = fixture.session.refresh(PATIENCE).unwrap();
                assert_ne!(*newer.token.fingerprint(), *first.token.fingerprint());
            });
        }
    });
    assert_eq!(fixture.calls(), (1, 1));
    fixture.fault(Route::Any, Point::Before, Action::Hang);
    let error = fixture.session.refresh(Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT, "what is not newer is no answer: {error}");
    assert_eq!(fixture.token().generation, 2, "and the token there is goes on being served");
}

#[test]
fn the_first_cause_stands_behind_a_timeout_and_in_health_while_the_flight_goes_on() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, failure(503));
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    let waiting = || fixture.session.token(Duration::from_secs(3), NOW).unwrap_err();
    let error = waiting();
    assert_eq!((error.status, error.cause), (Status::PG_ERR_TIMEOUT, Some(Status::PG_ERR_SERVER)));
    assert!(error.text.contains("503"), "{error}");
    let health = fixture.session.health().unwrap();
    assert!(health.refreshing && health.last_error.unwrap().contains("503"));
}

#[test]
fn refused_credentials_are_not_presented_again_and_new_ones_are() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().clone();
    let other = fixture.sandbox.add_account().unwrap();
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &other.public_key, "test").unwrap())
        .unwrap();
    for _ in 0..10 {
        let error = fixture.session.token(PATIENCE, NOW).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED);
        let wait = error.retry_after.unwrap().as_secs();
        assert!((25..=30).contains(&wait), "the longer of the two waits is told: {wait} s");
    }
    assert_eq!(fixture.calls(), (1, 0), "one strike, then a back-off");
    let error = fixture
        .session
        .set_credentials(Credentials::new(&other.account_id, &other.public_key, "test").unwrap())
        .unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_INVALID_ARGUMENT, "a session has one account: {error}");
    assert_eq!(fixture.session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &good.public_key, "test").unwrap())
        .unwrap();
    assert_eq!(fixture.token().generation, 1);
}

#[test]
fn waiters_keep_their_own_deadlines_and_leaving_stops_nothing() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, Action::Delay { ms: 700 });
    let error = fixture.session.token(Duration::from_millis(50), NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    assert_eq!(fixture.token().generation, 1);
    assert_eq!(fixture.calls(), (1, 0), "the flight of the one who left served the next");
}

#[test]
fn close_tells_who_waits_and_nothing_begins_afterwards() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| fixture.session.token(PATIENCE, NOW));
        eventually("a call under way", || fixture.calls().0 == 1);
        let error = fixture.session.close(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_TIMEOUT, "a call hangs: {error}");
        assert_eq!(waiting.join().unwrap().unwrap_err().status, Status::PG_ERR_CLOSED);
    });
    assert_eq!(fixture.session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_CLOSED);
    assert_eq!(fixture.session.health().unwrap_err().status, Status::PG_ERR_CLOSED);
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn a_token_that_comes_after_the_end_is_not_handed_out() {
    let fixture = Fixture::new();
    fixture.fault(Route::Issue, Point::After, Action::Delay { ms: 200 });
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a call under way", || fixture.calls().0 == 1);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.session.token(NOW, NOW).unwrap_err().status, Status::PG_ERR_CLOSED);
}

#[test]
fn a_closed_session_tries_no_further() {
    let fixture = Fixture::new();
    let failing = Action::Status { status: 503, body: None, headers: Default::default() };
    fixture.sandbox.inject(Fault::new(Route::Issue, Action::Delay { ms: 200 }).forever()).unwrap();
    fixture.sandbox.inject(Fault::new(Route::Issue, failing).forever()).unwrap();
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a call under way", || fixture.calls().0 == 1);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn what_is_said_of_old_credentials_is_not_held_against_new_ones() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().clone();
    let other = fixture.sandbox.add_account().unwrap();
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &other.public_key, "test").unwrap())
        .unwrap();
    fixture.fault(Route::Issue, Point::Before, Action::Delay { ms: 300 });
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a call under way", || fixture.calls().0 == 1);
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &good.public_key, "test").unwrap())
        .unwrap();
    assert_eq!(fixture.token().generation, 1);
}

#[test]
fn sessions_of_two_accounts_do_not_mix() {
    let fixture = Fixture::new();
    let other = fixture.sandbox.add_account().unwrap();
    let mut config = Config::default();
    config.set("account_id", &other.account_id).unwrap();
    config.set("public_key", &other.public_key).unwrap();
    let second = Session::open(&fixture.client, &config).unwrap();
    let (one, two) = (fixture.token(), second.token(PATIENCE, NOW).unwrap());
    assert_ne!(*one.token.fingerprint(), *two.token.fingerprint());
    second.reject(*one.token.fingerprint()).unwrap();
    assert_eq!(fixture.calls(), (2, 0), "a report of somebody else's token costs nothing");
}

/// Panics at one of its requests.
struct Fragile {
    requests: AtomicU64,
    breaks_at: u64,
    inner: HttpTransport,
}

impl Fragile {
    fn session(fixture: &Fixture, breaks_at: u64) -> Session {
        let config = config(&fixture.sandbox);
        let url = fixture.sandbox.urls().https.parse().unwrap();
        let inner = config.transport(url, Arc::new(TestClock)).unwrap();
        let fragile = Fragile { requests: AtomicU64::new(0), breaks_at, inner };
        let client = Client::with_parts(&config, Box::new(fragile), Arc::new(TestClock)).unwrap();
        Session::open(&client, &config).unwrap()
    }
}

impl Transport for Fragile {
    fn send(&self, request: Request) -> Sending<'_> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == self.breaks_at {
            panic!("hunter2");
        }
        let reply: Sending<'_> = self.inner.send(request);
        Box::pin(async move {
            let reply: Exchange = reply.await;
            reply
        })
    }
}

#[test]
fn a_panic_in_a_flight_wakes_everybody_and_the_session_lives_on() {
    let fixture = Fixture::new();
    let session = Fragile::session(&fixture, 0);
    let error = session.token(PATIENCE, NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_INTERNAL);
    assert!(!error.text.contains("hunter2"), "{}", error.text);
    fixture.pass(60);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
}

/// A session from a pair that was issued by a bare call, without credentials.
fn from_a_pair(fixture: &Fixture, settings: &[(&str, &str)]) -> (Session, Queue) {
    let pair = fixture.client.issue(None, None).unwrap();
    let mut config = Config::default();
    config.set("access_token", pair.token.access.expose()).unwrap();
    config.set("refresh_token", pair.refresh.unwrap().secret().expose()).unwrap();
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let url = fixture.sandbox.urls().https.parse().unwrap();
    let trust = self::config(&fixture.sandbox);
    let transport = trust.transport(url, Arc::new(TestClock)).unwrap();
    let client = Client::with_parts(&Config::default(), Box::new(transport), Arc::new(TestClock)).unwrap();
    let session = Session::open(&client, &config).unwrap();
    let queue = Queue::default();
    session.subscribe(queue.begin(7, Operation::Subscription).unwrap(), Level::PG_LOG_NONE);
    (session, queue)
}

/// The news that have come.
fn news(queue: &Queue) -> Vec<Body> {
    std::iter::from_fn(|| queue.poll(NOW).unwrap()).map(|event| event.body).collect()
}

#[test]
fn a_pair_is_served_refreshed_and_every_successor_handed_to_the_host() {
    let fixture = Fixture::new();
    let (session, queue) = from_a_pair(&fixture, &[("access_token_expires_in_s", "3600")]);
    assert_eq!(session.token(NOW, NOW).unwrap().generation, 1);
    for generation in 2..5 {
        fixture.pass(3600);
        let token = session.token(PATIENCE, NOW).unwrap();
        assert_eq!((token.generation, token.refresh.is_none()), (generation, true));
        let [Body::Notice(Notice::Rotated(kept))] = &news(&queue)[..] else { panic!("not one rotation") };
        assert_eq!(*kept.token.fingerprint(), *token.token.fingerprint());
        let last = fixture.sandbox.counters().route(Route::Refresh).last.unwrap();
        assert!(
            !last.body.contains(kept.refresh.as_ref().unwrap().secret().expose()),
            "it has not been used"
        );
    }
    assert_eq!(fixture.calls(), (1, 3));
}

#[test]
fn a_pair_of_unknown_age_is_renewed_before_it_is_used() {
    let fixture = Fixture::new();
    let (session, _queue) = from_a_pair(&fixture, &[]);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn a_pair_alone_replays_a_lost_answer_once_and_then_is_lost() {
    for (rotation, calls) in
        [(Rotation::Window(30), Ok(2)), (Rotation::SingleUse, Err(Status::PG_ERR_NO_CREDENTIALS))]
    {
        let fixture = Fixture::new();
        fixture.sandbox.switches(|switches| switches.rotation = rotation);
        let (session, queue) = from_a_pair(&fixture, &[("access_token_expires_in_s", "3600")]);
        fixture.pass(3600);
        fixture.fault(Route::Refresh, Point::After, Action::Reset);
        let answer = session.token(PATIENCE, NOW);
        assert_eq!(answer.as_ref().map(|token| token.generation).map_err(|error| error.status), calls);
        assert_eq!((fixture.calls(), fixture.sandbox.counters().most_presentations), ((1, 2), 2));
        assert!(matches!(news(&queue)[0], Body::Notice(Notice::Ambiguous(_))));
        let _ = session.token(PATIENCE, NOW);
        assert_eq!(fixture.calls(), (1, 2), "and never again");
    }
}

#[test]
fn a_request_bears_the_token_and_a_revoked_one_is_replaced_once() {
    let fixture = Fixture::new();
    let wallet = || ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    assert_eq!(fixture.session.request(wallet(), None).unwrap().status, 200);
    fixture.pass(60);
    let token = fixture.token();
    fixture.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().into()));
    assert_eq!(fixture.session.request(wallet(), None).unwrap().status, 200);
    assert_eq!(fixture.calls(), (1, 1));
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 3);
}

#[test]
fn close_gives_requests_up_and_waits_for_them() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.sandbox.inject(Fault::new(Route::Wallet, Action::Hang)).unwrap();
    let queue = Queue::default();
    let wallet = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    fixture.session.request_start(queue.begin(1, Operation::Response).unwrap(), wallet, None);
    eventually("a request under way", || fixture.sandbox.counters().calls(Route::Wallet) == 1);
    fixture.session.close(PATIENCE).unwrap();
    let end = queue.poll(PATIENCE).unwrap().unwrap();
    assert_eq!(end.body.error().unwrap().status, Status::PG_ERR_CLOSED);
    assert!(queue.poll(NOW).unwrap().is_none());
}

#[test]
fn a_panic_ends_what_was_started_on_a_queue_too() {
    let fixture = Fixture::new();
    let queue = Queue::default();
    let end = || queue.poll(PATIENCE).unwrap().unwrap().body.error().unwrap().status;
    let session = Fragile::session(&fixture, 0);
    session.token_start(queue.begin(1, Operation::Token).unwrap(), PATIENCE, NOW);
    assert_eq!(end(), Status::PG_ERR_INTERNAL);

    let session = Fragile::session(&fixture, 1);
    session.token(PATIENCE, NOW).unwrap();
    let wallet = || ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    session.request_start(queue.begin(1, Operation::Response).unwrap(), wallet(), None);
    assert_eq!(end(), Status::PG_ERR_INTERNAL);
    assert_eq!(session.request(wallet(), None).unwrap().status, 200, "and the session lives on");
    session.close(PATIENCE).unwrap();
    assert!(queue.poll(NOW).unwrap().is_none());
}

/// Holds up the library's own thread at the first request, until it is told to go on.
struct HoldsUp {
    requests: Arc<AtomicU64>,
    go_on: Mutex<mpsc::Receiver<()>>,
    inner: HttpTransport,
}

impl Transport for HoldsUp {
    fn send(&self, request: Request) -> Sending<'_> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == 0 {
            self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        self.inner.send(request)
    }
}

#[test]
fn a_deadline_counts_from_the_call_and_not_from_when_our_thread_comes_to_it() {
    let fixture = Fixture::new();
    let (config, requests) = (config(&fixture.sandbox), Arc::new(AtomicU64::new(0)));
    let (go_on, told) = mpsc::channel();
    let url = fixture.sandbox.urls().https.parse().unwrap();
    let inner = config.transport(url, Arc::new(TestClock)).unwrap();
    let transport = HoldsUp { requests: requests.clone(), go_on: Mutex::new(told), inner };
    let client = Client::with_parts(&config, Box::new(transport), Arc::new(TestClock)).unwrap();
    let session = Session::open(&client, &config).unwrap();

    let queue = Queue::default();
    client.issue_start(queue.begin(1, Operation::Token).unwrap(), None, None);
    eventually("our thread is busy", || requests.load(Ordering::SeqCst) == 1);
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

#[test]
fn health_tells_the_state_and_no_secret() {
    let fixture = Fixture::new();
    fixture.token();
    let token = fixture.token();
    let health = serde_json::to_string(&fixture.session.health().unwrap()).unwrap();
    for part in [
        r#""phase":"fresh""#,
        r#""generation":1"#,
        r#""issues":1"#,
        r#""waited":1"#,
        r#""served":1"#,
        r#""cause":"first""#,
        &token.token.fingerprint().to_string(),
    ] {
        assert!(health.contains(part), "{health}");
    }
    assert!(!health.contains(token.token.access.expose()), "{health}");
}

/// So long before the end that callers wait.
const MANDATORY: u64 = 3600 - 110;

#[test]
fn sleep_is_seen_at_once() {
    let fixture = Fixture::new();
    fixture.token();
    assert!(fixture.is_fresh());
    fixture.pass(MANDATORY);
    assert!(!fixture.is_fresh());
}

#[test]
fn a_wall_clock_put_back_prolongs_a_token_by_one_lease_at_most() {
    for lost in [0, 1, 2, 10, 3600] {
        let fixture = Fixture::new();
        fixture.token();
        assert!(fixture.is_fresh());
        fixture.pass(MANDATORY);
        fixture.set_wall(-(MANDATORY as i64) - lost);
        if lost >= 4 {
            assert!(!fixture.is_fresh(), "put back by {lost} s it is outside of the lease");
        }
        // A lease of three seconds, however the clock stands in it.
        fixture.pass(3 + lost.unsigned_abs().min(3));
        assert!(!fixture.is_fresh(), "put back by {lost} s");
        assert_eq!(fixture.token().generation, 2);
    }
}

#[test]
fn a_wall_clock_that_stands_still_meets_our_own_thread() {
    let fixture = Fixture::new();
    fixture.token();
    assert!(fixture.is_fresh() && fixture.word() != 0);
    fixture.pass(MANDATORY);
    fixture.set_wall(-(MANDATORY as i64));
    // It looks when the boot clock says so; here it is told to.
    assert_eq!(fixture.word(), 0);
    assert!(!fixture.is_fresh());
}

#[test]
fn a_wall_clock_put_forward_a_little_changes_nothing_and_by_far_counts_as_mandatory() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.set_wall(40);
    assert!(fixture.is_fresh() && fixture.word() != 0);
    fixture.pass(MANDATORY);
    assert!(!fixture.is_fresh());
    assert_eq!(fixture.token().generation, 2);
    fixture.pass(60);
    assert!(fixture.is_fresh());
    fixture.set_wall(7200);
    assert!(!fixture.is_fresh());
    assert_eq!(fixture.word(), 0);
    assert_eq!(fixture.token().generation, 3);
    assert!(fixture.is_fresh() && fixture.word() != 0);
}

#[test]
fn who_asks_once_for_each_token_finds_the_next_one_made_in_the_background() {
    let fixture = Fixture::new();
    fixture.token();
    for generation in 1..4 {
        let number = fixture.word();
        assert!(number != 0, "what the word vouches for is handed out without a call");
        assert_eq!(fixture.session.token(NOW, NOW).unwrap().generation, generation);
        // Into the advisory window, past the moment that was drawn.
        fixture.pass(3600 - 400);
        eventually("a background refresh", || ![0, number].contains(&fixture.word()));
        assert_eq!(fixture.calls(), (1, generation));
    }
}

#[test]
fn the_word_moves_with_rotation_and_is_silent_otherwise() {
    let fixture = Fixture::new();
    assert_eq!(fixture.word(), 0, "there is no token yet");
    let first = fixture.token();
    let number = fixture.word();
    assert!(number != 0);
    fixture.session.reject(*first.token.fingerprint()).unwrap();
    assert!(fixture.word() != number, "reported");
    fixture.token();
    assert!(fixture.word() != number && fixture.word() != 0);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.word(), 0, "closed");
}
