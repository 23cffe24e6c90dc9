//! One process of a fleet: its machine, its flight, its callers, and the token that its readers see.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use paymentsgate_auth::clock::Moment;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent, WaiterId};
use paymentsgate_auth::session::flight::Flight;
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::phase::Windows;
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::session::rejection::ReportVerdict;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, RecordFile};
use paymentsgate_auth::token::{Fingerprint, Pair, RefreshToken};

use crate::simulated::TOLERANCE;

pub(crate) struct Process {
    machine: Machine,
    rng: Rng,
    pub(crate) record: RecordFile,
    pub(crate) flight: Option<(Plan, Flight)>,
    /// Of a pair that was obtained while the store was down.
    pub(crate) private_refresh: Option<RefreshToken>,
    /// Until when it waits for the lock.
    pub(crate) patience: Option<Duration>,
    /// How often its flight has asked for the lock: again if the new record did not serve the flight.
    pub(crate) locks: u32,
    /// Whether the record it has just read is newer than its own pair and has no open intent.
    pub(crate) may_adopt: bool,
    /// After this many operations on the store it dies in the next one.
    pub(crate) doom: Option<u32>,
    waiting: BTreeMap<WaiterId, Duration>,
    /// The last published token.
    newest: Option<Committed>,
    /// The token that readers get from memory.
    pub(crate) open: Option<Committed>,
    /// The newest published generation of the store.
    stored: u64,
    /// The timer.
    pub(crate) due: Option<Duration>,
    /// The last time it was stopped: only a stopped process may answer late.
    pub(crate) stops: Vec<RangeInclusive<Duration>>,
    pub(crate) served: u64,
    pub(crate) failed: u64,
}

impl Process {
    pub(crate) fn new(policy: Policy, record: RecordFile, rng: Rng, now: Moment) -> Self {
        Process {
            machine: Machine::new(policy, true, 0, now),
            rng,
            record,
            flight: None,
            private_refresh: None,
            patience: None,
            locks: 0,
            may_adopt: false,
            doom: None,
            waiting: BTreeMap::new(),
            newest: None,
            open: None,
            stored: 0,
            due: None,
            stops: Vec::new(),
            served: 0,
            failed: 0,
        }
    }

    /// When it continues, if it is stopped.
    pub(crate) fn stopped_until(&self, now: Moment) -> Option<Duration> {
        self.stops.last().map(|stop| *stop.end()).filter(|end| *end > now.boot)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.machine.is_closed()
    }

    /// Steps the machine; returns the plan of the flight to start.
    pub(crate) fn step(&mut self, event: SessionEvent, now: Moment) -> Option<Plan> {
        let rng = &mut self.rng;
        let actions = self.machine.step(event, now, &mut || rng.f64());
        self.perform(actions, now)
    }

    pub(crate) fn ask(
        &mut self,
        id: WaiterId,
        patience: Duration,
        min_remaining: Duration,
        now: Moment,
    ) -> Option<Plan> {
        let deadline = now.boot + patience;
        self.waiting.insert(id, deadline);
        let plan = self.step(SessionEvent::Ask { id, deadline, min_remaining, wants_newer: false }, now);
        assert!(
            !patience.is_zero() || !self.waiting.contains_key(&id),
            "a deadline of 0 is answered at once"
        );
        plan
    }

    /// The service refused the token that readers get.
    pub(crate) fn report(&mut self, now: Moment) -> Option<Plan> {
        let refused = *self.open.as_ref()?.token().fingerprint();
        let (verdict, actions) = self.machine.report(refused, now);
        assert_ne!(verdict, ReportVerdict::Newer, "the reported token is the newest");
        self.perform(actions, now)
    }

    /// Sets the timer; `None` stops it.
    pub(crate) fn set_timer(&mut self, now: Moment) -> Option<Duration> {
        let next = self.machine.next_wake(now);
        if next == self.due {
            return None;
        }
        self.due = next;
        next
    }

    fn perform(&mut self, actions: Vec<Action>, now: Moment) -> Option<Plan> {
        let mut launched = None;
        for action in actions {
            match action {
                Action::StartFlight(plan) => {
                    assert!(self.flight.is_none() && launched.is_none(), "two flights in one process");
                    launched = Some(plan);
                }
                Action::Answer(id, result) => self.answered(id, result, now),
                Action::Publish(Some(committed)) => self.open = Some(committed),
                Action::Publish(None) => self.open = None,
                Action::Withdraw => assert!(self.open.take().is_some(), "withdrawn once"),
                Action::Notify(_) => {}
            }
        }
        if let Some(token) = self.open.as_ref().map(Committed::token) {
            let mandatory = Windows::of(&token.lifetime).mandatory;
            assert!(token.remaining(now) > mandatory, "readers get a token that has become mandatory");
        }
        launched
    }

    /// Starts a flight with this plan.
    pub(crate) fn flight(&mut self, plan: Plan) -> Flight {
        match self.machine.current().filter(|_| plan.offers_private_pair) {
            Some(held) => {
                let pair = Pair { token: held.token().clone(), refresh: self.private_refresh.take() };
                Flight::offering(plan, pair)
            }
            None => Flight::new(plan, None),
        }
    }

    /// Whether a pair in the store serves as the wanted successor.
    pub(crate) fn is_served_by(&self, found: &Committed) -> bool {
        let refused = self.flight.as_ref().and_then(|(plan, _)| plan.refused);
        found.generation() > self.stored && refused != Some(*found.token().fingerprint())
    }

    /// A flight has brought a pair, from the store or its own.
    pub(crate) fn take(&mut self, committed: &Committed, is_private: bool) {
        let generation = committed.generation();
        if is_private {
            let last = self.newest.as_ref().map_or(0, Committed::generation);
            assert!(generation > last, "an own pair is newer than the one before");
        } else {
            assert!(generation > self.stored, "generation {generation} after {}", self.stored);
            self.stored = generation;
        }
        self.newest = Some(committed.clone());
    }

    fn answered(&mut self, id: WaiterId, result: Result<Committed, Error>, now: Moment) {
        let deadline = self.waiting.remove(&id).expect("exactly one answer for each caller");
        let latest = deadline + TOLERANCE;
        let is_excused = self.stops.iter().any(|stop| *stop.start() <= latest && deadline <= *stop.end());
        let is_in_time = now.boot <= latest || is_excused;
        assert!(is_in_time, "invariant 3: answered {:?} after the deadline", now.boot - deadline);
        match result {
            Ok(committed) => {
                self.served += 1;
                let margin = Windows::of(&committed.token().lifetime).margin;
                let remaining = committed.token().remaining(now);
                assert!(remaining > margin, "a token with {remaining:?} left is handed out");
            }
            Err(error) => {
                self.failed += 1;
                assert_ne!(error.status, Status::PG_ERR_INTERNAL);
            }
        }
    }

    pub(crate) fn is_anybody_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The generation and the fingerprint of the token that it serves.
    pub(crate) fn serves(&self) -> Option<(u64, Fingerprint)> {
        self.newest.as_ref().map(|newest| (newest.generation(), *newest.token().fingerprint()))
    }
}
