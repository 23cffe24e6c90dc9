//! What a session decides, as a pure function of its state, an event and the moment. The driver performs the
//! actions; no lock, clock, network or chance in here but what is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flight::{Cause, Landing, Plan};
use super::login::{Login, Obstacle};
use super::phase::{Phase, Windows};
use super::rejection::{Rejections, Verdict};
use crate::clock::Moment;
use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::event::Notice;
use crate::status::Status;
use crate::store::Committed;
use crate::token::Fingerprint;

/// Between failures: the least and the most while someone waits, and while nobody does.
const URGENT_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const IDLE_PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// A caller who waits.
pub type WaiterId = u64;

/// What happens to a session.
#[derive(Debug)]
pub enum Event {
    /// Somebody wants a token by `deadline` (on the boot clock), with at least so much life remaining.
    Ask {
        /// Unique among those who wait.
        id: WaiterId,
        /// When the answer is due; now: what there is.
        deadline: Duration,
        /// Less life than this counts as mandatory.
        min_remaining: Duration,
    },
    /// The deadline of a caller has passed, or the caller went away.
    Leave(WaiterId),
    /// Others have asked and were served from memory since the last event.
    Asked,
    /// Time has passed.
    Tick,
    /// The flight has ended.
    Landed(Box<Landing>),
    /// New credentials are in place.
    NewCredentials,
    /// The session ends.
    Close,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Begin a flight.
    Launch(Plan),
    /// Give a caller the answer.
    Answer(WaiterId, Result<Committed, Error>),
    /// Let those know who want news.
    Tell(Notice),
    /// Let readers have this token without asking, while more than `mandatory` of its life remains; `None`: let
    /// nobody.
    Publish(Option<Committed>),
    /// The published token has turned mandatory: let nobody have it without asking.
    Withdraw,
}

/// What does not change in the life of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Go on refreshing though nobody asks.
    pub keep_warm: bool,
    /// What to do when the answer to a Refresh is lost.
    pub on_ambiguous: OnAmbiguous,
    /// The session was opened from a pair: its host keeps every new one.
    pub host_keeps: bool,
    /// Without the store there is no new token.
    pub fail_without_store: bool,
    /// A pair that the store does not take is not handed out.
    pub is_strict: bool,
}

/// Chance, drawn by the driver: a number from 0 to 1.
pub type Dice<'a> = &'a mut dyn FnMut() -> f64;

/// A session's state.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    last_generation: u64,
    /// The newest generation that is known to be in the store: a pair of this process's own is not.
    stored: u64,
    held: Option<Held>,
    login: Login,
    /// The credentials are new, perhaps because of what others were refused with the same: that is not heeded.
    is_new_login: bool,
    /// The credentials were replaced while a flight was under way with the old ones.
    replaced: bool,
    pause: Option<Box<Pause>>,
    flying: bool,
    waiters: BTreeMap<WaiterId, Waiter>,
    last_asked: Duration,
    rejections: Option<Box<Rejections>>,
    /// The last flight failed.
    degraded: bool,
    closed: bool,
}

/// The token there is.
#[derive(Debug)]
struct Held {
    committed: Committed,
    /// The background refresh starts when so much remains.
    background_at: Duration,
    since: Duration,
    /// Readers have it without asking.
    published: bool,
    /// The service refused it: it is not handed out, and its successor must differ.
    refused: bool,
    /// The service refused it when new, as it had its predecessor: it is served all the same.
    refused_fresh: bool,
    /// The wall clock has had its say.
    witnessed: bool,
    /// How much of its life is over is not known.
    doubted: bool,
}

#[derive(Debug)]
struct Waiter {
    deadline: Duration,
    min_remaining: Duration,
}

/// After a failed flight.
#[derive(Debug)]
struct Pause {
    error: Error,
    urgent_until: Duration,
    idle_until: Duration,
    last: Duration,
}

impl Machine {
    /// A session that has nothing yet; in a forked child the numbers go on after those of the parent.
    pub fn new(policy: Policy, has_credentials: bool, last_generation: u64, now: Moment) -> Self {
        Machine {
            policy,
            last_generation,
            stored: last_generation,
            held: None,
            login: if has_credentials { Login::Good } else { Login::Absent },
            is_new_login: false,
            replaced: false,
            pause: None,
            flying: false,
            waiters: BTreeMap::new(),
            last_asked: now.boot,
            rejections: None,
            degraded: false,
            closed: false,
        }
    }

    /// Takes over a token from elsewhere that readers have: adopted, or inherited through a fork.
    pub fn hold(&mut self, committed: Committed, now: Moment, dice: Dice<'_>) {
        self.stored = committed.generation();
        self.take_on(committed, now, dice);
    }

    fn take_on(&mut self, committed: Committed, now: Moment, dice: Dice<'_>) {
        let windows = Windows::of(&committed.token().lifetime);
        let doubted = committed.is_doubted;
        self.held = Some(Held {
            committed,
            background_at: windows.background_at(dice()),
            since: now.boot,
            published: !doubted,
            refused: false,
            refused_fresh: false,
            witnessed: false,
            doubted,
        });
    }

    /// One event in, the actions out.
    pub fn step(&mut self, event: Event, now: Moment, dice: Dice<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Ask { id, deadline, min_remaining } => {
                self.last_asked = now.boot;
                self.waiters.insert(id, Waiter { deadline, min_remaining });
            }
            Event::Leave(id) => {
                if let Some(waiter) = self.waiters.get_mut(&id) {
                    waiter.deadline = now.boot;
                }
            }
            Event::Asked => self.last_asked = now.boot,
            Event::Tick => {}
            Event::Landed(landing) => self.land(*landing, now, dice, &mut actions),
            Event::NewCredentials => {
                self.login = Login::Good;
                self.pause = None;
                self.replaced = self.flying;
                self.is_new_login = true;
            }
            Event::Close => {
                self.closed = true;
                if let Some(held) = &mut self.held {
                    held.published = false;
                }
                actions.push(Action::Publish(None));
            }
        }
        self.settle(now, &mut actions);
        actions
    }

    /// The service refused this token: what that comes to, and the actions.
    pub fn report(&mut self, refused: Fingerprint, now: Moment) -> (Verdict, Vec<Action>) {
        let mut actions = Vec::new();
        let verdict = self.reject(refused, now, &mut actions);
        self.settle(now, &mut actions);
        (verdict, actions)
    }

    /// When the session next wants a `Tick`, if time alone can change anything.
    pub fn next_wake(&self, now: Moment) -> Option<Duration> {
        if self.closed {
            return None;
        }
        let waiting = self.waiters.values().map(|waiter| waiter.deadline);
        let due = |held: &Held| {
            let token = held.committed.token();
            let due = (token.anchor.boot + token.lifetime.length).saturating_sub(held.background_at);
            due.max(held.since.saturating_add(held.windows().floor))
        };
        let background = self.held.as_ref().filter(|held| self.is_wanted(held, now));
        let background =
            background.map(|held| due(held).min(self.published_at(held, now).unwrap_or(Duration::MAX)));
        // Nobody has asked: look now and then whether somebody reads again, who would otherwise have to wait at the end.
        let look = self.held.as_ref().filter(|held| background.is_none() && held.is_usable(now));
        let look = look.map(|held| due(held).max(now.boot.saturating_add(IDLE_PAUSE.0)));
        let wanted = background.is_some() || !self.waiters.is_empty();
        let next = match self.obstacle(now) {
            _ if self.flying => None,
            // It may not go away by itself; then there is nothing to wait for.
            Some(obstacle) => obstacle.until.filter(|_| wanted),
            None => background,
        };
        let withdrawal = self.held.as_ref().filter(|held| held.published).map(Held::turns_mandatory);
        waiting.chain(next).chain(look).chain(withdrawal).min()
    }

    fn generation(&self) -> u64 {
        self.held.as_ref().map_or(self.last_generation, |held| held.committed.generation())
    }

    /// The phase of the token there is.
    pub fn phase(&self, now: Moment) -> Phase {
        self.held.as_ref().map_or(Phase::Expired, |held| held.phase(now))
    }

    fn land(&mut self, landing: Landing, now: Moment, dice: Dice<'_>, actions: &mut Vec<Action>) {
        self.flying = false;
        let replaced = std::mem::take(&mut self.replaced);
        self.is_new_login &= replaced;
        if let Some(error) = landing.lost {
            self.tell(Notice::Ambiguous(error), actions);
        }
        match landing.result {
            Ok(committed) => {
                let same = self.held.as_ref().is_some_and(|held| {
                    held.refused && *held.committed.token().fingerprint() == *committed.token().fingerprint()
                });
                if let Some(rejections) = &mut self.rejections {
                    rejections.renewed(committed.token().anchor.boot);
                }
                let pause = self.pause.take();
                if landing.log.issues > 0 {
                    self.login = Login::Good;
                }
                let is_good = !same && !committed.is_doubted;
                self.take_on(committed.clone(), now, dice);
                if let Some(held) = &mut self.held {
                    held.refused = same;
                    held.published = is_good && !self.closed;
                }
                if landing.store_error.is_none() {
                    self.stored = committed.generation();
                }
                if same {
                    let text =
                        "the service issued the very token that it had refused; look at the account's rights";
                    let error = Error::new(Status::PG_ERR_REJECTED_FRESH, text);
                    self.pause = Some(Pause::after(error, pause, now, dice));
                }
                // Whoever keeps the pairs hears of one before anybody can use it.
                self.tell(Notice::rotated(&committed.grant, landing.kept), actions);
                if !self.closed {
                    actions.push(Action::Publish(is_good.then(|| committed.clone())));
                }
                match landing.store_error {
                    Some(error) => self.degrade(error, actions),
                    None if std::mem::take(&mut self.degraded) => self.tell(Notice::Recovered, actions),
                    None => {}
                }
            }
            Err(error) if landing.unpublished.is_some() => {
                self.pause = Some(Pause::after(error, self.pause.take(), now, dice));
            }
            Err(error) => {
                if landing.log.credentials_refused && !replaced {
                    self.tell(Notice::CredentialsRejected(error.clone()), actions);
                }
                self.tell(Notice::RefreshFailed(error.clone()), actions);
                self.degrade(error.clone(), actions);
                if let Some(refusal) = landing.refusal.filter(|_| !replaced) {
                    self.login = Login::Refused(Box::new(refusal));
                }
                if landing.log.ambiguous && self.policy.on_ambiguous == OnAmbiguous::Fail && !replaced {
                    self.login = Login::Withheld(Box::new(error.clone()));
                }
                if let Some(held) = &mut self.held {
                    held.witnessed = true;
                    held.doubted = false;
                    held.committed.has_refresh &= !landing.log.spent;
                }
                // What the service said of the old credentials is not held against the new ones.
                self.pause = (!replaced).then(|| Pause::after(error, self.pause.take(), now, dice));
            }
        }
    }

    fn degrade(&mut self, error: Error, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.degraded, true) {
            self.tell(Notice::Degraded(error), actions);
        }
    }

    fn tell(&self, notice: Notice, actions: &mut Vec<Action>) {
        if !self.closed {
            actions.push(Action::Tell(notice));
        }
    }

    fn reject(&mut self, refused: Fingerprint, now: Moment, actions: &mut Vec<Action>) -> Verdict {
        let current = self.held.as_mut().filter(|held| *held.committed.token().fingerprint() == refused);
        let Some(held) = current else { return Verdict::Newer };
        if held.refused {
            return Verdict::Renewing;
        }
        // Many threads report the same token; it counts once.
        if held.refused_fresh {
            return Verdict::RejectedFresh;
        }
        // Since its birth, wherever that was: an old one that was adopted a moment ago is old.
        let age = now.since(held.committed.token().anchor);
        let verdict = self.rejections.get_or_insert_default().judge(age, now);
        held.refused_fresh = verdict == Verdict::RejectedFresh;
        if verdict == Verdict::Renewing {
            held.refused = true;
            held.published = false;
            actions.push(Action::Publish(None));
        }
        verdict
    }

    /// Answers who can be answered, launches what is needed, and turns away whom nothing can help in time.
    fn settle(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.withdraw(now, actions);
        self.serve(now, actions);
        if !self.flying && !self.closed && self.needs_flight(now) && self.obstacle(now).is_none() {
            self.flying = true;
            actions.push(Action::Launch(self.plan(now)));
        }
        self.turn_away(now, actions);
        if self.waiters.is_empty() {
            // An emptied map keeps room for eleven.
            self.waiters = BTreeMap::new();
        }
    }

    fn withdraw(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if let Some(held) = &mut self.held
            && held.published
            && held.phase(now) >= Phase::Mandatory
        {
            held.published = false;
            actions.push(Action::Withdraw);
        }
    }

    fn serve(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(held) = self.held.as_ref().filter(|held| held.is_usable(now)) else { return };
        let (phase, remaining) = (held.phase(now), held.remaining(now));
        let (committed, windows) = (held.committed.clone(), held.windows());
        self.waiters.retain(|id, waiter| {
            let enough = phase < Phase::Mandatory && windows.suffices(remaining, waiter.min_remaining);
            if enough {
                actions.push(Action::Answer(*id, Ok(committed.clone())));
            }
            !enough
        });
    }

    fn needs_flight(&self, now: Moment) -> bool {
        let Some(held) = &self.held else { return !self.waiters.is_empty() };
        let rested = now.boot.saturating_sub(held.since) >= held.windows().floor;
        let due = !self.waiters.is_empty()
            || (held.remaining(now) <= held.background_at && self.is_wanted(held, now));
        held.refused || self.publishes(held, now) || (due && (rested || held.doubted || !held.is_usable(now)))
    }

    /// When a token that was bought while the store was down is offered to it. One that is nearly over is no use to others.
    fn published_at(&self, held: &Held, now: Moment) -> Option<Duration> {
        let is_ours_alone = held.committed.generation() != self.stored && held.phase(now) < Phase::Mandatory;
        is_ours_alone.then(|| held.since.saturating_add(IDLE_PAUSE.0))
    }

    /// Whether that is now.
    fn publishes(&self, held: &Held, now: Moment) -> bool {
        self.published_at(held, now).is_some_and(|at| at <= now.boot) && self.is_wanted(held, now)
    }

    /// Whether anybody has asked within one lifetime of the token.
    fn is_wanted(&self, held: &Held, now: Moment) -> bool {
        let idle = now.boot.saturating_sub(self.last_asked);
        self.policy.keep_warm || held.refused || idle < held.committed.token().lifetime.length
    }

    fn plan(&self, now: Moment) -> Plan {
        let refused =
            self.held.as_ref().filter(|held| held.refused).map(|held| *held.committed.token().fingerprint());
        let cause = match &self.held {
            None => Cause::First,
            Some(held) if held.refused => Cause::Rejected,
            Some(_) if self.waiters.is_empty() => Cause::Background,
            Some(_) => Cause::Asked,
        };
        let on_ambiguous = match self.policy.on_ambiguous {
            // Nothing else is left.
            OnAmbiguous::Issue if self.login == Login::Absent => OnAmbiguous::Replay,
            chosen => chosen,
        };
        Plan {
            cause,
            on_ambiguous,
            host_keeps: self.policy.host_keeps,
            base: self.generation(),
            stored: self.stored,
            // Whoever has a token to hand out waits for the store.
            may_live_alone: !self.policy.fail_without_store
                && self.held.as_ref().is_none_or(|held| held.phase(now) >= Phase::Mandatory),
            is_strict: self.policy.is_strict,
            publishes: self.held.as_ref().is_some_and(|held| self.publishes(held, now)),
            strikes: self.login.strikes(),
            heeds_cooling: !self.is_new_login,
            refused,
            issue_only: self.is_issue_only(),
            may_issue: self.login.obstacle(now).is_none(),
        }
    }

    /// Whether the next successor may come from Issue alone. Without credentials there is only the other way.
    fn is_issue_only(&self) -> bool {
        let can_issue = self.login != Login::Absent;
        let wants_issue = self.rejections.as_ref().is_some_and(|rejections| rejections.wants_issue());
        can_issue && wants_issue && self.held.as_ref().is_some_and(|held| held.refused)
    }

    /// The token there is, fit to be handed out or not.
    pub fn held(&self) -> Option<&Committed> {
        self.held.as_ref().map(|held| &held.committed)
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a flight is under way.
    pub fn is_flying(&self) -> bool {
        self.flying
    }

    /// Why no flight may begin now.
    pub fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        if self.closed {
            return Some(Obstacle { error: closed(), until: None });
        }
        let has_refresh = self.held.as_ref().is_some_and(|held| held.committed.has_refresh);
        let login = if has_refresh && !self.is_issue_only() { None } else { self.login.obstacle(now) };
        let pause = self.pause.as_ref().and_then(|pause| {
            let until = if self.waiters.is_empty() { pause.idle_until } else { pause.urgent_until };
            (now.boot < until).then(|| Obstacle { error: pause.error.clone(), until: Some(until) })
        });
        // Both have to go away: the one that stays longer is the one to tell of.
        login.into_iter().chain(pause).max_by_key(|obstacle| obstacle.until.unwrap_or(Duration::MAX))
    }

    /// Who cannot be helped before the deadline gets what there is: a token that still lives, or the reason.
    fn turn_away(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let flying = self.flying && !self.closed;
        let obstacle = if flying { None } else { self.obstacle(now) };
        let living = self.held.as_ref().filter(|held| held.is_usable(now) && !self.closed);
        let living = living.map(|held| held.committed.clone());
        self.waiters.retain(|id, waiter| {
            let late = now.boot >= waiter.deadline;
            let hopeless = !flying
                && (living.is_some()
                    || obstacle.as_ref().is_some_and(|obstacle| obstacle.outlasts(waiter.deadline)));
            if !late && !hopeless {
                return true;
            }
            let answer = living.clone().ok_or_else(|| match &obstacle {
                Some(obstacle) => obstacle.explain(now),
                None => timeout(),
            });
            actions.push(Action::Answer(*id, answer));
            false
        });
    }
}

impl Held {
    fn windows(&self) -> Windows {
        Windows::of(&self.committed.token().lifetime)
    }

    fn remaining(&self, now: Moment) -> Duration {
        self.committed.token().remaining(now)
    }

    /// When it does, on the boot clock.
    fn turns_mandatory(&self) -> Duration {
        let token = self.committed.token();
        token.anchor.boot + token.lifetime.length.saturating_sub(self.windows().mandatory)
    }

    fn is_usable(&self, now: Moment) -> bool {
        !self.refused && self.remaining(now) > self.windows().margin
    }

    fn phase(&self, now: Moment) -> Phase {
        if self.refused {
            return Phase::Expired;
        }
        let phase = self.windows().phase(self.remaining(now));
        let jumped = !self.witnessed && self.committed.token().wall_has_jumped(now);
        if jumped || self.doubted { phase.max(Phase::Mandatory) } else { phase }
    }
}

impl Pause {
    /// Decorrelated jitter: the next pause is drawn between the least and three times the last one.
    fn after(error: Error, before: Option<Box<Pause>>, now: Moment, dice: Dice<'_>) -> Box<Self> {
        let draw = |(least, most): (Duration, Duration), last: Duration, share: f64| {
            let upper = (last * 3).clamp(least, most);
            least + (upper - least).mul_f64(share.clamp(0.0, 1.0))
        };
        let last = before.map_or(URGENT_PAUSE.0, |before| before.last);
        let asked = error.retry_after.unwrap_or_default();
        let urgent = draw(URGENT_PAUSE, last, dice()).max(asked);
        let idle = draw(IDLE_PAUSE, IDLE_PAUSE.1, dice()).max(asked);
        Box::new(Pause {
            error,
            urgent_until: now.boot.saturating_add(urgent),
            idle_until: now.boot.saturating_add(idle),
            last: urgent,
        })
    }
}

fn timeout() -> Error {
    let text = "no token within the deadline; the library goes on trying, ask again";
    Error::new(Status::PG_ERR_TIMEOUT, text)
}

/// The answer of a session that has ended.
pub fn closed() -> Error {
    Error::new(Status::PG_ERR_CLOSED, "the session has been closed; open another one")
}
