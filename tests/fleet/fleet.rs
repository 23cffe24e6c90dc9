//! Processes, the record they share, the service they call, and what befalls them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use paymentsgate_auth::clock::{BootId, Clock, Moment};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::session::flight::{Flight, Input, Landing, Plan, Step};
use paymentsgate_auth::session::machine::{Event, Policy, WaiterId};
use paymentsgate_auth::session::phase::{Phase, Windows};
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, Lock, RecordFile, RecordKey, Refusal, SystemDisk, Uncommitted};
use paymentsgate_auth::token::Fingerprint;
use tempfile::TempDir;

use crate::disk::SharedDisk;
use crate::process::Process;
use crate::simulated::{HOUR, START, Service};

/// How long to wait for the lock, and between two looks at it.
const PATIENCE: Duration = Duration::from_secs(70);
const LOOK: Duration = Duration::from_millis(90);
/// How often rejected credentials are tried again; two shorter pauses come before.
const PROBE: u64 = 15 * 60;

type Pid = u64;

/// What befalls a fleet besides its work.
#[derive(Clone, Copy, Default)]
struct Weather {
    network: f64,
    disk: f64,
    /// Flights that end with the process, one in so many.
    deaths: Option<u32>,
    /// Flights whose process is stopped for minutes, one in so many.
    stops: Option<u32>,
}

impl Weather {
    fn new(rng: &mut Rng) -> Self {
        let deaths = rng.bool().then_some(8);
        if rng.u8(0..3) == 0 {
            return Weather { deaths, ..Weather::default() };
        }
        Weather {
            deaths,
            network: if rng.bool() { rng.f64() } else { 0.0 },
            disk: if rng.bool() { rng.f64() * 0.3 } else { 0.0 },
            stops: rng.bool().then_some(6),
        }
    }

    /// Nothing but deaths: what a fleet costs can be told exactly.
    fn is_fair(&self) -> bool {
        self.network + self.disk == 0.0 && self.stops.is_none()
    }
}

#[derive(Debug)]
enum Coming {
    To(Pid, Own),
    Ask,
    Start,
    Revocation,
    Refusals {
        last: Duration,
    },
    /// The credentials are good again; so many probes and crashes there had been before, so many probes may be.
    Admission {
        probes: u64,
        crashes: u64,
        most: u64,
    },
    Outage {
        last: Duration,
    },
    Repair,
    Clocks,
}

/// What comes to one process.
#[derive(Debug)]
enum Own {
    Fly(Input),
    /// Is the lock free, or not wanted any more?
    Look,
    Tick(Duration),
    Due(WaiterId),
    /// The service refused a token of that generation.
    Report(u64),
    Stop,
    Death,
}

struct SimClock(Mutex<Moment>);

impl Clock for SimClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    fn boot_id(&self) -> Option<BootId> {
        Some(BootId([1; 16]))
    }
}

pub(crate) struct Fleet {
    weather: Weather,
    policy: Policy,
    size: usize,
    rng: Rng,
    clock: Arc<SimClock>,
    service: Service,
    disk: Arc<SharedDisk>,
    folder: TempDir,
    processes: BTreeMap<Pid, Process>,
    /// Who has the lock.
    holder: Option<Pid>,
    /// The one token of each generation that was in the record, and when the last one came.
    lineage: BTreeMap<u64, Fingerprint>,
    moved: Duration,
    agenda: BTreeMap<(Duration, u64), Coming>,
    sequence: u64,
    crashes: u64,
    /// Deaths, revocations and refusals, each of which may cost one Issue.
    losses: u64,
    probes: u64,
    served: u64,
    failed: u64,
}

fn open(folder: &TempDir, clock: &Arc<SimClock>, disk: Option<&Arc<SharedDisk>>) -> RecordFile {
    let key = RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "key");
    match disk {
        Some(disk) => RecordFile::open(folder.path(), key, clock.clone(), disk.clone()),
        None => RecordFile::open(folder.path(), key, clock.clone(), Arc::new(SystemDisk)),
    }
    .unwrap()
}

fn store_error() -> Error {
    Error::new(Status::PG_ERR_STORE, "simulated")
}

impl Fleet {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let lifetime = [300, 300, 900, HOUR, HOUR][rng.usize(0..5)];
        let size = 2 + (39.0 * rng.f64().powi(2)) as usize;
        let policy = Policy {
            keep_warm: rng.bool(),
            fail_without_store: rng.u8(0..4) == 0,
            is_strict: rng.u8(0..4) == 0,
            ..Policy::default()
        };
        Fleet {
            weather: Weather::new(&mut rng),
            policy,
            size,
            clock: Arc::new(SimClock(Mutex::new(START))),
            service: Service::new(rng.fork(), lifetime, 1),
            disk: Arc::new(SharedDisk::new(rng.fork())),
            folder: tempfile::tempdir().unwrap(),
            processes: BTreeMap::new(),
            holder: None,
            lineage: BTreeMap::new(),
            moved: Duration::ZERO,
            agenda: BTreeMap::new(),
            sequence: 0,
            crashes: 0,
            losses: 0,
            probes: 0,
            served: 0,
            failed: 0,
            rng,
        }
    }

    /// Processes, crashes, callers served and not, calls, generations.
    pub(crate) fn tally(mut self) -> [u64; 6] {
        while let Some((_, process)) = self.processes.pop_first() {
            self.bury(&process);
        }
        let processes = self.size as u64 + self.crashes;
        let generations = self.lineage.len() as u64;
        [processes, self.crashes, self.served, self.failed, self.service.calls, generations]
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn set_clock(&self, now: Moment) {
        *self.clock.0.lock().unwrap() = now;
    }

    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.service.lifetime)
    }

    fn within(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    fn plan(&mut self, after: Duration, coming: Coming) {
        self.sequence += 1;
        self.agenda.insert((self.now().boot + after, self.sequence), coming);
    }

    fn plan_within(&mut self, most: Duration, coming: Coming) {
        let after = self.within(most);
        self.plan(after, coming);
    }

    fn run(&mut self, last: Duration) {
        let until = self.now().boot + last;
        loop {
            let next = self.agenda.first_entry().filter(|next| next.key().0 <= until);
            let at = next.as_ref().map_or(until, |next| next.key().0);
            let coming = next.map(|next| next.remove());
            let now = self.now();
            let passed = at.saturating_sub(now.boot);
            self.set_clock(Moment { boot: now.boot + passed, wall: now.wall + passed });
            match coming {
                Some(coming) => self.happen(coming),
                None => return,
            }
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::To(pid, own) => self.come_to(pid, own),
            Coming::Ask => self.ask_anybody(),
            Coming::Start => {
                self.sequence += 1;
                let record = open(&self.folder, &self.clock, Some(&self.disk));
                let process = Process::new(self.policy, record, self.rng.fork(), self.now());
                self.processes.insert(self.sequence, process);
            }
            Coming::Revocation => {
                self.losses += 1;
                self.service.good.clear();
                let revoked = self.lineage.last_key_value().map_or(0, |(generation, _)| *generation);
                for pid in self.running() {
                    self.plan_within(Duration::from_secs(20), Coming::To(pid, Own::Report(revoked)));
                }
            }
            Coming::Refusals { last } => {
                self.losses += 1;
                self.service.good.clear();
                self.service.is_locked = true;
                let most = 3 + last.as_secs() / PROBE;
                self.plan(last, Coming::Admission { probes: self.probes, crashes: self.crashes, most });
            }
            Coming::Admission { probes, crashes, most } => {
                self.service.is_locked = false;
                // Who dies after a probe cannot tell of it.
                let (probes, most) = (self.probes - probes, most + self.crashes - crashes);
                let is_fair = self.weather.is_fair();
                assert!(!is_fair || probes <= most, "invariant 6: {probes} probes, {most} are plenty");
            }
            Coming::Outage { last } => {
                self.disk.set_down(true);
                self.plan(last, Coming::Repair);
                self.stir();
            }
            Coming::Repair => self.disk.set_down(false),
            Coming::Clocks => self.disturb_the_clocks(),
        }
    }

    fn disturb_the_clocks(&mut self) {
        let by = self.within(self.lifetime() * 2);
        let now = self.now();
        match self.rng.u8(0..3) {
            0 => self.set_clock(Moment { wall: now.wall + by, ..now }),
            1 => self.set_clock(Moment { wall: now.wall.saturating_sub(by), ..now }),
            _ => {
                // The machine sleeps.
                self.set_clock(Moment { boot: now.boot + by, wall: now.wall + by });
                self.processes.values_mut().for_each(|process| process.stops.push(now.boot..=now.boot + by));
            }
        }
    }

    fn running(&self) -> Vec<Pid> {
        let now = self.now();
        let running = self.processes.iter().filter(|(_, process)| process.stopped_until(now).is_none());
        running.map(|(pid, _)| *pid).collect()
    }

    fn ask_anybody(&mut self) {
        let running = self.running();
        let Some(pid) = self.rng.choice(running) else { return };
        let patience =
            if self.rng.u8(0..4) == 0 { Duration::ZERO } else { self.within(Duration::from_secs(60)) };
        let min_remaining =
            if self.rng.u8(0..8) == 0 { self.within(self.lifetime()) } else { Duration::ZERO };
        self.ask(pid, patience, min_remaining);
    }

    fn ask(&mut self, pid: Pid, patience: Duration, min_remaining: Duration) {
        self.sequence += 1;
        let (id, now) = (self.sequence, self.now());
        // Some callers keep their own time, others leave it to the session.
        if self.rng.bool() {
            self.plan(patience, Coming::To(pid, Own::Due(id)));
        }
        let plan = self.processes.get_mut(&pid).unwrap().ask(id, patience, min_remaining, now);
        self.follow(pid, plan);
    }

    fn come_to(&mut self, pid: Pid, own: Own) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if let Some(until) = process.stopped_until(now).filter(|_| !matches!(own, Own::Death)) {
            return self.plan(until - now.boot, Coming::To(pid, own));
        }
        match own {
            Own::Fly(input) => {
                let step = process.flight.as_mut().unwrap().1.next(input);
                let may_adopt = std::mem::take(&mut process.may_adopt);
                assert!(
                    !may_adopt || matches!(step, Step::Land(_)),
                    "invariant 2: what there is costs nothing"
                );
                self.fly(pid, step);
            }
            Own::Look => self.look(pid),
            Own::Tick(due) => {
                if process.due == Some(due) {
                    process.due = None;
                    self.step(pid, Event::Tick);
                }
            }
            Own::Due(id) => self.step(pid, Event::Leave(id)),
            Own::Report(revoked) => {
                if process.open.as_ref().is_some_and(|open| open.generation() <= revoked) {
                    let plan = process.report(now);
                    self.follow(pid, plan);
                }
            }
            Own::Stop => {
                let last = Duration::from_secs(200).mul_f64(self.rng.f64());
                process.stops.push(now.boot..=now.boot + last);
            }
            Own::Death => self.die(pid),
        }
    }

    fn step(&mut self, pid: Pid, event: Event) {
        let now = self.now();
        let plan = self.processes.get_mut(&pid).unwrap().step(event, now);
        self.follow(pid, plan);
    }

    /// After a step of its machine: the timer, and perhaps a flight.
    fn follow(&mut self, pid: Pid, plan: Option<Plan>) {
        let now = self.now();
        let process = self.processes.get_mut(&pid).unwrap();
        if let Some(due) = process.set_timer(now) {
            // A timer is never on time.
            let late = Duration::from_millis(self.rng.u64(0..20));
            self.plan(due.saturating_sub(now.boot) + late, Coming::To(pid, Own::Tick(due)));
        }
        if let Some(plan) = plan {
            self.launch(pid, plan);
        }
    }

    fn launch(&mut self, pid: Pid, plan: Plan) {
        let mut flight = Flight::new(plan.clone());
        let step = flight.next(Input::Start);
        let process = self.processes.get_mut(&pid).unwrap();
        process.flight = Some((plan, flight));
        let one_in = |rng: &mut Rng, many: Option<u32>| many.is_some_and(|many| rng.u32(0..many) == 0);
        if one_in(&mut self.rng, self.weather.deaths) {
            if self.rng.bool() {
                process.doom = Some(self.rng.u32(0..5));
            } else {
                self.plan_within(Duration::from_secs(4), Coming::To(pid, Own::Death));
            }
        }
        if one_in(&mut self.rng, self.weather.stops) {
            self.plan_within(Duration::from_secs(4), Coming::To(pid, Own::Stop));
        }
        self.fly(pid, step);
    }

    fn fly(&mut self, pid: Pid, step: Step) {
        let now = self.now();
        let base = self.processes[&pid].flight.as_ref().unwrap().0.base;
        let input = match step {
            Step::Lock => {
                self.processes.get_mut(&pid).unwrap().patience = Some(now.boot + PATIENCE);
                self.plan(PATIENCE, Coming::To(pid, Own::Look));
                return self.plan(Duration::ZERO, Coming::To(pid, Own::Look));
            }
            Step::Pause { most } => {
                return self.plan_within(most, Coming::To(pid, Own::Fly(Input::Resumed)));
            }
            Step::Land(landing) => return self.land(pid, landing),
            Step::Load => self.keep(pid, RecordFile::load).map_or_else(Input::StoreFailed, |mut found| {
                let is_usable = |found: &Committed| {
                    let token = found.token();
                    Windows::of(&token.lifetime).phase(token.remaining(now)) < Phase::Expired
                };
                found.committed = found.committed.filter(is_usable);
                let process = self.processes.get_mut(&pid).unwrap();
                process.may_adopt = found.committed.as_ref().is_some_and(|found| process.is_served_by(found));
                Input::Loaded(found, now.boot)
            }),
            Step::Intend => {
                assert_eq!(self.holder, Some(pid), "invariant 2: an intent without the lock");
                self.keep(pid, RecordFile::intend).map_or_else(Input::StoreFailed, Input::Intended)
            }
            Step::Retract(refresh) => self
                .keep(pid, |record| record.retract(&refresh))
                .map_or_else(Input::StoreFailed, |()| Input::Retracted),
            Step::Commit(pair) => match self.keep(pid, |record| record.commit(base, &pair)) {
                Ok(committed) => Input::Committed(committed),
                Err(error) => Input::Uncommitted(Uncommitted { error, pair }),
            },
            Step::Keep(pair) => Input::Committed(Committed::private(pair, base + 1)),
            Step::Cool(strikes, error) => {
                let refusal = Refusal::after(strikes, error, now);
                let _ = self.keep(pid, |record| record.cool(&refusal));
                Input::Cooled(refusal)
            }
            Step::Refresh(refresh) => {
                assert_eq!(self.holder, Some(pid), "invariant 2: a refresh token presented without the lock");
                Input::Called(Box::new(self.service.refresh(refresh, now)))
            }
            Step::Issue => {
                self.probes += u64::from(self.service.is_locked);
                Input::Called(Box::new(self.service.issue(now)))
            }
        };
        if let Some(operations) = &mut self.processes.get_mut(&pid).unwrap().doom
            && !matches!(input, Input::Called(_))
        {
            match operations.checked_sub(1) {
                Some(fewer) => *operations = fewer,
                None => return self.die(pid),
            }
        }
        let is_slow = self.weather.network > 0.0 && self.rng.u8(0..10) == 0;
        let most = match input {
            Input::Called(_) if is_slow => Duration::from_secs(45),
            Input::Called(_) => Duration::from_secs(3),
            _ => Duration::from_millis(10),
        };
        self.plan_within(most, Coming::To(pid, Own::Fly(input)));
    }

    /// One operation on the record. A doomed process dies in one of them, somewhere in its middle.
    fn keep<T>(&mut self, pid: Pid, work: impl FnOnce(&RecordFile) -> Result<T, Error>) -> Result<T, Error> {
        let process = self.processes.get_mut(&pid).unwrap();
        if process.doom == Some(0) {
            self.disk.set_steps_to_live(Some(self.rng.u32(0..10)));
        }
        let result = work(&process.record);
        self.disk.set_steps_to_live(None);
        self.inspect();
        result
    }

    /// The record as it is on the disk.
    fn inspect(&mut self) {
        let Some(found) = open(&self.folder, &self.clock, None).load().unwrap().committed else {
            assert!(self.lineage.is_empty(), "invariant 3: the record is gone");
            return;
        };
        let (generation, fingerprint) = (found.generation(), *found.token().fingerprint());
        let last = self.lineage.last_key_value().map_or(0, |(last, _)| *last);
        assert!(generation >= last, "invariant 3: generation {generation} after {last}");
        let token = *self.lineage.entry(generation).or_insert(fingerprint);
        assert_eq!(token, fingerprint, "invariant 3: two tokens of generation {generation}");
        if generation > last {
            self.moved = self.now().boot;
            self.stir();
        }
    }

    /// Whoever waits for the lock will look soon. Looks that cannot find anything new are left out.
    fn stir(&mut self) {
        let waiting = self.processes.iter().filter(|(_, process)| process.patience.is_some());
        for pid in waiting.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.plan_within(LOOK, Coming::To(pid, Own::Look));
        }
    }

    fn look(&mut self, pid: Pid) {
        let now = self.now();
        let process = self.processes.get_mut(&pid).unwrap();
        let Some(give_up) = process.patience else { return };
        let stored = process.flight.as_ref().unwrap().0.stored;
        let looked = if self.disk.is_down() {
            Err(store_error())
        } else {
            process.record.try_lock().and_then(|is_held| match is_held {
                true => Ok(Some(Lock::Held)),
                false => Ok(process.record.has_newer(stored)?.then_some(Lock::Moved)),
            })
        };
        let input = match looked {
            Ok(Some(lock)) => Input::Locked(lock),
            Ok(None) if now.boot < give_up => return,
            Ok(None) => Input::StoreFailed(store_error()),
            Err(error) => Input::StoreFailed(error),
        };
        process.patience = None;
        if matches!(input, Input::Locked(Lock::Held)) {
            let others = self.holder.replace(pid).filter(|holder| *holder != pid);
            assert!(others.is_none(), "invariant 2: two processes have the lock");
        }
        let step = process.flight.as_mut().unwrap().1.next(input);
        self.fly(pid, step);
    }

    fn unlock(&mut self, pid: Pid) {
        if self.holder == Some(pid) {
            self.holder = None;
            self.stir();
        }
    }

    fn land(&mut self, pid: Pid, landing: Landing) {
        let process = self.processes.get_mut(&pid).unwrap();
        process.record.unlock();
        process.doom = None;
        let (plan, _) = process.flight.take().unwrap();
        assert!(landing.log.issues <= 3 && landing.log.refreshes <= 1);
        if let Ok(committed) = &landing.result {
            let fingerprint = *committed.token().fingerprint();
            assert_ne!(plan.refused, Some(fingerprint), "a refused token is its own successor");
            let is_private = landing.store_error.is_some();
            let generation = committed.generation();
            let stored = self.lineage.get(&generation);
            assert!(
                is_private || stored == Some(&fingerprint),
                "generation {generation} is not what the store has"
            );
            process.take(committed, is_private);
        }
        self.unlock(pid);
        self.step(pid, Event::Landed(Box::new(landing)));
    }

    /// The kernel frees the lock; an intent stays. Somebody starts another one.
    fn die(&mut self, pid: Pid) {
        let process = self.processes.remove(&pid).unwrap();
        self.bury(&process);
        drop(process);
        self.crashes += 1;
        if self.holder == Some(pid) {
            self.losses += 1;
        }
        self.unlock(pid);
        self.plan_within(Duration::from_secs(10), Coming::Start);
    }

    fn bury(&mut self, process: &Process) {
        self.served += process.served;
        self.failed += process.failed;
    }

    /// A life: troubles, then calm, in which everything must come right by itself.
    pub(crate) fn live(&mut self) {
        self.service.trouble = self.weather.network;
        self.disk.set_trouble(self.weather.disk);
        let life = self.lifetime() * 6;
        for _ in 0..self.size {
            self.plan_within(Duration::from_secs(30), Coming::Start);
        }
        for _ in 0..30 * self.size {
            self.plan_within(life, Coming::Ask);
        }
        for _ in 0..self.rng.u8(0..4) {
            self.plan_within(life, Coming::Revocation);
        }
        if self.rng.bool() {
            let last = self.within(Duration::from_secs(2 * HOUR));
            self.plan_within(life, Coming::Refusals { last });
        }
        if !self.weather.is_fair() {
            for _ in 0..self.rng.u8(0..4) {
                let last = self.within(self.lifetime());
                self.plan_within(life, Coming::Outage { last });
                self.plan_within(life, Coming::Clocks);
            }
        }
        self.run(life);
        self.settle();
        self.calm();
    }

    /// The longest that anything may still be held against the service: a probe of rejected credentials.
    fn settle(&mut self) {
        self.service.trouble = 0.0;
        self.disk.set_trouble(0.0);
        self.run(Duration::from_secs(2 * HOUR));
        let generations = self.lineage.len() as u64;
        if self.weather.is_fair() {
            let (minted, losses) = (self.service.minted, self.losses);
            let issues = self.service.issues - self.probes;
            assert!(
                minted <= generations + losses,
                "invariant 2: {minted} pairs for {generations} generations, {losses} losses"
            );
            assert!(issues <= 1 + losses, "invariant 5: {issues} issues for {losses} losses");
        }
        self.weather = Weather::default();
        assert!(!self.disk.is_down() && !self.service.is_locked);
        self.run(Duration::from_secs(PROBE + 60));
        assert!(self.processes.values().all(|process| !process.is_anybody_waiting()), "somebody waits");
    }

    /// Everybody is asked, again and again, and gets a token; the fleet has one call for each due refresh, and one pair.
    fn calm(&mut self) {
        let pause = self.lifetime() / 16;
        self.go_on_asking(16, pause);
        let before = (self.service.calls, self.lineage.len() as u64, self.callers().1);
        let begun = self.now().boot;
        self.go_on_asking(32, pause);
        let windows = Windows::of(&Lifetime { length: self.lifetime(), disagreement: Duration::ZERO });
        let spread = windows.advisory / 3 + Duration::from_secs(5);
        while self.now().boot < self.moved + spread {
            self.go_on_asking(1, Duration::from_secs(1));
        }
        let calls = self.service.calls - before.0;
        let generations = self.lineage.len() as u64 - before.1;
        let apart = (windows.length - windows.advisory).max(windows.floor);
        let due = (self.now().boot - begun).as_secs() / apart.as_secs() + 1;
        assert!(
            generations <= due && calls.abs_diff(generations) <= 1,
            "invariant 2: {calls} calls for {generations} generations where {due} are due"
        );
        assert_eq!(self.callers().1, before.2, "in calm everybody gets a token");
        let newest = self.lineage.last_key_value().map(|(generation, token)| (*generation, *token));
        for (pid, process) in &self.processes {
            assert_eq!(process.serves(), newest, "invariant 5: process {pid} does not serve the newest pair");
        }
    }

    fn callers(&self) -> (u64, u64) {
        let living = |count: fn(&Process) -> u64| self.processes.values().map(count).sum::<u64>();
        (self.served + living(|process| process.served), self.failed + living(|process| process.failed))
    }

    fn go_on_asking(&mut self, times: u32, pause: Duration) {
        for _ in 0..times {
            for pid in self.running() {
                self.ask(pid, Duration::from_secs(60), Duration::ZERO);
            }
            self.run(pause);
        }
    }
}
