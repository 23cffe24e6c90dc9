//! `pg_session_request`: authenticated requests to the rest of the API.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::slice;

use super::boundary::{fallible, invalid, null, optional_text, producing, required, text, timeout};
use super::handle::share;
use super::versions::versioned;
use super::{pg_error, pg_queue, pg_response, pg_session};
use crate::error::Error;
use crate::event::Operation;
use crate::request::ApiRequest;
use crate::runtime;
use crate::status::Status;

versioned!(pg_session_request, pg_session_request_start);

/// Makes a request to the API with the session's token, and waits for the whole answer. `path` begins with a
/// slash, may have a query, and is below `base_url`: requests go to no other service. `headers` is NULL, or
/// names and values in turn and a NULL: {"X-Trace", "7", NULL}. The library sets Authorization, Host and
/// Content-Length, and, if they are missing, Accept and Content-Type (application/json). `body` is NULL or
/// `body_length` bytes. PG_TIMEOUT_DEFAULT: `request_timeout_ms`. Blocks until the answer or the deadline.
///
/// Any complete answer is a success, whatever its HTTP status. Redirects are not followed. After a 401 the
/// library reports the token (pg_session_reject) and repeats the request once with a newer one. If the
/// connection breaks, also an idle one that the server closed, it repeats GET, HEAD and OPTIONS once, and
/// another method only if the service cannot have seen the request. So after an error, pg_error_is_retryable
/// tells whether it is safe to repeat.
///
/// Errors: PG_ERR_INVALID_ARGUMENT, PG_ERR_ANSWER_TOO_LARGE (see `request_max_response_bytes`), those of
/// pg_session_token. Source: "Managing JWT tokens" in the vendor's documentation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_request(
    session: Option<&pg_session>,
    method: *const c_char,
    path: *const c_char,
    headers: *const *const c_char,
    body: *const u8,
    body_length: usize,
    timeout_ms: i64,
    response: Option<&mut MaybeUninit<*mut pg_response>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(response, "response", error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's method, path, headers and body are valid for the call.
        let request = unsafe { request(method, path, headers, body, body_length) }?;
        let response = session.request(request, timeout(timeout_ms)?)?;
        Ok(share(pg_response::new(response)))
    })
}

/// pg_session_request as an operation of a queue: ends in a PG_EVENT_RESPONSE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_request_start(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    method: *const c_char,
    path: *const c_char,
    headers: *const *const c_char,
    body: *const u8,
    body_length: usize,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        // SAFETY: the caller's method, path, headers and body are valid for the call.
        let request = unsafe { request(method, path, headers, body, body_length) }?;
        let timeout = timeout(timeout_ms)?;
        runtime::handle()?;
        session.request_start(queue.begin(id, Operation::Response)?, request, timeout);
        Ok(())
    })
}

/// # Safety
///
/// Each pointer is NULL or valid: texts end in a NUL, `headers` in a NULL, and `body` has `body_length` bytes.
unsafe fn request(
    method: *const c_char,
    path: *const c_char,
    headers: *const *const c_char,
    body: *const u8,
    body_length: usize,
) -> Result<ApiRequest, Error> {
    let body = match (body.is_null(), body_length) {
        (true, 0) => None,
        (true, _) => return Err(null("body")),
        (false, length) if isize::try_from(length).is_err() => {
            return Err(invalid("body_length", "is longer than any memory"));
        }
        // SAFETY: not null; the caller's promise.
        (false, length) => Some(unsafe { slice::from_raw_parts(body, length) }),
    };
    // SAFETY: the caller's promise.
    let (method, path, headers) = unsafe { (text(method, "method")?, text(path, "path")?, pairs(headers)?) };
    ApiRequest::new(method, path, &headers, body)
}

/// Names and values in turn, up to a NULL.
///
/// # Safety
///
/// NULL, or an array of texts that ends in a NULL.
unsafe fn pairs<'a>(mut next: *const *const c_char) -> Result<Vec<(&'a str, &'a str)>, Error> {
    let mut pairs = Vec::new();
    if next.is_null() {
        return Ok(pairs);
    }
    let mut take = || {
        // SAFETY: the array ends in a NULL, and nothing beyond it is read.
        let text = unsafe { optional_text(*next, "headers") }?;
        if text.is_some() {
            // SAFETY: as above; it was not the last one.
            next = unsafe { next.add(1) };
        }
        Ok::<_, Error>(text)
    };
    while let Some(name) = take()? {
        let value =
            take()?.ok_or_else(|| invalid("headers", "ends after a name; give names and values in turn"))?;
        pairs.push((name, value));
    }
    Ok(pairs)
}
