//! Authenticated requests to the rest of the API.

use std::ffi::c_char;
use std::slice;

use super::boundary::{fallible, invalid, null, optional_text, producing, required, text, timeout};
use super::handle::share;
use super::{pg_error, pg_queue, pg_response, pg_session};
use crate::error::Error;
use crate::event::Operation;
use crate::request::ApiRequest;
use crate::runtime;
use crate::status::Status;

/// Makes a request to the API with the session's token in the Authorization header, and waits for the whole answer. It can
/// only go to the service of `base_url`: `path` begins with a slash and is taken to be below it, with a query if it has one.
/// `headers` is NULL, or names and values in turn that end with NULL: {"X-Trace", "7", NULL}; the library sets
/// Authorization, Host and Content-Length, and Accept and Content-Type (application/json) unless they are there. `body` is
/// NULL or `body_length` bytes. All is copied. `timeout_ms` bounds all of it; PG_TIMEOUT_DEFAULT takes
/// `request_timeout_ms`.
///
/// Any complete answer is a success, whatever its HTTP status. Redirects are not followed. A 401 is reported to the session
/// (pg_session_reject), and the request is made once more with a newer token. GET, HEAD and OPTIONS are made once more
/// where the connection broke, as one does that the server closed while it was idle; any other method only if the service
/// cannot have seen the request. So after an error pg_error_is_retryable says whether to make it again is safe.
///
/// `*response` is owned by the caller, who frees it with pg_response_free, and NULL on failure. Any thread; blocks until
/// the answer or the deadline; works in a forked child.
///
/// Errors: PG_ERR_INVALID_ARGUMENT, PG_ERR_ANSWER_TOO_LARGE (see `request_max_response_bytes`), PG_ERR_CLOSED, those of
/// pg_session_token, every network status.
///
/// Since 0.1.0. Source: "Managing JWT tokens" in the vendor's documentation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_request(
    session: Option<&pg_session>,
    method: *const c_char,
    path: *const c_char,
    headers: *const *const c_char,
    body: *const u8,
    body_length: usize,
    timeout_ms: i64,
    response: Option<&mut *mut pg_response>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(response, "response", error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's method, path, headers and body, good for the call.
        let request = unsafe { request(method, path, headers, body, body_length) }?;
        let response = session.request(request, timeout(timeout_ms)?)?;
        Ok(share(pg_response::new(response)))
    })
}

/// pg_session_request without waiting: the answer comes as the PG_EVENT_RESPONSE of that number on the queue, once, also
/// after a failure, pg_queue_cancel or pg_session_close. `id` is the caller's, and unlike that of anything else under way
/// on the queue. Any thread; never blocks.
///
/// Errors (nothing was started): PG_ERR_INVALID_ARGUMENT, PG_ERR_INVALID_UTF8, PG_ERR_NULL_POINTER, PG_ERR_SYSTEM (the
/// library's thread cannot be started). All else comes with the event.
///
/// Since 0.1.0.
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
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        // SAFETY: the caller's method, path, headers and body, good for the call.
        let request = unsafe { request(method, path, headers, body, body_length) }?;
        let timeout = timeout(timeout_ms)?;
        runtime::handle()?;
        session.request_start(queue.begin(id, Operation::Response)?, request, timeout);
        Ok(())
    })
}

/// # Safety
///
/// The texts end in a NUL, the headers in a NULL, and `body_length` bytes are readable, unless they are NULL.
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
            return Err(invalid("body_length", "is a length that no memory can have"));
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
