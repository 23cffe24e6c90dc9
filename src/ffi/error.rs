//! `pg_error`: why a call failed.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use super::boundary::{c_text, get, infallible};
use super::handle::{Handle, Owned, release};
use crate::error::Error;
use crate::status::{Fate, Status};

/// Why a call failed, with all that is needed to decide what to do. Immutable; owned by the caller, who frees
/// it with pg_error_free. It never holds a secret. Every getter takes NULL and then answers as for success.
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

/// The status, the same that the call answered with. PG_OK for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_status(error: Option<&pg_error>) -> Status {
    get(error, Status::PG_OK, |error| Some(error.error.status))
}

/// What happened, where, and what to do, for a person; UTF-8. Borrowed from the error; never NULL. Any thread;
/// never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_text(error: Option<&pg_error>) -> *const c_char {
    get(error, c"".as_ptr(), |error| Some(error.text.as_ptr()))
}

/// The HTTP status of the answer, 0 if none came. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_http_status(error: Option<&pg_error>) -> i32 {
    get(error, 0, |error| error.error.http_status.map(i32::from))
}

/// The server's own code (`error` in its answer), for example "ERROR_CREDENTIALS_NOT_FOUND"; NULL if it sent
/// none. Borrowed from the error. Any thread; never blocks. Source: the API's error body.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_code(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.code.as_deref().map(CStr::as_ptr))
}

/// The server's own words (`message`); NULL if it sent none. What it echoes of the caller's secrets has been
/// taken out. Borrowed from the error. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_message(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.message.as_deref().map(CStr::as_ptr))
}

/// The server's `details` (it sometimes calls them `data`), as JSON text; NULL if it sent none. Borrowed from the
/// error. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_server_details(error: Option<&pg_error>) -> *const c_char {
    get(error, ptr::null(), |error| error.server.as_ref()?.details.as_deref().map(CStr::as_ptr))
}

/// How long to wait, in milliseconds: what the server asked for, at most an hour (source: the Retry-After header), or
/// from a session, until it tries again by itself; -1 if nothing is known. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_retry_after_ms(error: Option<&pg_error>) -> i64 {
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
pub unsafe extern "C" fn pg_error_cause(error: Option<&pg_error>) -> Status {
    get(error, Status::PG_OK, |error| error.error.cause)
}

/// Whether the very same call may succeed later and is safe to make again. False where a refresh token may have
/// been spent. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_is_retryable(error: Option<&pg_error>) -> bool {
    get(error, false, |error| Some(error.error.is_retryable()))
}

/// Whether only credentials can go on from here: after a refresh, pg_issue_token; after a refused issue, other
/// credentials. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_needs_credentials(error: Option<&pg_error>) -> bool {
    get(error, false, |error| Some(error.error.needs_credentials()))
}

/// What became of the refresh token that the failed call was given. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_refresh_token_fate(error: Option<&pg_error>) -> Fate {
    get(error, Fate::PG_FATE_NONE, |error| Some(error.error.fate))
}

/// Frees an error. NULL is fine. Texts borrowed from it are gone. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_error_free(error: *mut pg_error) {
    // SAFETY: NULL, or from a call that failed, and the caller gives it up.
    infallible((), || unsafe { release(error) });
}
