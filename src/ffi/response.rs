//! `pg_response`: what the API answered.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBox;

use super::boundary::{c_text, get, infallible, optional_text};
use super::handle::{Handle, Shared, release, retain};
use crate::request::Response;

/// A complete answer of the API, of any HTTP status. Immutable and counted: pg_response_ref adds an owner,
/// pg_response_free takes one away. Any number of threads may use it at once. Every getter takes NULL and then answers
/// that there is nothing.
pub struct pg_response {
    response: Arc<Response>,
    headers: OnceBox<Vec<(CString, CString)>>,
}

impl Handle for pg_response {
    type Ownership = Shared;
}

impl pg_response {
    pub(super) fn new(response: Arc<Response>) -> Arc<Self> {
        Arc::new(pg_response { response, headers: OnceBox::new() })
    }

    /// In the order in which they came. A value that is not text becomes what of it is.
    fn headers(&self) -> &[(CString, CString)] {
        self.headers.get_or_init(|| {
            let headers = self.response.headers.iter();
            let text = |value: &[u8]| c_text(&String::from_utf8_lossy(value));
            Box::new(
                headers
                    .map(|(name, value)| (text(name.as_str().as_bytes()), text(value.as_bytes())))
                    .collect(),
            )
        })
    }
}

/// The HTTP status. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_status(response: Option<&pg_response>) -> i32 {
    get(response, 0, |response| Some(i32::from(response.response.status)))
}

/// The body: `pg_response_body_length` bytes, which need not be text and end in no NUL. Borrowed from the response; NULL
/// only for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_body(response: Option<&pg_response>) -> *const u8 {
    get(response, ptr::null(), |response| Some(response.response.body.as_ptr()))
}

/// The length of the body in bytes. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_body_length(response: Option<&pg_response>) -> usize {
    get(response, 0, |response| Some(response.response.body.len()))
}

/// The first value of a header, whose name may be in any case; NULL if it did not come. UTF-8, borrowed from the response.
/// Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header(
    response: Option<&pg_response>,
    name: *const c_char,
) -> *const c_char {
    get(response, ptr::null(), |response| {
        // SAFETY: the caller's text, good for the call.
        let wanted = unsafe { optional_text(name, "name") }.ok().flatten()?;
        let has_name = |name: &CString| name.to_str().is_ok_and(|name| name.eq_ignore_ascii_case(wanted));
        response.headers().iter().find(|(name, _)| has_name(name)).map(|(_, value)| value.as_ptr())
    })
}

/// How many headers came; one that came twice counts twice. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_count(response: Option<&pg_response>) -> usize {
    get(response, 0, |response| Some(response.headers().len()))
}

/// The name of a header, in lower case; NULL where `index` is too large. Borrowed from the response. Any thread; never
/// blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_name(
    response: Option<&pg_response>,
    index: usize,
) -> *const c_char {
    get(response, ptr::null(), |response| response.headers().get(index).map(|(name, _)| name.as_ptr()))
}

/// The value of a header; NULL where `index` is too large. UTF-8, borrowed from the response. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_value(
    response: Option<&pg_response>,
    index: usize,
) -> *const c_char {
    get(response, ptr::null(), |response| response.headers().get(index).map(|(_, value)| value.as_ptr()))
}

/// Adds an owner: one more pg_response_free is needed. Returns `response`; NULL for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_ref(response: *const pg_response) -> *mut pg_response {
    // SAFETY: NULL, or an owner asks.
    infallible(ptr::null_mut(), || unsafe { retain(response) })
}

/// Takes an owner away; with the last one the response is freed, and what was borrowed from it is gone. NULL is fine.
/// Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_free(response: *mut pg_response) {
    // SAFETY: NULL, or an owner gives its share up.
    infallible((), || unsafe { release(response) });
}
