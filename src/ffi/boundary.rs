//! The boundary to C: catches panics, and checks arguments.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::slice;
use std::time::Duration;

use super::handle::{Handle, give};
use super::pg_error;
use crate::defect;
use crate::error::Error;
use crate::runtime::WithoutCancellation;
use crate::status::Status;

/// Where C receives a pointer, or NULL. It is only written: C need not have set it.
pub(super) type Output<'a, T> = Option<&'a mut MaybeUninit<*mut T>>;

/// For exports that can fail: runs `work`, passes its error to C, and returns its status.
pub(super) fn fallible(
    mut error_out: Output<'_, pg_error>,
    work: impl FnOnce() -> Result<(), Error>,
) -> Status {
    let _uncancelable = WithoutCancellation::enter();
    let result = defect::catch_panic(|| {
        clear(&mut error_out);
        work()
    });
    match result.and_then(std::convert::identity) {
        Ok(()) => Status::PG_OK,
        Err(error) => {
            let status = error.status;
            if let Some(slot) = error_out {
                slot.write(give(pg_error::from(error)));
            }
            status
        }
    }
}

/// For exports that are called very often: tries `work`, which reads memory, before the guarded function. It catches no
/// panic, so `work` must have none: no lock, no index, only saturating arithmetic. A panic would end the process, as in
/// every `extern "C"` function.
#[inline]
pub(super) fn fast_path(error_out: &mut Output<'_, pg_error>, work: impl FnOnce() -> Option<()>) -> bool {
    // First, so that `error_out` does not have to be kept in a register during `work`.
    clear(error_out);
    work().is_some()
}

/// For exports that make an object: `out` is NULL unless `work` succeeds.
pub(super) fn producing<T>(
    out: Output<'_, T>,
    name: &str,
    error_out: Output<'_, pg_error>,
    work: impl FnOnce() -> Result<*mut T, Error>,
) -> Status {
    fallible(error_out, || {
        let slot = output(out, name)?;
        slot.write(work()?);
        Ok(())
    })
}

/// For exports that return a plain value: returns `fallback` after a panic.
pub(super) fn infallible<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    defect::catch_panic(work).unwrap_or(fallback)
}

/// For exports that free what holds files, sockets or the host's callbacks, and so comes to points of cancellation.
pub(super) fn closing(work: impl FnOnce()) {
    infallible((), || {
        let _uncancelable = WithoutCancellation::enter();
        work();
    });
}

/// For getters: returns `nothing` for NULL, or if `read` finds nothing.
pub(super) fn get<H: Handle, T: Copy>(
    object: Option<&H>,
    nothing: T,
    read: impl FnOnce(&H) -> Option<T>,
) -> T {
    infallible(nothing, || object.and_then(read).unwrap_or(nothing))
}

/// Sets an output to NULL before the work, which writes it only on success.
fn clear<T>(out: &mut Output<'_, T>) {
    if let Some(slot) = out {
        slot.write(std::ptr::null_mut());
    }
}

/// A required output, set to NULL.
pub(super) fn output<'a, T>(
    mut out: Output<'a, T>,
    name: &str,
) -> Result<&'a mut MaybeUninit<*mut T>, Error> {
    clear(&mut out);
    required(out, name)
}

/// A required argument.
pub(super) fn required<T>(argument: Option<T>, name: &str) -> Result<T, Error> {
    argument.ok_or_else(|| null(name))
}

/// NUL-terminated UTF-8; `None` for NULL.
///
/// # Safety
///
/// `text` is NULL, or ends in a NUL and does not change during `'a`.
pub(super) unsafe fn optional_text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not null; the caller's promise.
    utf8(unsafe { CStr::from_ptr(text) }.to_bytes(), name).map(Some)
}

/// Required NUL-terminated UTF-8.
///
/// # Safety
///
/// As for [`optional_text`].
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    required(unsafe { optional_text(text, name) }?, name)
}

/// UTF-8 of a given length; `None` for NULL.
///
/// # Safety
///
/// `text` is NULL, or `length` bytes are readable and do not change during `'a`.
pub(super) unsafe fn optional_sized_text<'a>(
    text: *const c_char,
    length: usize,
    name: &str,
) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    if isize::try_from(length).is_err() {
        return Err(invalid(name, "is longer than any memory"));
    }
    // SAFETY: not null; the caller's promise.
    utf8(unsafe { slice::from_raw_parts(text.cast(), length) }, name).map(Some)
}

/// Required UTF-8 of a given length.
///
/// # Safety
///
/// As for [`optional_sized_text`].
pub(super) unsafe fn sized_text<'a>(
    text: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    required(unsafe { optional_sized_text(text, length, name) }?, name)
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes).map_err(|_| {
        let text = format!("the argument `{name}` is not valid UTF-8; give UTF-8");
        Error::new(Status::PG_ERR_INVALID_UTF8, text)
    })
}

/// Milliseconds from now; `PG_TIMEOUT_DEFAULT` is `None`.
pub(super) fn timeout(timeout_ms: i64) -> Result<Option<Duration>, Error> {
    match u64::try_from(timeout_ms) {
        Ok(ms) => Ok(Some(Duration::from_millis(ms))),
        Err(_) if timeout_ms == super::PG_TIMEOUT_DEFAULT => Ok(None),
        Err(_) => Err(invalid("timeout_ms", "is negative; give milliseconds, 0, or PG_TIMEOUT_DEFAULT")),
    }
}

/// An error about an argument.
pub(super) fn invalid(name: &str, what: &str) -> Error {
    Error::new(Status::PG_ERR_INVALID_ARGUMENT, format!("the argument `{name}` {what}"))
}

/// An error about a required argument that is NULL.
pub(super) fn null(name: &str) -> Error {
    Error::new(Status::PG_ERR_NULL_POINTER, format!("the argument `{name}` is NULL; it must not be"))
}

/// Text for C. A NUL inside, which only a server can have sent, becomes U+FFFD.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
