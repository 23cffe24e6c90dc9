//! The decisions of a session: a pure function of its state, an event and the current time. The driver performs the
//! actions. Locks and network calls are not used here; time and random numbers are passed in.

mod flight_end;

use std::collections::BTreeMap;
use std::time::Duration;

use super::credential_state::{CredentialState, Obstacle};
use super::current_token::CurrentToken;
use super::decision::{Action, Policy, Random, SessionEvent, WaiterId};
use super::pause::{self, Pause};
use super::phase::Phase;
use super::plan::{Cause, Plan};
use super::rejection::{ReportVerdict, replacement_pause};
use super::waiter::{Waiter, timeout};
use crate::clock::Moment;
use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::event::Notice;
use crate::status::Status;
use crate::store::Committed;
use crate::token::Fingerprint;

/// While the service may not be called, a waiting caller causes a look into the store at most this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// If the current token is still usable, a caller waits for a newer one for at most this time and half of its
/// timeout.
const SATISFIED_AFTER: Duration = Duration::from_secs(5);
/// The longest random wait before a private Issue while the store is down: with a usable token, and without one.
const PRIVATE_ISSUE_JITTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// A session's state.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    last_generation: u64,
    /// The newest generation that is known to be in the store. A private pair of this process is not in the store.
    stored: u64,
    current: Option<CurrentToken>,
    credential_state: CredentialState,
    /// The credentials are new and were not presented yet. A back-off in the store is ignored: it may be the reason
    /// why they were set.
    has_untried_credentials: bool,
    /// The credentials were replaced while a flight with the old ones was running.
    credentials_replaced: bool,
    /// The credentials have obtained a pair before.
    have_worked: bool,
    /// Why the last call of the running flight, or of the last one, failed.
    last_failure: Option<Box<Error>>,
    /// The running call, and its start on the boot clock.
    current_call: Option<Box<(&'static str, Duration)>>,
    /// When the store was last read.
    last_look: Duration,
    pause: Option<Box<Pause>>,
    in_flight: bool,
    waiters: BTreeMap<WaiterId, Waiter>,
    last_asked: Duration,
    /// The last flight failed.
    degraded: bool,
    closed: bool,
}

impl Machine {
    /// A session without a token. In a forked child, generations continue after those of the parent.
    pub fn new(policy: Policy, has_credentials: bool, last_generation: u64, now: Moment) -> Self {
        Machine {
            policy,
            last_generation,
            stored: last_generation,
            current: None,
            credential_state: if has_credentials { CredentialState::Good } else { CredentialState::Absent },
            has_untried_credentials: false,
            credentials_replaced: false,
            have_worked: false,
            last_failure: None,
            current_call: None,
            last_look: Duration::ZERO,
            pause: None,
            in_flight: false,
            waiters: BTreeMap::new(),
            last_asked: now.boot,
            degraded: false,
            closed: false,
        }
    }

    /// Takes over a token that readers already have: one from the settings, or one inherited through a fork.
    pub fn adopt(&mut self, committed: Committed, now: Moment, random: Random<'_>) {
        self.stored = committed.generation();
        self.have_worked = true;
        self.replace_current(committed, now, random);
    }

    fn replace_current(&mut self, committed: Committed, now: Moment, random: Random<'_>) {
        self.current = Some(CurrentToken::new(committed, now, random));
    }

    /// Processes one event and returns the actions to perform.
    pub fn step(&mut self, event: SessionEvent, now: Moment, random: Random<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            SessionEvent::Ask { id, deadline, min_remaining, wants_newer } => {
                self.last_asked = now.boot;
                let has_token = self.current.as_ref().is_some_and(|current| current.is_usable(now));
                if let Some(pause) = self.pause.as_mut().filter(|_| !has_token) {
                    pause.end_for_caller(now);
                }
                let unwanted =
                    self.current().filter(|_| wants_newer).map(|current| *current.token().fingerprint());
                let patience = (deadline.saturating_sub(now.boot) / 2).min(SATISFIED_AFTER);
                let satisfied_at = now.boot.saturating_add(patience);
                self.waiters.insert(id, Waiter { deadline, satisfied_at, min_remaining, unwanted });
            }
            SessionEvent::Leave(id) => {
                if let Some(waiter) = self.waiters.get_mut(&id) {
                    waiter.deadline = now.boot;
                }
            }
            SessionEvent::Asked => self.last_asked = now.boot,
            SessionEvent::Tick => {}
            SessionEvent::FlightEnded(outcome) => self.end_flight(*outcome, now, random, &mut actions),
            SessionEvent::NewCredentials { has_new_record } => {
                self.credential_state = CredentialState::Good;
                self.pause = None;
                self.credentials_replaced = self.in_flight;
                self.has_untried_credentials = true;
                if has_new_record {
                    self.detach_from_record();
                }
            }
            SessionEvent::Close => {
                self.closed = true;
                if let Some(current) = &mut self.current {
                    current.published = false;
                }
                actions.push(Action::Publish(None));
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// The running flight begins a call.
    pub fn note_call(&mut self, call: &'static str, now: Moment) {
        self.current_call = Some(Box::new((call, now.boot)));
    }

    /// The call failed; the flight continues.
    pub fn note_failure(&mut self, error: &Error) {
        (self.last_failure, self.current_call) = (Some(Box::new(error.clone())), None);
    }

    /// Processes a report that the service refused this token.
    pub fn report(&mut self, refused: Fingerprint, now: Moment) -> (ReportVerdict, Vec<Action>) {
        let mut actions = Vec::new();
        let verdict = self.reject(refused, now, &mut actions);
        self.advance(now, &mut actions);
        // During the pause before the next replacement, a newer pair from another process is still adopted.
        let is_postponed = matches!(verdict, ReportVerdict::RejectedFresh { .. });
        if is_postponed
            && self.policy.is_shared
            && !self.in_flight
            && !self.closed
            && now.boot >= self.next_look()
        {
            self.in_flight = true;
            actions.push(Action::StartFlight(Plan { looks_only: true, ..self.plan(now) }));
        }
        (verdict, actions)
    }

    /// When the session next needs a `Tick`, if time alone can change anything.
    pub fn next_wake(&self, now: Moment) -> Option<Duration> {
        if self.closed {
            return None;
        }
        let usable = self.current.as_ref().filter(|current| current.is_usable(now));
        let waiting = self.waiters.values().map(|waiter| match usable {
            Some(usable) if waiter.accepts(&usable.committed) => waiter.satisfied_at.min(waiter.deadline),
            _ => waiter.deadline,
        });
        let due = |current: &CurrentToken| {
            let token = current.committed.token();
            let due = (token.anchor.boot + token.lifetime.length).saturating_sub(current.background_at);
            due.max(current.since.saturating_add(current.windows().floor))
        };
        let background = self.current.as_ref().filter(|current| self.is_in_use(current, now));
        let background = background
            .map(|current| due(current).min(self.next_offer(current, now).unwrap_or(Duration::MAX)));
        // The token is not in use. Check now and then whether it is read again, so that readers need not wait when it
        // expires.
        let look = self.current.as_ref().filter(|current| background.is_none() && current.is_usable(now));
        let look = look.map(|current| due(current).max(now.boot.saturating_add(pause::IDLE.0)));
        let wanted = background.is_some() || !self.waiters.is_empty();
        let next = match self.obstacle(now) {
            _ if self.in_flight => None,
            // An obstacle without an end: only a pair from another process, or another key, can help.
            Some(obstacle) => {
                let look = (self.policy.can_look() && !self.waiters.is_empty()).then(|| self.next_look());
                obstacle.until.filter(|_| wanted).into_iter().chain(look).min()
            }
            None => background,
        };
        let withdrawal =
            self.current.as_ref().filter(|current| current.published).map(CurrentToken::turns_mandatory);
        waiting.chain(next).chain(look).chain(withdrawal).min()
    }

    fn generation(&self) -> u64 {
        self.current.as_ref().map_or(self.last_generation, |current| current.committed.generation())
    }

    /// The phase of the current token.
    pub fn phase(&self, now: Moment) -> Phase {
        self.current.as_ref().map_or(Phase::Expired, |current| current.phase(now))
    }

    /// Leaves the record of the old credentials, with its generations and its refresh token. The access token is
    /// still served.
    fn detach_from_record(&mut self) {
        self.stored = 0;
        self.have_worked = false;
        if let Some(current) = &mut self.current {
            current.committed.has_refresh = false;
            current.is_of_another_record = true;
        }
    }

    fn notify(&self, notice: Notice, actions: &mut Vec<Action>) {
        if !self.closed {
            actions.push(Action::Notify(notice));
        }
    }

    fn reject(&mut self, refused: Fingerprint, now: Moment, actions: &mut Vec<Action>) -> ReportVerdict {
        let current =
            self.current.as_mut().filter(|current| *current.committed.token().fingerprint() == refused);
        let Some(current) = current else { return ReportVerdict::Newer };
        if self.policy.is_static {
            return ReportVerdict::Static;
        }
        if current.refused {
            return ReportVerdict::Renewing;
        }
        // The age counts from the token's issue, in any process: an old token that was just adopted is old.
        let token = current.committed.token();
        let age = now.since(token.anchor);
        let verdict = current.reports.judge(age, &token.lifetime, token.refused_young, current.jitter);
        if verdict == ReportVerdict::Renewing {
            current.refused = true;
            current.published = false;
            if let Some(pause) = &mut self.pause {
                pause.end_postponement();
            }
            actions.push(Action::Publish(None));
        }
        verdict
    }

    /// The service answered a request with this token, and the answer was not 401.
    pub fn accept(&mut self, accepted: Fingerprint) {
        if let Some(current) = &mut self.current
            && *current.committed.token().fingerprint() == accepted
        {
            current.reports.accept();
        }
    }

    /// How many tokens in a row before the current one the service refused young, and how long a report would wait
    /// for the next replacement.
    pub fn refused_young(&self, now: Moment) -> (u32, Duration) {
        let Some(current) = &self.current else { return (0, Duration::ZERO) };
        let token = current.committed.token();
        let pause = replacement_pause(token.refused_young, current.jitter);
        (token.refused_young, pause.saturating_sub(now.since(token.anchor)))
    }

    /// Answers waiters that a token satisfies, starts a needed flight, and answers waiters that nothing can satisfy
    /// in time.
    fn advance(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.withdraw(now, actions);
        self.serve(now, actions);
        if !self.in_flight && !self.closed && self.needs_flight(now) {
            let is_free = self.obstacle(now).is_none();
            // An obstacle blocks calls to the service. It does not block a look into the store.
            if is_free || self.may_look(now) {
                self.in_flight = true;
                actions.push(Action::StartFlight(Plan { looks_only: !is_free, ..self.plan(now) }));
            }
        }
        self.answer_late_waiters(now, actions);
        if self.waiters.is_empty() {
            // An emptied map keeps its memory (11 entries); a new one has none.
            self.waiters = BTreeMap::new();
        }
    }

    fn withdraw(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if let Some(current) = &mut self.current
            && current.published
            && current.phase(now) >= Phase::Mandatory
        {
            current.published = false;
            actions.push(Action::Withdraw);
        }
    }

    fn serve(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(current) = self.current.as_ref().filter(|current| current.is_usable(now)) else { return };
        let (phase, remaining) = (current.phase(now), current.remaining(now));
        let (committed, windows) = (current.committed.clone(), current.windows());
        self.waiters.retain(|id, waiter| {
            let enough = waiter.accepts(&committed)
                && phase < Phase::Mandatory
                && windows.suffices(remaining, waiter.min_remaining);
            if enough {
                actions.push(Action::Answer(*id, Ok(committed.clone())));
            }
            !enough
        });
    }

    fn needs_flight(&self, now: Moment) -> bool {
        let Some(current) = &self.current else { return !self.waiters.is_empty() };
        let floor_passed = now.boot.saturating_sub(current.since) >= current.windows().floor;
        let due = !self.waiters.is_empty()
            || (current.remaining(now) <= current.background_at && self.is_in_use(current, now));
        let is_another_wanted = self.waiters.values().any(|waiter| !waiter.accepts(&current.committed));
        current.refused
            || is_another_wanted
            || self.offers_private_pair(current, now)
            || (due
                && (floor_passed
                    || current.has_uncertain_age
                    || current.has_jumped(now)
                    || !current.is_usable(now)))
    }

    /// Whether a caller waits and the store may be read again.
    fn may_look(&self, now: Moment) -> bool {
        self.policy.can_look() && !self.waiters.is_empty() && now.boot >= self.next_look()
    }

    fn next_look(&self) -> Duration {
        self.last_look.saturating_add(LOOK_INTERVAL)
    }

    /// When a private pair, obtained while the store was down, is offered to the store. A token close to its end is
    /// not offered.
    fn next_offer(&self, current: &CurrentToken, now: Moment) -> Option<Duration> {
        let is_ours_alone = current.committed.generation() != self.stored
            && !current.is_of_another_record
            && current.phase(now) < Phase::Mandatory;
        is_ours_alone.then(|| current.since.saturating_add(pause::IDLE.0))
    }

    /// Whether a private pair is to be offered to the store now.
    fn offers_private_pair(&self, current: &CurrentToken, now: Moment) -> bool {
        self.next_offer(current, now).is_some_and(|at| at <= now.boot) && self.is_in_use(current, now)
    }

    /// Whether a caller asked within the last token lifetime, or the token is kept current anyway.
    fn is_in_use(&self, current: &CurrentToken, now: Moment) -> bool {
        let idle = now.boot.saturating_sub(self.last_asked);
        self.policy.keep_warm || current.refused || idle < current.committed.token().lifetime.length
    }

    fn plan(&self, now: Moment) -> Plan {
        let refused = self
            .current
            .as_ref()
            .filter(|current| current.refused)
            .map(|current| *current.committed.token().fingerprint());
        let cause = match &self.current {
            None => Cause::First,
            Some(current) if current.refused => Cause::Rejected,
            Some(_) if self.waiters.is_empty() => Cause::Background,
            Some(_) => Cause::Asked,
        };
        let on_ambiguous = match self.policy.on_ambiguous {
            // Without credentials, a replay is the only way left.
            OnAmbiguous::Issue if self.credential_state == CredentialState::Absent => OnAmbiguous::Replay,
            chosen => chosen,
        };
        let obstacle = self.credential_state.obstacle(now);
        let successor_of = self.current.as_ref().filter(|current| current.refused);
        let refused_young = successor_of
            .map_or(0, |current| current.reports.next_row(current.committed.token().refused_young));
        Plan {
            cause,
            on_ambiguous,
            host_keeps: self.policy.host_keeps,
            base: self.generation(),
            stored: self.stored,
            // With a token to hand out, the session waits for the store.
            allows_private_pair: !self.policy.fail_without_store
                && self.current.as_ref().is_none_or(|current| current.phase(now) >= Phase::Mandatory),
            is_strict: self.policy.is_strict,
            offers_private_pair: self
                .current
                .as_ref()
                .is_some_and(|current| self.offers_private_pair(current, now)),
            private_issue_jitter: self.private_issue_jitter(now),
            strikes: self.credential_state.strikes(),
            have_worked: self.have_worked,
            respects_back_off: !self.has_untried_credentials,
            refused,
            refused_young,
            looks_only: false,
            can_issue: self.credential_state != CredentialState::Absent,
            issue_only: self.is_issue_only(),
            may_issue: obstacle.is_none(),
            obstacle: obstacle.map(|obstacle| Box::new(obstacle.explain(now))),
        }
    }

    /// Processes that lose their store together spread their Issue calls over the time that their tokens still last.
    fn private_issue_jitter(&self, now: Moment) -> Duration {
        match self.current.as_ref().filter(|current| current.is_usable(now)) {
            Some(current) => (current.usable_for(now) / 2).min(PRIVATE_ISSUE_JITTER.0),
            None => PRIVATE_ISSUE_JITTER.1,
        }
    }

    /// Whether the successor must come from Issue: the token was refused young. Without credentials only a Refresh is
    /// possible.
    fn is_issue_only(&self) -> bool {
        let is_young = |current: &CurrentToken| current.refused && current.reports.next_row(0) > 0;
        self.credential_state != CredentialState::Absent && self.current.as_ref().is_some_and(is_young)
    }

    /// The current token, usable or not.
    pub fn current(&self) -> Option<&Committed> {
        self.current.as_ref().map(|current| &current.committed)
    }

    /// Why the last call failed, if no pair has come since.
    pub fn last_failure(&self) -> Option<&Error> {
        self.last_failure.as_deref()
    }

    /// Whether the session is closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the running flight may bring a pair that the host must be notified of.
    pub fn owes_rotation(&self) -> bool {
        self.in_flight && self.policy.host_keeps
    }

    /// How long the current token may still be handed out.
    pub fn usable_for(&self, now: Moment) -> Duration {
        let usable = self.current.as_ref().filter(|current| current.is_usable(now));
        usable.map_or(Duration::ZERO, |current| current.usable_for(now))
    }

    /// Whether a flight is running.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Why no flight may begin now.
    pub fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        if self.closed {
            return Some(Obstacle { error: closed(), until: None });
        }
        if self.policy.is_static {
            return Some(Obstacle { error: static_token(Status::PG_ERR_NO_CREDENTIALS), until: None });
        }
        let has_refresh = self.current.as_ref().is_some_and(|current| current.committed.has_refresh);
        let credentials = if has_refresh && !self.is_issue_only() {
            self.credential_state.obstacle_to_refresh(now)
        } else {
            self.credential_state.obstacle(now)
        };
        let pause = self.pause.as_ref().and_then(|pause| {
            let until = if self.waiters.is_empty() { pause.idle_until } else { pause.urgent_until };
            (now.boot < until).then(|| Obstacle { error: pause.error.clone(), until: Some(until) })
        });
        // Both must end, so the one that lasts longer is reported.
        credentials.into_iter().chain(pause).max_by_key(|obstacle| obstacle.until.unwrap_or(Duration::MAX))
    }

    /// A waiter that cannot be satisfied before its deadline gets the current token if it is usable, or else the
    /// reason.
    fn answer_late_waiters(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let in_flight = self.in_flight && !self.closed;
        let obstacle = self.obstacle(now);
        let (last_failure, current_call) =
            (self.last_failure.as_deref(), self.current_call.as_deref().copied());
        // A service in trouble also refuses good credentials, so a refusal of credentials that have worked is waited
        // out.
        let have_worked = self.have_worked;
        let is_waited_out = |obstacle: &Obstacle| have_worked || obstacle.error.status.is_transient();
        let usable = self.current.as_ref().filter(|current| current.is_usable(now) && !self.closed);
        let usable = usable.map(|current| current.committed.clone());
        self.waiters.retain(|id, waiter| {
            let usable = usable.as_ref().filter(|usable| waiter.accepts(usable));
            let is_late =
                now.boot >= waiter.deadline || (usable.is_some() && now.boot >= waiter.satisfied_at);
            let outlasts = |obstacle: &Obstacle| obstacle.outlasts(waiter.deadline, is_waited_out(obstacle));
            let is_hopeless = !in_flight && (usable.is_some() || obstacle.as_ref().is_some_and(outlasts));
            if !is_late && !is_hopeless {
                return true;
            }
            let answer = usable.cloned().ok_or_else(|| match &obstacle {
                Some(obstacle) => obstacle.explain(now),
                None => timeout(last_failure, current_call, now),
            });
            actions.push(Action::Answer(*id, answer));
            false
        });
    }
}

/// The error of a call that would replace a static token.
pub fn static_token(status: Status) -> Error {
    let text = "the session has a static_token, which is never replaced; set credentials instead of it for one that is";
    Error::new(status, text)
}

/// The error of a closed session.
pub fn closed() -> Error {
    Error::new(Status::PG_ERR_CLOSED, "the session has been closed; open another one")
}
