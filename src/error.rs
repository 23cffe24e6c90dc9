//! The one error type: a status, a text for a person, and what the server said.

use std::fmt;
use std::time::Duration;

use crate::status::{Fate, Status};

/// Why a call failed, with all that a caller needs to decide what to do. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The class of the failure.
    pub status: Status,
    /// What happened, where, and what to do, in one or two sentences.
    pub text: String,
    /// The HTTP status, where an answer came.
    pub http_status: Option<u16>,
    /// The API's error body, where one came. Boxed: most errors have none.
    pub server: Option<Box<ServerError>>,
    /// How long the server asked us to wait.
    pub retry_after: Option<Duration>,
    /// What became of the refresh token that the call was given.
    pub fate: Fate,
    /// What had failed before a deadline passed, where that is known.
    pub cause: Option<Status>,
    /// The service may have acted on the request, so that making it again could act twice.
    pub may_have_acted: bool,
}

/// The body of a refusal, in the API's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `error`: a code such as `ERROR_CREDENTIALS_NOT_FOUND`.
    pub code: Option<String>,
    /// `message`: free text of the server.
    pub message: Option<String>,
    /// `details` (sometimes sent as `data`), as JSON text.
    pub details: Option<String>,
}

impl Error {
    /// An error that did not reach a server.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Error {
            status,
            text: text.into(),
            http_status: None,
            server: None,
            retry_after: None,
            fate: Fate::PG_FATE_NONE,
            cause: None,
            may_have_acted: false,
        }
    }

    /// The same error, knowing what became of the refresh token.
    pub fn with_fate(self, fate: Fate) -> Self {
        Error { fate, ..self }
    }

    /// Whether the very same call may succeed later, and is safe to make again.
    pub fn is_retryable(&self) -> bool {
        self.status.is_transient() && !self.refresh_token_is_lost() && !self.may_have_acted
    }

    /// Whether only credentials can go on from here: a new Issue, or better ones where Issue was refused.
    pub fn needs_credentials(&self) -> bool {
        self.refresh_token_is_lost()
            || matches!(self.status, Status::PG_ERR_REFUSED | Status::PG_ERR_NO_CREDENTIALS)
    }

    fn refresh_token_is_lost(&self) -> bool {
        matches!(self.fate, Fate::PG_FATE_REFUSED | Fate::PG_FATE_UNKNOWN)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
