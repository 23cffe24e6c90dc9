//! The steps of a flight, on the shared record and the one service.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::decision::SessionEvent;
use paymentsgate_auth::session::flight::{Input, Step};
use paymentsgate_auth::session::machine::closed;
use paymentsgate_auth::session::outcome::FlightOutcome;
use paymentsgate_auth::session::phase::{Phase, Windows};
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, Lock, RecordFile, Refusal, SystemDisk, Uncommitted};
use paymentsgate_auth::token::Pair;

use super::{Coming, Fleet, Own, Pid, open};

/// How long to wait for the lock, and between two looks at it.
const PATIENCE: Duration = Duration::from_secs(70);
const LOOK: Duration = Duration::from_millis(90);

fn store_error() -> Error {
    Error::new(Status::PG_ERR_STORE, "simulated")
}

impl Fleet {
    pub(super) fn launch(&mut self, pid: Pid, plan: Plan) {
        let now = self.now().boot;
        let process = self.processes.get_mut(&pid).unwrap();
        let mut flight = process.flight(plan.clone());
        let step = flight.next(Input::Start, now);
        process.flight = Some((plan, flight));
        process.locks = 0;
        let one_in = |rng: &mut Rng, many: Option<u32>| many.is_some_and(|many| rng.u32(0..many) == 0);
        if one_in(&mut self.rng, self.weather.deaths) {
            if self.rng.bool() {
                process.doom = Some(self.rng.u32(0..5));
            } else {
                self.plan_within(Duration::from_secs(4), Coming::To(pid, Own::Death));
            }
        }
        if one_in(&mut self.rng, self.weather.ends) {
            self.plan_within(Duration::from_secs(4), Coming::To(pid, Own::End));
        }
        if one_in(&mut self.rng, self.weather.stops) {
            self.plan_within(Duration::from_secs(4), Coming::To(pid, Own::Stop));
        }
        self.fly(pid, step);
    }

    pub(super) fn fly(&mut self, pid: Pid, step: Step) {
        let now = self.now();
        let process = &self.processes[&pid];
        let base = process.flight.as_ref().unwrap().0.base;
        let closed = Input::Stopped(closed());
        let input = match step {
            Step::Refresh(refresh) if process.is_closed() => {
                self.keep(pid, |record| record.retract(&refresh)).map_or_else(Input::StoreFailed, |()| closed)
            }
            Step::Issue | Step::Pause { .. } if process.is_closed() => closed,
            Step::Lock => {
                let process = self.processes.get_mut(&pid).unwrap();
                process.patience = Some(now.boot + PATIENCE);
                process.locks += 1;
                assert!(process.locks < 30, "a flight asks for the lock again and again");
                self.plan(PATIENCE, Coming::To(pid, Own::Look));
                return self.plan(Duration::ZERO, Coming::To(pid, Own::Look));
            }
            Step::Pause { most } => {
                return self.plan_within(most, Coming::To(pid, Own::Fly(Box::new(Input::Resumed))));
            }
            Step::Finish(outcome) => return self.land(pid, *outcome),
            Step::Load => self.keep(pid, RecordFile::load).map_or_else(Input::StoreFailed, |mut found| {
                let is_usable = |found: &Committed| {
                    let token = found.token();
                    Windows::of(&token.lifetime).phase(token.remaining(now)) < Phase::Expired
                };
                found.committed = found.committed.filter(is_usable);
                let process = self.processes.get_mut(&pid).unwrap();
                process.may_adopt = found.committed.as_ref().is_some_and(|found| process.is_served_by(found));
                Input::Loaded(found)
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
            Step::KeepPrivate(Pair { token, refresh }) => {
                self.processes.get_mut(&pid).unwrap().private_refresh = refresh;
                Input::Committed(Committed::private(token, base + 1))
            }
            Step::BackOff { strikes, have_worked, error } => {
                let refusal = Refusal::after(strikes, have_worked, error, now);
                let _ = self.keep(pid, |record| record.back_off(&refusal));
                Input::BackedOff(refusal)
            }
            Step::Refresh(refresh) => {
                assert_eq!(self.holder, Some(pid), "invariant 2: a refresh token presented without the lock");
                Input::Called(Box::new(self.service.refresh(pid, refresh, now)))
            }
            Step::Issue => {
                self.probes += u64::from(self.service.is_locked);
                Input::Called(Box::new(self.service.issue(pid, now)))
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
        self.plan_within(most, Coming::To(pid, Own::Fly(Box::new(input))));
    }

    /// One operation on the record. A process that is to die does so within one of them.
    fn keep<T>(&mut self, pid: Pid, work: impl FnOnce(&RecordFile) -> Result<T, Error>) -> Result<T, Error> {
        let process = self.processes.get_mut(&pid).unwrap();
        if process.doom == Some(0) {
            self.disk.plan.set_steps_to_live(Some(self.rng.u32(0..10)));
        }
        let result = work(&process.record);
        self.disk.plan.set_steps_to_live(None);
        if self.disk.take_changed() {
            self.inspect();
        }
        result
    }

    /// The record as it is on the disk.
    fn inspect(&mut self) {
        let Some(found) = open(&self.folder, &self.clock, Arc::new(SystemDisk)).load().unwrap().committed
        else {
            assert!(self.lineage.is_empty(), "the record is gone");
            return;
        };
        let (generation, fingerprint) = (found.generation(), *found.token().fingerprint());
        let last = self.lineage.last_key_value().map_or(0, |(last, _)| *last);
        assert!(generation >= last, "generation {generation} after {last}");
        let token = *self.lineage.entry(generation).or_insert(fingerprint);
        assert_eq!(token, fingerprint, "two tokens of generation {generation}");
        if generation > last {
            self.moved = self.now().boot;
            self.stir();
        }
    }

    /// Lets the processes that wait for the lock look soon. Looks that cannot find anything new are left out.
    pub(super) fn stir(&mut self) {
        let waiting = self.processes.iter().filter(|(_, process)| process.patience.is_some());
        for pid in waiting.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.plan_within(LOOK, Coming::To(pid, Own::Look));
        }
    }

    pub(super) fn look(&mut self, pid: Pid) {
        let now = self.now();
        let process = self.processes.get_mut(&pid).unwrap();
        let Some(give_up) = process.patience else { return };
        let stored = process.flight.as_ref().unwrap().0.stored;
        let looked = if self.disk.plan.is_down() {
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
            assert!(others.is_none(), "invariant 2: two processes hold the lock");
        }
        let step = process.flight.as_mut().unwrap().1.next(input, now.boot);
        self.fly(pid, step);
    }

    pub(super) fn unlock(&mut self, pid: Pid) {
        if self.holder == Some(pid) {
            self.holder = None;
            self.stir();
        }
    }

    fn land(&mut self, pid: Pid, mut outcome: FlightOutcome) {
        let process = self.processes.get_mut(&pid).unwrap();
        if let Some(pair) = &mut outcome.private_pair {
            process.private_refresh = pair.refresh.take();
        } else if outcome.result.is_ok() && outcome.store_error.is_none() {
            process.private_refresh = None;
        }
        process.record.unlock();
        process.doom = None;
        let (plan, _) = process.flight.take().unwrap();
        assert!(outcome.stats.issues <= 3 && outcome.stats.refreshes <= 1);
        if let Ok(committed) = &outcome.result {
            let fingerprint = *committed.token().fingerprint();
            assert_ne!(plan.refused, Some(fingerprint), "a refused token is adopted again");
            let is_private = outcome.store_error.is_some();
            let generation = committed.generation();
            let stored = self.lineage.get(&generation);
            assert!(
                is_private || stored == Some(&fingerprint),
                "generation {generation} is not the one in the store"
            );
            process.take(committed, is_private);
        }
        self.unlock(pid);
        self.step(pid, SessionEvent::FlightEnded(Box::new(outcome)));
        self.end_if_closed(pid);
    }
}
