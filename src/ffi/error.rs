//! `pg_error`: why a call failed.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use super::boundary::{c_text, get, infallible};
use super::handle::{Handle, Owned, release};
use super::versions::versioned;
use crate::error::Error;
use crate::status::{Fate, Status};

versioned!(
    pg_error_status,
    pg_error_text,
    pg_error_http_status,
    pg_error_server_code,
    pg_error_server_message,
    pg_error_server_details,
    pg_error_retry_after_ms,
    pg_error_cause,
    pg_error_is_retryable,
    pg_error_needs_credentials,
    pg_error_refresh_token_fate,
    pg_error_free
);

/// Why a call failed, with all that is needed to decide what to do. Immutable; it never has a secret. With
/// NULL, each getter returns what it returns for success.
pub struct pg_error {
    error: Error,
    text: CString,
    server: Option<ServerText>,
}

impl Handle for pg_error {
    type Ownership = Owned;
}

struct ServerText {
    code: Option<CString>,
    message: Option<CString>,
    details: Option<CString>,
}

impl From<Error> for pg_error {
    fn from(error: Error) -> Self {
        let text = c_text(&error.text);
        let server = error.server.as_ref().map(|server| ServerText {
            code: server.code.as_deref().map(c_text),
            message: server.message.as_deref().map(c_text),
            details: server.details.as_deref().map(c_text),
        });
        pg_error { error, text, server }
    }
}

/// The status that the call returned; PG_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_status(error: Option<&pg_error>) -> Status {
    get(error, Status::PG_OK, |error| Some(error.error.status))
}

/// What happened, where, and what to do, for a person. Never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_text(error: Option<&pg_error>) -> *const c_char {
    get(error, c"".as_ptr(), |error| Some(error.text.as_ptr()))
}

/// The HTTP status of the answer, 0 if none came.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_http_status(error: Option<&pg_error>) -> i32 {
    get(error, 0, |error| error.error.http_status.map(i32::from))
}

/// The server's own code (`error` in the API's error body), for example "ERROR_CREDENTIALS_NOT_FOUND"; NULL
/// if it sent none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_code(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.code.as_deref().map(CStr::as_ptr))
}

/// The server's own message (`message`), without the secrets that it repeats; NULL if it sent none. A message of more than
/// 16 KiB is left out: the text says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_message(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.message.as_deref().map(CStr::as_ptr))
}

/// The server's `details` (it sometimes calls them `data`), as JSON text; NULL if it sent none. Details of more than 16 KiB
/// are left out: the text says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_details(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.details.as_deref().map(CStr::as_ptr))
}

/// How long to wait in milliseconds, -1 if not known: the server's Retry-After, at most an hour; with a
/// session, the time until it tries again by itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_retry_after_ms(error: Option<&pg_error>) -> i64 {
    get(error, -1, |error| {
        error.error.retry_after.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    })
}

/// With PG_ERR_TIMEOUT of a session: the status of its last attempt to obtain a token, for example
/// PG_ERR_CONNECT; pg_error_text tells it too. PG_OK if nothing is known, and with every other status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_cause(error: Option<&pg_error>) -> Status {
    get(error, Status::PG_OK, |error| error.error.cause)
}

/// Whether the same call may succeed later and is safe to repeat. False if a refresh token may be spent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_is_retryable(error: Option<&pg_error>) -> bool {
    get(error, false, |error| Some(error.error.is_retryable()))
}

/// Whether only credentials can help: after a refresh, pg_issue_token; after a refused issue, other
/// credentials.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_needs_credentials(error: Option<&pg_error>) -> bool {
    get(error, false, |error| Some(error.error.needs_credentials()))
}

/// What happened to the refresh token that the failed call was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_refresh_token_fate(error: Option<&pg_error>) -> Fate {
    get(error, Fate::PG_FATE_NONE, |error| Some(error.error.fate))
}

/// Frees an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_free(error: *mut pg_error) {
    // SAFETY: from a call that failed, and the caller gives it up; or NULL.
    infallible((), || unsafe { release(error) });
}
