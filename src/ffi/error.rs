//! `pg_error`: why a call failed.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use super::boundary::{c_text, infallible};
use crate::error::Error;
use crate::status::{Fate, Status};

/// Why a call failed, with all that is needed to decide what to do. Immutable; owned by the caller, who frees
/// it with pg_error_free. It never holds a secret. Every getter takes NULL and then answers as for success.
pub struct pg_error {
    error: Error,
    text: CString,
    server: Option<ServerText>,
}

struct ServerText {
    code: Option<CString>,
    message: Option<CString>,
    details: Option<CString>,
}

impl pg_error {
    /// For the caller to own.
    pub(super) fn new(error: Error) -> *mut pg_error {
        Box::into_raw(Box::new(pg_error::from(error)))
    }
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

fn get<T>(error: *const pg_error, nothing: T, read: impl FnOnce(&pg_error) -> Option<T>) -> T
where
    T: Copy,
{
    // SAFETY: checked for null; otherwise the caller's contract keeps it alive for the call.
    infallible(nothing, || unsafe { error.as_ref() }.and_then(read).unwrap_or(nothing))
}

/// The status, the same that the call answered with. PG_OK for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_status(error: *const pg_error) -> Status {
    get(error, Status::PG_OK, |error| Some(error.error.status))
}

/// What happened, where, and what to do, for a person; UTF-8. Borrowed from the error; never NULL. Any thread;
/// never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_text(error: *const pg_error) -> *const c_char {
    get(error, c"".as_ptr(), |error| Some(error.text.as_ptr()))
}

/// The HTTP status of the answer, 0 if none came. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_http_status(error: *const pg_error) -> i32 {
    get(error, 0, |error| error.error.http_status.map(i32::from))
}

/// The server's own code (`error` in its answer), for example "ERROR_CREDENTIALS_NOT_FOUND"; NULL if it sent
/// none. Borrowed from the error. Any thread; never blocks. Source: the API's error body.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_code(error: *const pg_error) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.code.as_deref().map(CStr::as_ptr))
}

/// The server's own words (`message`); NULL if it sent none. What it echoes of the caller's secrets has been
/// taken out. Borrowed from the error. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_message(error: *const pg_error) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.message.as_deref().map(CStr::as_ptr))
}

/// The server's `details` (it sometimes calls them `data`), as JSON text; NULL if it sent none. Borrowed from the
/// error. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_details(error: *const pg_error) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.details.as_deref().map(CStr::as_ptr))
}

/// How long to wait, in milliseconds: what the server asked for, at most an hour (source: the Retry-After header), or
/// from a session, until it tries again by itself; -1 if nothing is known. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_retry_after_ms(error: *const pg_error) -> i64 {
    get(error, -1, |error| {
        error.error.retry_after.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What had failed before the deadline passed: with PG_ERR_TIMEOUT of a session, the status of its last attempt to get a
/// token, for example PG_ERR_CONNECT; pg_error_text tells of it, too. PG_OK if nothing is known, and with every other
/// status. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_cause(error: *const pg_error) -> Status {
    get(error, Status::PG_OK, |error| error.error.cause)
}

/// Whether the very same call may succeed later and is safe to make again. False where a refresh token may have
/// been spent. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_is_retryable(error: *const pg_error) -> bool {
    get(error, false, |error| Some(error.error.is_retryable()))
}

/// Whether only credentials can go on from here: after a refresh, pg_issue_token; after a refused issue, other
/// credentials. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_needs_credentials(error: *const pg_error) -> bool {
    get(error, false, |error| Some(error.error.needs_credentials()))
}

/// What became of the refresh token that the failed call was given. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_refresh_token_fate(error: *const pg_error) -> Fate {
    get(error, Fate::PG_FATE_NONE, |error| Some(error.error.fate))
}

/// Frees an error. NULL is fine. Texts borrowed from it are gone. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_free(error: *mut pg_error) {
    infallible((), || {
        if !error.is_null() {
            // SAFETY: made by pg_error::new, and the caller gives it up.
            drop(unsafe { Box::from_raw(error) });
        }
    });
}
