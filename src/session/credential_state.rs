//! The state of the credentials, and the back-off after refusals. Only a refusal of Issue in the API's error format
//! counts against the credentials, and refused credentials are always tried again later.

use std::time::Duration;

use crate::clock::{FOREVER, Moment};
use crate::error::Error;
use crate::status::Status;
use crate::store::Refusal;

/// The back-off after each refusal of credentials that never worked.
const NEVER_WORKED: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(120)];
/// The back-off for credentials that have worked: a service in trouble also refuses good ones.
const HAVE_WORKED: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// The interval between further tries with rejected credentials: the account may have been repaired.
const PROBE: Duration = Duration::from_secs(15 * 60);
/// The back-off of all processes that share a store, if the service asked for one without a time or did not answer
/// like the API.
const BLOCKED: Duration = Duration::from_millis(1500);

/// The state of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// No refusal is known.
    Good,
    /// The service refused a call. Boxed because it is rare and a process may have many sessions.
    Refused(Box<Refusal>),
    /// There are no credentials.
    Absent,
}

impl Refusal {
    /// The back-off after an error answer. `strikes`: how often in a row the service refused the credentials, this
    /// answer included. `have_worked`: the credentials have obtained a pair before.
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
    /// How often in a row the credentials were refused.
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

/// Why the service may not be called now.
#[derive(Debug)]
pub struct Obstacle {
    /// The reason.
    pub error: Error,
    /// When the obstacle ends by itself, on the boot clock.
    pub until: Option<Duration>,
}

impl Obstacle {
    fn of(refusal: &Refusal) -> Self {
        let is_timed = !Refusal::is_withheld(refusal.error.status);
        Obstacle { error: refusal.error.clone(), until: is_timed.then_some(refusal.until) }
    }

    /// Whether a caller with this deadline would wait in vain. Not every obstacle is waited out.
    pub fn outlasts(&self, deadline: Duration, is_waited_out: bool) -> bool {
        !is_waited_out || self.until.is_none_or(|until| until >= deadline)
    }

    /// The error, with the time until the next try.
    pub fn explain(&self, now: Moment) -> Error {
        let wait = self.until.map(|until| until.saturating_sub(now.boot));
        Error { retry_after: wait.or(self.error.retry_after), ..self.error.clone() }
    }
}
