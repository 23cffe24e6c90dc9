//! The outcome of a flight, and its statistics.

use crate::error::Error;
use crate::secret::Secret;
use crate::store::{Committed, Refusal};
use crate::token::{MaybeSpentRefreshToken, Pair};

/// The outcome of a flight.
#[derive(Debug)]
pub struct FlightOutcome {
    /// The new token, or why there is none.
    pub result: Result<Committed, Error>,
    /// What the flight did.
    pub stats: FlightStats,
    /// The error of a Refresh whose answer was lost.
    pub lost_answer: Option<Error>,
    /// The back-off that applies to all processes that share the store.
    pub refusal: Option<Refusal>,
    /// Why the store could not be used. A new pair is then private to this process.
    pub store_error: Option<Error>,
    /// A copy of the new refresh token, if the host keeps the pairs.
    pub host_copy: Option<Secret>,
    /// The private pair that was offered to the store, if the store did not take it.
    pub private_pair: Option<Pair>,
    /// A refresh token that may be spent; the next flight presents it once more.
    pub maybe_spent: Option<MaybeSpentRefreshToken>,
}

impl FlightOutcome {
    /// The outcome of a flight that was interrupted.
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
    /// The refresh token may no longer be presented.
    pub spent: bool,
    /// The service refused the credentials in the API's error format.
    pub credentials_refused: bool,
    /// The new token was found in the store.
    pub adopted: bool,
    /// The flight only read the store.
    pub looked_only: bool,
    /// The store has, or had, a pair of these credentials.
    pub have_worked: bool,
    /// The flight leaves a refresh token that may be spent, for the next flight to present.
    pub leaves_maybe_spent: bool,
}

impl FlightStats {
    /// Whether the flight adopted a token or called the service. Otherwise it only stored the current pair.
    pub fn brought_token(&self) -> bool {
        self.adopted || self.refreshes + self.issues > 0
    }
}
