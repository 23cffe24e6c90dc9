//! What may be done with the credentials. Nothing but a refusal of Issue in the API's own way counts against
//! them, and even the last refusal is looked at again.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::status::Status;

/// How long to leave the service alone after the first and the second refusal.
const COOLING: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(120)];
/// How often rejected credentials are tried again: the account may have been repaired.
const PROBE: Duration = Duration::from_secs(15 * 60);

/// The standing of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing is known against them.
    Good,
    /// Refused. Boxed, as are other rare things: there may be very many sessions.
    Refused(Box<Refusal>),
    /// The answer to a Refresh was lost, and the setting `on_ambiguous` says to leave it at that.
    Withheld(Box<Error>),
    /// There are none.
    Absent,
}

/// Refused this often in a row; not presented before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 1, 2, and from 3 on: rejected.
    pub strikes: usize,
    /// On the boot clock.
    pub until: Duration,
    /// What the service said.
    pub error: Error,
}

impl Login {
    /// The service refused them.
    pub fn strike(&mut self, error: &Error, now: Moment) {
        let strikes = match self {
            Login::Refused(refusal) => refusal.strikes + 1,
            Login::Good | Login::Withheld(_) | Login::Absent => 1,
        };
        let wait =
            COOLING.get(strikes - 1).copied().unwrap_or(PROBE).max(error.retry_after.unwrap_or_default());
        let until = now.boot.saturating_add(wait);
        *self = Login::Refused(Box::new(Refusal { strikes, until, error: error.clone() }));
    }

    /// Why Issue may not be called now.
    pub fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        match self {
            Login::Good => None,
            Login::Refused(refusal) => (now.boot < refusal.until)
                .then(|| Obstacle { error: refusal.error.clone(), until: Some(refusal.until) }),
            Login::Withheld(error) => Some(Obstacle { error: Error::clone(error), until: None }),
            Login::Absent => {
                let text = "the session has no refresh token that may be presented and no credentials; set credentials";
                Some(Obstacle { error: Error::new(Status::PG_ERR_NO_CREDENTIALS, text), until: None })
            }
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
    /// Whether somebody with that deadline waits in vain: a refusal is not waited out.
    pub fn outlasts(&self, deadline: Duration) -> bool {
        !self.error.status.is_transient() || self.until.is_none_or(|until| until >= deadline)
    }

    /// The error, with the time until the next try.
    pub fn explain(&self, now: Moment) -> Error {
        let wait = self.until.map(|until| until.saturating_sub(now.boot));
        Error { retry_after: wait.or(self.error.retry_after), ..self.error.clone() }
    }
}
