//! `pg_event`: what a queue gives.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use super::boundary::{c_text, get, infallible};
use super::handle::{Handle, Owned, release};
use super::{pg_error, pg_response};
use crate::event::{Body, Event, EventKind, Level};
use crate::status::Status;
use crate::token::Grant;

/// An event of a queue. Immutable; owned by the caller, who frees it with pg_event_free. What is borrowed from it lives
/// as long as it does; pg_token_ref and pg_response_ref keep a token or a response for longer. Every getter takes
/// NULL and then answers that there is nothing. Any thread.
pub struct pg_event {
    event: Event,
    error: Option<pg_error>,
    response: Option<Arc<pg_response>>,
    line: Option<CString>,
}

impl Handle for pg_event {
    type Ownership = Owned;
}

impl From<Event> for pg_event {
    fn from(event: Event) -> Self {
        let error = event.body.error().cloned().map(pg_error::from);
        let response = event.body.response().cloned().map(pg_response::new);
        let line = if let Body::Log(_, line) = &event.body { Some(c_text(line)) } else { None };
        pg_event { event, error, response, line }
    }
}

/// What it is. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_kind(event: Option<&pg_event>) -> EventKind {
    get(event, EventKind::PG_EVENT_NONE, |event| Some(event.event.body.kind()))
}

/// The number that the operation or subscription was started with. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_id(event: Option<&pg_event>) -> u64 {
    get(event, 0, |event| Some(event.event.id))
}

/// What it came to: PG_OK, or the status of its error. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_status(event: Option<&pg_event>) -> Status {
    get(event, Status::PG_OK, |event| event.event.body.error().map(|error| error.status))
}

/// The error of an operation that failed or of bad news; NULL otherwise. Borrowed from the event. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_error(event: Option<&pg_event>) -> *const pg_error {
    get(event, ptr::null(), |event| event.error.as_ref().map(ptr::from_ref))
}

/// The token of PG_EVENT_TOKEN and PG_EVENT_ROTATED; NULL otherwise. Borrowed from the event: pg_token_ref to keep it.
/// Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_token(event: Option<&pg_event>) -> *const Grant {
    get(event, ptr::null(), |event| event.event.body.token().map(Arc::as_ptr))
}

/// The response of PG_EVENT_RESPONSE; NULL otherwise. Borrowed from the event: pg_response_ref to keep it. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_response(event: Option<&pg_event>) -> *const pg_response {
    get(event, ptr::null(), |event| event.response.as_ref().map(Arc::as_ptr))
}

/// How much a line of the log matters; PG_LOG_NONE for every other event. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_log_level(event: Option<&pg_event>) -> Level {
    get(event, Level::PG_LOG_NONE, |event| match event.event.body {
        Body::Log(level, _) => Some(level),
        _ => None,
    })
}

/// A line of the log, without a line end and without secrets; NULL for every other event. UTF-8, borrowed from the
/// event. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_text(event: Option<&pg_event>) -> *const c_char {
    get(event, ptr::null(), |event| event.line.as_ref().map(|line| line.as_ptr()))
}

/// Frees an event. NULL is fine. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_free(event: *mut pg_event) {
    // SAFETY: NULL, or from pg_queue_poll, and the caller gives it up.
    infallible((), || unsafe { release(event) });
}
