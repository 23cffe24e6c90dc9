//! What may be done with the credentials, and when the service is to be left alone. Nothing but a refusal of Issue in the
//! API's own way counts against the credentials, and even the last refusal is looked at again.

use std::time::Duration;

use crate::clock::{FOREVER, Moment};
use crate::error::Error;
use crate::status::Status;
use crate::store::Refusal;

/// How long to leave the service alone after each refusal of credentials that never worked.
const NEVER_WORKED: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(120)];
/// The same for credentials that have worked: a service in trouble refuses good ones, too.
const HAVE_WORKED: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// How often rejected credentials are tried again: the account may have been repaired.
const PROBE: Duration = Duration::from_secs(15 * 60);
/// How long all who share a store leave a service alone that asked for it without a time, or did not answer as the API.
const BLOCKED: Duration = Duration::from_millis(1500);

/// The standing of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// Nothing is known against them.
    Good,
    /// The service refused a call. Boxed, as are other rare things: there may be very many sessions.
    Refused(Box<Refusal>),
    /// There are none.
    Absent,
}

impl Refusal {
    /// What follows from an answer of the service. `strikes`: how often in a row it refused the credentials, this time
    /// included; `have_worked`: they got a pair before.
    pub fn after(strikes: usize, have_worked: bool, error: Error, now: Moment) -> Self {
        let waits: &[Duration] = if have_worked { &HAVE_WORKED } else { &NEVER_WORKED };
        let wait = match error.status {
            Status::PG_ERR_REFUSED => waits.get(strikes.saturating_sub(1)).copied().unwrap_or(PROBE),
            status if Refusal::is_withheld(status) => FOREVER,
            _ => BLOCKED,
        };
        let wait = wait.max(error.retry_after.unwrap_or_default());
        Refusal { strikes, until: now.boot.saturating_add(wait), error }
    }
}

impl CredentialState {
    /// How often in a row they have been refused.
    pub fn strikes(&self) -> usize {
        if let CredentialState::Refused(refusal) = self { refusal.strikes } else { 0 }
    }

    /// Why Issue may not be called now.
    pub fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        match self {
            CredentialState::Good => None,
            CredentialState::Refused(refusal) => (now.boot < refusal.until).then(|| Obstacle::of(refusal)),
            CredentialState::Absent => {
                let text = "the session has no refresh token that may be presented and no credentials; set credentials";
                Some(Obstacle { error: Error::new(Status::PG_ERR_NO_CREDENTIALS, text), until: None })
            }
        }
    }

    /// Why a Refresh may not be made now.
    pub fn obstacle_to_refresh(&self, now: Moment) -> Option<Obstacle> {
        match self {
            CredentialState::Refused(refusal) if refusal.blocks_refresh() => self.obstacle(now),
            _ => None,
        }
    }
}

/// Why nothing can be done now.
#[derive(Debug)]
pub struct Obstacle {
    /// In words.
    pub error: Error,
    /// When it goes away by itself, on the boot clock.
    pub until: Option<Duration>,
}

impl Obstacle {
    fn of(refusal: &Refusal) -> Self {
        let is_timed = !Refusal::is_withheld(refusal.error.status);
        Obstacle { error: refusal.error.clone(), until: is_timed.then_some(refusal.until) }
    }

    /// Whether a caller with that deadline waits in vain: not every obstacle is waited out.
    pub fn outlasts(&self, deadline: Duration, is_waited_out: bool) -> bool {
        !is_waited_out || self.until.is_none_or(|until| until >= deadline)
    }

    /// The error, with the time until the next try.
    pub fn explain(&self, now: Moment) -> Error {
        let wait = self.until.map(|until| until.saturating_sub(now.boot));
        Error { retry_after: wait.or(self.error.retry_after), ..self.error.clone() }
    }
}
