//! `pg_token`: a pair as it came from the service. It is the [`Grant`] that the session publishes, so that handing it out
//! only counts.

use std::ffi::c_char;
use std::ptr;

use super::boundary::{get, infallible};
use super::handle::{Handle, Shared, release, retain};
use crate::clock::{Clock, SystemClock};
use crate::secret::Secret;
use crate::token::Grant;

/// `pg_token` in the header.
impl Handle for Grant {
    type Ownership = Shared;
}

fn text_of(secret: &Secret) -> *const c_char {
    secret.expose_with_nul().as_ptr().cast()
}

/// The access token, for `Authorization: Bearer …`. A secret. Borrowed from the token; never NULL for a token. Any
/// thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| Some(text_of(&grant.token.access)))
}

/// The length of the access token in bytes, its NUL not counted. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token_length(token: Option<&Grant>) -> usize {
    get(token, 0, |grant| Some(grant.token.access.expose().len()))
}

/// The refresh token, NULL if the service gave none. A secret, and more so than the access token: keep it safe or
/// not at all. Borrowed from the token. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| grant.refresh.as_ref().map(|refresh| text_of(refresh.secret())))
}

/// The length of the refresh token in bytes, its NUL not counted; 0 if there is none. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token_length(token: Option<&Grant>) -> usize {
    get(token, 0, |grant| grant.refresh.as_ref().map(|refresh| refresh.secret().expose().len()))
}

/// The name under which the access token may be shown and logged: 16 hexadecimal digits, the first 64 bits of its
/// SHA-256. Borrowed from the token. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_fingerprint(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| Some(grant.token.fingerprint().with_nul().as_ptr().cast()))
}

/// The whole life of the access token in milliseconds, counted from just before its request was sent: the smallest
/// of what the service says (`expires_in`, the claims of a JWT, its Date header), 300,000 if it says nothing. Any
/// thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.length)))
}

/// How far the service's own statements of the lifetime are apart, in milliseconds: 0 where they agree within a
/// minute; otherwise a clock of the service is wrong. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_disagreement_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.disagreement)))
}

/// What is left of the access token's life now, in milliseconds; 0 when it has expired. Measured on a clock that
/// counts while the machine sleeps and that nobody can set. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_remaining_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.remaining(SystemClock.now()))))
}

/// Which pair of its session the token belongs to, from 1 on; 0 for a token of pg_issue_token or pg_refresh_token.
/// Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_generation(token: Option<&Grant>) -> u64 {
    get(token, 0, |grant| Some(grant.generation))
}

/// Adds an owner: one more pg_token_free is needed. Returns `token`; NULL for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_ref(token: *const Grant) -> *mut Grant {
    // SAFETY: NULL, or an owner asks.
    infallible(ptr::null_mut(), || unsafe { retain(token) })
}

/// Takes an owner away; the last one zeroes and frees the token, and texts borrowed from it are gone. NULL is
/// fine. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_free(token: *mut Grant) {
    // SAFETY: NULL, or an owner gives its share up.
    infallible((), || unsafe { release(token) });
}

fn milliseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
