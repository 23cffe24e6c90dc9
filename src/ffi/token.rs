//! `pg_token`: a pair as it came from the service.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use super::boundary::infallible;
use crate::clock::{Clock, SystemClock};
use crate::secret::Secret;
use crate::token::{Grant, Pair};

/// An access token with the refresh token that buys the next pair. Immutable and counted: pg_token_ref adds an
/// owner, pg_token_free takes one away, and the last one zeroes the texts. Any number of threads may use it at
/// once, in a forked child too. Every getter takes NULL and then answers that there is nothing.
pub struct pg_token {
    /// What C holds is a share of a [`Grant`]: the same one that the session publishes, so that handing it out only
    /// counts.
    _grant: (),
}

impl pg_token {
    /// A share for C.
    pub(super) fn share(grant: Arc<Grant>) -> *mut pg_token {
        Arc::into_raw(grant).cast::<pg_token>().cast_mut()
    }

    /// A look at what somebody else owns.
    pub(super) fn lend(grant: &Arc<Grant>) -> *const pg_token {
        Arc::as_ptr(grant).cast::<pg_token>()
    }

    pub(super) fn new(pair: Pair) -> *mut pg_token {
        pg_token::share(Arc::new(Grant::bare(pair)))
    }
}

fn get<T: Copy>(token: *const pg_token, nothing: T, read: impl FnOnce(&Grant) -> Option<T>) -> T {
    // SAFETY: checked for null; otherwise the caller's contract keeps it alive for the call.
    infallible(nothing, || unsafe { token.cast::<Grant>().as_ref() }.and_then(read).unwrap_or(nothing))
}

fn text_of(secret: &Secret) -> *const c_char {
    secret.expose_with_nul().as_ptr().cast()
}

/// The access token, for `Authorization: Bearer …`. A secret. Borrowed from the token; never NULL for a token. Any
/// thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token(token: *const pg_token) -> *const c_char {
    get(token, ptr::null(), |grant| Some(text_of(&grant.token.access)))
}

/// The length of the access token in bytes, its NUL not counted. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token_length(token: *const pg_token) -> usize {
    get(token, 0, |grant| Some(grant.token.access.expose().len()))
}

/// The refresh token, NULL if the service gave none. A secret, and more so than the access token: keep it safe or
/// not at all. Borrowed from the token. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token(token: *const pg_token) -> *const c_char {
    get(token, ptr::null(), |grant| grant.refresh.as_ref().map(|refresh| text_of(refresh.secret())))
}

/// The length of the refresh token in bytes, its NUL not counted; 0 if there is none. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token_length(token: *const pg_token) -> usize {
    get(token, 0, |grant| grant.refresh.as_ref().map(|refresh| refresh.secret().expose().len()))
}

/// The name under which the access token may be shown and logged: 16 hexadecimal digits, the first 64 bits of its
/// SHA-256. Borrowed from the token. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_fingerprint(token: *const pg_token) -> *const c_char {
    get(token, ptr::null(), |grant| Some(grant.token.fingerprint().with_nul().as_ptr().cast()))
}

/// The whole life of the access token in milliseconds, counted from just before its request was sent: the smallest
/// of what the service says (`expires_in`, the claims of a JWT, its Date header), 300,000 if it says nothing. Any
/// thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_ms(token: *const pg_token) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.length)))
}

/// How far the service's own statements of the lifetime are apart, in milliseconds: 0 where they agree within a
/// minute; otherwise a clock of the service is wrong. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_disagreement_ms(token: *const pg_token) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.disagreement)))
}

/// What is left of the access token's life now, in milliseconds; 0 when it has expired. Measured on a clock that
/// counts while the machine sleeps and that nobody can set. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_remaining_ms(token: *const pg_token) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.remaining(SystemClock.now()))))
}

/// Which pair of its session the token belongs to, from 1 on; 0 for a token of pg_issue_token or pg_refresh_token.
/// Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_generation(token: *const pg_token) -> u64 {
    get(token, 0, |grant| Some(grant.generation))
}

/// Adds an owner: one more pg_token_free is needed. Returns `token`; NULL for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_ref(token: *const pg_token) -> *mut pg_token {
    infallible(ptr::null_mut(), || {
        if !token.is_null() {
            // SAFETY: made by Arc::into_raw, and the caller is an owner.
            unsafe { Arc::increment_strong_count(token.cast::<Grant>()) };
        }
        token.cast_mut()
    })
}

/// Takes an owner away; the last one zeroes and frees the token, and texts borrowed from it are gone. NULL is
/// fine. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_free(token: *mut pg_token) {
    infallible((), || {
        if !token.is_null() {
            // SAFETY: made by Arc::into_raw, and the caller gives its share up.
            unsafe { Arc::decrement_strong_count(token.cast::<Grant>().cast_const()) };
        }
    });
}

fn milliseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
