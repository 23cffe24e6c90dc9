//! A state machine at chosen times, and the parts of its answers that the tests compare.

use std::time::Duration;

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::clock::Moment;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Notice;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::{FlightOutcome, FlightStats};
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, Refusal};
use paymentsgate_auth::token::{Grant, Token};

/// A session whose first token, of an hour, came at second 0.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) callers: u64,
}

pub(crate) fn at(seconds: u64) -> Moment {
    Moment { boot: Duration::from_secs(seconds), wall: Duration::from_secs(1_000_000 + seconds) }
}

pub(crate) fn committed(generation: u64, born: u64) -> Committed {
    let lifetime = Lifetime::of(Duration::from_secs(3600));
    let token = Token::new(Secret::new(&format!("token {generation}")).unwrap(), lifetime, at(born));
    Committed {
        grant: ShardedArc::new(Grant { token, generation, refresh: None }),
        has_refresh: true,
        has_uncertain_age: false,
    }
}

pub(crate) fn ended(result: Result<Committed, Error>) -> SessionEvent {
    SessionEvent::FlightEnded(Box::new(outcome_of(result, FlightStats::default())))
}

pub(crate) fn outcome_of(result: Result<Committed, Error>, stats: FlightStats) -> FlightOutcome {
    FlightOutcome {
        result,
        stats,
        ..FlightOutcome::crashed(Error::new(Status::PG_ERR_INTERNAL, "not this one"))
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut machine = Machine::new(Policy::default(), true, 0, at(0));
        machine.adopt(committed(1, 0), at(0), &mut || 0.5);
        Scene { machine, callers: 0 }
    }

    pub(crate) fn step(&mut self, event: SessionEvent, now: u64) -> Vec<Action> {
        self.machine.step(event, at(now), &mut || 0.5)
    }

    pub(crate) fn ask(&mut self, now: u64, patience: u64, min_remaining: u64) -> Vec<Action> {
        self.callers += 1;
        let deadline = Duration::from_secs(now + patience);
        let min_remaining = Duration::from_secs(min_remaining);
        self.step(SessionEvent::Ask { id: self.callers, deadline, min_remaining, wants_newer: false }, now)
    }
}

/// The plan of a started flight, and the generations or statuses of the answers.
pub(crate) fn digest(actions: &[Action]) -> (Option<&Plan>, Vec<Result<u64, Status>>) {
    let plan = actions.iter().find_map(|action| match action {
        Action::StartFlight(plan) => Some(plan),
        _ => None,
    });
    let answers = actions.iter().filter_map(|action| match action {
        Action::Answer(_, answer) => {
            Some(answer.as_ref().map(Committed::generation).map_err(|error| error.status))
        }
        _ => None,
    });
    (plan, answers.collect())
}

/// A session on a shared store, whose token of an hour came at second 0.
pub(crate) fn sharing() -> Scene {
    let mut machine = Machine::new(Policy { is_shared: true, ..Policy::default() }, true, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    Scene { machine, callers: 0 }
}

/// The notices, in order.
pub(crate) fn news(actions: &[Action]) -> Vec<&'static str> {
    let news = actions.iter().filter_map(|action| match action {
        Action::Notify(notice) => Some(notice),
        _ => None,
    });
    let name = |notice: &Notice| match notice {
        Notice::Rotated(_) => "rotated",
        Notice::RefreshFailed(_) => "refresh failed",
        Notice::Ambiguous(_) => "ambiguous",
        Notice::CredentialsRejected(_) => "credentials rejected",
        Notice::Degraded(_) => "degraded",
        Notice::Recovered => "recovered",
    };
    news.map(name).collect()
}

/// Ends the flight: Issue was answered with this status and a wait in seconds.
pub(crate) fn refused(scene: &mut Scene, status: Status, wait: u64, now: u64) -> Vec<Action> {
    let error = Error { retry_after: Some(Duration::from_secs(wait)), ..Error::new(status, "no") };
    let refusal = Refusal::after(0, true, error.clone(), at(now));
    let log = FlightStats { issues: 1, ..FlightStats::default() };
    let outcome = FlightOutcome { refusal: Some(refusal), ..outcome_of(Err(error), log) };
    scene.step(SessionEvent::FlightEnded(Box::new(outcome)), now)
}
