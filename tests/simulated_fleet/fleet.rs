//! Processes, the record they share, the service they call, and the incidents that happen to them.

mod flight;
mod life;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use paymentsgate_auth::clock::{Clock, Moment};
use paymentsgate_auth::session::decision::{Policy, SessionEvent, WaiterId};
use paymentsgate_auth::session::flight::{Input, Step};
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::store::{Disk, RecordFile, RecordKey};
use paymentsgate_auth::token::Fingerprint;
use tempfile::TempDir;

use crate::clock::SimClock;
use crate::disk::{AtRandom, SharedDisk};
use crate::process::Process;
use crate::simulated::{HOUR, START, Service};
use crate::weather::Weather;

/// The pause between two tries with rejected credentials, after two shorter ones.
const PROBE: u64 = 15 * 60;

type Pid = u64;

#[derive(Debug)]
enum Coming {
    To(Pid, Own),
    Ask,
    Start,
    Revocation,
    Refusals {
        last: Duration,
    },
    /// The credentials are good again. `probes` and `crashes` are the counts before, `most` the allowed number of probes.
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

/// An event of one process.
#[derive(Debug)]
enum Own {
    Fly(Box<Input>),
    /// Checks whether the lock is free, or no longer wanted.
    Look,
    Tick(Duration),
    Due(WaiterId),
    /// The service refused a token of this generation.
    Report(u64),
    Stop,
    /// The session is closed, and then the process ends.
    End,
    Death,
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
    /// The process that holds the lock.
    holder: Option<Pid>,
    /// The one token of each generation that was in the record, and when the last one came.
    lineage: BTreeMap<u64, Fingerprint>,
    moved: Duration,
    agenda: BTreeMap<(Duration, u64), Coming>,
    sequence: u64,
    started: u64,
    crashes: u64,
    /// Deaths, revocations and refusals: each may cost one Issue.
    losses: u64,
    probes: u64,
    served: u64,
    failed: u64,
}

fn open(folder: &TempDir, clock: &Arc<SimClock>, disk: Arc<dyn Disk>) -> RecordFile {
    let key = RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "key");
    RecordFile::new(folder.path(), key, None, clock.clone(), disk)
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
            is_shared: true,
            ..Policy::default()
        };
        Fleet {
            weather: Weather::new(&mut rng),
            policy,
            size,
            clock: Arc::new(SimClock(Mutex::new(START))),
            service: Service::new(rng.fork(), lifetime, 1),
            disk: Arc::new(SharedDisk::new(AtRandom::new(rng.fork()))),
            folder: tempfile::tempdir().unwrap(),
            processes: BTreeMap::new(),
            holder: None,
            lineage: BTreeMap::new(),
            moved: Duration::ZERO,
            agenda: BTreeMap::new(),
            sequence: 0,
            started: 0,
            crashes: 0,
            losses: 0,
            probes: 0,
            served: 0,
            failed: 0,
            rng,
        }
    }

    /// Processes, crashes, callers served and failed, calls, generations.
    pub(crate) fn tally(mut self) -> [u64; 6] {
        while let Some((_, process)) = self.processes.pop_first() {
            self.bury(&process);
        }
        let generations = self.lineage.len() as u64;
        [self.started, self.crashes, self.served, self.failed, self.service.calls, generations]
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
                self.started += 1;
                self.sequence += 1;
                let record = open(&self.folder, &self.clock, self.disk.clone());
                let process = Process::new(self.policy, record, self.rng.fork(), self.now());
                self.processes.insert(self.sequence, process);
            }
            Coming::Revocation => {
                self.losses += 1;
                self.service.revoke();
                let revoked = self.lineage.last_key_value().map_or(0, |(generation, _)| *generation);
                for pid in self.running() {
                    self.plan_within(Duration::from_secs(20), Coming::To(pid, Own::Report(revoked)));
                }
            }
            Coming::Refusals { last } => {
                self.losses += 1;
                self.service.revoke();
                self.service.is_locked = true;
                let most = 5 + last.as_secs() / PROBE;
                self.plan(last, Coming::Admission { probes: self.probes, crashes: self.crashes, most });
            }
            Coming::Admission { probes, crashes, most } => {
                self.service.is_locked = false;
                // A process that dies after a probe cannot record it.
                let (probes, most) = (self.probes - probes, most + self.crashes - crashes);
                let is_fair = self.weather.is_fair();
                assert!(
                    !is_fair || probes <= most,
                    "invariant 8: {probes} probes, at most {most} are allowed"
                );
            }
            Coming::Outage { last } => {
                self.disk.plan.set_down(true);
                self.plan(last, Coming::Repair);
                self.stir();
            }
            Coming::Repair => self.disk.plan.set_down(false),
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
                // The machine is suspended.
                self.set_clock(Moment { boot: now.boot + by, wall: now.wall + by });
                self.processes.values_mut().for_each(|process| process.stops.push(now.boot..=now.boot + by));
            }
        }
    }

    fn running(&self) -> Vec<Pid> {
        let now = self.now();
        let running = self
            .processes
            .iter()
            .filter(|(_, process)| process.stopped_until(now).is_none() && !process.is_closed());
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
        // Some callers enforce their own deadline, others leave that to the session.
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
                let step = process.flight.as_mut().unwrap().1.next(*input, now.boot);
                let may_adopt = std::mem::take(&mut process.may_adopt);
                assert!(
                    !may_adopt || matches!(step, Step::Finish(_)),
                    "invariant 2: an existing token costs no call"
                );
                self.fly(pid, step);
            }
            Own::Look => self.look(pid),
            Own::Tick(due) => {
                if process.due == Some(due) {
                    process.due = None;
                    self.step(pid, SessionEvent::Tick);
                }
            }
            Own::Due(id) => self.step(pid, SessionEvent::Leave(id)),
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
            Own::End => {
                self.step(pid, SessionEvent::Close);
                self.end_if_closed(pid);
            }
            Own::Death => self.die(pid),
        }
    }

    fn step(&mut self, pid: Pid, event: SessionEvent) {
        let now = self.now();
        let plan = self.processes.get_mut(&pid).unwrap().step(event, now);
        self.follow(pid, plan);
    }

    /// After a step of the process's machine: sets the timer, and may start a flight.
    fn follow(&mut self, pid: Pid, plan: Option<Plan>) {
        let now = self.now();
        let process = self.processes.get_mut(&pid).unwrap();
        if let Some(due) = process.set_timer(now) {
            // A timer is always a little late.
            let late = Duration::from_millis(self.rng.u64(0..20));
            self.plan(due.saturating_sub(now.boot) + late, Coming::To(pid, Own::Tick(due)));
        }
        if let Some(plan) = plan {
            self.launch(pid, plan);
        }
    }

    /// The kernel frees the lock of a dead process; its intent stays in the record.
    fn die(&mut self, pid: Pid) {
        self.crashes += 1;
        if self.holder == Some(pid) {
            self.losses += 1;
        }
        self.replace(pid);
    }

    /// A closed session waits for its flight.
    fn end_if_closed(&mut self, pid: Pid) {
        let process = &self.processes[&pid];
        if process.is_closed() && process.flight.is_none() {
            assert!(!process.is_anybody_waiting(), "every waiter is answered at the end");
            self.replace(pid);
        }
    }

    /// Another process starts.
    fn replace(&mut self, pid: Pid) {
        let process = self.processes.remove(&pid).unwrap();
        self.bury(&process);
        drop(process);
        self.unlock(pid);
        self.plan_within(Duration::from_secs(10), Coming::Start);
    }

    fn bury(&mut self, process: &Process) {
        self.served += process.served;
        self.failed += process.failed;
    }
}
