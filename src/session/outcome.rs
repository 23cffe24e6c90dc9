//! How a flight ended, and what it did.

use crate::error::Error;
use crate::secret::Secret;
use crate::store::{Committed, Refusal};
use crate::token::{MaybeSpentRefreshToken, Pair};

/// How a flight ended.
#[derive(Debug)]
pub struct FlightOutcome {
    /// The successor, or why there is none.
    pub result: Result<Committed, Error>,
    /// The counters of the flight.
    pub stats: FlightStats,
    /// Why it is not known what became of a refresh token.
    pub lost_answer: Option<Error>,
    /// Until when all who share the store leave the service alone, and why.
    pub refusal: Option<Refusal>,
    /// Why the store could not be used; the pair, if there is one, is this process's own.
    pub store_error: Option<Error>,
    /// A copy of the new refresh token, if the host keeps one.
    pub host_copy: Option<Secret>,
    /// The pair that was to be published, and could not.
    pub private_pair: Option<Pair>,
    /// A refresh token that may be spent, to be presented once more after a pause.
    pub maybe_spent: Option<MaybeSpentRefreshToken>,
}

impl FlightOutcome {
    /// A flight that did not come to its own end.
    pub fn crashed(error: Error) -> Self {
        FlightOutcome {
            result: Err(error),
            stats: FlightStats::default(),
            lost_answer: None,
            refusal: None,
            store_error: None,
            host_copy: None,
            private_pair: None,
            maybe_spent: None,
        }
    }
}

/// What a flight did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlightStats {
    /// Refresh calls.
    pub refreshes: u32,
    /// Issue calls.
    pub issues: u32,
    /// The service refused the refresh token.
    pub refused: bool,
    /// The answer to a refresh was lost.
    pub ambiguous: bool,
    /// The refresh token there was may no longer be presented.
    pub spent: bool,
    /// The credentials were refused in the API's own way.
    pub credentials_refused: bool,
    /// The successor came from elsewhere.
    pub adopted: bool,
    /// It only looked into the store.
    pub looked_only: bool,
    /// The store has, or had, a pair of these credentials.
    pub have_worked: bool,
    /// It leaves a refresh token that may be spent, to be presented once more.
    pub leaves_maybe_spent: bool,
}

impl FlightStats {
    /// Whether the token that it came to is another one than there was, as far as the service gives another one.
    pub fn brought_token(&self) -> bool {
        self.adopted || self.refreshes + self.issues > 0
    }
}
