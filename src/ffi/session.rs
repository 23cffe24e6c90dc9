//! `pg_session`: the session of one account, and its tokens.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::boundary::{
    Output, c_text, closing, fallible, fast_path, infallible, invalid, null, producing, required, sized_text,
    text, timeout,
};
use super::handle::{Handle, Shared, release, retain, share, share_sharded};
use super::versions::versioned;
use super::{PG_TIMEOUT_DEFAULT, pg_client, pg_config, pg_error, pg_queue};
use crate::clock::FOREVER;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::{Level, Operation};
use crate::runtime;
use crate::runtime::sharded_arc::Published;
use crate::secret::Secret;
use crate::session::Session;
use crate::status::Status;
use crate::token::Grant;

versioned!(
    pg_session_open,
    pg_session_token,
    pg_session_token_lasting,
    pg_session_copy_access_token,
    pg_session_generation_word,
    pg_session_token_start,
    pg_session_refresh,
    pg_session_refresh_start,
    pg_session_subscribe,
    pg_session_reject,
    pg_session_set_credentials,
    pg_session_set_credentials_sized,
    pg_session_health,
    pg_session_close,
    pg_session_ref,
    pg_session_free,
    pg_text_free
);

/// One account on a client: keeps a working token, and obtains the next one in time. Counted. After a fork
/// the child may use it: it returns the inherited token, and issues a pair of its own when one is due.
pub struct pg_session {
    pub(super) session: Session,
}

impl Handle for pg_session {
    type Ownership = Shared;
}

/// Opens a session on a client. `config` has its account, or a pair (`access_token` and `refresh_token`), or
/// both; with none of them the account is the client's. For tests it has a `static_token` and none of these.
/// `config` also has the settings of the session and its store, like `keep_warm` and `on_ambiguous`; all
/// others are the client's. Makes no connection: the next pair is obtained when a caller asks for a token.
/// The client may be freed afterwards. Blocks only to read files.
///
/// A session from a pair alone cannot log in again if its refresh token is lost. Its program must keep every
/// new pair, which comes with PG_EVENT_ROTATED.
///
/// Errors: PG_ERR_NO_CREDENTIALS, PG_ERR_MISSING_SETTING, PG_ERR_CONFLICTING_SETTINGS,
/// PG_ERR_FILE_UNREADABLE, PG_ERR_INVALID_CREDENTIALS_FILE, PG_ERR_INVALID_PEM, PG_ERR_STORE,
/// PG_ERR_STORE_REFUSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_open(
    client: Option<&pg_client>,
    config: Option<&pg_config>,
    session: Option<&mut MaybeUninit<*mut pg_session>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(session, "session", error, || {
        let client = &required(client, "client")?.client;
        let session = Session::open(client, &required(config, "config")?.config)?;
        Ok(share(Arc::new(pg_session { session })))
    })
}

/// A token that works now. A fresh one comes from memory, without a lock or a call to the service. In the
/// last fifth of its life the session obtains the next pair in the background, and no caller waits. Only near
/// the very end, or without a token, callers wait: all for the same call, each until its own deadline. If the
/// deadline passes or the service cannot be reached, the token is returned as long as it lives. `*token` has
/// no refresh token: the session keeps it. Blocks until there is a token or the deadline.
///
/// Errors: PG_ERR_TIMEOUT, PG_ERR_REFUSED (the credentials; the session tries again later, see
/// pg_error_retry_after_ms), PG_ERR_CLOSED, every network and answer status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token(
    session: Option<&pg_session>,
    timeout_ms: i64,
    mut token: Option<&mut MaybeUninit<*mut Grant>>,
    mut error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    let answered = fast_path(&mut error, || {
        let slot = token.as_deref_mut()?;
        slot.write(read_fresh(session, timeout_ms, |grant| Some(share_sharded(grant.share())))?);
        Some(())
    });
    if answered { Status::PG_OK } else { token_slow_path(session, 0, timeout_ms, token, error) }
}

/// pg_session_token for a caller who needs the token for `min_remaining_ms` more: with less left, the token
/// counts as at the end of its life. A value that no token of the service can reach is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token_lasting(
    session: Option<&pg_session>,
    min_remaining_ms: i64,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    token_slow_path(session, min_remaining_ms, timeout_ms, token, error)
}

/// pg_session_token that copies the access token and a NUL to `buffer`. `*length` (`length` may be NULL) is
/// its length without the NUL, also if `capacity` is too small; 0 on any other failure. Nothing has to be
/// freed; the caller must wipe the copy.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (the buffer is too small), those of pg_session_token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_copy_access_token(
    session: Option<&pg_session>,
    timeout_ms: i64,
    buffer: *mut c_char,
    capacity: usize,
    mut length: Option<&mut usize>,
    mut error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    let answered = fast_path(&mut error, || {
        if buffer.is_null() {
            return None;
        }
        read_fresh(session, timeout_ms, |grant| {
            // SAFETY: not null; the caller's buffer has `capacity` bytes.
            unsafe { copy_text(&grant.token.access, buffer, capacity, length.as_deref_mut()) }
        })
    });
    if answered {
        Status::PG_OK
    } else {
        // SAFETY: the caller's buffer has `capacity` bytes, or is NULL.
        unsafe { copy_slow_path(session, timeout_ms, buffer, capacity, length, error) }
    }
}

/// A word that tells without a call whether a kept token may be used again, for programs in which a call is
/// expensive. It is 0 if the session must be asked, and otherwise a different number for each token. Read it
/// with acquire (one aligned load of 64 bits). If it is not 0 and equals the number of the kept token, use
/// that token. Otherwise call pg_session_token, and keep its token with the number that was read *before* the
/// call.
///
/// The word turns 0 when callers begin to wait for the next token, when a token is reported
/// (pg_session_reject), and with pg_session_close. In a forked child it is 0 until the session has been used
/// there for some seconds, or until this call. Using a kept token counts as asking once for each token. NULL
/// only for NULL. Valid until the session is freed; the memory stays readable even then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_generation_word(session: Option<&pg_session>) -> *const u64 {
    infallible(ptr::null(), || session.map_or(ptr::null(), |session| session.session.generation_word()))
}

/// pg_session_token_lasting as an operation of a queue: ends in a PG_EVENT_TOKEN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token_start(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    min_remaining_ms: i64,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        let (min_remaining, timeout) = durations(min_remaining_ms, timeout_ms)?;
        session.check_start(min_remaining)?;
        session.token_start(queue.begin(id, Operation::Token)?, timeout, min_remaining);
        Ok(())
    })
}

/// Obtains another token than the current one now, for operators and tests. A session does not need it:
/// pg_session_token refreshes in time, and pg_session_reject replaces a refused token. It makes a Refresh, or
/// an Issue if that is refused; all callers share one call, and a newer token that another process puts into
/// the store is taken too. If nothing newer comes before the deadline, that is an error; the current token
/// may live on, and pg_session_token returns it. `timeout_ms` and `*token` are those of pg_session_token.
/// Blocks until the new token or the deadline.
///
/// Errors: PG_ERR_TIMEOUT (see pg_error_cause), PG_ERR_REFUSED, PG_ERR_CLOSED, every network and answer
/// status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_refresh(
    session: Option<&pg_session>,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(token, "token", error, || {
        let session = &required(session, "session")?.session;
        Ok(share_sharded(session.refresh(timeout(timeout_ms)?.unwrap_or(FOREVER))?))
    })
}

/// pg_session_refresh as an operation of a queue: ends in a PG_EVENT_TOKEN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_refresh_start(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        runtime::handle()?;
        session.refresh_start(queue.begin(id, Operation::Token)?, timeout);
        Ok(())
    })
}

/// Puts session events on the queue from now on, with this `id`: PG_EVENT_ROTATED to PG_EVENT_RECOVERED, and
/// log lines up to `log_level` as PG_EVENT_LOG. It ends with PG_EVENT_ENDED when the session is closed or
/// after pg_queue_cancel; nothing comes after that. Any number of queues may subscribe. A forked child must
/// subscribe again.
///
/// Errors: PG_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_subscribe(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    log_level: i32,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        let level = Level::from_number(log_level)
            .ok_or_else(|| invalid("log_level", "is not a log level; give PG_LOG_NONE to PG_LOG_DEBUG"))?;
        session.subscribe(queue.begin(id, Operation::Subscription)?, level);
        Ok(())
    })
}

/// Reports that the service answered `http_status` to a request with `token`. 401 withdraws the token, and
/// the next one is obtained. A report of a token that is no longer current does nothing, so every thread may
/// report what it saw. Any other status is not about the token and changes nothing: 403 is about permissions.
/// Does not block on the network.
///
/// Errors: PG_ERR_REJECTED_FRESH (the service refuses tokens that it has just issued: the token stays current
/// for pg_error_retry_after_ms, and a report after that obtains the next one), PG_ERR_INVALID_ARGUMENT,
/// PG_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_reject(
    session: Option<&pg_session>,
    token: Option<&Grant>,
    http_status: i32,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let grant = required(token, "token")?;
        match http_status {
            401 => session.reject(*grant.token.fingerprint()),
            100..=599 => Ok(()),
            _ => {
                Err(invalid("http_status", "is not an HTTP status; give the status of the service's answer"))
            }
        }
    })
}

/// Replaces the public key of the session's account. What the old key had failed at is forgotten; the current
/// token stays. Credentials of another account are refused: open another session for them. A session from a
/// pair alone takes those of any account, once.
///
/// Errors: PG_ERR_INVALID_PEM, PG_ERR_INVALID_ARGUMENT (also: another account), PG_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_set_credentials(
    session: Option<&pg_session>,
    account_id: *const c_char,
    public_key: *const c_char,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's texts are valid for the call.
        let (account_id, public_key) =
            unsafe { (text(account_id, "account_id")?, text(public_key, "public_key")?) };
        session.set_credentials(Credentials::new(account_id, public_key, "set_credentials")?)
    })
}

/// pg_session_set_credentials with the lengths of the texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_set_credentials_sized(
    session: Option<&pg_session>,
    account_id: *const c_char,
    account_id_length: usize,
    public_key: *const c_char,
    public_key_length: usize,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's texts are valid for the call.
        let account_id = unsafe { sized_text(account_id, account_id_length, "account_id") }?;
        // SAFETY: as above.
        let public_key = unsafe { sized_text(public_key, public_key_length, "public_key") }?;
        session.set_credentials(Credentials::new(account_id, public_key, "set_credentials")?)
    })
}

/// The state of the session as a JSON object without secrets: phase, generation, fingerprint, seconds_left,
/// has_refresh_token, refreshing, obstacle (why it waits before it calls the service again),
/// obstacle_seconds_left, last_refresh (cause, seconds_ago, took_ms, succeeded), last_error,
/// clock_skew_seconds, lifetime_disagreement_seconds, lifetime_remark, file_error, store_error, counters. New
/// keys may come. docs/health.md explains them. Free `*json` with pg_text_free.
///
/// Errors: PG_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_health(
    session: Option<&pg_session>,
    json: Option<&mut MaybeUninit<*mut c_char>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(json, "json", error, || {
        let health = required(session, "session")?.session.health()?;
        let text = serde_json::to_string(&health).unwrap_or_default();
        Ok(c_text(&text).into_raw())
    })
}

/// Ends the session: waiting callers get PG_ERR_CLOSED, requests are abandoned, subscriptions end, and
/// nothing new starts. Afterwards every call on it returns PG_ERR_CLOSED; tokens that were handed out stay
/// valid. May be called again. Blocks until the call for a token that is under way ends, or the deadline.
///
/// Errors: PG_ERR_TIMEOUT (the session is closed anyway).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_close(
    session: Option<&pg_session>,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        required(session, "session")?.session.close(timeout)
    })
}

/// Adds an owner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_ref(session: *mut pg_session) -> *mut pg_session {
    // SAFETY: the caller is an owner, or passes NULL.
    infallible(ptr::null_mut(), || unsafe { retain(session) })
}

/// Takes an owner away; the last one closes the session without waiting. Does not block on the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_free(session: *mut pg_session) {
    // SAFETY: the caller is an owner that gives it up, or passes NULL.
    closing(|| unsafe { release(session) });
}

/// Frees a text that an output received.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_text_free(text: *mut c_char) {
    infallible((), || {
        if !text.is_null() {
            // SAFETY: made by CString::into_raw, and the caller gives it up.
            drop(unsafe { CString::from_raw(text) });
        }
    });
}

/// What `take` returns for the session's token, if the arguments are valid and the token is fresh. It does not panic if
/// `take` does not.
#[inline]
fn read_fresh<T>(
    session: Option<&pg_session>,
    timeout_ms: i64,
    take: impl FnOnce(&Published<Grant>) -> Option<T>,
) -> Option<T> {
    if timeout_ms < PG_TIMEOUT_DEFAULT {
        return None;
    }
    session?.session.try_read(take)
}

/// Copies a text with its NUL if it fits, and sets `length`.
///
/// # Safety
///
/// `buffer` has `capacity` writable bytes.
#[inline]
unsafe fn copy_text(
    text: &Secret,
    buffer: *mut c_char,
    capacity: usize,
    length: Option<&mut usize>,
) -> Option<()> {
    let text = text.expose_with_nul();
    if let Some(length) = length {
        *length = text.len() - 1;
    }
    if capacity < text.len() {
        return None;
    }
    // SAFETY: the caller's promise, and the text fits.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len()) };
    Some(())
}

#[cold]
#[inline(never)]
fn token_slow_path(
    session: Option<&pg_session>,
    min_remaining_ms: i64,
    timeout_ms: i64,
    token: Output<'_, Grant>,
    error: Output<'_, pg_error>,
) -> Status {
    producing(token, "token", error, || {
        let session = &required(session, "session")?.session;
        let (min_remaining, timeout) = durations(min_remaining_ms, timeout_ms)?;
        Ok(share_sharded(session.token(timeout, min_remaining)?))
    })
}

fn durations(min_remaining_ms: i64, timeout_ms: i64) -> Result<(Duration, Duration), Error> {
    let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
    let min_remaining = u64::try_from(min_remaining_ms)
        .map(Duration::from_millis)
        .map_err(|_| invalid("min_remaining_ms", "is negative; give milliseconds"))?;
    Ok((min_remaining, timeout))
}

/// # Safety
///
/// `buffer` is NULL, or has `capacity` writable bytes.
#[cold]
#[inline(never)]
unsafe fn copy_slow_path(
    session: Option<&pg_session>,
    timeout_ms: i64,
    buffer: *mut c_char,
    capacity: usize,
    mut length: Option<&mut usize>,
    error: Output<'_, pg_error>,
) -> Status {
    fallible(error, || {
        if let Some(length) = &mut length {
            **length = 0;
        }
        let session = &required(session, "session")?.session;
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        let grant = session.token(timeout, Duration::ZERO)?;
        let access = &grant.token.access;
        // SAFETY: not null; the caller's promise.
        unsafe { copy_text(access, buffer, capacity, length) }.ok_or_else(|| {
            let wanted = format!("is too small; give at least {} bytes", access.expose().len() + 1);
            invalid("capacity", &wanted)
        })
    })
}
