//! What a session reports of itself to operators. It contains no secret.

use std::time::Duration;

use serde::Serialize;

use super::outcome::FlightOutcome;

use super::machine::Machine;
use super::phase::Phase;
use super::plan::Cause;
use crate::clock::Moment;
use crate::expiry::Remark;
use crate::store::Committed;

/// Counters over the life of a session in one process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Callers that were not served from memory.
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
    /// Callers that were served from memory. A program that uses the generation word counts once per token.
    pub served: u64,
    #[serde(skip)]
    last: Option<LastFlight>,
}

/// The last flight.
#[derive(Clone, Debug)]
struct LastFlight {
    cause: Cause,
    took_ms: u64,
    ended: Duration,
    succeeded: bool,
    /// Why the flight could not use the store.
    store_error: Option<Box<str>>,
}

/// The last flight, for operators.
#[derive(Debug, Serialize)]
pub struct LastRefresh {
    /// `first`, `background`, `asked` or `rejected`.
    pub cause: &'static str,
    /// How long ago the flight ended.
    pub seconds_ago: u64,
    /// How long the flight took.
    pub took_ms: u64,
    /// Whether the flight obtained a token.
    pub succeeded: bool,
}

impl Counters {
    /// Counts a flight that has ended. `began` is on the boot clock.
    pub(super) fn add(&mut self, cause: Cause, began: Duration, now: Moment, outcome: &FlightOutcome) {
        let FlightOutcome { result, stats, .. } = outcome;
        if stats.looked_only && result.is_err() {
            return;
        }
        self.refreshes += u64::from(stats.refreshes);
        self.issues += u64::from(stats.issues);
        self.refused += u64::from(stats.refused);
        self.ambiguous += u64::from(stats.ambiguous);
        self.failed += u64::from(result.is_err());
        let took = now.boot.saturating_sub(began).as_millis();
        let store_error = outcome.store_error.as_ref().map(|error| error.text.as_str().into());
        self.last = Some(LastFlight {
            cause,
            took_ms: u64::try_from(took).unwrap_or(u64::MAX),
            ended: now.boot,
            succeeded: result.is_ok(),
            store_error,
        });
    }

    fn last_refresh(&self, now: Moment) -> Option<LastRefresh> {
        let LastFlight { cause, took_ms, ended, succeeded, .. } = *self.last.as_ref()?;
        Some(LastRefresh {
            cause: cause.name(),
            seconds_ago: now.boot.saturating_sub(ended).as_secs(),
            took_ms,
            succeeded,
        })
    }
}

/// The health of a session; C callers get it as JSON.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `fresh`, `advisory`, `mandatory` or `expired`.
    pub phase: Phase,
    /// The generation of the current pair; 0: none yet.
    pub generation: u64,
    /// The fingerprint of the current token, which is not secret.
    pub fingerprint: Option<String>,
    /// Seconds until the current token expires.
    pub seconds_left: u64,
    /// Whether the session has a refresh token.
    pub has_refresh_token: bool,
    /// Whether a refresh or issue is running.
    pub refreshing: bool,
    /// Why the session waits before it calls the service again.
    pub obstacle: Option<String>,
    /// Seconds until the obstacle ends, if it ends by itself.
    pub obstacle_seconds_left: Option<u64>,
    /// The last refresh or issue that has ended.
    pub last_refresh: Option<LastRefresh>,
    /// How far the service's clock was ahead of this machine's when the current token came; negative: behind. It is
    /// reported only, and not used in calculations.
    pub clock_skew_seconds: Option<i64>,
    /// How much the service's own statements of the token's lifetime differ, if by more than a minute.
    pub lifetime_disagreement_seconds: u64,
    /// What is wrong with the token's lifetime as the service stated it: `expires_in` is not a number or is below 1 s
    /// and was ignored, or the lifetime is above one day and counts as one day.
    pub lifetime_remark: Option<&'static str>,
    /// Why the last call failed, if no pair has come since; also set while a refresh or issue is running.
    pub last_error: Option<String>,
    /// Why a replaced file (settings `tls.…`, `credentials_file`, `public_key_file`) cannot be used; its earlier
    /// content stays in use.
    pub file_error: Option<String>,
    /// How many tokens in a row before the current one the service refused within half a minute of their issue.
    pub refused_young: u32,
    /// How long a report of the current token would wait for a replacement because of `refused_young`.
    pub replacement_seconds_left: Option<u64>,
    /// Why the last refresh or issue could not use the store, if so: its token is private to this process.
    pub store_error: Option<String>,
    /// Counters.
    pub counters: Counters,
}

impl Health {
    pub(super) fn new(machine: &Machine, counters: &Counters, served: u64, now: Moment) -> Self {
        let current = machine.current();
        let obstacle = machine.obstacle(now);
        let token = current.map(Committed::token);
        let (row, pause) = machine.refused_young(now);
        Health {
            phase: machine.phase(now),
            generation: current.map_or(0, |current| current.generation()),
            fingerprint: token.map(|token| token.fingerprint().to_string()),
            seconds_left: token.map_or(0, |token| token.remaining(now).as_secs()),
            has_refresh_token: current.is_some_and(|current| current.has_refresh),
            refreshing: machine.is_in_flight(),
            obstacle_seconds_left: obstacle
                .as_ref()
                .and_then(|obstacle| obstacle.until)
                .map(|until| until.saturating_sub(now.boot).as_secs()),
            obstacle: obstacle.map(|obstacle| obstacle.error.text),
            last_refresh: counters.last_refresh(now),
            clock_skew_seconds: token.and_then(|token| token.clock_skew),
            lifetime_disagreement_seconds: token.map_or(0, |token| token.lifetime.disagreement.as_secs()),
            lifetime_remark: token.and_then(|token| token.lifetime.remark).map(Remark::text),
            last_error: machine.last_failure().map(|error| error.text.clone()),
            file_error: None,
            refused_young: row,
            replacement_seconds_left: (!pause.is_zero()).then(|| pause.as_secs() + 1),
            store_error: counters
                .last
                .as_ref()
                .and_then(|flight| flight.store_error.as_deref().map(str::to_owned)),
            counters: Counters { served, ..counters.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::expiry::Lifetime;
    use crate::secret::Secret;
    use crate::session::outcome::FlightStats;
    use crate::status::Status;
    use crate::token::Token;

    fn at(seconds: u64) -> Moment {
        Moment { boot: Duration::from_secs(seconds), wall: Duration::from_secs(seconds) }
    }

    fn failed(stats: FlightStats) -> FlightOutcome {
        FlightOutcome { stats, ..FlightOutcome::crashed(Error::new(Status::PG_ERR_CONNECT, "no answer")) }
    }

    fn succeeded(stats: FlightStats) -> FlightOutcome {
        let token = Token::new(Secret::new("a").unwrap(), Lifetime::endless(), at(0));
        FlightOutcome { result: Ok(Committed::private(token, 1)), ..failed(stats) }
    }

    #[test]
    fn the_counters_are_the_sums_of_all_flights() {
        let mut counters = Counters::default();
        let lost = FlightStats { refreshes: 2, ambiguous: true, issues: 1, ..FlightStats::default() };
        let refused = FlightStats { refreshes: 1, refused: true, issues: 3, ..FlightStats::default() };
        for _ in 0..2 {
            counters.add(Cause::Asked, Duration::ZERO, at(1), &succeeded(lost));
            counters.add(Cause::Asked, Duration::ZERO, at(1), &failed(refused));
        }
        let Counters { refreshes, issues, refused, ambiguous, failed, .. } = counters;
        assert_eq!((refreshes, issues, refused, ambiguous, failed), (6, 8, 2, 2, 2));
    }

    #[test]
    fn the_last_refresh_is_the_last_flight_with_its_times_and_its_end() {
        let mut counters = Counters::default();
        assert!(counters.last_refresh(at(0)).is_none());
        counters.add(Cause::Background, Duration::from_millis(7500), at(10), &failed(FlightStats::default()));
        let last = counters.last_refresh(at(14)).unwrap();
        assert_eq!(
            (last.cause, last.seconds_ago, last.took_ms, last.succeeded),
            ("background", 4, 2500, false)
        );
        counters.add(Cause::Rejected, Duration::from_secs(19), at(20), &succeeded(FlightStats::default()));
        let last = counters.last_refresh(at(20)).unwrap();
        assert_eq!((last.cause, last.seconds_ago, last.took_ms, last.succeeded), ("rejected", 0, 1000, true));
    }

    #[test]
    fn a_look_at_the_store_counts_only_if_it_found_a_token() {
        let looked = FlightStats { looked_only: true, ..FlightStats::default() };
        let mut counters = Counters::default();
        counters.add(Cause::Asked, Duration::ZERO, at(1), &failed(looked));
        assert!(counters.failed == 0 && counters.last_refresh(at(1)).is_none());
        counters.add(Cause::Asked, Duration::ZERO, at(1), &succeeded(looked));
        assert!(counters.failed == 0 && counters.last_refresh(at(1)).unwrap().succeeded);
    }
}
