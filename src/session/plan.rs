//! The task of a flight, and the reason for it.

use std::time::Duration;

use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::token::Fingerprint;

/// The task of a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Why the flight is made.
    pub cause: Cause,
    /// The generation that needs a successor.
    pub base: u64,
    /// The newest generation that is known to be in the store.
    pub stored: u64,
    /// The token that the service refused. Its successor must differ from it.
    pub refused: Option<Fingerprint>,
    /// How many tokens in a row the service has refused young. It is stored with the new token.
    pub refused_young: u32,
    /// Only look into the store for a newer pair; do not call the service.
    pub looks_only: bool,
    /// Do not present the refresh token.
    pub issue_only: bool,
    /// The session has credentials.
    pub can_issue: bool,
    /// Issue may be called now.
    pub may_issue: bool,
    /// Why Issue may not be called now.
    pub obstacle: Option<Box<Error>>,
    /// If the store is down, a private pair of this process is allowed.
    pub allows_private_pair: bool,
    /// The longest random wait before a private Issue, so that processes that lose one store do not issue at the same
    /// time.
    pub private_issue_jitter: Duration,
    /// A pair that could not be written to the store is not handed out.
    pub is_strict: bool,
    /// How often in a row the credentials have been refused.
    pub strikes: usize,
    /// The credentials have obtained a pair before.
    pub have_worked: bool,
    /// A back-off in the store is respected.
    pub respects_back_off: bool,
    /// What to do when the answer to the Refresh is lost.
    pub on_ambiguous: OnAmbiguous,
    /// The host keeps a copy of every refresh token.
    pub host_keeps: bool,
    /// The current pair is private to this process: offer it to the store.
    pub offers_private_pair: bool,
}

impl Plan {
    /// A plan for the successor of a generation that is in the store, with credentials that were not refused.
    pub fn plain(base: u64) -> Self {
        Plan {
            cause: Cause::Asked,
            base,
            stored: base,
            refused: None,
            refused_young: 0,
            looks_only: false,
            issue_only: false,
            can_issue: true,
            may_issue: true,
            obstacle: None,
            allows_private_pair: true,
            private_issue_jitter: Duration::from_secs(1),
            is_strict: false,
            strikes: 0,
            have_worked: false,
            respects_back_off: true,
            on_ambiguous: OnAmbiguous::Issue,
            host_keeps: false,
            offers_private_pair: false,
        }
    }
}

/// Why a flight is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The session has no token yet.
    First,
    /// The token is in its advisory window; no caller waits.
    Background,
    /// Callers wait for a token.
    Asked,
    /// The service refused the token.
    Rejected,
}

impl Cause {
    /// The cause in one word.
    pub fn name(self) -> &'static str {
        match self {
            Cause::First => "first",
            Cause::Background => "background",
            Cause::Asked => "asked",
            Cause::Rejected => "rejected",
        }
    }
}
