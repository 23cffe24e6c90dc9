//! `pg_response`: an answer of the API.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBox;

use super::boundary::{c_text, get, infallible, optional_text};
use super::handle::{Handle, Shared, release, retain};
use super::versions::versioned;
use crate::request::Response;

versioned!(
    pg_response_status,
    pg_response_body,
    pg_response_body_length,
    pg_response_header,
    pg_response_header_count,
    pg_response_header_name,
    pg_response_header_value,
    pg_response_ref,
    pg_response_free
);

/// A complete answer of the API, with any HTTP status. Counted, immutable.
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

    /// In the order of the answer. Bytes that are not UTF-8 become U+FFFD.
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

/// The HTTP status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_status(response: Option<&pg_response>) -> i32 {
    get(response, 0, |response| Some(i32::from(response.response.status)))
}

/// The body: pg_response_body_length bytes, which need not be text and have no NUL at the end. NULL only for
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_body(response: Option<&pg_response>) -> *const u8 {
    get(response, ptr::null(), |response| Some(response.response.body.as_ptr()))
}

/// The length of the body in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_body_length(response: Option<&pg_response>) -> usize {
    get(response, 0, |response| Some(response.response.body.len()))
}

/// The first value of a header, NULL if it did not come. The case of `name` does not matter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header(
    response: Option<&pg_response>,
    name: *const c_char,
) -> *const c_char {
    get(response, ptr::null(), |response| {
        // SAFETY: the caller's text is valid for the call.
        let wanted = unsafe { optional_text(name, "name") }.ok().flatten()?;
        let has_name = |name: &CString| name.to_str().is_ok_and(|name| name.eq_ignore_ascii_case(wanted));
        response.headers().iter().find(|(name, _)| has_name(name)).map(|(_, value)| value.as_ptr())
    })
}

/// The number of headers; one that came twice counts twice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_count(response: Option<&pg_response>) -> usize {
    get(response, 0, |response| Some(response.headers().len()))
}

/// The name of a header, in lower case; NULL if `index` is too large.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_name(
    response: Option<&pg_response>,
    index: usize,
) -> *const c_char {
    get(response, ptr::null(), |response| response.headers().get(index).map(|(name, _)| name.as_ptr()))
}

/// The value of a header; NULL if `index` is too large.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_header_value(
    response: Option<&pg_response>,
    index: usize,
) -> *const c_char {
    get(response, ptr::null(), |response| response.headers().get(index).map(|(_, value)| value.as_ptr()))
}

/// Adds an owner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_ref(response: *const pg_response) -> *mut pg_response {
    // SAFETY: the caller is an owner, or passes NULL.
    infallible(ptr::null_mut(), || unsafe { retain(response) })
}

/// Takes an owner away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_response_free(response: *mut pg_response) {
    // SAFETY: the caller is an owner that gives it up, or passes NULL.
    infallible((), || unsafe { release(response) });
}
