//! Thousands of random histories of a session, in simulated time: callers come and go, the network fails at every
//! point, clocks jump, the machine is suspended, tokens are revoked. After every step the invariants of
//! docs/lifecycle.md are checked. A history that fails names its seed: `PG_SEED=n cargo test --test simulated_session`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the totals are worth reading")]

#[path = "../support/simulated.rs"]
mod simulated;
mod storm;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use paymentsgate_auth::clock::Moment;
use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Notice;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent, WaiterId};
use paymentsgate_auth::session::flight::{Flight, Input, Step};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::FlightOutcome;
use paymentsgate_auth::session::phase::Windows;
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::session::rejection::ReportVerdict;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, MemoryStore, Refusal, Store, Uncommitted};
use paymentsgate_auth::token::{Fingerprint, MaybeSpentRefreshToken, Pair, RefreshToken, Token};

use simulated::{HOUR, START, Service, TOLERANCE, histories, ready};
use storm::{Failure, Use};

fn store_error() -> Error {
    Error::new(Status::PG_ERR_SYSTEM, "the store is down")
}

#[derive(Debug)]
enum Coming {
    /// For the flight with this number.
    Fly(u64, Box<Input>),
    /// The flight crashes.
    Crash(u64),
    Ask,
    /// The answer to a business call with this token.
    Used(WaiterId, Committed),
    Report,
    Due(WaiterId),
    Trouble,
}

struct World {
    policy: Policy,
    has_credentials: bool,
    degraded: bool,
    store_down_until: Duration,
    rng: Rng,
    now: Moment,
    service: Service,
    store: Rc<MemoryStore>,
    machine: Machine,
    /// The running flight, and the store that it uses.
    flight: Option<(Flight, Rc<MemoryStore>)>,
    flights: u64,
    /// One flight in this many crashes.
    crashes: Option<u32>,
    /// Running business calls.
    calls: BTreeMap<WaiterId, Use>,
    failures: Vec<Failure>,
    /// The generation that the flight replaces.
    base: u64,
    /// Of a pair that was obtained while the store was down.
    private_refresh: Option<RefreshToken>,
    maybe_spent: Option<MaybeSpentRefreshToken>,
    agenda: BTreeMap<(Duration, u64), Coming>,
    sequence: u64,
    waiting: BTreeMap<WaiterId, Duration>,
    newest: Option<Committed>,
    /// The token that readers get from memory.
    open: Option<Committed>,
    /// When the machine was suspended: only then may an answer be late.
    slept: Vec<RangeInclusive<Duration>>,
    ticks: u64,
    served: u64,
    failed: u64,
    /// Business calls that failed with an excuse.
    excused: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let lifetime = [12, 60, 300, HOUR, HOUR, 20 * HOUR][rng.usize(0..6)];
        let now = START;
        // Some sessions have only a pair and no credentials.
        let host_keeps = rng.u8(0..4) == 0;
        let on_ambiguous = [OnAmbiguous::Issue, OnAmbiguous::Issue, OnAmbiguous::Replay, OnAmbiguous::Fail];
        let policy = Policy {
            keep_warm: rng.bool(),
            on_ambiguous: on_ambiguous[rng.usize(0..4)],
            host_keeps,
            fail_without_store: rng.u8(0..4) == 0,
            is_strict: rng.u8(0..4) == 0,
            is_shared: !host_keeps && rng.bool(),
            has_file: false,
            is_static: false,
        };
        let replays = policy.on_ambiguous == OnAmbiguous::Replay
            || host_keeps && policy.on_ambiguous == OnAmbiguous::Issue;
        let mut world = World {
            now,
            policy,
            has_credentials: !host_keeps,
            degraded: false,
            store_down_until: Duration::ZERO,
            service: Service::new(rng.fork(), lifetime, if replays { 2 } else { 1 }),
            store: Rc::default(),
            machine: Machine::new(policy, !host_keeps, 0, now),
            flight: None,
            flights: 0,
            crashes: None,
            calls: BTreeMap::new(),
            failures: Vec::new(),
            base: 0,
            private_refresh: None,
            maybe_spent: None,
            agenda: BTreeMap::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            newest: None,
            open: None,
            slept: Vec::new(),
            ticks: 0,
            served: 0,
            failed: 0,
            excused: 0,
            rng,
        };
        if host_keeps {
            world.begin_with_a_pair();
        }
        world
    }

    fn begin_with_a_pair(&mut self) {
        self.service.good.insert("r0".into());
        let lifetime = Lifetime::of(Duration::from_secs(self.service.lifetime));
        let token = Token::new(Secret::new("a0").unwrap(), lifetime, self.now);
        let refresh = RefreshToken::new(Secret::new("r0").unwrap());
        let committed = self.store.put(Pair { token, refresh: Some(refresh) }, 1);
        let committed = Committed { has_uncertain_age: self.rng.bool(), ..committed };
        let share = self.rng.f64();
        self.machine.adopt(committed.clone(), self.now, &mut || share);
        self.open = Some(committed.clone()).filter(|committed| !committed.has_uncertain_age);
        self.newest = Some(committed);
    }

    fn plan(&mut self, after: Duration, coming: Coming) {
        self.sequence += 1;
        self.agenda.insert((self.now.boot + after, self.sequence), coming);
    }

    fn seconds(&mut self, most: f64) -> Duration {
        Duration::from_secs_f64(self.rng.f64() * most)
    }

    /// Moves time to the next event; a suspended machine makes everything late.
    fn run(&mut self, until: Duration) {
        loop {
            // A timer is always a little late.
            let late = Duration::from_millis(self.rng.u64(0..20));
            let tick = self.machine.next_wake(self.now).map(|wake| wake.max(self.now.boot) + late);
            let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let next = tick.into_iter().chain(planned).min().filter(|next| *next <= until);
            let passed = next.unwrap_or(until).saturating_sub(self.now.boot);
            self.now = Moment { boot: self.now.boot + passed, wall: self.now.wall + passed };
            match next {
                None => return,
                Some(at) if planned == Some(at) => {
                    if let Some((_, coming)) = self.agenda.pop_first() {
                        self.happen(coming);
                    }
                }
                Some(_) => {
                    self.ticks += 1;
                    self.step(SessionEvent::Tick);
                }
            }
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Fly(number, _) | Coming::Crash(number) if number != self.flights => {}
            Coming::Fly(_, input) => {
                if let Some((flight, _)) = &mut self.flight {
                    let step = flight.next(*input, self.now.boot);
                    self.fly(step);
                }
            }
            Coming::Crash(_) => self.crash(),
            Coming::Ask => self.ask(),
            Coming::Used(id, committed) => self.used(id, &committed),
            Coming::Report => {
                if let Some(newest) = self.newest.clone() {
                    let stale = self.rng.u64(0..3) == 0;
                    let old = Fingerprint::of(&Secret::new("an older token").unwrap());
                    let refused = if stale { old } else { *newest.token().fingerprint() };
                    let (verdict, actions) = self.machine.report(refused, self.now);
                    assert!(
                        !stale || verdict == ReportVerdict::Newer,
                        "a report of an old token costs no call"
                    );
                    self.perform(actions);
                }
            }
            Coming::Due(id) => self.step(SessionEvent::Leave(id)),
            Coming::Trouble => self.trouble(),
        }
    }

    fn trouble(&mut self) {
        let step = self.seconds(7200.0);
        match self.rng.u32(0..6) {
            5 => self.store_down_until = self.now.boot + step,
            0 => self.now.wall += step,
            1 => self.now.wall = self.now.wall.saturating_sub(step),
            2 => {
                let asleep = self.seconds(3.0 * HOUR as f64);
                self.sleep(asleep);
            }
            3 => self.service.revoke(),
            _ => self.new_credentials(),
        }
    }

    fn sleep(&mut self, asleep: Duration) {
        self.slept.push(self.now.boot..=self.now.boot + asleep);
        self.now = Moment { boot: self.now.boot + asleep, wall: self.now.wall + asleep };
    }

    fn new_credentials(&mut self) {
        self.has_credentials = true;
        // The memory store has one record for all keys.
        let has_new_record = self.policy.is_shared && self.rng.bool();
        if has_new_record {
            self.store = Rc::default();
            (self.private_refresh, self.maybe_spent) = (None, None);
            self.service.forget_credentials();
        }
        self.service.asked_until = Duration::ZERO;
        self.step(SessionEvent::NewCredentials { has_new_record });
    }

    fn ask(&mut self) {
        self.sequence += 1;
        let id = self.sequence;
        let patience = if self.rng.u32(0..4) == 0 { Duration::ZERO } else { self.seconds(60.0) };
        let min_remaining =
            if self.rng.u32(0..8) == 0 { self.seconds(2.0 * HOUR as f64) } else { Duration::ZERO };
        let deadline = self.now.boot + patience;
        self.waiting.insert(id, deadline);
        // Some callers enforce their own deadline, others leave that to the session.
        if self.rng.bool() {
            self.plan(patience, Coming::Due(id));
        }
        let wants_newer = self.rng.u32(0..16) == 0;
        self.step(SessionEvent::Ask { id, deadline, min_remaining, wants_newer });
        assert!(
            !patience.is_zero() || !self.waiting.contains_key(&id),
            "a deadline of 0 is answered at once"
        );
    }

    fn step(&mut self, event: SessionEvent) {
        let mut rng = self.rng.fork();
        let actions = self.machine.step(event, self.now, &mut || rng.f64());
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::StartFlight(plan) => self.launch(plan),
                Action::Answer(id, result) => self.answered(id, result),
                Action::Publish(Some(committed)) => {
                    let newer = self
                        .newest
                        .as_ref()
                        .is_none_or(|newest| newest.generation() < committed.generation());
                    assert!(newer, "a generation is published once");
                    self.newest = Some(committed.clone());
                    self.open = Some(committed);
                }
                Action::Publish(None) => self.open = None,
                Action::Withdraw => assert!(self.open.take().is_some(), "withdrawn once"),
                Action::Notify(notice) => self.hear(notice),
            }
        }
        if let Some(token) = self.open.as_ref().map(Committed::token) {
            let mandatory = Windows::of(&token.lifetime).mandatory;
            assert!(token.remaining(self.now) > mandatory, "readers get a token that has become mandatory");
        }
    }

    /// Checks that the events make sense in their order.
    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Rotated(grant) => {
                let is_news = self.newest.as_ref().is_none_or(|old| old.generation() < grant.generation);
                assert!(is_news, "a host that keeps the pairs gets each one before it is published");
                let kept = grant.refresh.as_ref().map(|refresh| refresh.secret().expose().to_owned());
                let unused = kept.as_ref().is_none_or(|kept| !self.service.presented.contains_key(kept));
                assert!(
                    kept.is_some() == self.policy.host_keeps && unused,
                    "the host keeps a pair that works"
                );
            }
            Notice::Degraded(_) => assert!(!std::mem::replace(&mut self.degraded, true)),
            Notice::Recovered => assert!(std::mem::replace(&mut self.degraded, false)),
            Notice::Ambiguous(_) | Notice::RefreshFailed(_) | Notice::CredentialsRejected(_) => {}
        }
    }

    fn launch(&mut self, plan: Plan) {
        assert!(self.flight.is_none(), "invariant 2: two flights at once");
        self.base = plan.base;
        self.flights += 1;
        let mut flight = match self.machine.current().filter(|_| plan.offers_private_pair) {
            Some(held) => {
                let pair = Pair { token: held.token().clone(), refresh: self.private_refresh.take() };
                Flight::offering(plan, pair)
            }
            None => Flight::new(plan, self.maybe_spent.take()),
        };
        let step = flight.next(Input::Start, self.now.boot);
        self.flight = Some((flight, self.store.clone()));
        // A host that keeps the pairs would have to know the pair that a crashed flight loses.
        if let Some(many) = self.crashes.filter(|_| !self.policy.host_keeps)
            && self.rng.u32(0..many) == 0
        {
            let after = self.seconds(2.0);
            self.plan(after, Coming::Crash(self.flights));
        }
        self.fly(step);
    }

    fn answered(&mut self, id: WaiterId, result: Result<Committed, Error>) {
        let deadline = self.waiting.remove(&id).expect("exactly one answer for each caller");
        if self.calls.contains_key(&id) {
            self.send(id, &result);
        }
        let in_time =
            self.now.boot <= deadline + TOLERANCE || self.slept.iter().any(|slept| slept.contains(&deadline));
        assert!(in_time, "invariant 3: answered {:?} after the deadline", self.now.boot - deadline);
        match result {
            Ok(committed) => {
                self.served += 1;
                let windows = Windows::of(&committed.token().lifetime);
                let remaining = committed.token().remaining(self.now);
                assert!(remaining > windows.margin, "an expired token is handed out: {remaining:?} left");
            }
            Err(error) => {
                self.failed += 1;
                assert_ne!(error.status, Status::PG_ERR_INTERNAL);
            }
        }
    }

    fn fly(&mut self, step: Step) {
        let store = self.flight.as_ref().map_or_else(|| self.store.clone(), |(_, store)| store.clone());
        let input = match step {
            Step::Retract(refresh) => {
                ready(store.retract(refresh)).unwrap();
                Input::Retracted
            }
            Step::KeepPrivate(Pair { token, refresh }) => {
                self.private_refresh = refresh.filter(|_| Rc::ptr_eq(&store, &self.store));
                Input::Committed(Committed::private(token, self.base + 1))
            }
            Step::Commit(pair) if self.is_store_down() => {
                Input::Uncommitted(Uncommitted { error: store_error(), pair })
            }
            Step::Commit(pair) => Input::Committed(ready(store.commit(self.base, pair)).unwrap()),
            Step::BackOff { strikes, have_worked, error } => {
                Input::BackedOff(Refusal::after(strikes, have_worked, error, self.now))
            }
            Step::Lock | Step::Load | Step::Intend if self.is_store_down() => {
                Input::StoreFailed(store_error())
            }
            Step::Lock => Input::Locked(ready(store.lock(0)).unwrap()),
            Step::Load => {
                let now = self.now;
                let mut found = ready(store.load()).unwrap();
                let is_usable = |found: &Committed| {
                    let windows = Windows::of(&found.token().lifetime);
                    found.token().remaining(now) > windows.margin
                };
                found.committed = found.committed.filter(is_usable);
                Input::Loaded(found)
            }
            Step::Intend => Input::Intended(ready(store.intend()).unwrap()),
            Step::Refresh(refresh) => Input::Called(Box::new(self.service.refresh(0, refresh, self.now))),
            Step::Issue => {
                assert!(self.has_credentials, "there are no credentials for an Issue");
                Input::Called(Box::new(self.service.issue(0, self.now)))
            }
            Step::Pause { most } => {
                let pause = self.seconds(most.as_secs_f64());
                return self.plan(pause, Coming::Fly(self.flights, Box::new(Input::Resumed)));
            }
            Step::Finish(mut outcome) => {
                self.flight = None;
                let is_current = Rc::ptr_eq(&store, &self.store);
                self.service.was_heard(self.now.boot);
                if is_current && outcome.result.is_ok() {
                    self.service.settle();
                }
                if !is_current {
                    // The success was with other credentials.
                    (outcome.private_pair, outcome.maybe_spent) = (None, None);
                }
                if let Some(pair) = &mut outcome.private_pair {
                    self.private_refresh = pair.refresh.take();
                } else if outcome.result.is_ok() && outcome.store_error.is_none() {
                    self.private_refresh = None;
                }
                self.maybe_spent = outcome.maybe_spent.take();
                return self.land(*outcome);
            }
        };
        let latency = if matches!(input, Input::Called(_)) { self.seconds(3.0) } else { self.seconds(0.01) };
        self.plan(latency, Coming::Fly(self.flights, Box::new(input)));
    }

    fn is_store_down(&self) -> bool {
        self.now.boot < self.store_down_until
    }

    fn land(&mut self, outcome: FlightOutcome) {
        ready(self.store.unlock()).unwrap();
        assert!(outcome.stats.issues <= 3 && outcome.stats.refreshes <= self.service.most_presentations);
        self.step(SessionEvent::FlightEnded(Box::new(outcome)));
    }

    /// One history: troubles, then calm, in which the session must recover by itself.
    fn live(&mut self) {
        self.service.trouble = self.rng.f64();
        let life = Duration::from_secs(6 * HOUR);
        let start = self.now.boot;
        for _ in 0..150 {
            let at = self.seconds(life.as_secs_f64());
            self.plan(at, Coming::Ask);
        }
        for _ in 0..10 {
            let at = self.seconds(life.as_secs_f64());
            self.plan(at, Coming::Report);
            let at = self.seconds(life.as_secs_f64());
            self.plan(at, Coming::Trouble);
        }
        self.run(start + life);
        for _ in 0..3 {
            self.storm();
        }
        self.calm();
        // One timer each half minute and one for each caller and call: a timer that fires without work would never stop.
        let most = (self.now.boot - start).as_secs() / 30 + 4 * (200 + self.service.calls);
        assert!(self.ticks <= most, "{} ticks, at most {most} are allowed", self.ticks);
    }

    fn calm(&mut self) {
        self.service.trouble = 0.0;
        self.store_down_until = Duration::ZERO;
        if self.policy.on_ambiguous == OnAmbiguous::Fail {
            self.new_credentials();
        }
        // The longest pause that can still be running: the one before a probe of rejected credentials.
        let quiet = self.now.boot + Duration::from_secs(16 * 60);
        self.run(quiet);
        assert!(self.waiting.is_empty(), "a caller was never answered: {:?}", self.waiting);
        let (served, calls) = (self.served, self.service.calls);
        for _ in 0..50 {
            self.sequence += 1;
            let (id, deadline) = (self.sequence, self.now.boot + Duration::from_secs(60));
            self.waiting.insert(id, deadline);
            self.plan(Duration::from_secs(60), Coming::Due(id));
            self.step(SessionEvent::Ask { id, deadline, min_remaining: Duration::ZERO, wants_newer: false });
            self.run(self.now.boot + Duration::from_secs(61));
        }
        if !self.has_credentials && !self.machine.current().is_some_and(|held| held.has_refresh) {
            // A lost pair that nothing can replace: callers are answered at once, and no call is made.
            assert_eq!(self.service.calls, calls);
            return;
        }
        assert_eq!(self.served - served, 50, "in calm every caller gets a token");
        let newest = self.newest.as_ref().unwrap();
        let windows = Windows::of(&newest.token().lifetime);
        let apart = (newest.token().lifetime.length - windows.advisory).max(windows.floor);
        let most = 2 + (50 * 61) / apart.as_secs();
        let calls = self.service.calls - calls;
        assert!(
            calls <= most,
            "invariant 2: one call for each due refresh, not {calls} where {most} are due"
        );
    }
}

#[test]
fn random_session_histories_keep_the_invariants() {
    let begun = Instant::now();
    let (lived, [served, failed, calls, excused, simulated]) = histories(400, |seed| {
        let mut world = World::new(seed);
        let start = world.now.boot;
        world.live();
        [world.served, world.failed, world.service.calls, world.excused, (world.now.boot - start).as_secs()]
    });
    let per_second = simulated as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{lived} histories, {served} callers served, {failed} got an error, {calls} calls; {excused} failed with an \
         excuse; {} simulated days, {:.1} days in a second",
        simulated / 86_400,
        per_second / 86_400.0
    );
    assert!(served > 0 && calls > 0 && excused > 0);
}
