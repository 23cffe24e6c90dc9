//! `pg_event`: one event of a queue.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use super::boundary::{c_text, get, infallible};
use super::handle::{Handle, Owned, release};
use super::versions::versioned;
use super::{pg_error, pg_response};
use crate::event::{Body, Event, EventKind, Level};
use crate::runtime::sharded_arc::ShardedArc;
use crate::status::Status;
use crate::token::Grant;

versioned!(
    pg_event_kind,
    pg_event_id,
    pg_event_status,
    pg_event_error,
    pg_event_token,
    pg_event_response,
    pg_event_log_level,
    pg_event_text,
    pg_event_free
);

/// An event of a queue. Immutable. To keep its token or response for longer, use pg_token_ref or
/// pg_response_ref.
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

/// The kind of the event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_kind(event: Option<&pg_event>) -> EventKind {
    get(event, EventKind::PG_EVENT_NONE, |event| Some(event.event.body.kind()))
}

/// The `id` of the operation or subscription.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_id(event: Option<&pg_event>) -> u64 {
    get(event, 0, |event| Some(event.event.id))
}

/// PG_OK, or the status of the event's error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_status(event: Option<&pg_event>) -> Status {
    get(event, Status::PG_OK, |event| event.event.body.error().map(|error| error.status))
}

/// The error of a failed operation, or of a session event that reports a failure; NULL otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_error(event: Option<&pg_event>) -> *const pg_error {
    get(event, ptr::null(), |event| event.error.as_ref().map(ptr::from_ref))
}

/// The token of PG_EVENT_TOKEN and PG_EVENT_ROTATED; NULL otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_token(event: Option<&pg_event>) -> *const Grant {
    get(event, ptr::null(), |event| event.event.body.token().map(ShardedArc::as_ptr))
}

/// The response of PG_EVENT_RESPONSE; NULL otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_response(event: Option<&pg_event>) -> *const pg_response {
    get(event, ptr::null(), |event| event.response.as_ref().map(Arc::as_ptr))
}

/// The level of a log line; PG_LOG_NONE for every other event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_log_level(event: Option<&pg_event>) -> Level {
    get(event, Level::PG_LOG_NONE, |event| match event.event.body {
        Body::Log(level, _) => Some(level),
        _ => None,
    })
}

/// A log line, without a line end and without secrets; NULL for every other event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_text(event: Option<&pg_event>) -> *const c_char {
    get(event, ptr::null(), |event| event.line.as_ref().map(|line| line.as_ptr()))
}

/// Frees an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_event_free(event: *mut pg_event) {
    // SAFETY: from pg_queue_poll, and the caller gives it up; or NULL.
    infallible((), || unsafe { release(event) });
}
