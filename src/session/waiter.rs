//! A waiting caller, and its error when the deadline has passed.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::status::Status;
use crate::store::Committed;
use crate::token::Fingerprint;

/// A caller that waits for a token.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) deadline: Duration,
    /// From this time on the current token satisfies the caller, if it is usable.
    pub(super) satisfied_at: Duration,
    pub(super) min_remaining: Duration,
    /// The token that does not satisfy the caller.
    pub(super) unwanted: Option<Fingerprint>,
}

impl Waiter {
    pub(super) fn accepts(&self, committed: &Committed) -> bool {
        self.unwanted.is_none_or(|unwanted| unwanted != *committed.token().fingerprint())
    }
}

/// The error of a caller whose deadline passed while the library keeps trying. It names the last failure or the
/// running call.
pub(super) fn timeout(
    last_failure: Option<&Error>,
    current_call: Option<(&'static str, Duration)>,
    now: Moment,
) -> Error {
    let mut text = "no token within the deadline; the library keeps trying, ask again".to_owned();
    let Some(last_failure) = last_failure else {
        if let Some((call, since)) = current_call {
            let waited = now.boot.saturating_sub(since).as_millis();
            text += &format!(". The service has not answered {call} for {waited} ms");
        }
        return Error::new(Status::PG_ERR_TIMEOUT, text);
    };
    text += &format!(". The last attempt failed: {}", last_failure.text);
    let cause = Some(last_failure.cause.unwrap_or(last_failure.status));
    Error { cause, http_status: last_failure.http_status, ..Error::new(Status::PG_ERR_TIMEOUT, text) }
}
