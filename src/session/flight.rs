//! The one network operation that a session may have under way, as a pure sequence: the driver performs a step
//! and feeds back what came of it. Lock, re-read, adopt or intend, present, commit, unlock.

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

/// Issue is tried this often in one flight.
const ISSUE_TRIES: u32 = 3;
/// A pair that the store does not take is offered again for so long, with pauses of at most this length. A store that hangs
/// is not asked twice: whoever waits has waited for its own limit.
const OFFERED_FOR: Duration = Duration::from_secs(2);
const OFFER_PAUSE: Duration = Duration::from_millis(400);

/// A step of the store that fails sooner is taken once more: what struck it may have passed, while a private pair costs callers
/// the scatter. One that takes longer hangs.
const FAILS_SOON: Duration = Duration::from_secs(1);

/// The next thing to do.
#[derive(Debug)]
pub enum Step {
    /// Take the store's lock.
    Lock,
    /// Read the store.
    Load,
    /// Write the intent, and so get the refresh token.
    Intend,
    /// Present it.
    Refresh(RefreshToken),
    /// It was not used up: put it back.
    Retract(RefreshToken),
    /// Present the credentials.
    Issue,
    /// Make the pair the newest.
    Commit(Pair),
    /// Keep the pair in this process alone: the store is down.
    KeepPrivate(Pair),
    /// Let all who share the store know what the service answered, so that none of them asks it too soon.
    BackOff {
        /// How often in a row the credentials have been refused.
        strikes: usize,
        /// They have got a pair before.
        have_worked: bool,
        /// The answer.
        error: Error,
    },
    /// Wait, then go on. The share (0 to 1) of the longest wait is the driver's to draw.
    Pause {
        /// The longest wait.
        most: Duration,
    },
    /// Free the lock; the flight has ended.
    Finish(Box<FlightOutcome>),
}

/// What came of a step.
#[derive(Debug)]
pub enum Input {
    /// The flight begins.
    Start,
    /// The lock is held, or there is something newer.
    Locked(Lock),
    /// The store was read; a token that is too old to be handed out counts as none.
    Loaded(Loaded),
    /// The intent is written.
    Intended(Option<RefreshToken>),
    /// A call has ended.
    Called(Box<Result<Pair, Failure>>),
    /// The refresh token is back.
    Retracted,
    /// The pair is the newest, or is kept.
    Committed(Committed),
    /// The store did not take the pair.
    Uncommitted(Uncommitted),
    /// All who share the store know of it.
    BackedOff(Refusal),
    /// The pause is over.
    Resumed,
    /// The store failed.
    StoreFailed(Error),
    /// The session has been closed: nothing more is begun.
    Stopped(Error),
}

/// A flight under way.
#[derive(Debug)]
pub struct Flight {
    plan: Plan,
    stats: FlightStats,
    /// Why the last call failed.
    error: Option<Error>,
    has_refreshed: bool,
    /// A refresh token that may be spent, and is to be presented once more: by this flight, or by the next one.
    maybe_spent: Option<MaybeSpentRefreshToken>,
    lost_answer: Option<Error>,
    refusal: Option<Refusal>,
    store_error: Option<Error>,
    host_copy: Option<Secret>,
    is_locked: bool,
    /// The intent is to be written next.
    is_intending: bool,
    /// Issue is to be called next, if the lock is still held.
    is_issuing: bool,
    /// A step of the store has failed, and the flight went back to the lock.
    has_retried_store: bool,
    /// When the last step was begun, on the boot clock.
    step_started: Duration,
    /// A pair that the store has not taken.
    offered: Option<Pair>,
    /// Since when it has been offered, on the boot clock.
    offered_since: Option<Duration>,
    private_pair: Option<Pair>,
}

impl Flight {
    /// A flight that has not begun. `maybe_spent` is what the last one has left.
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
            private_pair: None,
        }
    }

    /// One that offers the store a pair which was bought while the store was down.
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

    /// Whether a Refresh whose answer is lost is followed by other calls, with an Issue as the last one: in this flight, or in
    /// the next one where what keeps an Issue from being made ends in a moment. Refused credentials are not counted on.
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

    /// The step after `input`, which came at `now` on the boot clock.
    pub fn next(&mut self, input: Input, now: Duration) -> Step {
        let took = now.saturating_sub(std::mem::replace(&mut self.step_started, now));
        match input {
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
            // Others may have taken the lock meanwhile, and have something newer.
            Input::Resumed if self.offered.is_some() => Step::Lock,
            Input::Resumed => self.issue(),
            Input::StoreFailed(error) => self.after_store_failure(error, now, took),
            Input::Stopped(error) => self.finish(Err(error)),
        }
    }

    fn after_call(&mut self, result: Result<Pair, Failure>, now: Duration) -> Step {
        match result {
            Ok(pair) => self.commit(pair, now),
            Err(failure) if self.stats.issues > 0 => self.after_failed_issue(failure.error),
            Err(failure) => self.after_failed_refresh(failure),
        }
    }

    /// Before the call: adopt what others made meanwhile. After a lost or refused one: the same, then recover.
    fn after_load(&mut self, found: Loaded, now: Duration) -> Step {
        let successor = found.committed.filter(|found| {
            found.generation() > self.plan.stored && Some(*found.token().fingerprint()) != self.plan.refused
        });
        if let Some(successor) = successor {
            self.stats.adopted = true;
            // A pair that came too late is dropped with its refresh token.
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
            // What had come was nothing for us.
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

    /// Takes over what others left in the store. Whether a Refresh may be made.
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

    /// Nothing was presented yet, or nothing that is not accounted for: who must have a token gets one of its own.
    fn after_store_failure(&mut self, error: Error, now: Duration, took: Duration) -> Step {
        if let Some(pair) = self.offered.take() {
            return self.offer_again(error, pair, now);
        }
        // It was not made: the store did not let it.
        self.stats.issues -= u32::from(std::mem::take(&mut self.is_issuing));
        // A holder that was stopped for long finds that others hold the lock, or have something newer.
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
            return Step::Pause { most: self.plan.private_issue_jitter };
        }
        self.fail()
    }

    fn offer_again(&mut self, error: Error, pair: Pair, now: Duration) -> Step {
        if self.plan.offers_private_pair {
            // There is no hurry: the next flight is as good.
            (self.error, self.private_pair) = (Some(error), Some(pair));
            return self.fail();
        }
        let since = *self.offered_since.get_or_insert(now);
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

    /// The refresh token is gone, or is left alone.
    fn recover(&mut self) -> Step {
        if self.is_withheld() {
            return self.back_off_or_fail();
        }
        if self.has_refreshed && self.maybe_spent.is_some() {
            // What spoilt the answer may still be there: the next flight presents it once more.
            return self.fail();
        }
        self.issue()
    }

    /// The answer was lost, and the setting says to leave it at that.
    fn is_withheld(&self) -> bool {
        self.stats.ambiguous && self.plan.on_ambiguous == OnAmbiguous::Fail
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
        if self.store_error.is_some() { Step::KeepPrivate(pair) } else { Step::Commit(pair) }
    }

    fn copy_for_host(&self, pair: &Pair) -> Option<Secret> {
        let refresh = pair.refresh.as_ref().filter(|_| self.plan.host_keeps);
        refresh.map(|token| token.secret().clone())
    }

    fn after_failed_refresh(&mut self, Failure { error, refresh, maybe_spent }: Failure) -> Step {
        self.stats.refused |= error.fate == Fate::PG_FATE_REFUSED;
        self.maybe_spent = maybe_spent.filter(|_| match error.fate {
            // Something that is not the API refused it, and nothing else is left.
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

    /// The end of a flight that failed. What the service answered is told to all who share the store.
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

    /// Ends in front of its Issue, since other credentials have come: the next flight is made with them.
    pub fn yield_to_new_credentials(mut self) -> FlightOutcome {
        self.stats.issues = self.stats.issues.saturating_sub(1);
        // Where nothing was called either, there is nothing to tell.
        self.stats.looked_only |= self.stats.refreshes == 0 && self.stats.issues == 0;
        let error = Error::new(
            Status::PG_ERR_NO_CREDENTIALS,
            "the credentials were replaced; the next call has the new ones",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::expiry::Lifetime;
    use crate::token::Token;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair() -> Pair {
        let lifetime = Lifetime::of(3600 * SECOND);
        let anchor = Moment { boot: Duration::ZERO, wall: Duration::ZERO };
        Pair { token: Token::new(Secret::new("a").unwrap(), lifetime, anchor), refresh: None }
    }

    /// A flight that has bought a pair and was told at 10 s to commit it.
    fn with_pair() -> (Flight, Pair) {
        let mut flight = Flight::new(Plan { issue_only: true, ..Plan::plain(0) }, None);
        for input in [Input::Start, Input::Locked(Lock::Held), Input::Loaded(Loaded::default())] {
            flight.next(input, SECOND);
        }
        match flight.next(Input::Called(Box::new(Ok(pair()))), 10 * SECOND) {
            Step::Commit(pair) => (flight, pair),
            step => panic!("{step:?}"),
        }
    }

    /// What is done about a store whose lock failed after so long, and then, at once, again.
    fn after_failures(took: Duration) -> [Step; 2] {
        let mut flight = Flight::new(Plan::plain(0), None);
        flight.next(Input::Start, SECOND);
        [took, took].map(|took| flight.next(Input::StoreFailed(down()), SECOND + took))
    }

    fn down() -> Error {
        Error::new(Status::PG_ERR_STORE, "down")
    }

    fn uncommitted(pair: Pair) -> Input {
        Input::Uncommitted(Uncommitted { error: down(), pair })
    }

    #[test]
    fn a_pair_is_offered_to_a_store_for_two_seconds_and_then_handed_out() {
        let (mut flight, pair) = with_pair();
        assert!(matches!(flight.next(uncommitted(pair), 11 * SECOND), Step::Pause { .. }));
        assert!(matches!(flight.next(Input::Resumed, 11 * SECOND), Step::Lock));
        assert!(matches!(flight.next(Input::StoreFailed(down()), 12 * SECOND), Step::KeepPrivate(_)));
    }

    #[test]
    fn a_refresh_is_not_waited_for_where_an_issue_can_be_made_in_a_moment() {
        for (status, expected) in [(Status::PG_ERR_REDIRECT, true), (Status::PG_ERR_REFUSED, false)] {
            let obstacle = Some(Box::new(Error::new(status, "no")));
            let flight = Flight::new(Plan { may_issue: false, obstacle, ..Plan::plain(0) }, None);
            assert_eq!(flight.may_recover(), expected, "{status:?}");
        }
    }

    #[test]
    fn what_keeps_an_issue_from_being_made_is_told() {
        let obstacle = Some(Box::new(Error::new(Status::PG_ERR_REFUSED, "refused a moment ago")));
        let plan = Plan { issue_only: true, may_issue: false, obstacle, ..Plan::plain(0) };
        let mut flight = Flight::new(plan, None);
        for input in [Input::Start, Input::Locked(Lock::Held)] {
            flight.next(input, SECOND);
        }
        let step = flight.next(Input::Loaded(Loaded::default()), SECOND);
        let Step::Finish(outcome) = step else { panic!("{step:?}") };
        assert_eq!(outcome.result.unwrap_err().text, "refused a moment ago");
    }

    #[test]
    fn an_issue_that_a_lost_lock_kept_from_being_made_is_not_counted() {
        let mut flight = Flight::new(Plan { issue_only: true, ..Plan::plain(0) }, None);
        for input in [Input::Start, Input::Locked(Lock::Held), Input::Loaded(Loaded::default())] {
            flight.next(input, SECOND);
        }
        assert_eq!(flight.issues(), 1);
        assert!(matches!(flight.next(Input::StoreFailed(down()), SECOND), Step::Lock), "back to the lock");
        assert_eq!(flight.issues(), 0);
    }

    #[test]
    fn a_store_that_hangs_is_not_offered_it_twice() {
        let (mut flight, pair) = with_pair();
        assert!(matches!(flight.next(uncommitted(pair), 15 * SECOND), Step::KeepPrivate(_)));
    }

    #[test]
    fn a_step_of_the_store_that_fails_soon_is_taken_once_more() {
        assert!(matches!(after_failures(SECOND / 100), [Step::Lock, Step::Pause { .. }]));
    }

    #[test]
    fn one_that_hangs_is_not() {
        assert!(matches!(after_failures(5 * SECOND)[0], Step::Pause { .. }));
    }

    #[test]
    fn a_look_that_fails_is_made_once_more_without_the_lock() {
        let mut flight = Flight::new(Plan { looks_only: true, ..Plan::plain(0) }, None);
        flight.next(Input::Start, SECOND);
        assert!(matches!(flight.next(Input::StoreFailed(down()), SECOND), Step::Load));
        assert!(matches!(flight.next(Input::StoreFailed(down()), SECOND), Step::Finish(_)));
    }
}
