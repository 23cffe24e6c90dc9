//! The library's one error type: a status, a text for a person, and what the server answered.

use std::fmt;
use std::time::Duration;

use crate::status::{Fate, Status};

/// Why a call failed, with all that the caller needs to decide what to do. An error never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The class of the failure.
    pub status: Status,
    /// What happened, where, and what to do, in one or two sentences.
    pub text: String,
    /// The HTTP status, if the server answered.
    pub http_status: Option<u16>,
    /// The API's error body, if the server sent one. Boxed: most errors have none.
    pub server: Option<Box<ServerError>>,
    /// How long the server asked the caller to wait.
    pub retry_after: Option<Duration>,
    /// What became of the refresh token that was passed to the call.
    pub fate: Fate,
    /// What had failed before a deadline passed, if that is known.
    pub cause: Option<Status>,
    /// Whether the service may have acted on the request. If so, a second request could act twice.
    pub may_have_acted: bool,
}

/// The body of a refusal, as the API words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `error`: a code such as `ERROR_CREDENTIALS_NOT_FOUND`.
    pub code: Option<String>,
    /// `message`: free text from the server.
    pub message: Option<String>,
    /// `details` (sometimes sent as `data`), as JSON text.
    pub details: Option<String>,
}

impl Error {
    /// An error of a call that did not reach a server.
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

    /// The same error, with the fate of the refresh token.
    pub fn with_fate(self, fate: Fate) -> Self {
        Error { fate, ..self }
    }

    /// Whether the same call may succeed later and is safe to repeat.
    pub fn is_retryable(&self) -> bool {
        self.status.is_transient() && !self.refresh_token_is_lost() && !self.may_have_acted
    }

    /// Whether the caller needs credentials to continue: for a new Issue, or to replace those that Issue refused.
    pub fn needs_credentials(&self) -> bool {
        self.refresh_token_is_lost()
            || matches!(self.status, Status::PG_ERR_REFUSED | Status::PG_ERR_NO_CREDENTIALS)
    }

    fn refresh_token_is_lost(&self) -> bool {
        matches!(self.fate, Fate::PG_FATE_REFUSED | Fate::PG_FATE_UNKNOWN)
    }
}

impl ServerError {
    /// Whether a text has the form of a code, so that it may be shown in an error and in a log.
    pub(crate) fn is_code(text: &str) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        !text.is_empty() && text.len() <= 128 && text.chars().all(fits)
    }
}

/// A text from outside in the form in which an error may show it: on one line, and not longer than a log line should be.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 400;
    let end = text.char_indices().nth(LONGEST);
    let (start, mark) = end.map_or((text, ""), |(end, _)| (&text[..end], "…"));
    start.replace(char::is_control, " ") + mark
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
