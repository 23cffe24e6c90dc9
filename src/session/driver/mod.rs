//! Performs what the machine decides: answers, timers and ([`flights`]) flights. Everything here belongs to one process.

mod flights;
mod subscribers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub(super) use self::flights::FlightDeps;
use super::account::{Account, NewCredentials};
use super::decision::{Action, Policy, SessionEvent, WaiterId};
use super::health::{Counters, Health};
use super::machine::{Machine, closed};
use super::plan::Cause;
use super::published::PublishedToken;
use super::rejection::ReportVerdict;
use super::timers::{Due, Timers};
use crate::client::Client;
use crate::clock::{FOREVER, Moment};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::{Body, Level};
use crate::queue::Completion;
use crate::random;
use crate::status::Status;
use crate::store::{Committed, Store};
use crate::sync::{ignore_poison, lock};
use crate::token::{Fingerprint, MaybeSpentRefreshToken, RefreshToken};

/// How long a thread that has an answer in its hands may take to hand it over.
const HANDOVER: Duration = Duration::from_millis(40);

/// What a caller who waits gets.
pub(super) type TokenResult = Result<Committed, Error>;
/// How a caller who waits gets it.
pub(super) type Callback = Box<dyn FnOnce(TokenResult) + Send>;

/// Dropped, it stops a request.
type Stop = oneshot::Sender<()>;
/// The other end: resolves when the request is to stop.
pub(super) type Stopped = oneshot::Receiver<()>;

/// Who wants news, and how much of the log.
struct Subscriber {
    to: Completion,
    level: Level,
}

/// A session's working parts in one process.
pub(super) struct Driver {
    me: Weak<Driver>,
    pub(super) client: Arc<Client>,
    pub(super) published: Arc<PublishedToken>,
    account: Arc<Account>,
    state: Mutex<State>,
    /// A flight has landed, a request has ended, or answers have been given.
    ended: Condvar,
    next_id: AtomicU64,
    /// The token there is follows others that the service refused young.
    follows_refused_young: AtomicBool,
}

/// What a caller wants.
#[derive(Clone, Copy)]
pub(super) struct TokenRequest {
    /// When the answer is due, on the boot clock.
    pub(super) deadline: Duration,
    /// Less life than this counts as mandatory.
    pub(super) min_remaining: Duration,
    /// Only another token than the one there is will do.
    pub(super) wants_newer: bool,
}

struct State {
    machine: Machine,
    credentials: Option<Arc<Credentials>>,
    /// The last trouble with a file that was logged.
    file_error: Option<String>,
    store: Arc<dyn Store>,
    /// Grows when the credentials are replaced by others with another record.
    record_number: u64,
    waiting: BTreeMap<WaiterId, Callback>,
    /// How many threads have answers in their hands.
    answering: usize,
    /// The requests under way; to drop the sender stops one.
    requests: BTreeMap<u64, Option<Stop>>,
    subscribers: Vec<Subscriber>,
    due: Option<Due>,
    /// Since when a flight is under way, and why.
    in_flight: Option<(Cause, Duration)>,
    /// Of a pair that was got while the store was down.
    private_refresh: Option<RefreshToken>,
    /// What a flight has left for the next one.
    maybe_spent: Option<MaybeSpentRefreshToken>,
    /// Of the Refresh under way, should its flight break off.
    at_risk: Option<MaybeSpentRefreshToken>,
    /// The tokens that were reported last, and how often.
    reported: VecDeque<(Fingerprint, u64)>,
    counters: Counters,
    /// Seeded by the system in each process: workers forked from one parent must not draw alike.
    rng: fastrand::Rng,
}

impl Driver {
    /// A session's parts; a forked child goes on with the token that it inherited.
    pub(super) fn new(
        client: Arc<Client>,
        published: Arc<PublishedToken>,
        policy: Policy,
        account: Arc<Account>,
        store: Arc<dyn Store>,
        first: Option<Committed>,
    ) -> Result<Arc<Self>, Error> {
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
            file_error: None,
            store,
            record_number: 0,
            waiting: BTreeMap::new(),
            answering: 0,
            requests: BTreeMap::new(),
            subscribers: Vec::new(),
            due: None,
            in_flight: None,
            private_refresh: None,
            maybe_spent: None,
            at_risk: None,
            reported: VecDeque::new(),
            counters: Counters::default(),
            rng,
        };
        Ok(Arc::new_cyclic(|me| Driver {
            me: me.clone(),
            client,
            published,
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
        self.client.clock.now()
    }

    /// Asks the machine under a new number, and has its answer given to `reply`, perhaps before this returns.
    pub(super) fn add_waiter(&self, id: WaiterId, request: TokenRequest, reply: Callback) {
        let TokenRequest { deadline, min_remaining, wants_newer } = request;
        self.step(SessionEvent::Ask { id, deadline, min_remaining, wants_newer }, |state| {
            state.waiting.insert(id, reply);
            state.counters.waited += 1;
        });
    }

    /// A request of a caller who waits so long.
    pub(super) fn token_request(&self, timeout: Duration, min_remaining: Duration) -> TokenRequest {
        TokenRequest { deadline: self.now().boot.saturating_add(timeout), min_remaining, wants_newer: false }
    }

    /// A caller who has asked does not want the answer any more.
    pub(super) fn leave(&self, id: WaiterId) {
        // Let go of outside the lock: it may hold what takes it.
        let reply = self.state().waiting.remove(&id);
        drop(reply);
        self.step(SessionEvent::Leave(id), |_| {});
    }

    /// Asks the machine, and waits for its answer until the deadline.
    pub(super) fn ask(&self, timeout: Duration, request: TokenRequest) -> TokenResult {
        let (sender, receiver) = sync_channel(1);
        let deadline = Instant::now() + timeout.min(FOREVER);
        let id = self.new_id();
        // Fails if the caller has gone, which does no harm.
        let reply = Box::new(move |answer| drop(sender.send(answer)));
        self.add_waiter(id, request, reply);
        receiver
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .or_else(|_| {
                self.step(SessionEvent::Leave(id), |_| {});
                // Another thread may have taken this caller out of the table and not have answered yet.
                receiver.recv_timeout(HANDOVER)
            })
            .unwrap_or_else(|_| {
                Err(Error::new(Status::PG_ERR_INTERNAL, "a caller was not answered; please report it"))
            })
    }

    /// Asks the machine, whose answer ends an operation of a queue.
    pub(super) fn ask_for(&self, end: Completion, request: TokenRequest) {
        let id = self.new_id();
        let is_canceled = Arc::new(AtomicBool::new(false));
        let (driver, canceled) = (self.me.clone(), is_canceled.clone());
        end.on_cancel(move || {
            canceled.store(true, Ordering::SeqCst);
            driver.upgrade().into_iter().for_each(|driver| driver.leave(id));
        });
        let reply = Box::new(move |answer: TokenResult| {
            end.complete(Body::Token(answer.map(|committed| committed.grant)))
        });
        self.add_waiter(id, request, reply);
        if is_canceled.load(Ordering::SeqCst) {
            // Perhaps before it was there to leave.
            self.leave(id);
        }
    }

    /// Unique in this session and process.
    pub(super) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The service refused that token.
    pub(super) fn reject(&self, refused: Fingerprint) -> ReportVerdict {
        let mut state = self.state();
        let (verdict, actions) = state.machine.report(refused, self.now());
        state.counters.rejected += u64::from(verdict != ReportVerdict::Newer);
        state.note_report(refused, verdict);
        self.perform(state, actions);
        verdict
    }

    /// The service answered a request with that token, and not with 401. Costs nothing unless tokens were refused young.
    pub(super) fn accept(&self, accepted: Fingerprint) {
        if self.follows_refused_young.load(Ordering::Relaxed) {
            self.state().machine.accept(accepted);
        }
    }

    /// News from now on, and lines of the log up to that level, until the session is closed.
    pub(super) fn subscribe(&self, to: Completion, level: Level) {
        let mut state = self.state();
        if let Some(warning) = state.store.warning().filter(|_| level >= Level::PG_LOG_WARN) {
            to.emit(Body::Log(Level::PG_LOG_WARN, warning));
        }
        if state.machine.is_closed() {
            drop(state);
            return to.fail(closed());
        }
        // Whoever comes and goes between two pieces of news must not pile up.
        state.subscribers.retain(|subscriber| subscriber.to.is_pending());
        state.subscribers.push(Subscriber { to, level });
    }

    /// A request begins: what to call it, and what tells it to stop. `None`: the session has been closed.
    pub(super) fn begin_request(&self) -> Option<(u64, Stopped)> {
        let id = self.new_id();
        let mut state = self.state();
        let (stop, stopped) = oneshot::channel();
        (!state.machine.is_closed()).then(|| {
            state.requests.insert(id, Some(stop));
            (id, stopped)
        })
    }

    /// It has ended.
    pub(super) fn end_request(&self, id: u64) {
        self.state().requests.remove(&id);
        self.ended.notify_all();
    }

    /// Replaces the credentials, with the record that they have in the store, as one: what a flight under way gets goes to
    /// the record that it began with.
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
        // Under the lock, so that the last one here is the last one there.
        self.account.set_credentials(&credentials);
        state.credentials = Some(credentials);
        if has_new_record {
            state.record_number += 1;
            (state.private_refresh, state.maybe_spent) = (None, None);
        }
        if let Some(store) = store {
            state.store = store;
        }
        self.step_with(state, SessionEvent::NewCredentials { has_new_record });
        Ok(())
    }

    /// Ends all work; waits for what is under way until the deadline. Whether it has ended.
    pub(super) fn close(&self, timeout: Duration) -> bool {
        self.step(SessionEvent::Close, |state| {
            state.log(Level::PG_LOG_INFO, || "the session is closed".into());
            state.requests.values_mut().for_each(|stop| drop(stop.take()));
        });
        self.end_subscriptions();
        let waited = self.ended.wait_timeout_while(self.state(), timeout, |state| state.is_busy());
        !ignore_poison(waited).0.is_busy()
    }

    /// Those who keep the pairs hear of one that is under way first.
    fn end_subscriptions(&self) {
        let mut state = self.state();
        if !state.machine.is_closed() || state.machine.owes_rotation() {
            return;
        }
        let subscribers = std::mem::take(&mut state.subscribers);
        drop(state);
        subscribers.into_iter().for_each(|subscriber| subscriber.to.fail(closed()));
    }

    /// The timer that rang is gone; another one may have been set meanwhile.
    pub(super) fn tick(&self, fired: Due) {
        self.step(self.time_passed(), |state| state.due = state.due.filter(|due| *due != fired));
    }

    /// Sees to it that the published token is withdrawn in time, also one that was inherited.
    pub(super) fn watch(&self) {
        self.step(self.time_passed(), |_| {});
    }

    /// Time has passed, and readers have come or not.
    fn time_passed(&self) -> SessionEvent {
        if self.published.take_was_read() { SessionEvent::Asked } else { SessionEvent::Tick }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().machine.is_closed()
    }

    /// The name of its record in a store, whether it has one or not: it tells accounts apart, and is no secret. Empty for a
    /// session from a pair alone.
    pub(super) fn record_name(&self) -> String {
        let credentials = self.state().credentials.clone();
        let key = credentials.and_then(|credentials| self.client.record_key(&credentials).ok());
        key.map(|key| key.name()).unwrap_or_default()
    }

    pub(super) fn health(&self) -> Health {
        let now = self.now();
        let state = self.state();
        let file_error = self.account.file_error().map(|error| error.text);
        Health { file_error, ..Health::new(&state.machine, &state.counters, self.published.reads(), now) }
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

    /// Publishes under the lock, so that readers see generations in order; tells callers outside of it.
    fn perform(&self, mut state: MutexGuard<'_, State>, mut actions: Vec<Action>) {
        let timers = Timers::get(&self.client.clock);
        if let Err(error) = &timers {
            actions.extend(state.release_all_waiters(self.now(), error));
        }
        let mut answers = Vec::new();
        let mut launches = Vec::new();
        for action in actions {
            match action {
                Action::Publish(committed) => self.published.set(committed),
                Action::Withdraw => self.published.withdraw(),
                // Under the lock too, so that news come in order.
                Action::Notify(notice) => state.notify(notice),
                Action::StartFlight(plan) => {
                    let (cause, base) = (plan.cause.name(), plan.base);
                    state.log(Level::PG_LOG_DEBUG, || {
                        format!("a successor of generation {base} is wanted ({cause})")
                    });
                    state.in_flight = Some((plan.cause, self.now().boot));
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
                    answers.extend(state.waiting.remove(&id).map(|to| (to, answer)))
                }
            }
        }
        if state.waiting.is_empty() {
            // An emptied map keeps room for eleven.
            state.waiting = BTreeMap::new();
        }
        let next = state.machine.next_wake(self.now());
        self.follows_refused_young.store(state.machine.refused_young(self.now()).0 > 0, Ordering::Relaxed);
        if let Ok(timers) = timers {
            state.due = timers.set(state.due, next, &self.me);
            self.published.update_word();
        }
        let answering = if answers.is_empty() {
            drop(state);
            None
        } else {
            Some(Answering::begin(self, state))
        };
        // Before the answers: a defect in what takes one must not leave a flight that never begins.
        for (plan, deps) in launches {
            self.start_flight(plan, deps);
        }
        answers.into_iter().for_each(|(reply, answer)| reply(answer));
        drop(answering);
    }
}

/// A thread that gives answers, outside of the lock: a close waits for it, so as to have the last word.
struct Answering<'a>(&'a Driver);

impl<'a> Answering<'a> {
    fn begin(driver: &'a Driver, mut state: MutexGuard<'_, State>) -> Self {
        state.answering += 1;
        Answering(driver)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.state().answering -= 1;
        self.0.ended.notify_all();
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.in_flight.is_some() || self.answering > 0 || !self.requests.is_empty()
    }

    /// Without timers nobody would be answered at his deadline: those who wait get what there is, or why there is no more.
    fn release_all_waiters(&mut self, now: Moment, error: &Error) -> Vec<Action> {
        let State { machine, waiting, rng, .. } = self;
        let left =
            waiting.keys().flat_map(|id| machine.step(SessionEvent::Leave(*id), now, &mut || rng.f64()));
        let explained = |action| match action {
            Action::Answer(id, Err(_)) => Action::Answer(id, Err(error.clone())),
            other => other,
        };
        left.map(explained).collect()
    }
}
