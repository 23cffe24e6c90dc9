//! What the machine decides on, and what it decides: events in, actions out, and the policy that does not change.

use std::time::Duration;

use super::outcome::FlightOutcome;
use super::plan::Plan;
use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::event::Notice;
use crate::store::Committed;

/// A caller who waits.
pub type WaiterId = u64;

/// What happens to a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// Somebody wants a token by `deadline` (on the boot clock), with at least so much life remaining.
    Ask {
        /// Unique among those who wait.
        id: WaiterId,
        /// When the answer is due; now: what there is.
        deadline: Duration,
        /// Less life than this counts as mandatory.
        min_remaining: Duration,
        /// Only another token than the one there is will do.
        wants_newer: bool,
    },
    /// The deadline of a caller has passed, or the caller went away.
    Leave(WaiterId),
    /// Others have asked and were served from memory since the last event.
    Asked,
    /// Time has passed.
    Tick,
    /// The flight has ended.
    FlightEnded(Box<FlightOutcome>),
    /// New credentials are in place.
    NewCredentials {
        /// They have another record in the store.
        has_new_record: bool,
    },
    /// The session ends.
    Close,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Begin a flight.
    StartFlight(Plan),
    /// Give a caller the answer.
    Answer(WaiterId, Result<Committed, Error>),
    /// Let those know who want news.
    Notify(Notice),
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
    /// Others may put a pair into the store.
    pub is_shared: bool,
    /// The credentials come from a file, which may come to hold another key.
    pub has_file: bool,
}

impl Policy {
    /// Whether what is wanted may come from elsewhere while the service may not be called: a pair, or another key.
    pub(super) fn can_look(&self) -> bool {
        self.is_shared || self.has_file
    }
}

/// Chance, drawn by the driver: a number from 0 to 1.
pub type Random<'a> = &'a mut dyn FnMut() -> f64;
