//! What a session says of itself, for operators. It holds no secret.

use std::time::Duration;

use serde::Serialize;

use super::flight::Log;
use super::machine::Machine;
use crate::clock::Moment;
use crate::error::Error;
use crate::store::Committed;

/// Counted over the life of a session in one process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Callers who were not served from memory.
    pub waited: u64,
    /// Refresh calls.
    pub refreshes: u64,
    /// Issue calls.
    pub issues: u64,
    /// Refresh tokens that the service refused.
    pub refused: u64,
    /// Refreshes whose answer was lost.
    pub ambiguous: u64,
    /// Reports that the service refused the current token.
    pub rejected: u64,
    /// Flights that failed.
    pub failed: u64,
    #[serde(skip)]
    last_landing: Option<Duration>,
    #[serde(skip)]
    last_error: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, log: &Log, result: &Result<Committed, Error>) {
        self.refreshes += u64::from(log.refreshes);
        self.issues += u64::from(log.issues);
        self.refused += u64::from(log.refused);
        self.ambiguous += u64::from(log.ambiguous);
        self.failed += u64::from(result.is_err());
        self.last_error = result.as_ref().err().map(|error| error.text.clone());
    }

    pub(super) fn landed(&mut self, now: Moment) {
        self.last_landing = Some(now.boot);
    }
}

/// A session's health; its JSON form is what C gets.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `fresh`, `advisory`, `mandatory` or `expired`.
    pub phase: &'static str,
    /// The number of the current pair; 0: none yet.
    pub generation: u64,
    /// The current token, as it may be shown.
    pub fingerprint: Option<String>,
    /// What is left of its life.
    pub seconds_left: u64,
    /// Whether a refresh token is at hand.
    pub has_refresh_token: bool,
    /// Whether a call to the service is under way.
    pub refreshing: bool,
    /// Why the session is waiting before it calls the service again.
    pub obstacle: Option<String>,
    /// How long ago the last call to the service ended.
    pub seconds_since_last_call: Option<u64>,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
    /// Counters.
    pub counters: Tally,
}

impl Health {
    pub(super) fn new(machine: &Machine, tally: &Tally, now: Moment) -> Self {
        let held = machine.held();
        Health {
            phase: machine.phase(now).name(),
            generation: held.map_or(0, |held| held.generation()),
            fingerprint: held.map(|held| held.token().fingerprint.to_string()),
            seconds_left: held.map_or(0, |held| held.token().remaining(now).as_secs()),
            has_refresh_token: held.is_some_and(|held| held.has_refresh),
            refreshing: machine.is_flying(),
            obstacle: machine.obstacle(now).map(|obstacle| obstacle.error.text),
            seconds_since_last_call: tally.last_landing.map(|at| now.boot.saturating_sub(at).as_secs()),
            last_error: tally.last_error.clone(),
            counters: tally.clone(),
        }
    }
}
