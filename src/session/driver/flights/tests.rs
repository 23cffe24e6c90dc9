//! Tests of flights: their ends, their private pairs, and the time of their calls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::super::account::Account;
use super::super::super::decision::Policy;
use super::super::super::plan::Cause;
use super::super::{Tell, TokenRequest, Work};
use super::*;
use crate::clock::{BootId, Clock, Moment, SystemClock};
use crate::config::Config;
use crate::expiry::Lifetime;
use crate::secret::{Secret, Wiped};
use crate::store::{Inspection, Lock, MemoryStore, Storing, Uncommitted};
use crate::sync::lock;
use crate::token::Token;
use crate::transport::RawResponse;

pub(in super::super) const PATIENCE: Duration = Duration::from_secs(30);

/// A service that never answers.
struct Silent;

impl Transport for Silent {
    fn send(&self, _request: Request) -> Sending<'_> {
        Box::pin(std::future::pending())
    }
}

/// A service that issues a pair.
struct Generous;

impl Transport for Generous {
    fn send(&self, _request: Request) -> Sending<'_> {
        let body = Wiped::new(br#"{"access_token":"a","expires_in":3600}"#.to_vec());
        let answer = RawResponse { status: 200, body, ..RawResponse::default() };
        Box::pin(std::future::ready(Exchange { sent: None, result: Ok(answer) }))
    }
}

/// A service that refuses all, and repeats secrets of any call.
struct Indiscreet;

impl Transport for Indiscreet {
    fn send(&self, _request: Request) -> Sending<'_> {
        let body = br#"{"error":"NO","message":"key old-refresh old-access","data":["key","old-refresh","old-access"]}"#;
        let answer = RawResponse { status: 401, body: Wiped::new(body.to_vec()), ..RawResponse::default() };
        Box::pin(std::future::ready(Exchange { sent: None, result: Ok(answer) }))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Breaks {
    /// It panics in the lock and in the cleanup.
    InLock,
    /// It panics in the middle of a flight and in the cleanup.
    InTheMiddle,
    /// No intent can be written, and another session takes the lease.
    Lease,
    /// No pair can be written, and then another session has the lock.
    Commit,
}

/// How it breaks, what it does otherwise, and whether a pair could not be written.
struct Broken(Breaks, MemoryStore, AtomicBool);

fn broken(breaks: Breaks) -> Broken {
    Broken(breaks, MemoryStore::default(), AtomicBool::new(false))
}

/// A store whose lock another session keeps.
pub(in super::super) fn locked_out() -> impl Store {
    let store = broken(Breaks::Commit);
    store.2.store(true, Ordering::SeqCst);
    store
}

impl Store for Broken {
    fn lock(&self, base: u64) -> Storing<'_, Lock> {
        assert!(self.0 != Breaks::InLock, "a defect in the lock");
        if self.2.load(Ordering::SeqCst) { Box::pin(std::future::pending()) } else { self.1.lock(base) }
    }

    fn load(&self) -> Storing<'_, Loaded> {
        assert!(self.0 != Breaks::InTheMiddle, "a defect in the middle");
        self.1.load()
    }

    fn intend(&self) -> Storing<'_, Option<RefreshToken>> {
        if self.0 == Breaks::Commit {
            return self.1.intend();
        }
        Box::pin(std::future::ready(Err(Error::new(Status::PG_ERR_STORE, "the store fails"))))
    }

    fn ensure_lease(&self) -> Storing<'_, ()> {
        if self.0 == Breaks::Commit {
            return self.1.ensure_lease();
        }
        Box::pin(std::future::ready(Err(Error::new(Status::PG_ERR_STORE, "the lease is lost"))))
    }

    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()> {
        self.1.retract(refresh)
    }

    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted> {
        if self.0 == Breaks::Commit {
            self.2.store(true, Ordering::SeqCst);
            let error = Error::new(Status::PG_ERR_STORE, "the store fails");
            return Box::pin(std::future::ready(Err(Uncommitted { error, pair })));
        }
        self.1.commit(base, pair)
    }

    fn back_off(&self, refusal: Refusal) -> Storing<'_, ()> {
        self.1.back_off(refusal)
    }

    fn unlock(&self) -> Storing<'_, ()> {
        assert!(matches!(self.0, Breaks::Lease | Breaks::Commit), "a defect in the cleanup");
        self.1.unlock()
    }

    fn inspect(&self) -> Storing<'_, Inspection> {
        self.1.inspect()
    }

    fn forget(&self) -> Storing<'_, ()> {
        self.1.forget()
    }
}

pub(in super::super) fn driver(store: impl Store + 'static) -> Arc<Driver> {
    driver_of(store, Silent)
}

fn driver_of(store: impl Store + 'static, transport: impl Transport + 'static) -> Arc<Driver> {
    driver_on(Arc::new(SystemClock), store, transport, None)
}

fn driver_on(
    clock: Arc<dyn Clock>,
    store: impl Store + 'static,
    transport: impl Transport + 'static,
    first: Option<Committed>,
) -> Arc<Driver> {
    let client = Client::with_parts(&Config::default(), Box::new(transport), clock.clone()).unwrap();
    let [account_id, public_key] = ["account", "key"].map(|text| Secret::new(text).unwrap());
    let account = Arc::new(Account::fixed(client.clone(), Arc::new(Credentials { account_id, public_key })));
    Driver::new(Policy::default(), account, Arc::new(store), first).unwrap()
}

struct Standing(Moment);

impl Clock for Standing {
    fn now(&self) -> Moment {
        self.0
    }

    fn boot_id(&self) -> Option<BootId> {
        None
    }
}

/// A driver for which no deadline passes.
pub(in super::super) fn driver_without_time() -> Arc<Driver> {
    let now = SystemClock.now();
    let clock = Standing(Moment { boot: now.boot + Duration::from_secs(3600), ..now });
    driver_on(Arc::new(clock), locked_out(), Silent, None)
}

#[test]
fn a_flight_ends_even_if_its_store_and_its_cleanup_panic() {
    for breaks in [Breaks::InLock, Breaks::InTheMiddle] {
        let driver = driver(broken(breaks));
        for _ in 0..2 {
            let error = driver
                .ask(Duration::from_secs(3), driver.token_request(Duration::from_secs(3), Duration::ZERO));
            let error = error.unwrap_err();
            assert_eq!(error.cause.unwrap_or(error.status), Status::PG_ERR_INTERNAL, "{error}");
        }
        assert!(driver.close(PATIENCE), "no work is left running");
    }
}

#[test]
fn a_pair_that_cannot_be_written_is_returned_while_another_session_has_the_lock() {
    let driver = driver_of(broken(Breaks::Commit), Generous);
    let request = driver.token_request(PATIENCE, Duration::ZERO);
    let committed = driver.ask(PATIENCE, request).unwrap();
    assert_eq!((committed.generation(), committed.has_refresh), (1, false));
    assert!(driver.close(PATIENCE), "the flight has ended");
}

#[test]
fn a_lease_that_is_lost_after_the_store_has_failed_does_not_prevent_a_private_pair() {
    let driver = driver_of(broken(Breaks::Lease), Generous);
    let request = driver.token_request(PATIENCE, Duration::ZERO);
    let committed = driver.ask(PATIENCE, request).unwrap();
    assert_eq!(committed.generation(), 1);
    assert!(driver.close(PATIENCE), "the flight has ended");
}

/// A proxy may also give the answer of one call to the next one.
#[test]
fn no_error_of_a_call_shows_a_secret_of_another_one() {
    let (store, clock) = (MemoryStore::default(), Arc::new(SystemClock));
    let [access, refresh] = ["old-access", "old-refresh"].map(|text| Secret::new(text).unwrap());
    let token = Token::new(access, Lifetime::of(Duration::from_secs(3600)), clock.now());
    let first = store.put(Pair { token, refresh: Some(RefreshToken::new(refresh)) }, 1);
    let driver = driver_on(clock, store, Indiscreet, Some(first));
    let request = TokenRequest { wants_newer: true, ..driver.token_request(PATIENCE, Duration::ZERO) };
    let error = driver.ask(PATIENCE, request).unwrap_err();
    assert!(error.text.starts_with("issue: "), "a Refresh was refused in a flight before: {error}");
    let server = error.server.unwrap();
    assert_eq!(server.message.as_deref(), Some("[redacted] [redacted] [redacted]"));
    assert_eq!(server.details.as_deref(), Some(r#"["[redacted]","[redacted]","[redacted]"]"#));
}

/// A wake-up panics if the host has closed the descriptor of our reactor, for example.
#[test]
fn a_panic_where_one_caller_is_told_keeps_no_other_from_its_answer() {
    let driver = driver(broken(Breaks::InTheMiddle));
    let request = driver.token_request(PATIENCE, Duration::ZERO);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3 {
        let answers = answers.clone();
        let tell: Tell = if number == 1 {
            Box::new(|| panic!("a defect"))
        } else {
            Box::new(move || lock(&answers).push(number))
        };
        driver.add_waiter(driver.new_id(), request, Box::new(|_| tell));
    }
    assert!(driver.close(PATIENCE), "a flight has started, and ends");
    assert_eq!(*lock(&answers), [0, 2]);
}

#[test]
fn a_refresh_token_of_the_old_credentials_is_not_kept_for_the_new_ones() {
    for (record_number, is_kept) in [(0, true), (1, false)] {
        let driver = driver(MemoryStore::default());
        driver.state().record_number = record_number;
        let maybe_spent = RefreshToken::new(Secret::new("perhaps spent").unwrap()).into_maybe_spent();
        driver.end_flight(FlightOutcome { maybe_spent, ..FlightOutcome::crashed(closed()) }, 0);
        assert_eq!(driver.state().work().maybe_spent.is_some(), is_kept);
    }
}

/// It is offered to the store once that works again.
#[test]
fn a_private_refresh_token_is_kept_until_the_store_has_another_one() {
    let refresh = || RefreshToken::new(Secret::new("private").unwrap());
    let failed = || Error::new(Status::PG_ERR_STORE, "the store fails");
    let driver = driver(MemoryStore::default());
    let token = Token::new(Secret::new("a").unwrap(), Lifetime::endless(), driver.now());
    let obtained = || Ok(Committed::private(token.clone(), 1));
    for (result, store_error, is_kept) in [
        (obtained(), None, false),
        (obtained(), Some(failed()), true),
        (Err(failed()), None, true),
        (Err(failed()), Some(failed()), true),
    ] {
        driver.state().work().private_refresh = Some(refresh());
        let what = format!("{:?} {store_error:?}", result.as_ref().err());
        driver.end_flight(FlightOutcome { result, store_error, ..FlightOutcome::crashed(closed()) }, 0);
        assert_eq!(driver.state().work().private_refresh.is_some(), is_kept, "{what}");
    }
}

/// What one step of a flight comes to that began with this record.
fn perform(driver: &Arc<Driver>, step: Step, record_number: u64, store: &Arc<dyn Store>) -> Input {
    let deps = FlightDeps { record_number, store: store.clone(), credentials: None };
    let attempt = Attempt {
        base: 1,
        stored: 1,
        issues: 0,
        may_recover: false,
        may_replay: false,
        is_private: false,
        lock_wait: None,
    };
    let driver = driver.clone();
    let work = async move { driver.perform_step(step, attempt, &deps).await };
    runtime::run(work, PATIENCE).unwrap().unwrap().unwrap()
}

#[test]
fn a_refresh_of_a_closed_session_is_not_sent_and_its_token_goes_back() {
    let driver = driver(MemoryStore::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    assert!(driver.close(PATIENCE));
    let refresh = RefreshToken::new(Secret::new("r").unwrap());
    let done = perform(&driver, Step::Refresh(refresh), 0, &store);
    assert!(matches!(done, Input::Stopped(error) if error.status == Status::PG_ERR_CLOSED));
    let left = runtime::run(async move { store.intend().await }, PATIENCE).unwrap().unwrap();
    assert!(left.unwrap().is_some());
}

#[test]
fn a_private_pair_of_the_old_credentials_leaves_no_refresh_token_for_the_new_ones() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    for (record_number, is_kept) in [(0, true), (1, false)] {
        let driver = driver(MemoryStore::default());
        driver.state().record_number = record_number;
        let token = Token::new(Secret::new("a").unwrap(), Lifetime::endless(), driver.now());
        let refresh = Some(RefreshToken::new(Secret::new("r").unwrap()));
        perform(&driver, Step::KeepPrivate(Pair { token, refresh }), 0, &store);
        assert_eq!(driver.state().work().private_refresh.is_some(), is_kept);
    }
}

#[test]
fn without_a_token_each_further_call_of_a_flight_has_more_time() {
    let driver = driver(MemoryStore::default());
    let longest = Duration::from_secs(12);
    assert_eq!([1, 2, 3].map(|calls| driver.call_timeout(longest, calls).as_secs()), [5, 10, 12]);
}

#[test]
fn a_pair_in_the_store_is_usable_until_its_token_counts_as_expired() {
    let driver = driver(MemoryStore::default());
    for (age, expected) in [(0, true), (40, true), (60, false)] {
        let (age, now) = (Duration::from_secs(age), driver.now());
        let anchor = Moment { boot: now.boot - age, wall: now.wall - age };
        let token = Token::new(Secret::new("a").unwrap(), Lifetime::of(Duration::from_secs(60)), anchor);
        assert_eq!(driver.is_usable(&Committed::private(token, 1)), expected, "after {age:?}");
    }
}

#[test]
fn a_close_waits_for_a_flight_an_answer_and_a_request() {
    let driver = driver(MemoryStore::default());
    let begin: [fn(&mut Work); 3] = [
        |work| work.in_flight = Some((Cause::Asked, Duration::ZERO)),
        |work| work.answering = 1,
        |work| drop(work.requests.insert(1, None)),
    ];
    for begin in begin {
        driver.state().work = None;
        assert!(!driver.state().is_busy());
        begin(driver.state().work());
        assert!(driver.state().is_busy());
    }
}

#[test]
fn a_flight_whose_task_is_dropped_ends() {
    let driver = driver(MemoryStore::default());
    driver.state().machine.step(
        SessionEvent::Ask {
            id: 1,
            deadline: Duration::MAX,
            min_remaining: Duration::ZERO,
            wants_newer: false,
        },
        driver.now(),
        &mut || 0.5,
    );
    assert!(driver.state().machine.is_in_flight());
    let store = Arc::new(MemoryStore::default());
    drop(FlightGuard { driver: Some(driver.clone()), record_number: 0, store });
    assert!(!driver.state().machine.is_in_flight());
    assert!(driver.health().last_error.unwrap().contains("thread has ended"));
}
