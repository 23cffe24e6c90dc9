//! `pg_token`: a pair. C gets the [`Grant`] that the session publishes, so returning a token only counts an owner.

use std::ffi::c_char;
use std::ptr;

use super::boundary::{get, infallible};
use super::handle::{Handle, Sharded, release, retain_sharded};
use super::versions::versioned;
use crate::clock::{Clock, SystemClock};
use crate::secret::Secret;
use crate::token::Grant;

versioned!(
    pg_token_access_token,
    pg_token_access_token_length,
    pg_token_refresh_token,
    pg_token_refresh_token_length,
    pg_token_fingerprint,
    pg_token_lifetime_ms,
    pg_token_lifetime_disagreement_ms,
    pg_token_remaining_ms,
    pg_token_generation,
    pg_token_ref,
    pg_token_free
);

/// `pg_token` in the header.
impl Handle for Grant {
    type Ownership = Sharded;
}

fn text_of(secret: &Secret) -> *const c_char {
    secret.expose_with_nul().as_ptr().cast()
}

/// The access token, for `Authorization: Bearer …`. A secret. Never NULL for a token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| Some(text_of(&grant.token.access)))
}

/// The length of the access token in bytes, without the NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_access_token_length(token: Option<&Grant>) -> usize {
    get(token, 0, |grant| Some(grant.token.access.expose().len()))
}

/// The refresh token, NULL if there is none. A secret, more than the access token: keep it safe, or do not
/// keep it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| grant.refresh.as_ref().map(|refresh| text_of(refresh.secret())))
}

/// The length of the refresh token in bytes, without the NUL; 0 if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_refresh_token_length(token: Option<&Grant>) -> usize {
    get(token, 0, |grant| grant.refresh.as_ref().map(|refresh| refresh.secret().expose().len()))
}

/// The name of the access token for logs: 16 hexadecimal digits, the first 64 bits of its SHA-256.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_fingerprint(token: Option<&Grant>) -> *const c_char {
    get(token, ptr::null(), |grant| Some(grant.token.fingerprint().with_nul().as_ptr().cast()))
}

/// The whole life of the access token in milliseconds, from just before its request was sent: the smallest
/// value that the service states (`expires_in`, the claims of a JWT, its Date header), 300,000 if it states
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.length)))
}

/// How far the service's statements of the lifetime are apart, in milliseconds; 0 if they agree within a
/// minute. Otherwise a clock of the service is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_lifetime_disagreement_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.lifetime.disagreement)))
}

/// The rest of the access token's life in milliseconds; 0 if it has expired. By a clock that counts while the
/// machine sleeps, and that nobody can set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_remaining_ms(token: Option<&Grant>) -> i64 {
    get(token, 0, |grant| Some(milliseconds(grant.token.remaining(SystemClock.now()))))
}

/// The number of the pair in its session, from 1; 0 for a token of pg_issue_token or pg_refresh_token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_generation(token: Option<&Grant>) -> u64 {
    get(token, 0, |grant| Some(grant.generation))
}

/// Adds an owner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_ref(token: *const Grant) -> *mut Grant {
    // SAFETY: the caller is an owner, or passes NULL.
    infallible(ptr::null_mut(), || unsafe { retain_sharded(token) })
}

/// Takes an owner away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_token_free(token: *mut Grant) {
    // SAFETY: the caller is an owner that gives it up, or passes NULL.
    infallible((), || unsafe { release(token) });
}

fn milliseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
