//! Performs the actions of the machine: answers, timers and flights (in [`flights`]). A driver belongs to one
//! process.

mod flights;
mod subscribers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub(super) use self::flights::FlightDeps;
use super::account::{Account, NewCredentials};
use super::decision::{Action, Policy, SessionEvent, WaiterId};
use super::health::{Counters, Health};
use super::machine::{Machine, closed};
use super::plan::Cause;
use super::rejection::ReportVerdict;
use super::timers::{Due, Timers};
use crate::clock::{FOREVER, Moment};
use crate::credentials::Credentials;
use crate::defect;
use crate::error::Error;
use crate::event::{Body, Level};
use crate::queue::Completion;
use crate::random;
use crate::runtime;
use crate::secret::Secret;
use crate::status::Status;
use crate::store::{Committed, Store};
use crate::sync::{ignore_poison, lock};
use crate::token::{Fingerprint, MaybeSpentRefreshToken, RefreshToken};

/// The answer to a waiting caller.
pub(super) type TokenResult = Result<Committed, Error>;
/// Takes the answer of a waiting caller, under the lock of the session. The result tells the caller, outside the lock.
pub(super) type Reply = Box<dyn FnOnce(TokenResult) -> Tell + Send>;
pub(super) type Tell = Box<dyn FnOnce() + Send>;

/// Stops a request when it is dropped.
type Stop = oneshot::Sender<()>;
/// Resolves when the request must stop.
pub(super) type Stopped = oneshot::Receiver<()>;

/// A subscriber to notices, and to log lines up to its level.
struct Subscriber {
    to: Completion,
    level: Level,
}

/// The part of a session that works in one process: the machine, its waiters and its store.
pub(super) struct Driver {
    me: Weak<Driver>,
    pub(super) account: Arc<Account>,
    state: Mutex<State>,
    /// Signals that a flight or a request has ended, or that answers were delivered.
    ended: Condvar,
    next_id: AtomicU64,
    /// The tokens before the current one were refused young.
    follows_refused_young: AtomicBool,
}

/// The request of a caller for a token.
#[derive(Clone, Copy)]
pub(super) struct TokenRequest {
    /// When the answer is due, on the boot clock.
    pub(super) deadline: Duration,
    /// A token with less remaining life counts as mandatory.
    pub(super) min_remaining: Duration,
    /// The current token does not satisfy the caller; only another one does.
    pub(super) wants_newer: bool,
}

struct State {
    machine: Machine,
    credentials: Option<Arc<Credentials>>,
    store: Arc<dyn Store>,
    /// The number of the record. It grows when new credentials have another record.
    record_number: u64,
    due: Option<Due>,
    counters: Counters,
    /// Seeded by the system in each process: workers forked from one parent must draw different numbers.
    rng: fastrand::Rng,
    work: Option<Box<Work>>,
}

/// What an idle session has none of: a process may have very many.
#[derive(Default)]
struct Work {
    waiting: BTreeMap<WaiterId, Reply>,
    /// How many threads are delivering answers.
    answering: usize,
    /// The running requests. Dropping the sender stops a request.
    requests: BTreeMap<u64, Option<Stop>>,
    subscribers: Vec<Subscriber>,
    /// The cause and the start of the running flight.
    in_flight: Option<(Cause, Duration)>,
    /// The refresh token of a private pair, obtained while the store was down.
    private_refresh: Option<RefreshToken>,
    /// The refresh token that the last flight left for the next one.
    maybe_spent: Option<MaybeSpentRefreshToken>,
    /// The refresh token of the running Refresh; `maybe_spent` if the flight is interrupted.
    at_risk: Option<MaybeSpentRefreshToken>,
    /// The refresh token that was presented last, until there is a new pair: the service may repeat it in an error.
    presented: Option<Secret>,
    /// The last reported tokens, and how often each was reported.
    reported: VecDeque<(Fingerprint, u64)>,
    /// The last error of a file that was logged.
    file_error: Option<String>,
}

impl Driver {
    /// Creates a driver. In a forked child it continues with the inherited token.
    pub(super) fn new(
        policy: Policy,
        account: Arc<Account>,
        store: Arc<dyn Store>,
        first: Option<Committed>,
    ) -> Result<Arc<Self>, Error> {
        let (client, published) = (&account.client, &account.published);
        let now = client.clock.now();
        let credentials = account.credentials();
        let mut rng = fastrand::Rng::with_seed(u64::from_ne_bytes(random::bytes()?));
        let mut machine = Machine::new(policy, credentials.is_some(), published.last_generation(), now);
        if let Some(first) = first {
            machine.adopt(first.clone(), now, &mut || rng.f64());
            if !first.has_uncertain_age {
                published.set(Some(first));
            }
        } else if let Some(inherited) = published.last() {
            // The refresh token stays with the parent: two processes must never present the same one.
            machine.adopt(Committed { has_refresh: false, ..inherited }, now, &mut || rng.f64());
        }
        let state = State {
            machine,
            credentials,
            store,
            record_number: 0,
            due: None,
            counters: Counters::default(),
            rng,
            work: None,
        };
        Ok(Arc::new_cyclic(|me| Driver {
            me: me.clone(),
            account,
            state: Mutex::new(state),
            ended: Condvar::new(),
            next_id: AtomicU64::new(1),
            follows_refused_young: AtomicBool::new(false),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn now(&self) -> Moment {
        self.account.client.clock.now()
    }

    /// Adds a waiter under a new number. `reply` gets the answer, perhaps before this returns.
    pub(super) fn add_waiter(&self, id: WaiterId, request: TokenRequest, reply: Reply) {
        let TokenRequest { deadline, min_remaining, wants_newer } = request;
        self.step(SessionEvent::Ask { id, deadline, min_remaining, wants_newer }, |state| {
            state.work().waiting.insert(id, reply);
            state.counters.waited += 1;
        });
    }

    /// The request of a caller that waits for `timeout`.
    pub(super) fn token_request(&self, timeout: Duration, min_remaining: Duration) -> TokenRequest {
        TokenRequest { deadline: self.now().boot.saturating_add(timeout), min_remaining, wants_newer: false }
    }

    /// Removes a waiter that no longer needs its answer.
    pub(super) fn leave(&self, id: WaiterId) {
        // Dropped outside the lock: a value in it may take the lock when dropped.
        let reply = self.state().work().waiting.remove(&id);
        drop(reply);
        self.step(SessionEvent::Leave(id), |_| {});
    }

    /// Waits for a token until the deadline.
    pub(super) fn ask(&self, timeout: Duration, request: TokenRequest) -> TokenResult {
        let answer = Arc::new(Mutex::new(None));
        let (sender, told) = oneshot::channel();
        let deadline = Instant::now() + timeout.min(FOREVER);
        let id = self.new_id();
        let place = answer.clone();
        let reply: Reply = Box::new(move |answer| {
            *lock(&place) = Some(answer);
            // Fails if the caller has gone, which does no harm.
            Box::new(move || sender.send(()).unwrap_or_default())
        });
        let seat = (!timeout.is_zero()).then(runtime::seat).flatten();
        self.add_waiter(id, request, reply);
        let left = deadline.saturating_duration_since(Instant::now());
        if runtime::wait(seat, told, left).is_none() {
            // After this there is an answer, even if another thread gets no processor to tell it.
            self.step(SessionEvent::Leave(id), |_| {});
        }
        let answer = lock(&answer).take();
        answer.unwrap_or_else(|| {
            Err(Error::new(Status::PG_ERR_INTERNAL, "a caller was not answered; please report it"))
        })
    }

    /// Waits for a token without blocking: the answer completes an operation of a queue.
    pub(super) fn ask_for(&self, end: Completion, request: TokenRequest) {
        let id = self.new_id();
        let is_canceled = Arc::new(AtomicBool::new(false));
        let (driver, canceled) = (self.me.clone(), is_canceled.clone());
        end.on_cancel(move || {
            canceled.store(true, Ordering::SeqCst);
            driver.upgrade().into_iter().for_each(|driver| driver.leave(id));
        });
        let reply: Reply = Box::new(move |answer| {
            Box::new(move || end.complete(Body::Token(answer.map(|committed| committed.grant))))
        });
        self.add_waiter(id, request, reply);
        if is_canceled.load(Ordering::SeqCst) {
            // The cancellation may have come before the waiter was added.
            self.leave(id);
        }
    }

    /// A number that is unique in this session and process.
    pub(super) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Processes a report that the service refused this token.
    pub(super) fn reject(&self, refused: Fingerprint) -> ReportVerdict {
        let mut state = self.state();
        let (verdict, actions) = state.machine.report(refused, self.now());
        state.counters.rejected += u64::from(verdict != ReportVerdict::Newer);
        state.note_report(refused, verdict);
        self.perform(state, actions);
        verdict
    }

    /// The service answered a request with this token, and the answer was not 401. Takes the lock only if tokens were
    /// refused young.
    pub(super) fn accept(&self, accepted: Fingerprint) {
        if self.follows_refused_young.load(Ordering::Relaxed) {
            self.state().machine.accept(accepted);
        }
    }

    /// Adds a subscriber to notices and to log lines up to `level`, until the session is closed.
    pub(super) fn subscribe(&self, to: Completion, level: Level) {
        let mut state = self.state();
        if let Some(warning) = state.store.warning().filter(|_| level >= Level::PG_LOG_WARN) {
            to.emit(Body::Log(Level::PG_LOG_WARN, warning));
        }
        if state.machine.is_closed() {
            drop(state);
            return to.fail(closed());
        }
        // Removes canceled subscribers, which would otherwise stay until the next notice.
        let subscribers = &mut state.work().subscribers;
        subscribers.retain(|subscriber| subscriber.to.is_pending());
        subscribers.push(Subscriber { to, level });
    }

    /// Registers a request. Returns its number and its stop signal, or `None` if the session is closed.
    pub(super) fn begin_request(&self) -> Option<(u64, Stopped)> {
        let id = self.new_id();
        let mut state = self.state();
        let (stop, stopped) = oneshot::channel();
        (!state.machine.is_closed()).then(|| {
            state.work().requests.insert(id, Some(stop));
            (id, stopped)
        })
    }

    /// Removes a request that has ended.
    pub(super) fn end_request(&self, id: u64) {
        let mut state = self.state();
        state.work().requests.remove(&id);
        self.tell_close(state);
    }

    /// Wakes a close that waits for running work. None waits before the session is closed, and a wake is a system call.
    fn tell_close(&self, state: MutexGuard<'_, State>) {
        let may_wait = state.machine.is_closed();
        drop(state);
        if may_wait {
            self.ended.notify_all();
        }
    }

    /// Replaces the credentials and their store together. A running flight writes its pair to the record that it
    /// began with.
    pub(super) fn set_credentials(
        &self,
        NewCredentials { credentials, store }: NewCredentials,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let old = state.credentials.as_ref();
        if old.is_some_and(|old| old.account_id.expose() != credentials.account_id.expose()) {
            let text = "a session belongs to one account, and these credentials are of another one; open another session \
                        for it";
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        let is_same_key = old.is_some_and(|old| old.public_key.expose() == credentials.public_key.expose());
        let has_new_record = store.is_some() && !is_same_key;
        // Under the lock, so that the account and the driver end with the same credentials.
        self.account.set_credentials(&credentials);
        state.credentials = Some(credentials);
        if has_new_record {
            state.record_number += 1;
            let work = state.work();
            (work.private_refresh, work.maybe_spent) = (None, None);
        }
        if let Some(store) = store {
            state.store = store;
        }
        self.step_with(state, SessionEvent::NewCredentials { has_new_record });
        Ok(())
    }

    /// Ends all work, and waits for running work until the deadline. Returns whether it has ended.
    pub(super) fn close(&self, timeout: Duration) -> bool {
        let mut stops = Vec::new();
        self.step(SessionEvent::Close, |state| {
            state.log(Level::PG_LOG_INFO, || "the session is closed".into());
            stops.extend(state.work().requests.values_mut().filter_map(Option::take));
        });
        // A panic of a wake-up must not keep other requests from their end.
        stops.into_iter().for_each(|stop| drop(defect::catch_panic(|| drop(stop))));
        self.end_subscriptions();
        let waited = self.ended.wait_timeout_while(self.state(), timeout, |state| state.is_busy());
        !ignore_poison(waited).0.is_busy()
    }

    /// Ends the subscriptions of a closed session. A host that keeps the pairs is first notified of the pair of a
    /// running flight.
    fn end_subscriptions(&self) {
        let mut state = self.state();
        if !state.machine.is_closed() || state.machine.owes_rotation() {
            return;
        }
        let subscribers = std::mem::take(&mut state.work().subscribers);
        drop(state);
        subscribers.into_iter().for_each(|subscriber| subscriber.to.fail(closed()));
    }

    /// A timer fired and was removed. Another one may have been set meanwhile.
    pub(super) fn tick(&self, fired: Due) {
        self.step(self.time_passed(), |state| state.due = state.due.filter(|due| *due != fired));
    }

    /// Sets the timer that withdraws the published token in time, also an inherited one.
    pub(super) fn watch(&self) {
        self.step(self.time_passed(), |_| {});
    }

    /// The event for passed time: `Asked` if readers have used the token meanwhile.
    fn time_passed(&self) -> SessionEvent {
        if self.account.published.take_was_read() { SessionEvent::Asked } else { SessionEvent::Tick }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().machine.is_closed()
    }

    /// The name that the record of this session has, or would have, in a store. It identifies the account and is not
    /// secret. Empty for a session from a pair without credentials.
    pub(super) fn record_name(&self) -> String {
        let credentials = self.state().credentials.clone();
        let key = credentials.and_then(|credentials| self.account.client.record_key(&credentials).ok());
        key.map(|key| key.name()).unwrap_or_default()
    }

    pub(super) fn health(&self) -> Health {
        let now = self.now();
        let state = self.state();
        let file_error = self.account.file_error().map(|error| error.text);
        Health {
            file_error,
            ..Health::new(&state.machine, &state.counters, self.account.published.reads(), now)
        }
    }

    pub(super) fn log(&self, level: Level, line: impl FnOnce() -> String) {
        self.state().log(level, line);
    }

    fn step(&self, event: SessionEvent, prepare: impl FnOnce(&mut State)) {
        let mut state = self.state();
        prepare(&mut state);
        self.step_with(state, event);
    }

    fn step_with(&self, mut state: MutexGuard<'_, State>, event: SessionEvent) {
        let State { machine, rng, .. } = &mut *state;
        let actions = machine.step(event, self.now(), &mut || rng.f64());
        self.perform(state, actions);
    }

    /// Publishes under the lock, so that readers see generations in order. Callers have their answers under the lock, and are
    /// told outside of it.
    fn perform(&self, mut state: MutexGuard<'_, State>, mut actions: Vec<Action>) {
        let timers = Timers::get(&self.account.client.clock);
        if let Err(error) = &timers {
            actions.extend(state.release_all_waiters(self.now(), error));
        }
        let mut answers = Vec::new();
        let mut launches = Vec::new();
        for action in actions {
            match action {
                Action::Publish(committed) => self.account.published.set(committed),
                Action::Withdraw => self.account.published.withdraw(),
                // Under the lock, too, so that notices come in order.
                Action::Notify(notice) => state.notify(notice),
                Action::StartFlight(plan) => {
                    let (cause, base) = (plan.cause.name(), plan.base);
                    state.log(Level::PG_LOG_DEBUG, || {
                        format!("generation {base} needs a successor ({cause})")
                    });
                    state.work().in_flight = Some((plan.cause, self.now().boot));
                    launches.push((
                        plan,
                        FlightDeps {
                            record_number: state.record_number,
                            store: state.store.clone(),
                            credentials: state.credentials.clone(),
                        },
                    ));
                }
                Action::Answer(id, answer) => {
                    answers.extend(state.work().waiting.remove(&id).map(|reply| reply(answer)));
                }
            }
        }
        state.rest();
        let next = state.machine.next_wake(self.now());
        self.follows_refused_young.store(state.machine.refused_young(self.now()).0 > 0, Ordering::Relaxed);
        if let Ok(timers) = timers {
            state.due = timers.set(state.due, next, &self.me);
            timers.set_word(|| self.account.published.update_word());
        }
        let answering = if answers.is_empty() {
            drop(state);
            None
        } else {
            Some(Answering::begin(self, state))
        };
        for (plan, deps) in launches {
            self.start_flight(plan, deps);
        }
        // A panic where one caller is told must not keep the others from their answers.
        answers.into_iter().for_each(|tell| drop(defect::catch_panic(tell)));
        drop(answering);
    }
}

/// Marks a thread that delivers answers outside the lock. A close waits for it, so that no answer comes after the
/// close.
struct Answering<'a>(&'a Driver);

impl<'a> Answering<'a> {
    fn begin(driver: &'a Driver, mut state: MutexGuard<'_, State>) -> Self {
        state.work().answering += 1;
        Answering(driver)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.work().answering -= 1;
        state.rest();
        self.0.tell_close(state);
    }
}

impl State {
    fn work(&mut self) -> &mut Work {
        self.work.get_or_insert_default()
    }

    /// Frees the memory of work that is done.
    fn rest(&mut self) {
        let Some(work) = &mut self.work else { return };
        if work.waiting.is_empty() {
            // An emptied map keeps its memory (11 entries); a new one has none.
            work.waiting = BTreeMap::new();
        }
        if work.is_done() {
            self.work = None;
        }
    }

    fn is_busy(&self) -> bool {
        self.work
            .as_ref()
            .is_some_and(|work| work.in_flight.is_some() || work.answering > 0 || !work.requests.is_empty())
    }

    /// Without timers no waiter would be answered at its deadline. So all waiters get the current token, or the
    /// error, now.
    fn release_all_waiters(&mut self, now: Moment, error: &Error) -> Vec<Action> {
        let State { machine, work, rng, .. } = self;
        let waiting = work.iter().flat_map(|work| work.waiting.keys());
        let left = waiting.flat_map(|id| machine.step(SessionEvent::Leave(*id), now, &mut || rng.f64()));
        let explained = |action| match action {
            Action::Answer(id, Err(_)) => Action::Answer(id, Err(error.clone())),
            other => other,
        };
        left.map(explained).collect()
    }
}

impl Work {
    fn is_done(&self) -> bool {
        let Work {
            waiting,
            answering,
            requests,
            subscribers,
            in_flight,
            private_refresh,
            maybe_spent,
            at_risk,
            presented,
            reported,
            file_error,
        } = self;
        let runs = *answering > 0 || in_flight.is_some() || at_risk.is_some();
        let has_token = private_refresh.is_some() || maybe_spent.is_some() || presented.is_some();
        let is_awaited = !(waiting.is_empty() && requests.is_empty() && subscribers.is_empty());
        !runs && !has_token && !is_awaited && reported.is_empty() && file_error.is_none()
    }
}

#[cfg(test)]
mod tests;
