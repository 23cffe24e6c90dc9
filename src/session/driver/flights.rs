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
use crate::secret::Secret;
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
        let limit = self.account.client.longest_flight();
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
        state.work().presented.take_if(|_| outcome.result.is_ok());
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
        let key = credentials.as_ref().map(|credentials| &credentials.public_key);
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
                let longest = self.account.client.refresh_timeout;
                let (timeout, patience) = if may_recover {
                    (self.call_timeout(longest, 1), LONGEST_WITHOUT_TOKEN)
                } else {
                    (longest, Duration::MAX)
                };
                {
                    let mut state = self.state();
                    let work = state.work();
                    work.presented = Some(refresh.secret().clone());
                    work.at_risk = refresh.maybe_spent_if_lost().filter(|_| may_replay);
                }
                let call = self.call(self.refresh_call(refresh), timeout, patience, key);
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
                    let timeout = self.call_timeout(self.account.client.issue_timeout, issues);
                    while_keeping_lease(&**store, self.call(call, timeout, patience(issues), key)).await
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
        let access = self.current_access().filter(|_| self.account.client.send_bearer_on_refresh);
        Call::Refresh { refresh, access }
    }

    /// The access token of the machine. A refused token is no longer published, but its Refresh still carries it.
    fn current_access(&self) -> Option<Secret> {
        self.state().machine.current().map(|committed| committed.token().access.clone())
    }

    /// The timeout of a call: its full limit while there is a token to hand out. Without one, if an Issue could help,
    /// the first call of a flight has [`LONGEST_WITHOUT_TOKEN`] and each further call as much more: a call that the
    /// network dropped must not keep all callers waiting for the full limit.
    fn call_timeout(&self, longest: Duration, calls: u32) -> Duration {
        let usable_for = self.state().machine.usable_for(self.now());
        longest.min(usable_for.max(patience(calls)))
    }

    /// `key`: the public key, which no error may show.
    async fn call(&self, call: Call, timeout: Duration, patience: Duration, key: Option<&Secret>) -> Input {
        let (access, presented) = (self.current_access(), self.state().work().presented.clone());
        let private = self.state().work().private_refresh.as_ref().map(|token| token.secret().clone());
        let others = [access, presented, private];
        let secrets: Vec<&Secret> = key.into_iter().chain(others.iter().flatten()).collect();
        let Client { clock, limit, .. } = &*self.account.client;
        self.state().machine.note_call(call.name(), self.now());
        let transport = GivesUpWithoutToken { driver: self, patience };
        let called = call.make(&transport, &**clock, *limit, timeout, &secrets).await;
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
            let sending = driver.account.client.transport.send(request);
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
pub(super) mod tests;
