//! The events that a queue delivers: the end of an operation, a notice from a session, or a log line.

use std::sync::Arc;

use crate::error::Error;
use crate::request::Response;
use crate::runtime::sharded_arc::ShardedArc;
use crate::secret::Secret;
use crate::status::{Fate, Status};
use crate::token::{Grant, RefreshToken, Token};

/// One event, with the number that the caller gave to its operation.
#[derive(Debug)]
pub struct Event {
    /// The number that the caller gave to the operation.
    pub id: u64,
    /// What happened.
    pub body: Body,
}

/// The content of an event.
#[derive(Debug)]
pub enum Body {
    /// The result of an operation that obtains a token.
    Token(Result<ShardedArc<Grant>, Error>),
    /// The result of an operation that made a request.
    Response(Result<Arc<Response>, Error>),
    /// A notice from a session.
    Notice(Notice),
    /// A log line of a session.
    Log(Level, String),
    /// A subscription has ended. No more events come from it.
    Ended(Error),
}

/// The kind of an event. A number never changes its meaning; new ones may come: ignore unknown ones.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum EventKind {
    /// No event.
    PG_EVENT_NONE = 0,
    /// The end of an operation that obtains a token: a token, or an error.
    PG_EVENT_TOKEN = 1,
    /// The end of pg_session_request_start: a response, or an error.
    PG_EVENT_RESPONSE = 2,
    /// The end of pg_session_subscribe: PG_ERR_CLOSED or PG_ERR_CANCELED.
    PG_EVENT_ENDED = 3,
    /// There is a new token. In a session opened from a pair it has its refresh token: keep it.
    PG_EVENT_ROTATED = 10,
    /// The session could not obtain a new token; the error says why. It tries again by itself.
    PG_EVENT_REFRESH_FAILED = 11,
    /// The answer to a Refresh was lost, and the refresh token may be lost with it. The session handles this.
    PG_EVENT_AMBIGUOUS = 12,
    /// The service refused the credentials: set others (pg_session_set_credentials).
    PG_EVENT_CREDENTIALS_REJECTED = 13,
    /// The first failure after a success: the session uses the token that it has.
    PG_EVENT_DEGRADED = 14,
    /// The first success after a failure.
    PG_EVENT_RECOVERED = 15,
    /// A line of the session's log.
    PG_EVENT_LOG = 20,
}

impl Body {
    /// The kind of this event.
    pub fn kind(&self) -> EventKind {
        match self {
            Body::Token(_) => EventKind::PG_EVENT_TOKEN,
            Body::Response(_) => EventKind::PG_EVENT_RESPONSE,
            Body::Ended(_) => EventKind::PG_EVENT_ENDED,
            Body::Log(..) => EventKind::PG_EVENT_LOG,
            Body::Notice(Notice::Rotated(_)) => EventKind::PG_EVENT_ROTATED,
            Body::Notice(Notice::RefreshFailed(_)) => EventKind::PG_EVENT_REFRESH_FAILED,
            Body::Notice(Notice::Ambiguous(_)) => EventKind::PG_EVENT_AMBIGUOUS,
            Body::Notice(Notice::CredentialsRejected(_)) => EventKind::PG_EVENT_CREDENTIALS_REJECTED,
            Body::Notice(Notice::Degraded(_)) => EventKind::PG_EVENT_DEGRADED,
            Body::Notice(Notice::Recovered) => EventKind::PG_EVENT_RECOVERED,
        }
    }

    /// The token that came with the event.
    pub fn token(&self) -> Option<&ShardedArc<Grant>> {
        match self {
            Body::Token(Ok(grant)) | Body::Notice(Notice::Rotated(grant)) => Some(grant),
            _ => None,
        }
    }

    /// The response that came with the event.
    pub fn response(&self) -> Option<&Arc<Response>> {
        if let Body::Response(Ok(response)) = self { Some(response) } else { None }
    }

    /// The error, if the event reports a failure or a problem.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Body::Token(Err(error)) | Body::Response(Err(error)) | Body::Ended(error) => Some(error),
            Body::Notice(notice) => notice.error(),
            _ => None,
        }
    }
}

/// A notice from a session.
#[derive(Clone, Debug)]
pub enum Notice {
    /// There is a new token. If the session was opened from a pair, the refresh token comes with it, for the host to
    /// store.
    Rotated(ShardedArc<Grant>),
    /// A flight failed.
    RefreshFailed(Error),
    /// The answer to a Refresh was lost. The refresh token may be spent.
    Ambiguous(Error),
    /// The service refused the credentials.
    CredentialsRejected(Error),
    /// The first failure after a success. The session continues with the token that it has.
    Degraded(Error),
    /// The first success after a failure.
    Recovered,
}

impl Notice {
    /// The notice of a new token. `refresh` is a copy of the refresh token, if the host stores it.
    pub fn rotated(grant: &ShardedArc<Grant>, refresh: Option<Secret>) -> Self {
        let Some(refresh) = refresh else { return Notice::Rotated(grant.clone()) };
        let token = Token::clone(&grant.token);
        Notice::Rotated(ShardedArc::new(Grant {
            token,
            refresh: Some(Box::new(RefreshToken::new(refresh))),
            ..**grant
        }))
    }

    fn error(&self) -> Option<&Error> {
        match self {
            Notice::RefreshFailed(error)
            | Notice::Ambiguous(error)
            | Notice::CredentialsRejected(error)
            | Notice::Degraded(error) => Some(error),
            Notice::Rotated(_) | Notice::Recovered => None,
        }
    }
}

/// The level of a log line, and the highest level that a subscriber wants.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// No log lines, only events.
    #[default]
    PG_LOG_NONE = 0,
    /// The session cannot continue by itself.
    PG_LOG_ERROR = 1,
    /// Something failed, and the session handles it.
    PG_LOG_WARN = 2,
    /// Changes: a new token, the end of the session.
    PG_LOG_INFO = 3,
    /// Every step.
    PG_LOG_DEBUG = 4,
}

impl Level {
    /// The level with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        use Level::*;
        [PG_LOG_NONE, PG_LOG_ERROR, PG_LOG_WARN, PG_LOG_INFO, PG_LOG_DEBUG]
            .into_iter()
            .find(|level| *level as i32 == number)
    }
}

/// What an operation of a queue ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A token.
    Token,
    /// A token, obtained with a refresh token that may be spent by the operation.
    Refresh,
    /// A response.
    Response,
    /// No result: the operation lasts until the session is closed.
    Subscription,
}

impl Operation {
    /// The final event if pg_queue_cancel canceled the operation.
    pub fn canceled(self) -> Body {
        let text = match self {
            Operation::Token | Operation::Subscription => "the operation was canceled",
            Operation::Refresh => {
                "the refresh was given up; the refresh token may be spent: do not send it again"
            }
            Operation::Response => "the request was given up; the service may have processed it",
        };
        self.failed(Error::new(Status::PG_ERR_CANCELED, text))
    }

    /// The final event if the operation was dropped before its end, because of a defect or because its thread ended.
    pub fn lost(self) -> Body {
        let text = "the operation was lost to a defect of paymentsgate-auth; please report it";
        let may_have_acted = matches!(self, Operation::Response);
        self.failed(Error { may_have_acted, ..Error::new(Status::PG_ERR_INTERNAL, text) })
    }

    /// The final event for this error.
    pub fn failed(self, error: Error) -> Body {
        match self {
            Operation::Token => Body::Token(Err(error)),
            Operation::Refresh => Body::Token(Err(error.with_fate(Fate::PG_FATE_UNKNOWN))),
            Operation::Response => Body::Response(Err(error)),
            Operation::Subscription => Body::Ended(error),
        }
    }
}
