//! A storm: incidents that overlap within seconds, while business calls go on. Two seconds after its end, and after the
//! pauses that the service has caused, each call succeeds: invariant 6 of docs/lifecycle.md, in the machine's time.

use std::time::Duration;

use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::SessionEvent;
use paymentsgate_auth::session::outcome::FlightOutcome;
use paymentsgate_auth::session::rejection::ReportVerdict;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::Committed;

use super::{Coming, World};

/// The duration of a business call.
const PATIENCE: Duration = Duration::from_secs(15);
/// The time between two business calls.
const APART: Duration = Duration::from_millis(300);
/// The last answer of the storm takes three seconds at most; then two healthy seconds follow.
const HEALTHY: Duration = Duration::from_secs(5);

/// A business call: when it began, when it ends at the latest, and whether it is repeated once.
pub(super) struct Use {
    begun: Duration,
    deadline: Duration,
    is_second: bool,
}

/// A business call that failed: when it began, its failure, and until when that is excused.
pub(super) struct Failure {
    begun: Duration,
    how: String,
    excused_until: Duration,
}

impl World {
    pub(super) fn storm(&mut self) {
        let quiet = self.seconds(self.service.lifetime as f64);
        self.run(self.now.boot + quiet);
        let last = self.rng.u32(1..40);
        self.crashes = self.rng.bool().then_some(4);
        let is_in_a_row = self.rng.u8(0..4) == 0;
        for _ in 0..last {
            if self.rng.u8(0..4) == 0 {
                self.incident();
            }
            if is_in_a_row {
                self.service.revoke();
            }
            self.business_call();
            self.run(self.now.boot + APART);
        }
        self.crashes = None;
        self.service.trouble = 0.0;
        self.service.is_locked = false;
        self.store_down_until = Duration::ZERO;
        if self.policy.on_ambiguous == OnAmbiguous::Fail {
            self.new_credentials();
        }
        // Without credentials the session cannot replace a spent pair.
        if self.has_credentials {
            self.all_is_well_soon();
        }
    }

    fn incident(&mut self) {
        match self.rng.u8(0..9) {
            0 => self.service.trouble = self.rng.f64(),
            1 => self.service.trouble = 0.0,
            2 | 3 => self.service.revoke(),
            4 => self.service.is_locked = self.rng.bool(),
            5 => {
                let asleep = self.seconds(1.2 * self.service.lifetime as f64);
                self.sleep(asleep);
            }
            6 if self.has_credentials => self.new_credentials(),
            _ => self.trouble(),
        }
    }

    /// Makes calls for a few seconds, each of which must succeed or be excused; then calls at a time without excuses.
    fn all_is_well_soon(&mut self) {
        for round in 0..2 {
            self.run(self.now.boot + HEALTHY);
            let from = self.now.boot;
            for _ in 0..20 {
                self.business_call();
                self.run(self.now.boot + APART);
            }
            self.run(self.now.boot + PATIENCE);
            let failures = std::mem::take(&mut self.failures);
            let judged: Vec<_> = failures.into_iter().filter(|failure| failure.begun >= from).collect();
            let unexcused = judged.iter().find(|failure| round > 0 || failure.begun > failure.excused_until);
            if let Some(Failure { begun, how, excused_until }) = unexcused {
                panic!("invariant 6: {:?}: at {begun:?} {how}, excused until {excused_until:?}", self.policy);
            }
            self.excused += judged.len() as u64;
            let until = self.service.excused_until();
            self.run(until.max(self.now.boot));
        }
    }

    fn business_call(&mut self) {
        self.sequence += 1;
        let (begun, deadline) = (self.now.boot, self.now.boot + PATIENCE);
        self.get_token(self.sequence, Use { begun, deadline, is_second: false });
    }

    fn get_token(&mut self, id: u64, call: Use) {
        let deadline = call.deadline;
        self.calls.insert(id, call);
        self.waiting.insert(id, deadline);
        self.plan(deadline.saturating_sub(self.now.boot), Coming::Due(id));
        self.step(SessionEvent::Ask { id, deadline, min_remaining: Duration::ZERO, wants_newer: false });
    }

    /// Makes the call with this token, if there is one.
    pub(super) fn send(&mut self, id: u64, answer: &Result<Committed, Error>) {
        match answer {
            Ok(committed) => {
                let latency = self.seconds(0.2);
                self.plan(latency, Coming::Used(id, committed.clone()));
            }
            Err(error) => self.call_failed(id, format!("{error:?}")),
        }
    }

    /// The service has answered the call.
    pub(super) fn used(&mut self, id: u64, committed: &Committed) {
        let token = *committed.token().fingerprint();
        if self.service.accepts(0, &token, self.now.boot) {
            self.machine.accept(token);
            self.calls.remove(&id);
            return;
        }
        let (verdict, actions) = self.machine.report(token, self.now);
        self.perform(actions);
        let is_over = self.calls[&id].is_second || matches!(verdict, ReportVerdict::RejectedFresh { .. });
        if is_over {
            return self.call_failed(id, format!("401, {verdict:?}"));
        }
        if self.calls[&id].deadline <= self.now.boot {
            return self.call_failed(id, "late".into());
        }
        if let Some(call) = self.calls.remove(&id) {
            self.sequence += 1;
            self.get_token(self.sequence, Use { is_second: true, ..call });
        }
    }

    fn call_failed(&mut self, id: u64, how: String) {
        if let Some(Use { begun, .. }) = self.calls.remove(&id) {
            let excused_until = self.service.excused_until();
            self.failures.push(Failure { begun, how, excused_until });
        }
    }

    /// The flight fails: the system refuses a thread, or a panic.
    pub(super) fn crash(&mut self) {
        if self.flight.take().is_some() {
            let error = Error::new(Status::PG_ERR_SYSTEM, "the system refuses a thread");
            self.step(SessionEvent::FlightEnded(Box::new(FlightOutcome::crashed(error))));
        }
    }
}
