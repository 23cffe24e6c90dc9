//! A flight, the single network operation of a session, as a pure state machine: the driver performs each step and
//! passes its result back. The order is lock, re-read, adopt or intend, present, commit, unlock.

use std::time::Duration;

use super::outcome::{FlightOutcome, FlightStats};
use super::plan::Plan;
use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::protocol::Failure;
use crate::secret::Secret;
use crate::status::{Fate, Status};
use crate::store::{Committed, Loaded, Lock, Refusal, Uncommitted};
use crate::token::{MaybeSpentRefreshToken, Pair, RefreshToken};

/// How often Issue is tried in one flight.
const ISSUE_TRIES: u32 = 3;
/// How long a pair is offered to a store that fails, and the longest pause between two tries. A store that hangs is
/// not tried twice: callers have already waited for its limit.
const OFFERED_FOR: Duration = Duration::from_secs(2);
const OFFER_PAUSE: Duration = Duration::from_millis(400);

/// A store step that fails sooner than this is repeated once: the fault may have passed, and a private pair costs a
/// random wait. A step that takes longer counts as hanging.
const FAILS_SOON: Duration = Duration::from_secs(1);

/// The next step of a flight.
#[derive(Debug)]
pub enum Step {
    /// Take the store's lock.
    Lock,
    /// Read the store.
    Load,
    /// Write the intent; this returns the refresh token.
    Intend,
    /// Present the refresh token.
    Refresh(RefreshToken),
    /// Put back the refresh token: it was not consumed.
    Retract(RefreshToken),
    /// Present the credentials.
    Issue,
    /// Write the pair to the store as the newest one.
    Commit(Pair),
    /// Keep the pair private to this process: the store is down.
    KeepPrivate(Pair),
    /// Write the back-off to the store, so that no process that shares it calls the service too soon.
    BackOff {
        /// How often in a row the credentials have been refused.
        strikes: usize,
        /// The credentials have obtained a pair before.
        have_worked: bool,
        /// The error answer of the service.
        error: Error,
    },
    /// Wait for a random time, which the driver draws, then continue.
    Pause {
        /// The longest wait.
        most: Duration,
    },
    /// Release the lock; the flight has ended.
    Finish(Box<FlightOutcome>),
}

/// The result of a step.
#[derive(Debug)]
pub enum Input {
    /// The flight begins.
    Start,
    /// The lock is held, or the store has a newer pair.
    Locked(Lock),
    /// The store was read. A token that is too old to be handed out is left out.
    Loaded(Loaded),
    /// The intent is written.
    Intended(Option<RefreshToken>),
    /// A call has ended.
    Called(Box<Result<Pair, Failure>>),
    /// The refresh token was put back.
    Retracted,
    /// The pair was written to the store or kept private.
    Committed(Committed),
    /// The store did not take the pair.
    Uncommitted(Uncommitted),
    /// The back-off was written to the store.
    BackedOff(Refusal),
    /// The pause is over.
    Resumed,
    /// The store failed.
    StoreFailed(Error),
    /// The session is closed: no further call is made.
    Stopped(Error),
}

/// A running flight.
#[derive(Debug)]
pub struct Flight {
    plan: Plan,
    stats: FlightStats,
    /// Why the last call failed.
    error: Option<Error>,
    has_refreshed: bool,
    /// A refresh token that may be spent; this flight or the next one presents it once more.
    maybe_spent: Option<MaybeSpentRefreshToken>,
    lost_answer: Option<Error>,
    refusal: Option<Refusal>,
    store_error: Option<Error>,
    host_copy: Option<Secret>,
    is_locked: bool,
    /// The next step writes the intent.
    is_intending: bool,
    /// The next step is Issue, if the lock is still held.
    is_issuing: bool,
    /// A store step has failed once, and the flight has returned to the lock.
    has_retried_store: bool,
    /// The start of the last step, on the boot clock.
    step_started: Duration,
    /// A pair that the store has not taken yet.
    offered: Option<Pair>,
    /// The time of the first offer, on the boot clock.
    offered_since: Option<Duration>,
    /// Why the store did not take the first offer. Later ones may fail as a result of that.
    offer_error: Option<Error>,
    private_pair: Option<Pair>,
}

impl Flight {
    /// A new flight. `maybe_spent` comes from the last flight.
    pub fn new(plan: Plan, maybe_spent: Option<MaybeSpentRefreshToken>) -> Self {
        Flight {
            stats: FlightStats { looked_only: plan.looks_only, ..FlightStats::default() },
            plan,
            error: None,
            has_refreshed: false,
            maybe_spent,
            lost_answer: None,
            refusal: None,
            store_error: None,
            host_copy: None,
            is_locked: false,
            is_intending: false,
            is_issuing: false,
            has_retried_store: false,
            step_started: Duration::ZERO,
            offered: None,
            offered_since: None,
            offer_error: None,
            private_pair: None,
        }
    }

    /// A new flight that offers the store a private pair, obtained while the store was down.
    pub fn offering(plan: Plan, pair: Pair) -> Self {
        let mut flight = Flight::new(plan, None);
        flight.host_copy = flight.copy_for_host(&pair);
        flight.offered = Some(pair);
        flight
    }

    /// How often Issue was called.
    pub fn issues(&self) -> u32 {
        self.stats.issues
    }

    /// Whether a Refresh whose answer is lost is followed by other calls, and the last one is an Issue: in this
    /// flight, or in the next one if the obstacle to Issue ends soon. A refusal of the credentials does not end soon.
    pub fn may_recover(&self) -> bool {
        let known = self.refusal.as_ref().map(|refusal| &refusal.error).or(self.plan.obstacle.as_deref());
        let ends_soon =
            |error: &Error| matches!(error.status, Status::PG_ERR_BLOCKED | Status::PG_ERR_REDIRECT);
        (self.plan.may_issue || known.is_some_and(ends_soon)) && self.plan.on_ambiguous != OnAmbiguous::Fail
    }

    /// Whether the refresh token is presented once more after a Refresh whose answer is lost.
    pub fn may_replay(&self) -> bool {
        self.plan.on_ambiguous == OnAmbiguous::Replay
    }

    /// Whether the pair will stay private: the flight has given up the store. Its Issue needs no lease then, which may
    /// be lost until the flight ends.
    pub fn is_private(&self) -> bool {
        self.store_error.is_some()
    }

    /// How long the flight may wait for the lock, if it has a pair that could not be written: callers wait for that pair.
    pub fn lock_wait(&self, now: Duration) -> Option<Duration> {
        let since = self.offered_since.filter(|_| self.offered.is_some())?;
        Some((since + OFFERED_FOR).saturating_sub(now))
    }

    /// The next step after `input`, which came at `now` on the boot clock.
    pub fn next(&mut self, input: Input, now: Duration) -> Step {
        let took = now.saturating_sub(std::mem::replace(&mut self.step_started, now));
        match input {
            // Model: Look.
            Input::Start if self.plan.looks_only => Step::Load,
            Input::Start => Step::Lock,
            Input::Locked(lock) => {
                self.is_locked = lock == Lock::Held;
                Step::Load
            }
            Input::Loaded(found) => self.after_load(found, now),
            Input::Intended(refresh) => {
                self.is_intending = false;
                match refresh {
                    Some(refresh) => self.present(refresh),
                    None => self.issue(),
                }
            }
            Input::Called(result) => {
                self.is_issuing = false;
                self.after_call(*result, now)
            }
            Input::Retracted => self.back_off_or_fail(),
            Input::BackedOff(refusal) => {
                self.refusal = Some(refusal);
                self.fail()
            }
            Input::Committed(committed) => self.finish(Ok(committed)),
            Input::Uncommitted(Uncommitted { error, pair }) => self.offer_again(error, pair, now),
            // Another process may have taken the lock meanwhile and written a newer pair.
            Input::Resumed if self.offered.is_some() => Step::Lock,
            Input::Resumed => self.issue(),
            Input::StoreFailed(error) => self.after_store_failure(error, now, took),
            Input::Stopped(error) => self.finish(Err(error)),
        }
    }

    // Model: Answer, AnswerIssue.
    fn after_call(&mut self, result: Result<Pair, Failure>, now: Duration) -> Step {
        match result {
            Ok(pair) => self.commit(pair, now),
            Err(failure) if self.stats.issues > 0 => self.after_failed_issue(failure.error),
            Err(failure) => self.after_failed_refresh(failure),
        }
    }

    /// Before a call: adopts a newer pair of another process. After a lost or refused Refresh: the same, and else
    /// recovers.
    // Model: Read, Decide.
    fn after_load(&mut self, found: Loaded, now: Duration) -> Step {
        let successor = found.committed.filter(|found| {
            found.generation() > self.plan.stored && Some(*found.token().fingerprint()) != self.plan.refused
        });
        if let Some(successor) = successor {
            // Model: Adopt.
            self.stats.adopted = true;
            // Our pair came too late and is dropped with its refresh token.
            let ours = self.offered.take().map(|pair| *pair.token.fingerprint());
            self.host_copy.take_if(|_| ours != Some(*successor.token().fingerprint()));
            return self.finish(Ok(successor));
        }
        self.stats.have_worked |= found.has_worked;
        let may_refresh = self.apply_back_off(found.back_off, now);
        if self.plan.looks_only {
            return self.fail();
        }
        if !self.is_locked {
            // The lock was not taken because of a newer pair, but that pair cannot be used.
            return Step::Lock;
        }
        if let Some(pair) = self.offered.take() {
            return Step::Commit(pair);
        }
        if self.plan.issue_only || self.has_refreshed {
            return self.recover();
        }
        if !may_refresh {
            return self.fail();
        }
        if let Some(maybe_spent) = self.maybe_spent.take() {
            return self.present(maybe_spent.replay());
        }
        self.is_intending = true;
        Step::Intend
    }

    /// Takes over the back-off in the store. Returns whether a Refresh may be made.
    fn apply_back_off(&mut self, found: Option<Refusal>, now: Duration) -> bool {
        let Some(refusal) = found.filter(|_| self.plan.respects_back_off) else { return true };
        let is_withheld = Refusal::is_withheld(refusal.error.status);
        self.plan.strikes = self.plan.strikes.max(refusal.strikes);
        if now >= refusal.until || (is_withheld && self.plan.on_ambiguous != OnAmbiguous::Fail) {
            return true;
        }
        self.plan.may_issue = false;
        self.error.get_or_insert(refusal.error.clone());
        let may_refresh = !refusal.blocks_refresh();
        self.refusal = Some(refusal);
        may_refresh
    }

    /// No refresh token was presented, or its result is recorded. If a token is needed now, a private pair may be
    /// issued.
    // Model: StoreFails.
    fn after_store_failure(&mut self, error: Error, now: Duration, took: Duration) -> Step {
        if let Some(pair) = self.offered.take() {
            return self.offer_again(error, pair, now);
        }
        if self.is_told_to_wait() {
            // The refresh token could not be put back. The pause also holds for the Issue that its loss makes necessary.
            self.store_error = Some(error);
            return self.back_off_or_fail();
        }
        // The Issue was not made, because the store failed before it.
        self.stats.issues -= u32::from(std::mem::take(&mut self.is_issuing));
        // A holder that was suspended may find that another process has the lock or a newer pair.
        let may_pass = std::mem::take(&mut self.is_intending) || took < FAILS_SOON;
        if may_pass && self.stats.issues == 0 && !std::mem::replace(&mut self.has_retried_store, true) {
            return if self.plan.looks_only { Step::Load } else { Step::Lock };
        }
        self.store_error = Some(error.clone());
        self.error.get_or_insert(error);
        if self.is_withheld() {
            return self.back_off_or_fail();
        }
        if self.plan.allows_private_pair
            && self.plan.may_issue
            && !self.plan.looks_only
            && self.stats.issues == 0
        {
            // Model: IssuePrivately.
            return Step::Pause { most: self.plan.private_issue_jitter };
        }
        self.fail()
    }

    // Model: OfferAgain.
    fn offer_again(&mut self, error: Error, pair: Pair, now: Duration) -> Step {
        if self.plan.offers_private_pair {
            // There is no hurry: the next flight can offer the pair.
            (self.error, self.private_pair) = (Some(error), Some(pair));
            return self.fail();
        }
        let since = *self.offered_since.get_or_insert(now);
        let error = self.offer_error.get_or_insert(error).clone();
        if now.saturating_sub(since) < OFFERED_FOR {
            self.offered = Some(pair);
            return Step::Pause { most: OFFER_PAUSE };
        }
        self.store_error = Some(error.clone());
        if self.plan.is_strict {
            self.error = Some(error);
            return self.fail();
        }
        Step::KeepPrivate(pair)
    }

    /// Continues without the refresh token.
    fn recover(&mut self) -> Step {
        if self.is_withheld() {
            return self.back_off_or_fail();
        }
        if self.has_refreshed && self.maybe_spent.is_some() {
            // The fault that lost the answer may still be there: the next flight presents the token once more.
            return self.fail();
        }
        self.issue()
    }

    /// The answer was lost, and by the setting `on_ambiguous` no Issue follows.
    fn is_withheld(&self) -> bool {
        self.stats.ambiguous && self.plan.on_ambiguous == OnAmbiguous::Fail
    }

    /// The service answered this flight's Refresh with a request to wait.
    fn is_told_to_wait(&self) -> bool {
        let status = self.error.as_ref().map(|error| error.status);
        self.has_refreshed && self.refusal.is_none() && status == Some(Status::PG_ERR_RATE_LIMITED)
    }

    fn present(&mut self, refresh: RefreshToken) -> Step {
        self.has_refreshed = true;
        self.stats.refreshes += 1;
        Step::Refresh(refresh)
    }

    fn commit(&mut self, mut pair: Pair, now: Duration) -> Step {
        self.offered_since = Some(now);
        pair.token.refused_young = self.plan.refused_young;
        self.host_copy = self.copy_for_host(&pair);
        // Without the lock nothing is written.
        if self.is_private() { Step::KeepPrivate(pair) } else { Step::Commit(pair) }
    }

    fn copy_for_host(&self, pair: &Pair) -> Option<Secret> {
        let refresh = pair.refresh.as_ref().filter(|_| self.plan.host_keeps);
        refresh.map(|token| token.secret().clone())
    }

    fn after_failed_refresh(&mut self, Failure { error, refresh, maybe_spent }: Failure) -> Step {
        self.stats.refused |= error.fate == Fate::PG_FATE_REFUSED;
        self.maybe_spent = maybe_spent.filter(|_| match error.fate {
            // Something other than the API refused the token, and without credentials there is no other way.
            Fate::PG_FATE_REFUSED => !self.plan.can_issue,
            _ => self.plan.on_ambiguous == OnAmbiguous::Replay,
        });
        let refresh = match refresh.map(RefreshToken::undo_replay) {
            Some(Ok(maybe_spent)) => {
                self.maybe_spent = Some(maybe_spent);
                self.error = Some(error);
                return self.back_off_or_fail();
            }
            Some(Err(refresh)) => Some(refresh),
            None => None,
        };
        self.stats.spent = refresh.is_none() && self.maybe_spent.is_none();
        if error.fate == Fate::PG_FATE_UNKNOWN {
            self.stats.ambiguous = true;
            self.lost_answer = Some(error.clone());
        }
        self.error = Some(error);
        match refresh {
            Some(refresh) => Step::Retract(refresh),
            None => Step::Load,
        }
    }

    fn issue(&mut self) -> Step {
        if !self.plan.may_issue {
            self.error = self.error.take().or_else(|| self.plan.obstacle.take().map(|error| *error));
            return self.fail();
        }
        self.stats.issues += 1;
        self.is_issuing = true;
        Step::Issue
    }

    fn after_failed_issue(&mut self, error: Error) -> Step {
        self.stats.credentials_refused = error.status == Status::PG_ERR_REFUSED;
        let is_retried = error.is_retryable()
            && error.retry_after.is_none()
            && error.status != Status::PG_ERR_RATE_LIMITED;
        self.error = Some(error.clone());
        if is_retried && self.stats.issues < ISSUE_TRIES {
            return Step::Pause { most: Duration::from_secs(1) * self.stats.issues };
        }
        self.plan.strikes += usize::from(self.stats.credentials_refused);
        self.back_off_or_fail()
    }

    /// Ends a failed flight. An answer that concerns all processes is first written to the store as a back-off.
    fn back_off_or_fail(&mut self) -> Step {
        use Status::{PG_ERR_BLOCKED, PG_ERR_RATE_LIMITED, PG_ERR_REDIRECT, PG_ERR_REFUSED};
        let concerns_all = |error: &Error| {
            matches!(error.status, PG_ERR_REFUSED | PG_ERR_RATE_LIMITED | PG_ERR_BLOCKED | PG_ERR_REDIRECT)
        };
        let (strikes, have_worked) = (self.plan.strikes, self.plan.have_worked || self.stats.have_worked);
        match &self.error {
            Some(error) if concerns_all(error) || self.is_withheld() => {
                Step::BackOff { strikes, have_worked, error: error.clone() }
            }
            _ => self.fail(),
        }
    }

    /// Ends the flight before its Issue, because the credentials were replaced. The next flight uses the new ones.
    pub fn yield_to_new_credentials(mut self) -> FlightOutcome {
        self.stats.issues = self.stats.issues.saturating_sub(1);
        // If no call was made, there is nothing to report.
        self.stats.looked_only |= self.stats.refreshes == 0 && self.stats.issues == 0;
        let error = Error::new(
            Status::PG_ERR_NO_CREDENTIALS,
            "the credentials were replaced; the next call uses the new ones",
        );
        match self.finish(Err(error.clone())) {
            Step::Finish(outcome) => *outcome,
            _ => FlightOutcome::crashed(error),
        }
    }

    fn fail(&mut self) -> Step {
        let error = self.error.take().unwrap_or_else(|| {
            if self.plan.looks_only {
                return Error::new(Status::PG_ERR_STORE, "the store has nothing newer");
            }
            let text = "the session has neither a refresh token that may be presented nor credentials; set credentials";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        });
        self.finish(Err(error))
    }

    fn finish(&mut self, result: Result<Committed, Error>) -> Step {
        Step::Finish(Box::new(FlightOutcome {
            maybe_spent: self.maybe_spent.take().filter(|_| result.is_err()),
            result,
            stats: self.stats,
            lost_answer: self.lost_answer.take(),
            refusal: self.refusal.take(),
            store_error: self.store_error.take(),
            host_copy: self.host_copy.take(),
            private_pair: self.private_pair.take(),
        }))
    }
}
