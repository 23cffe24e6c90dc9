//! A simulation of processes that share one leased store: answers that are lost or late or come from an emptied server,
//! processes that are killed or stopped for longer than their lease, clocks that differ. The rules are checked after
//! each step. A failed history is identified by its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;

use super::protocol::{Acquired, Backend, LEASE, LeaseView, LeasedStore, RENEWAL, RecordWrite};
use crate::clock::{BootId, Clock, Moment};
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::protocol::Failure;
use crate::secret::{Secret, Wiped};
use crate::session::flight::{Flight, Input, Step};
use crate::session::outcome::FlightOutcome;
use crate::session::plan::Plan;
use crate::status::{Fate, Status};
use crate::store::record::{Ledger, RecordKey};
use crate::store::{Committed, Loaded, Refusal, Store, Storing, while_keeping_lease};
use crate::token::{Pair, RefreshToken, Token};

const LIFE: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(110);
const PROCESSES: usize = 5;
const STEPS: usize = 4000;
/// The number of steps after which a flight counts as endless.
const LONGEST_FLIGHT: usize = 50;
/// When the simulation began, on its own clock.
const BEGINNING: Duration = Duration::from_secs(1_700_000_000);

/// Everything that the processes share, and the faults in it.
struct World {
    rng: Rng,
    now: Duration,
    is_calm: bool,
    next_call: Option<Duration>,
    server: Server,
    /// Writes that their sender has abandoned, and that arrive later.
    delayed: Vec<DelayedWrite>,
    backup: Option<Server>,
    service: Service,
    in_flight: usize,
    /// The server was restored from a backup: old tokens may be in it again.
    has_forgotten: bool,
    /// The server has lost its lease.
    was_emptied: bool,
}

#[derive(Clone, Default)]
struct Server {
    fence: u64,
    generation: u64,
    record: Option<Vec<u8>>,
    lock: Option<(usize, Duration)>,
}

struct DelayedWrite {
    owner: usize,
    version: u64,
    record: Vec<u8>,
    generation: u64,
    frees_lease: bool,
}

#[derive(Default)]
struct Service {
    issued: u64,
    calls: u64,
    good: Option<String>,
    presented: BTreeMap<String, u32>,
    accepted: BTreeSet<String>,
}

type Shared = Arc<Mutex<World>>;

fn lock_world(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

impl Server {
    fn is_ours(&self, owner: usize, now: Duration) -> bool {
        self.lock.is_some_and(|(holder, until)| holder == owner && now < until)
    }

    /// Like the script write.lua.
    fn write(&mut self, delayed: &DelayedWrite, lease: Duration, now: Duration) -> bool {
        let next = delayed.version + 1;
        let arrived_before = self.fence == next && self.record.as_deref() == Some(&delayed.record);
        if !arrived_before && self.fence != delayed.version {
            return false;
        }
        if !arrived_before {
            (self.fence, self.generation) = (next, delayed.generation);
            self.record = Some(delayed.record.clone());
        }
        if !delayed.frees_lease {
            self.lock = Some((delayed.owner, now + lease));
        } else if self.is_ours(delayed.owner, now) {
            self.lock = None;
        }
        true
    }

    fn view(&self, owner: usize, now: Duration) -> LeaseView {
        LeaseView {
            is_held: self.is_ours(owner, now),
            version: self.fence,
            record: self.record.clone().map(Wiped::new),
            wall: Some(now),
        }
    }
}

impl World {
    fn chance(&mut self, share: f64) -> bool {
        !self.is_calm && self.rng.f64() < share
    }
}

/// Lets the other processes run.
async fn yield_once() {
    let mut was_asked = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut was_asked, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

struct SimulatedBackend {
    world: Shared,
    owner: usize,
}

impl SimulatedBackend {
    /// A request that may be lost, or whose answer may be lost.
    async fn ask<T>(&self, operation: impl FnOnce(&mut World) -> T) -> Result<T, Error> {
        yield_once().await;
        if lock_world(&self.world).chance(0.03) {
            return Err(lost());
        }
        let answer = operation(&mut lock_world(&self.world));
        yield_once().await;
        if lock_world(&self.world).chance(0.03) { Err(lost()) } else { Ok(answer) }
    }
}

fn lost() -> Error {
    Error::new(Status::PG_ERR_STORE, "no answer")
}

impl Backend for SimulatedBackend {
    fn acquire(&self, lease: Duration, known: u64) -> Storing<'_, Acquired> {
        Box::pin(self.ask(move |world| {
            let (now, server) = (world.now, &mut world.server);
            if server.lock.is_some_and(|(holder, until)| holder != self.owner && now < until) {
                let is_newer = server.generation > known;
                return Acquired::Busy(is_newer.then(|| server.view(self.owner, now)));
            }
            server.fence = (server.fence + 1).max(now.as_micros() as u64);
            server.lock = Some((self.owner, now + lease));
            Acquired::Held(server.view(self.owner, now))
        }))
    }

    fn load(&self, lease: Duration) -> Storing<'_, LeaseView> {
        Box::pin(self.ask(move |world| {
            let now = world.now;
            if world.server.is_ours(self.owner, now) {
                world.server.lock = Some((self.owner, now + lease));
            }
            world.server.view(self.owner, now)
        }))
    }

    fn write<'a>(&'a self, lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool> {
        let delayed = DelayedWrite {
            owner: self.owner,
            version,
            record: write.record.to_vec(),
            generation: write.generation,
            frees_lease: write.frees_lease,
        };
        Box::pin(async move {
            if lock_world(&self.world).chance(0.03) {
                lock_world(&self.world).delayed.push(delayed);
                return Err(lost());
            }
            self.ask(move |world| {
                let now = world.now;
                world.server.write(&delayed, lease, now)
            })
            .await
        })
    }

    fn renew(&self, lease: Duration, version: u64) -> Storing<'_, bool> {
        Box::pin(self.ask(move |world| {
            let (now, server) = (world.now, &mut world.server);
            let is_free = server.lock.is_none_or(|(_, until)| until <= now) && server.fence == version;
            let is_renewed = server.is_ours(self.owner, now) || is_free;
            if is_renewed {
                server.lock = Some((self.owner, now + lease));
            }
            is_renewed
        }))
    }

    fn sleep_for(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let until = lock_world(&self.world).now + time;
            while lock_world(&self.world).now < until {
                yield_once().await;
            }
        })
    }

    fn release(&self) -> Storing<'_, ()> {
        Box::pin(self.ask(|world| {
            if world.server.is_ours(self.owner, world.now) {
                world.server.lock = None;
            }
        }))
    }

    fn wait_for_change(&self, _most: Duration) -> Storing<'_, ()> {
        Box::pin(async {
            yield_once().await;
            Ok(())
        })
    }

    fn warning(&self) -> Option<String> {
        None
    }
}

/// The clock of one machine, which has its own start time and a wall clock that is wrong.
struct MachineClock {
    world: Shared,
    machine: u8,
}

impl Clock for MachineClock {
    fn now(&self) -> Moment {
        let now = lock_world(&self.world).now;
        let wrong = Duration::from_secs(u64::from(self.machine) * 400);
        Moment { boot: now - BEGINNING + wrong * 3, wall: now + wrong }
    }

    fn boot_id(&self) -> Option<BootId> {
        Some(BootId([self.machine + 1; 16]))
    }
}

/// One process, which starts a flight whenever its token is about to expire.
async fn run_process(world: Shared, owner: usize) {
    let clock = Arc::new(MachineClock { world: world.clone(), machine: (owner % 3) as u8 });
    let key = RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "key");
    let ledger = Ledger::new(key, None, clock.clone(), "simulated".into());
    let store =
        LeasedStore::new(SimulatedBackend { world: world.clone(), owner }, ledger, clock.clone(), PATIENCE);
    let (mut stored, mut generation, mut due) = (0, 0, Duration::ZERO);
    loop {
        while clock.now().boot < due {
            yield_once().await;
        }
        let plan = Plan { stored, ..Plan::plain(generation) };
        lock_world(&world).in_flight += 1;
        let outcome = run_flight(plan, &store, &world, &clock, generation).await;
        lock_world(&world).in_flight -= 1;
        let now = clock.now();
        match outcome.result {
            Ok(committed) => {
                let access = committed.token().access.expose().to_owned();
                assert!(
                    lock_world(&world).service.accepted.contains(&access),
                    "a token that the service does not know"
                );
                generation = committed.generation();
                if outcome.store_error.is_none() {
                    assert!(generation > stored, "generation {generation} after {stored}");
                    stored = generation;
                }
                let remaining = committed.token().remaining(now);
                assert!(remaining <= LIFE);
                due = now.boot + remaining.saturating_sub(Duration::from_secs(600));
            }
            Err(_) => due = now.boot + Duration::from_secs(30),
        }
    }
}

async fn run_flight(
    plan: Plan,
    store: &LeasedStore<SimulatedBackend>,
    world: &Shared,
    clock: &MachineClock,
    base: u64,
) -> FlightOutcome {
    let stored = plan.stored;
    let mut flight = Flight::new(plan, None);
    let mut input = Input::Start;
    for _ in 0..LONGEST_FLIGHT {
        let step = match flight.next(input, clock.now().boot) {
            Step::Finish(outcome) => {
                let _ = store.unlock().await;
                return *outcome;
            }
            step => step,
        };
        let is_private = flight.is_private();
        input = perform(step, store, world, clock, (base, stored, is_private))
            .await
            .unwrap_or_else(Input::StoreFailed);
    }
    panic!("a flight has no end");
}

async fn perform(
    step: Step,
    store: &LeasedStore<SimulatedBackend>,
    world: &Shared,
    clock: &MachineClock,
    (base, stored, is_private): (u64, u64, bool),
) -> Result<Input, Error> {
    Ok(match step {
        Step::Lock => Input::Locked(store.lock(stored).await?),
        Step::Load => {
            let found = store.load().await?;
            let is_usable = |found: &Committed| found.token().remaining(clock.now()) > LIFE / 60;
            Input::Loaded(Loaded { committed: found.committed.filter(is_usable), ..found })
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
        Step::KeepPrivate(pair) => Input::Committed(Committed::private(pair.token, base + 1)),
        Step::BackOff { strikes, have_worked, error } => {
            Input::BackedOff(Refusal::after(strikes, have_worked, error, clock.now()))
        }
        Step::Pause { .. } => {
            while_keeping_lease(store, yield_once()).await;
            Input::Resumed
        }
        Step::Refresh(refresh) => {
            {
                let server = lock_world(world);
                let is_ours = server.server.is_ours(store.backend().owner, server.now);
                assert!(is_ours || server.was_emptied, "a call without the lease");
            }
            Input::Called(Box::new(while_keeping_lease(store, refreshed(refresh, world, clock)).await))
        }
        Step::Issue => {
            if !is_private {
                store.ensure_lease().await?;
            }
            Input::Called(Box::new(while_keeping_lease(store, issued(world, clock)).await))
        }
        Step::Finish(_) => unreachable!(),
    })
}

/// The service is slow: some calls take longer than a lease lasts.
async fn wait_for_service(world: &Shared) {
    let until = {
        let mut world = lock_world(world);
        let most = if world.rng.f64() < 0.05 { 15_000 } else { 1 };
        let drawn = Duration::from_millis(world.rng.u64(..most));
        world.now + world.next_call.take().unwrap_or(drawn)
    };
    yield_once().await;
    while lock_world(world).now < until {
        yield_once().await;
    }
}

async fn refreshed(refresh: RefreshToken, world: &Shared, clock: &MachineClock) -> Result<Pair, Failure> {
    yield_once().await;
    let anchor = clock.now();
    let failure = |status, fate, refresh| {
        Err(Failure { error: Error { fate, ..Error::new(status, "no") }, refresh, maybe_spent: None })
    };
    if lock_world(world).chance(0.1) {
        return failure(Status::PG_ERR_CONNECT, Fate::PG_FATE_UNSENT, Some(refresh));
    }
    let text = refresh.secret().expose().to_owned();
    let is_good = {
        let mut world = lock_world(world);
        world.service.calls += 1;
        *world.service.presented.entry(text.clone()).or_default() += 1;
        let is_once = world.service.presented[&text] == 1 || world.has_forgotten;
        assert!(is_once, "a refresh token was presented twice: {text}");
        if world.chance(0.05) { None } else { Some(world.service.good.as_ref() == Some(&text)) }
    };
    let answer = match is_good {
        Some(true) => Ok(lock_world(world).service.pair(anchor)),
        Some(false) => failure(Status::PG_ERR_REFUSED, Fate::PG_FATE_REFUSED, None),
        None => failure(Status::PG_ERR_CONNECTION_LOST, Fate::PG_FATE_UNKNOWN, None),
    };
    wait_for_service(world).await;
    if lock_world(world).chance(0.05) {
        return failure(Status::PG_ERR_CONNECTION_LOST, Fate::PG_FATE_UNKNOWN, None);
    }
    answer
}

async fn issued(world: &Shared, clock: &MachineClock) -> Result<Pair, Failure> {
    yield_once().await;
    let anchor = clock.now();
    lock_world(world).service.calls += 1;
    let pair = lock_world(world).service.pair(anchor);
    wait_for_service(world).await;
    if lock_world(world).chance(0.05) {
        let error = Error::new(Status::PG_ERR_CONNECTION_LOST, "no answer");
        return Err(Failure { error, refresh: None, maybe_spent: None });
    }
    Ok(pair)
}

impl Service {
    fn pair(&mut self, anchor: Moment) -> Pair {
        self.issued += 1;
        let secret = |kind: &str| Secret::new(&format!("{kind}-{}", self.issued)).unwrap();
        let (access, refresh) = (secret("access"), secret("refresh"));
        self.good = Some(refresh.expose().to_owned());
        self.accepted.insert(access.expose().to_owned());
        let lifetime = Lifetime::of(LIFE);
        Pair { token: Token::new(access, lifetime, anchor), refresh: Some(RefreshToken::new(refresh)) }
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

fn world(seed: u64, is_calm: bool) -> Shared {
    Arc::new(Mutex::new(World {
        rng: Rng::with_seed(seed),
        now: BEGINNING,
        is_calm,
        next_call: None,
        server: Server::default(),
        delayed: Vec::new(),
        backup: None,
        service: Service::default(),
        in_flight: 0,
        has_forgotten: false,
        was_emptied: false,
    }))
}

/// A holder whose first call is slow, and a waiter. The holder is killed after a while, or lives. Returns when the
/// waiter has a pair, and the number of calls until then.
fn wait_for_a_holder(killed_after: Option<Duration>) -> (Duration, u64) {
    let world = world(1, true);
    lock_world(&world).next_call = Some(Duration::from_secs(40));
    let mut context = Context::from_waker(Waker::noop());
    let mut holder: Option<Task> = Some(Box::pin(run_process(world.clone(), 0)));
    let mut waiter: Task = Box::pin(run_process(world.clone(), 1));
    loop {
        let age = lock_world(&world).now - BEGINNING;
        assert!(age < PATIENCE * 2, "the waiter never gets a pair");
        holder = holder.filter(|_| killed_after.is_none_or(|after| age < after));
        if let Some(holder) = &mut holder {
            assert!(holder.as_mut().poll(&mut context).is_pending());
        }
        // After the holder has taken the lease.
        if !age.is_zero() {
            assert!(waiter.as_mut().poll(&mut context).is_pending());
        }
        if lock_world(&world).in_flight == usize::from(killed_after.is_some())
            && lock_world(&world).server.generation > 0
        {
            return (age, lock_world(&world).service.calls);
        }
        lock_world(&world).now += Duration::from_millis(20);
    }
}

/// Runs one history. Returns the number of calls to the service, and the server's last generation.
fn history(seed: u64, is_calm: bool) -> (u64, u64) {
    let world = world(seed, is_calm);
    let mut owners = 0..;
    let mut start = || -> (Task, Duration) {
        (Box::pin(run_process(world.clone(), owners.next().unwrap())), Duration::ZERO)
    };
    let mut tasks: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..STEPS {
        let (which, now) = {
            let mut world = lock_world(&world);
            // Without faults no process is stopped during a flight.
            let may_jump = !world.is_calm || world.in_flight == 0;
            let jumps = world.rng.f64() < 0.02 && may_jump;
            let pause = if jumps { world.rng.u64(..600_000) } else { world.rng.u64(..20) };
            world.now += Duration::from_millis(pause);
            server_fault(&mut world);
            (world.rng.usize(..PROCESSES), world.now)
        };
        let (task, stopped_until) = &mut tasks[which];
        if now < *stopped_until {
            continue;
        }
        assert!(task.as_mut().poll(&mut context).is_pending());
        let mut random = lock_world(&world);
        if random.chance(0.004) {
            drop(random);
            tasks[which] = start();
        } else if random.chance(0.004) {
            tasks[which].1 = now + Duration::from_secs(random.rng.u64(1..200));
        }
    }
    let world = lock_world(&world);
    (world.service.calls, world.server.generation)
}

fn server_fault(world: &mut World) {
    let now = world.now;
    if !world.delayed.is_empty() && world.chance(0.05) {
        let which = world.rng.usize(..world.delayed.len());
        let delayed = world.delayed.swap_remove(which);
        world.server.write(&delayed, LEASE, now);
    }
    if world.chance(0.0005) {
        world.backup = Some(world.server.clone());
    }
    // The server's connections, and the writes that are on their way, end with it.
    if world.chance(0.0003) {
        world.server = Server::default();
        world.delayed.clear();
        world.was_emptied = true;
    }
    if world.chance(0.0002)
        && let Some(backup) = world.backup.take()
    {
        world.server = backup;
        world.delayed.clear();
        (world.has_forgotten, world.was_emptied) = (true, true);
    }
}

#[test]
fn whatever_happens_no_refresh_token_is_presented_twice() {
    let histories = std::env::var("PG_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    for seed in 0..histories {
        let played = std::panic::catch_unwind(|| history(seed, false));
        assert!(played.is_ok(), "the history of seed {seed} breaks a rule");
    }
}

#[test]
fn without_faults_each_generation_costs_one_call() {
    for seed in 0..50 {
        let (calls, generation) = history(seed, true);
        // The last call may still be running.
        let is_one_each = calls == generation || calls == generation + 1;
        assert!(generation > 2 && is_one_each, "seed {seed}: {calls} calls, {generation} generations");
    }
}

#[test]
fn a_live_holder_is_waited_for_and_a_dead_one_only_until_its_lease_ends() {
    let (age, calls) = wait_for_a_holder(None);
    assert!(age >= Duration::from_secs(40) && calls == 1, "after {age:?}, {calls} calls");
    for dies in [Duration::from_millis(100), Duration::from_secs(5), Duration::from_secs(20)] {
        let (age, calls) = wait_for_a_holder(Some(dies));
        assert!(
            age <= dies + LEASE + Duration::from_millis(500) && calls == 2,
            "after {age:?}, {calls} calls"
        );
        assert!(age + RENEWAL >= dies + LEASE, "after {age:?}: not before the lease is over");
    }
}
