//! A caller who waits, and what it is told when its deadline has passed.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::status::Status;
use crate::store::Committed;
use crate::token::Fingerprint;

/// A caller who waits for a token.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) deadline: Duration,
    /// From then on the token there is will do, if it still lives.
    pub(super) satisfied_at: Duration,
    pub(super) min_remaining: Duration,
    /// The token that will not do.
    pub(super) unwanted: Option<Fingerprint>,
}

impl Waiter {
    pub(super) fn accepts(&self, committed: &Committed) -> bool {
        self.unwanted.is_none_or(|unwanted| unwanted != *committed.token().fingerprint())
    }
}

/// The deadline of a caller has passed while the library goes on trying: with what has failed so far, or what is under way.
pub(super) fn timeout(
    last_failure: Option<&Error>,
    current_call: Option<(&'static str, Duration)>,
    now: Moment,
) -> Error {
    let mut text = "no token within the deadline; the library goes on trying, ask again".to_owned();
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
