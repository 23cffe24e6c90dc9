//! Performs flights: each step, and the outcome in all cases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::decision::SessionEvent;
use super::super::flight::{Flight, Input, Step};
use super::super::machine::closed;
use super::super::outcome::FlightOutcome;
use super::super::phase::{Phase, Windows};
use super::super::plan::Plan;
use super::Driver;
use crate::client::Client;
use crate::clock::FOREVER;
use crate::credentials::Credentials;
use crate::defect;
use crate::error::Error;
use crate::event::Level;
use crate::protocol::Call;
use crate::runtime::{self, race};
use crate::status::Status;
use crate::store::{Committed, Loaded, Refusal, Store, while_keeping_lease};
use crate::token::{Pair, RefreshToken};
use crate::transport::{Exchange, Request, Sending, Transport};

/// The store and credentials that a flight uses from start to end.
pub(in crate::session) struct FlightDeps {
    /// The number of the credentials' record when the flight began.
    pub(in crate::session) record_number: u64,
    pub(in crate::session) store: Arc<dyn Store>,
    pub(in crate::session) credentials: Option<Arc<Credentials>>,
}

/// The data of a flight that its steps need.
struct Attempt {
    base: u64,
    stored: u64,
    /// How often Issue was called, this time included.
    issues: u32,
    /// A Refresh whose answer is lost is followed by other calls, and the last one is an Issue.
    may_recover: bool,
    /// After a lost answer the refresh token is presented once more.
    may_replay: bool,
    /// The flight has given up the store.
    is_private: bool,
    /// The longest wait for the lock, if it has a limit besides that of the store.
    lock_wait: Option<Duration>,
}

/// How long one call may take while there is no token to hand out.
const LONGEST_WITHOUT_TOKEN: Duration = Duration::from_secs(5);
/// The interval at which a running call checks whether there is still a token.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Driver {
    pub(super) fn start_flight(&self, plan: Plan, deps: FlightDeps) {
        let Some(driver) = self.me.upgrade() else { return };
        let runtime = match runtime::handle() {
            Ok(runtime) => runtime,
            Err(error) => return self.end_flight(FlightOutcome::crashed(error), deps.record_number),
        };
        let limit = self.client.longest_flight();
        let guard = FlightGuard {
            driver: Some(driver.clone()),
            record_number: deps.record_number,
            store: deps.store.clone(),
        };
        runtime.spawn(async move {
            let store = deps.store.clone();
            // Boxed, so that its memory is free before waiters are answered: they may allocate memory that stays.
            let flight = Box::pin(tokio::time::timeout(limit, driver.run_flight(plan, deps)));
            let outcome = match defect::catch_panic_async(flight).await {
                Ok(Ok(outcome)) => outcome,
                interrupted => {
                    // Other processes wait for the lock.
                    let _ = defect::catch_panic_async(async { store.unlock().await }).await;
                    FlightOutcome::crashed(interrupted.err().unwrap_or_else(|| took_too_long(limit)))
                }
            };
            guard.finish(outcome);
        });
    }

    /// `record_number`: the record that the flight began with. A refresh token for it is not kept for another record.
    fn end_flight(&self, mut outcome: FlightOutcome, record_number: u64) {
        let now = self.now();
        let mut state = self.state();
        // A flight that was interrupted during its Refresh leaves the same token as after a lost answer.
        let at_risk = state.work().at_risk.take();
        outcome.maybe_spent = outcome.maybe_spent.take().or(at_risk);
        if record_number != state.record_number {
            (outcome.private_pair, outcome.maybe_spent) = (None, None);
        }
        if let Some((cause, began)) = state.work().in_flight.take() {
            state.counters.add(cause, began, now, &outcome);
        }
        state.log_outcome(&outcome);
        state.log_file_error(self.account.file_error());
        if let Some(pair) = &mut outcome.private_pair {
            state.work().private_refresh = pair.refresh.take();
        } else if outcome.result.is_ok() && outcome.store_error.is_none() {
            state.work().private_refresh = None;
        }
        outcome.stats.leaves_maybe_spent = outcome.maybe_spent.is_some();
        state.work().maybe_spent = outcome.maybe_spent.take();
        self.step_with(state, SessionEvent::FlightEnded(Box::new(outcome)));
        self.end_subscriptions();
        self.tell_close(self.state());
    }

    /// Performs the steps of a flight.
    pub(in crate::session) async fn run_flight(&self, plan: Plan, deps: FlightDeps) -> FlightOutcome {
        if plan.looks_only {
            // The old key may be the obstacle. A new key must not wait until the obstacle ends.
            self.reload_credentials_file().await;
        }
        let (base, stored) = (plan.base, plan.stored);
        let mut flight = match self.take_private_pair(plan.offers_private_pair) {
            Some(pair) => Flight::offering(plan, pair),
            None => {
                let maybe_spent = self.state().work().maybe_spent.take();
                Flight::new(plan, maybe_spent)
            }
        };
        let mut input = Input::Start;
        loop {
            let now = self.now().boot;
            input = match flight.next(input, now) {
                Step::Finish(outcome) => {
                    // The pair is committed already, and a lock that cannot be released expires.
                    let _ = deps.store.unlock().await;
                    for note in deps.store.new_warnings() {
                        self.state().log(Level::PG_LOG_WARN, || note);
                    }
                    return *outcome;
                }
                Step::Issue if self.reload_credentials_file().await => {
                    let _ = deps.store.unlock().await;
                    return flight.yield_to_new_credentials();
                }
                step => {
                    let attempt = Attempt {
                        base,
                        stored,
                        issues: flight.issues(),
                        may_recover: flight.may_recover(),
                        may_replay: flight.may_replay(),
                        is_private: flight.is_private(),
                        lock_wait: flight.lock_wait(now),
                    };
                    let taken = self.perform_step(step, attempt, &deps).await;
                    taken.unwrap_or_else(Input::StoreFailed)
                }
            };
        }
    }

    /// Performs one step. An error comes from the store.
    async fn perform_step(
        &self,
        step: Step,
        Attempt { base, stored, issues, may_recover, may_replay, is_private, lock_wait }: Attempt,
        FlightDeps { record_number, store, credentials }: &FlightDeps,
    ) -> Result<Input, Error> {
        let is_closed = self.state().machine.is_closed();
        Ok(match step {
            Step::Refresh(refresh) if is_closed => {
                store.retract(refresh).await?;
                Input::Stopped(closed())
            }
            Step::Issue | Step::Pause { .. } if is_closed => Input::Stopped(closed()),
            Step::Lock => {
                let lock = tokio::time::timeout(lock_wait.unwrap_or(FOREVER), store.lock(stored));
                Input::Locked(lock.await.unwrap_or_else(|_| Err(lock_is_taken()))?)
            }
            Step::Load => {
                let found = store.load().await?;
                let committed = found.committed.filter(|found| self.is_usable(found));
                Input::Loaded(Loaded { committed, ..found })
            }
            Step::Intend => Input::Intended(store.intend().await?),
            Step::Retract(refresh) => {
                store.retract(refresh).await?;
                Input::Retracted
            }
            Step::Commit(pair) => match store.commit(base, pair).await {
                Ok(committed) => Input::Committed(committed),
                Err(uncommitted) => Input::Uncommitted(uncommitted),
            },
            // Model: KeepPrivate.
            Step::KeepPrivate(pair) => {
                let Pair { token, refresh } = pair;
                // The refresh token is not presented here: it is offered to the store once that works again.
                let mut state = self.state();
                let is_current = state.record_number == *record_number;
                state.work().private_refresh = refresh.filter(|_| is_current);
                Input::Committed(Committed::private(token, base + 1))
            }
            Step::BackOff { strikes, have_worked, error } => {
                let refusal = Refusal::after(strikes, have_worked, error, self.now());
                // If this fails, other processes get the same answer from the service themselves.
                let _ = store.back_off(refusal.clone()).await;
                Input::BackedOff(refusal)
            }
            // Model: Post.
            Step::Refresh(refresh) => {
                let longest = self.client.refresh_timeout;
                let (timeout, patience) = if may_recover {
                    (self.call_timeout(longest, 1), LONGEST_WITHOUT_TOKEN)
                } else {
                    (longest, Duration::MAX)
                };
                self.state().work().at_risk = refresh.maybe_spent_if_lost().filter(|_| may_replay);
                let call = self.call(self.refresh_call(refresh), timeout, patience);
                let called = while_keeping_lease(&**store, call).await;
                // From here on the flight itself keeps a refresh token that may be spent.
                self.state().work().at_risk = None;
                called
            }
            // Model: Issue.
            Step::Issue => match credentials {
                Some(credentials) => {
                    // A private pair needs none, and a lost lease may not come back.
                    if !is_private {
                        store.ensure_lease().await?;
                    }
                    let call = Call::Issue(Credentials::clone(credentials));
                    let timeout = self.call_timeout(self.client.issue_timeout, issues);
                    while_keeping_lease(&**store, self.call(call, timeout, patience(issues))).await
                }
                None => Input::Stopped(Error::new(
                    Status::PG_ERR_NO_CREDENTIALS,
                    "the session has no credentials",
                )),
            },
            Step::Pause { most } => {
                let pause = most.mul_f64(self.state().rng.f64());
                while_keeping_lease(&**store, tokio::time::sleep(pause)).await;
                Input::Resumed
            }
            Step::Finish(_) => Input::Start,
        })
    }

    /// The private pair, obtained while the store was down, to be offered to the store now.
    fn take_private_pair(&self, offers_private_pair: bool) -> Option<Pair> {
        let mut state = self.state();
        let token = state.machine.current().filter(|_| offers_private_pair)?.token().clone();
        Some(Pair { token, refresh: state.work().private_refresh.take() })
    }

    fn refresh_call(&self, refresh: RefreshToken) -> Call {
        // Not the published token: a refused token is no longer published, but its Refresh still carries it.
        let state = self.state();
        let current = state.machine.current().filter(|_| self.client.send_bearer_on_refresh);
        Call::Refresh { refresh, access: current.map(|committed| committed.token().access.clone()) }
    }

    /// The timeout of a call: its full limit while there is a token to hand out. Without one, if an Issue could help,
    /// the first call of a flight has [`LONGEST_WITHOUT_TOKEN`] and each further call as much more: a call that the
    /// network dropped must not keep all callers waiting for the full limit.
    fn call_timeout(&self, longest: Duration, calls: u32) -> Duration {
        let usable_for = self.state().machine.usable_for(self.now());
        longest.min(usable_for.max(patience(calls)))
    }

    async fn call(&self, call: Call, timeout: Duration, patience: Duration) -> Input {
        let Client { clock, limit, .. } = &*self.client;
        self.state().machine.note_call(call.name(), self.now());
        let called =
            call.make(&GivesUpWithoutToken { driver: self, patience }, &**clock, *limit, timeout).await;
        if let Err(failure) = &called {
            self.state().machine.note_failure(&failure.error);
        }
        Input::Called(Box::new(called))
    }

    /// Returns when there has been no token to hand out for `patience`: the token may expire or be refused during a
    /// call.
    async fn wait_without_token(&self, patience: Duration) {
        let mut since = None;
        loop {
            tokio::time::sleep(TOKEN_CHECK_INTERVAL).await;
            let is_without = self.state().machine.usable_for(self.now()).is_zero();
            let begun = since.take().filter(|_| is_without).unwrap_or_else(Instant::now);
            if is_without && begun.elapsed() >= patience {
                return;
            }
            since = Some(begun);
        }
    }

    fn is_usable(&self, found: &Committed) -> bool {
        let windows = Windows::of(&found.token().lifetime);
        windows.phase(found.token().remaining(self.now())) < Phase::Expired
    }

    /// Replaces the credentials if the credentials file has another key now. Returns whether it did.
    async fn reload_credentials_file(&self) -> bool {
        let new_credentials = match self.account.changed_credentials().await {
            None => return false,
            Some(Ok(new_credentials)) => new_credentials,
            Some(Err(error)) => {
                // The store for the new key cannot be opened now. The next look tries again.
                self.log(Level::PG_LOG_WARN, || {
                    format!("the new key in the credentials file cannot be used yet: {error}")
                });
                return false;
            }
        };
        let mut state = self.state();
        self.account.note_from_file(&new_credentials.credentials);
        let is_known = state
            .credentials
            .as_ref()
            .is_some_and(|current| current.public_key == new_credentials.credentials.public_key);
        if is_known || state.machine.is_closed() {
            return false;
        }
        let line = "the credentials file has another key of the account, which is used from now on";
        state.log(Level::PG_LOG_INFO, || line.into());
        drop(state);
        self.set_credentials(new_credentials).is_ok()
    }
}

/// How long callers wait without a token for this many calls of one flight.
fn patience(calls: u32) -> Duration {
    LONGEST_WITHOUT_TOKEN * calls
}

/// A transport that gives up a call once there has been no token for `patience`.
struct GivesUpWithoutToken<'a> {
    driver: &'a Driver,
    patience: Duration,
}

impl Transport for GivesUpWithoutToken<'_> {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async move {
            let GivesUpWithoutToken { driver, patience } = *self;
            let (started, path) = (driver.now(), request.path.clone());
            let sending = driver.client.transport.send(request);
            race(sending, driver.wait_without_token(patience)).await.unwrap_or_else(|| {
                let text =
                    format!("{path}: no answer, and no token to hand out for {} s", patience.as_secs());
                // The request may have been sent.
                Exchange { sent: Some(started), result: Err(Error::new(Status::PG_ERR_TIMEOUT, text)) }
            })
        })
    }
}

/// Guarantees that a started flight ends with an outcome, even if the runtime drops its task.
struct FlightGuard {
    driver: Option<Arc<Driver>>,
    record_number: u64,
    store: Arc<dyn Store>,
}

impl FlightGuard {
    fn finish(mut self, outcome: FlightOutcome) {
        if let Some(driver) = self.driver.take() {
            end_flight_guarded(&driver, outcome, self.record_number);
        }
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // Other processes wait for the lock, and this session may not be used again.
            if let Ok(runtime) = runtime::handle() {
                let store = self.store.clone();
                runtime.spawn(async move {
                    let _ = defect::catch_panic_async(async { store.unlock().await }).await;
                });
            }
            let text = "the library's own thread has ended; the next call starts another one";
            end_flight_guarded(
                &driver,
                FlightOutcome::crashed(Error::new(Status::PG_ERR_SYSTEM, text)),
                self.record_number,
            );
        }
    }
}

/// Ends a flight. If that panics, the waiters get the panic as an error.
fn end_flight_guarded(driver: &Driver, outcome: FlightOutcome, record_number: u64) {
    if let Err(error) = defect::catch_panic(|| driver.end_flight(outcome, record_number)) {
        let _ = defect::catch_panic(|| driver.end_flight(FlightOutcome::crashed(error), record_number));
    }
}

fn lock_is_taken() -> Error {
    let text = "another session holds the lock of the record, which keeps a new pair from it";
    Error::new(Status::PG_ERR_STORE, text)
}

fn took_too_long(limit: Duration) -> Error {
    let text = format!("the flight took longer than {} s and was stopped", limit.as_secs());
    Error::new(Status::PG_ERR_TIMEOUT, text)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::super::account::Account;
    use super::super::super::decision::Policy;
    use super::super::super::plan::Cause;
    use super::super::super::published::PublishedToken;
    use super::super::Work;
    use super::*;
    use crate::clock::{BootId, Clock, Moment, SystemClock};
    use crate::config::Config;
    use crate::expiry::Lifetime;
    use crate::secret::{Secret, Wiped};
    use crate::store::{Inspection, Lock, MemoryStore, Storing, Uncommitted};
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

    /// A store whose lock another session has for ever.
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
        driver_on(Arc::new(SystemClock), store, transport)
    }

    fn driver_on(
        clock: Arc<dyn Clock>,
        store: impl Store + 'static,
        transport: impl Transport + 'static,
    ) -> Arc<Driver> {
        let client = Client::with_parts(&Config::default(), Box::new(transport), clock.clone()).unwrap();
        let [account_id, public_key] = ["account", "key"].map(|text| Secret::new(text).unwrap());
        let account =
            Arc::new(Account::fixed(client.clone(), Arc::new(Credentials { account_id, public_key })));
        let published = Arc::new(PublishedToken::new(&clock));
        Driver::new(client, published, Policy::default(), account, Arc::new(store), None).unwrap()
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
        driver_on(Arc::new(clock), locked_out(), Silent)
    }

    #[test]
    fn a_flight_ends_even_if_its_store_and_its_cleanup_panic() {
        for breaks in [Breaks::InLock, Breaks::InTheMiddle] {
            let driver = driver(broken(breaks));
            for _ in 0..2 {
                let error = driver.ask(
                    Duration::from_secs(3),
                    driver.token_request(Duration::from_secs(3), Duration::ZERO),
                );
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

    #[test]
    fn a_flight_starts_even_if_a_callback_panics() {
        let driver = driver(broken(Breaks::InTheMiddle));
        let at_once = driver.token_request(Duration::ZERO, Duration::ZERO);
        let asked = || driver.add_waiter(driver.new_id(), at_once, Box::new(|_| panic!("a defect")));
        assert!(defect::catch_panic(asked).is_err());
        assert!(driver.close(PATIENCE), "it has started, so it ends");
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
}
