//! The input and output of the machine: its events, its actions and the policy, which does not change.

use std::time::Duration;

use super::outcome::FlightOutcome;
use super::plan::Plan;
use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::event::Notice;
use crate::store::Committed;

/// The number of a waiting caller.
pub type WaiterId = u64;

/// What happens to a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// A caller needs a token.
    Ask {
        /// Unique among the waiters.
        id: WaiterId,
        /// When the answer is due, on the boot clock. If that is now, the caller does not wait.
        deadline: Duration,
        /// A token with less remaining life counts as mandatory.
        min_remaining: Duration,
        /// The current token does not satisfy the caller; only another one does.
        wants_newer: bool,
    },
    /// The deadline of a caller has passed, or the caller no longer waits.
    Leave(WaiterId),
    /// Other callers were served from memory since the last event.
    Asked,
    /// Time has passed.
    Tick,
    /// The flight has ended.
    FlightEnded(Box<FlightOutcome>),
    /// New credentials are in place.
    NewCredentials {
        /// The new credentials have another record in the store.
        has_new_record: bool,
    },
    /// The session ends.
    Close,
}

/// What the driver must do.
#[derive(Debug)]
pub enum Action {
    /// Start a flight.
    StartFlight(Plan),
    /// Answer a waiting caller.
    Answer(WaiterId, Result<Committed, Error>),
    /// Notify the subscribers.
    Notify(Notice),
    /// Let readers take this token from memory until it turns mandatory; `None`: let them take none.
    Publish(Option<Committed>),
    /// The published token has turned mandatory: readers may no longer take it from memory.
    Withdraw,
}

/// The settings of a session that do not change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Refresh the token even if no caller asks for it.
    pub keep_warm: bool,
    /// What to do when the answer to a Refresh is lost.
    pub on_ambiguous: OnAmbiguous,
    /// The session was opened from a pair: the host keeps every new pair.
    pub host_keeps: bool,
    /// No new token is obtained while the store is down.
    pub fail_without_store: bool,
    /// A pair that could not be written to the store is not handed out.
    pub is_strict: bool,
    /// Other processes may write a pair to the store.
    pub is_shared: bool,
    /// The credentials come from a file, and the key in it may change.
    pub has_file: bool,
    /// The session has one token, from the setting `static_token`, which is never replaced.
    pub is_static: bool,
}

impl Policy {
    /// Whether help may come without a call to the service: a pair from the store, or another key from the file.
    pub(super) fn can_look(&self) -> bool {
        self.is_shared || self.has_file
    }
}

/// A source of random numbers from 0 to 1; the driver supplies it.
pub type Random<'a> = &'a mut dyn FnMut() -> f64;
