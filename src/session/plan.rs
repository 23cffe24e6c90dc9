//! What a flight is to do, and why it is made.

use std::time::Duration;

use crate::config::OnAmbiguous;
use crate::error::Error;
use crate::token::Fingerprint;

/// What a flight is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Why it is made.
    pub cause: Cause,
    /// The generation that needs a successor.
    pub base: u64,
    /// The newest generation that is known to be in the store.
    pub stored: u64,
    /// The token that the service refused: a successor must differ from it.
    pub refused: Option<Fingerprint>,
    /// How many tokens in a row the service has refused young: this is kept with the successor.
    pub refused_young: u32,
    /// Look into the store for a newer pair, and call nobody.
    pub looks_only: bool,
    /// Leave the refresh token alone.
    pub issue_only: bool,
    /// There are credentials.
    pub can_issue: bool,
    /// Whether Issue may be called.
    pub may_issue: bool,
    /// Why it may not.
    pub obstacle: Option<Box<Error>>,
    /// A pair of this process's own will do if the store is down.
    pub allows_private_pair: bool,
    /// Many processes that lose one store do not issue in the same moment: the longest wait before a pair of one's own.
    pub private_issue_jitter: Duration,
    /// A pair that the store does not take is not handed out.
    pub is_strict: bool,
    /// How often in a row the credentials have been refused.
    pub strikes: usize,
    /// The credentials have got a pair before.
    pub have_worked: bool,
    /// What others were refused counts.
    pub respects_back_off: bool,
    /// What to do when the answer to the Refresh is lost.
    pub on_ambiguous: OnAmbiguous,
    /// The host keeps a copy of every refresh token.
    pub host_keeps: bool,
    /// The token there is belongs to this process alone: let the store have it.
    pub offers_private_pair: bool,
}

impl Plan {
    /// For the successor of a generation that is in the store, with credentials that nothing is known against.
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
    /// There is no token yet.
    First,
    /// In the advisory window, for nobody in particular.
    Background,
    /// Callers wait for it.
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
