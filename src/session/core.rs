//! Performs what the machine decides: flights, answers, timers. Everything here belongs to one process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use super::flight::{Flight, Input, Landing, Log, Plan, Step};
use super::health::{Health, Tally};
use super::machine::{Action, Event, Machine, Policy, WaiterId, closed};
use super::phase::{Phase, Windows};
use super::published::Published;
use super::rejection::Verdict;
use super::timers::{Due, Timers};
use crate::client::Client;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::defect;
use crate::error::Error;
use crate::protocol::Call;
use crate::runtime;
use crate::status::Status;
use crate::store::{Committed, MemoryStore, Store};
use crate::token::{Fingerprint, RefreshToken};

/// How long a thread that has an answer in its hands may take to hand it over.
const HANDOVER: Duration = Duration::from_millis(40);

type Answer = Result<Committed, Error>;

/// A session's working parts in one process.
pub(super) struct Core {
    me: Weak<Core>,
    client: Arc<Client>,
    published: Arc<Published>,
    store: MemoryStore,
    state: Mutex<State>,
    /// A flight has landed.
    landed: Condvar,
    waiters: AtomicU64,
}

struct State {
    machine: Machine,
    credentials: Option<Credentials>,
    waiting: HashMap<WaiterId, SyncSender<Answer>>,
    due: Option<Due>,
    flying: bool,
    tally: Tally,
    /// Seeded by the system in each process: workers forked from one parent must not draw alike.
    rng: fastrand::Rng,
}

impl Core {
    /// A session's parts; a forked child goes on with the token that it inherited.
    pub(super) fn new(
        client: Arc<Client>,
        published: Arc<Published>,
        policy: Policy,
        credentials: Option<Credentials>,
    ) -> Result<Arc<Self>, Error> {
        let now = client.clock.now();
        let mut rng = fastrand::Rng::with_seed(seed()?);
        let mut machine = Machine::new(policy, credentials.is_some(), published.last_generation(), now);
        if let Some(inherited) = published.last() {
            // The refresh token stays with the parent: two processes must never present the same one.
            machine.hold(Committed { has_refresh: false, ..inherited }, now, &mut || rng.f64());
        }
        let state = State {
            machine,
            credentials,
            waiting: HashMap::new(),
            due: None,
            flying: false,
            tally: Tally::default(),
            rng,
        };
        Ok(Arc::new_cyclic(|me| Core {
            me: me.clone(),
            client,
            published,
            store: MemoryStore::default(),
            state: Mutex::new(state),
            landed: Condvar::new(),
            waiters: AtomicU64::new(1),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.client.clock.now()
    }

    /// Asks the machine, and waits for its answer until the deadline.
    pub(super) fn ask(&self, timeout: Duration, min_remaining: Duration) -> Answer {
        let id = self.waiters.fetch_add(1, Ordering::Relaxed);
        let (sender, answer): (_, Receiver<Answer>) = sync_channel(1);
        let patience = Instant::now().checked_add(timeout);
        let deadline = self.now().boot.saturating_add(timeout);
        self.step(Event::Ask { id, deadline, min_remaining }, |state| {
            state.waiting.insert(id, sender);
            state.tally.waited += 1;
        });
        let waited = match patience {
            Some(until) => answer.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            None => answer.recv().ok(),
        };
        waited
            .or_else(|| {
                self.step(Event::Leave(id), |_| {});
                // Another thread may have taken this caller out of the table and not have sent yet.
                answer.recv_timeout(HANDOVER).ok()
            })
            .unwrap_or_else(|| {
                Err(Error::new(Status::PG_ERR_INTERNAL, "a caller was not answered; please report it"))
            })
    }

    /// The service refused that token.
    pub(super) fn reject(&self, refused: Fingerprint) -> Verdict {
        let mut state = self.state();
        let (verdict, actions) = state.machine.report(refused, self.now());
        state.tally.rejected += u64::from(verdict != Verdict::Newer);
        self.perform(state, actions);
        verdict
    }

    pub(super) fn set_credentials(&self, credentials: Credentials) {
        self.step(Event::NewCredentials, |state| state.credentials = Some(credentials));
    }

    /// Ends all work; waits for a flight under way until the deadline. Whether it has ended.
    pub(super) fn close(&self, timeout: Duration) -> bool {
        self.step(Event::Close, |_| {});
        let flying = |state: &mut State| state.flying;
        let waited = self.landed.wait_timeout_while(self.state(), timeout, flying);
        !waited.unwrap_or_else(PoisonError::into_inner).0.flying
    }

    pub(super) fn tick(&self) {
        // The timer that rang is gone.
        self.step(self.passing(), |state| state.due = None);
    }

    /// Sees to it that the published token is withdrawn in time, also one that was inherited.
    pub(super) fn watch(&self) {
        self.step(self.passing(), |_| {});
    }

    /// Time has passed, and readers have come or not.
    fn passing(&self) -> Event {
        if self.published.take_asked() { Event::Asked } else { Event::Tick }
    }

    pub(super) fn health(&self) -> Health {
        let now = self.now();
        let state = self.state();
        Health::new(&state.machine, &state.tally, now)
    }

    fn step(&self, event: Event, prepare: impl FnOnce(&mut State)) {
        let mut state = self.state();
        prepare(&mut state);
        let State { machine, rng, .. } = &mut *state;
        let actions = machine.step(event, self.now(), &mut || rng.f64());
        self.perform(state, actions);
    }

    /// Publishes under the lock, so that readers see generations in order; tells callers outside of it.
    fn perform(&self, mut state: MutexGuard<'_, State>, actions: Vec<Action>) {
        let mut answers = Vec::new();
        let mut launches = Vec::new();
        for action in actions {
            match action {
                Action::Publish(committed) => self.published.set(committed),
                Action::Withdraw => self.published.withdraw(),
                Action::Launch(plan) => {
                    state.flying = true;
                    launches.push((plan, state.credentials.clone()));
                }
                Action::Answer(id, answer) => {
                    answers.extend(state.waiting.remove(&id).map(|to| (to, answer)))
                }
            }
        }
        let next = state.machine.next_wake(self.now());
        // Without a thread there are no timers: callers then get the error of the flight.
        let is_set = state.due.map(|(at, _)| at) == next
            || Timers::get(&self.client.clock)
                .map(|timers| state.due = timers.set(state.due, next, &self.me))
                .is_ok();
        if is_set {
            self.published.vouch();
        }
        drop(state);
        for (to, answer) in answers {
            // A caller who has gone has left before.
            let _ = to.send(answer);
        }
        for (plan, credentials) in launches {
            self.launch(plan, credentials);
        }
    }

    fn launch(&self, plan: Plan, credentials: Option<Credentials>) {
        let Some(core) = self.me.upgrade() else { return };
        let flight = async move {
            let landing = match defect::contain_future(core.fly(plan, credentials)).await {
                Ok(landing) => landing,
                Err(error) => Landing { result: Err(error), log: Log::default() },
            };
            let _ = defect::contain(|| core.land(landing));
        };
        if let Err(error) = runtime::spawn(flight) {
            self.land(Landing { result: Err(error), log: Log::default() });
        }
    }

    fn land(&self, landing: Landing) {
        let now = self.now();
        self.step(Event::Landed(Box::new(landing)), |state| {
            state.flying = false;
            state.tally.landed(now);
        });
        self.landed.notify_all();
    }

    /// Performs the steps of a flight.
    async fn fly(&self, plan: Plan, credentials: Option<Credentials>) -> Landing {
        let base = plan.base;
        let mut flight = Flight::new(plan);
        let mut input = Input::Start;
        loop {
            input = match flight.next(input) {
                Step::Land(landing) => {
                    let unlocked = self.store.unlock().await;
                    let result = landing.result.and_then(|committed| unlocked.map(|()| committed));
                    self.state().tally.add(&landing.log, &result);
                    return Landing { result, ..landing };
                }
                step => self.take(step, base, credentials.as_ref()).await.unwrap_or_else(Input::Stopped),
            };
        }
    }

    async fn take(&self, step: Step, base: u64, credentials: Option<&Credentials>) -> Result<Input, Error> {
        let is_closed = self.state().machine.is_closed();
        Ok(match step {
            Step::Refresh(refresh) if is_closed => {
                self.store.retract(refresh).await?;
                Input::Stopped(closed())
            }
            Step::Issue | Step::Pause { .. } if is_closed => Input::Stopped(closed()),
            Step::Lock => {
                self.store.lock().await?;
                Input::Locked
            }
            Step::Load => Input::Loaded(self.store.load().await?.filter(|found| self.is_usable(found))),
            Step::Intend => Input::Intended(self.store.intend().await?),
            Step::Retract(refresh) => {
                self.store.retract(refresh).await?;
                Input::Retracted
            }
            Step::Commit(pair) => Input::Committed(self.store.commit(base, pair).await?),
            Step::Refresh(refresh) => {
                self.call(self.refresh_call(refresh), self.client.refresh_timeout).await
            }
            Step::Issue => match credentials {
                Some(credentials) => {
                    self.call(Call::Issue(credentials.clone()), self.client.issue_timeout).await
                }
                None => Input::Stopped(Error::new(
                    Status::PG_ERR_NO_CREDENTIALS,
                    "the session has no credentials",
                )),
            },
            Step::Pause { most } => {
                let pause = most.mul_f64(self.state().rng.f64());
                tokio::time::sleep(pause).await;
                Input::Resumed
            }
            Step::Land(_) => Input::Start,
        })
    }

    fn refresh_call(&self, refresh: RefreshToken) -> Call {
        // Not the published one: a refused token is no longer published, and its refresh carries it all the same.
        let state = self.state();
        let held = state.machine.held().filter(|_| self.client.send_bearer_on_refresh);
        Call::Refresh { refresh, access: held.map(|committed| committed.token().access.clone()) }
    }

    async fn call(&self, call: Call, timeout: Duration) -> Input {
        Input::Called(Box::new(call.make(&*self.client.transport, &*self.client.clock, timeout).await))
    }

    fn is_usable(&self, found: &Committed) -> bool {
        let windows = Windows::of(&found.token().lifetime);
        windows.phase(found.token().remaining(self.now())) < Phase::Expired
    }
}

fn seed() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Error::new(
            Status::PG_ERR_SYSTEM,
            "the system gives no random numbers; check that getrandom is allowed",
        )
    })?;
    Ok(u64::from_ne_bytes(bytes))
}
