//! `pg_session`: one account's life.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::boundary::{
    Output, c_text, fallible, fast_path, infallible, invalid, null, producing, required, sized_text, text,
    timeout,
};
use super::handle::{Handle, Shared, release, retain, share};
use super::{PG_TIMEOUT_DEFAULT, pg_client, pg_config, pg_error, pg_queue};
use crate::clock::FOREVER;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::{Level, Operation};
use crate::runtime;
use crate::secret::Secret;
use crate::session::Session;
use crate::status::Status;
use crate::token::Grant;

/// One account's life on a client: it has a token that works, and sees to the next one. Counted: pg_session_ref adds
/// an owner, pg_session_free takes one away. Any number of threads may use it at once. After a fork the child may go
/// on using it: it serves the token that it inherited and issues a pair of its own when that is due.
pub struct pg_session {
    pub(super) session: Session,
}

impl Handle for pg_session {
    type Ownership = Shared;
}

/// Opens a session on a client for the account that the settings name (or, if they name none, those of the client), or
/// from a pair (`access_token` and `refresh_token`), or from both. Besides these it takes `keep_warm` and `on_ambiguous`
/// from the settings; all else is the client's. Reads the files that they name; connects nowhere: the next pair is bought
/// when somebody asks. A session from a pair alone cannot begin anew when its refresh token is lost; its host keeps
/// every new pair, which comes with PG_EVENT_ROTATED. `*session` is owned by the caller, and NULL on failure; the client
/// must not be freed before the call ends, but may be then. Blocks only on reading files.
///
/// Errors: PG_ERR_NO_CREDENTIALS, PG_ERR_MISSING_SETTING, PG_ERR_CONFLICTING_SETTINGS, PG_ERR_FILE_UNREADABLE,
/// PG_ERR_INVALID_CREDENTIALS_FILE, PG_ERR_INVALID_PEM, PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_open(
    client: Option<&pg_client>,
    config: Option<&pg_config>,
    session: Option<&mut *mut pg_session>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(session, "session", error, || {
        let client = &required(client, "client")?.client;
        let session = Session::open(client, &required(config, "config")?.config)?;
        Ok(share(Arc::new(pg_session { session })))
    })
}

/// A token that works now. While the token is fresh it comes from memory, without a lock or a call to the service. In
/// the last fifth of its life the next pair is bought in the background, and nobody waits. Only near the very end, or
/// where there is no token, callers wait: all for the same call, each to its own deadline. `timeout_ms` 0 never
/// blocks and answers what there is; PG_TIMEOUT_DEFAULT waits as long as it takes. Where the deadline passes or the
/// service cannot be reached, the token is handed out as long as it lives. `*token` is owned by the caller, and NULL on
/// failure; it has no refresh token, which the session keeps to itself. Any thread; works in a forked child.
///
/// Errors: PG_ERR_TIMEOUT, PG_ERR_REFUSED (the credentials; tried again after a while, see retry_after_ms),
/// PG_ERR_CLOSED, every network and answer status.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token(
    session: Option<&pg_session>,
    timeout_ms: i64,
    mut token: Option<&mut *mut Grant>,
    mut error: Option<&mut *mut pg_error>,
) -> Status {
    let answered = fast_path(&mut error, || {
        let slot = token.as_deref_mut()?;
        *slot = read_fresh(session, timeout_ms, |grant| Some(share(grant.clone())))?;
        Some(())
    });
    if answered { Status::PG_OK } else { token_slow_path(session, 0, timeout_ms, token, error) }
}

/// pg_session_token for a caller who needs the token to live for `min_remaining_ms` more: less is treated as the end
/// of its life. A wish that no token of the service can fulfil is not heeded.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token_lasting(
    session: Option<&pg_session>,
    min_remaining_ms: i64,
    timeout_ms: i64,
    token: Option<&mut *mut Grant>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    token_slow_path(session, min_remaining_ms, timeout_ms, token, error)
}

/// pg_session_token for a caller who wants the access token in memory of its own: it is copied to `buffer`, with a NUL
/// behind it. `*length` (which may be NULL) is set to its length, the NUL not counted, also where `capacity` is too
/// small; 0 on any other failure. Nothing has to be freed; the copy is the caller's to wipe. Any thread; works in a
/// forked child.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (the buffer is too small), those of pg_session_token.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_copy_access_token(
    session: Option<&pg_session>,
    timeout_ms: i64,
    buffer: *mut c_char,
    capacity: usize,
    mut length: Option<&mut usize>,
    mut error: Option<&mut *mut pg_error>,
) -> Status {
    let answered = fast_path(&mut error, || {
        if buffer.is_null() {
            return None;
        }
        read_fresh(session, timeout_ms, |grant| {
            // SAFETY: not null; the caller's buffer of `capacity` bytes.
            unsafe { copy_text(&grant.token.access, buffer, capacity, length.as_deref_mut()) }
        })
    });
    if answered {
        Status::PG_OK
    } else {
        // SAFETY: the caller's buffer of `capacity` bytes, or NULL.
        unsafe { copy_slow_path(session, timeout_ms, buffer, capacity, length, error) }
    }
}

/// The word that tells whether a token that the caller holds already may be used again, without a call: for programs to
/// which a call costs more than a look at memory. It is 0 where the session has to be asked, and otherwise another number
/// for each token. So read it (one aligned load of 64 bits, with acquire); where it is not 0 and the number under which a
/// token was kept, use that token; else call pg_session_token, and keep what it gives under the number that was read
/// *before* the call. It turns 0 at the moment when callers begin to wait for the next token, when a token was reported,
/// and with pg_session_close; in a forked child it is 0 until the session has been asked there for some seconds, or this
/// function has been called. Such use counts as asking once for each token. Never NULL for a session, NULL for NULL;
/// valid until the session is freed, and the memory stays readable even then. Any thread; does not block.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_generation_word(session: Option<&pg_session>) -> *const u64 {
    infallible(ptr::null(), || session.map_or(ptr::null(), |session| session.session.generation_word()))
}

/// pg_session_token_lasting without waiting: the answer comes as the PG_EVENT_TOKEN of that number on the queue, once, also
/// after a failure, pg_queue_cancel or pg_session_close. `id` is the caller's, and unlike that of anything else under way
/// on the queue. Neither session nor queue must be freed before the call ends. Any thread; never blocks.
///
/// Errors (nothing was started): PG_ERR_INVALID_ARGUMENT, PG_ERR_NULL_POINTER, PG_ERR_SYSTEM (the library's thread cannot be
/// started). All else comes with the event.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_token_start(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    min_remaining_ms: i64,
    timeout_ms: i64,
    error: Option<&mut *mut pg_error>,
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

/// Another token than the one there is, got now: what an operator reaches for, or a test. With a Refresh, or an Issue
/// where that is refused; all who ask meanwhile share one call, and what others put into the store in the meantime will do.
/// Not needed in the life of a session: pg_session_token refreshes in time, and pg_session_reject replaces a token that
/// the service refused. Where nothing newer comes before the deadline that is an error; the token there is may live on and
/// is still to be had. `timeout_ms` and `*token` are those of pg_session_token. Any thread; blocks until the deadline.
///
/// Errors: PG_ERR_TIMEOUT (see pg_error_cause), PG_ERR_REFUSED, PG_ERR_CLOSED, every network and answer status.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_refresh(
    session: Option<&pg_session>,
    timeout_ms: i64,
    token: Option<&mut *mut Grant>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(token, "token", error, || {
        let session = &required(session, "session")?.session;
        Ok(share(session.refresh(timeout(timeout_ms)?.unwrap_or(FOREVER))?))
    })
}

/// pg_session_refresh without waiting: the answer comes as the PG_EVENT_TOKEN of that number on the queue, as that of
/// pg_session_token_start does. Any thread; never blocks.
///
/// Errors (nothing was started): PG_ERR_INVALID_ARGUMENT, PG_ERR_NULL_POINTER, PG_ERR_SYSTEM (the library's thread cannot be
/// started). All else comes with the event.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_refresh_start(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    timeout_ms: i64,
    error: Option<&mut *mut pg_error>,
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

/// News of the session from now on, each as an event of that number on the queue: PG_EVENT_ROTATED and its kin, and the lines
/// of the session's log up to `log_level` as PG_EVENT_LOG. It ends with PG_EVENT_ENDED when the session is closed or
/// pg_queue_cancel is called; nothing comes after that. Any number of queues may subscribe. A forked child subscribes anew.
/// Any thread; never blocks.
///
/// Errors (nothing was started): PG_ERR_INVALID_ARGUMENT, PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_subscribe(
    session: Option<&pg_session>,
    queue: Option<&pg_queue>,
    id: u64,
    log_level: i32,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let queue = &required(queue, "queue")?.queue;
        let level = Level::from_number(log_level)
            .ok_or_else(|| invalid("log_level", "is none; give PG_LOG_NONE to PG_LOG_DEBUG"))?;
        session.subscribe(queue.begin(id, Operation::Subscription)?, level);
        Ok(())
    })
}

/// The service answered `http_status` to a request with `token`: 401 withdraws it, and the next one is bought. A token
/// that is no longer the session's costs nothing, so every thread may report what it saw. Any other status is not
/// about the token and changes nothing: 403 speaks of rights. `token` is borrowed. Any thread; does not block on the
/// network.
///
/// Errors: PG_ERR_REJECTED_FRESH (the service refuses tokens that it has just issued: the next one is got by a report after
/// pg_error_retry_after_ms, until then the token goes on being served), PG_ERR_CLOSED, PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_reject(
    session: Option<&pg_session>,
    token: Option<&Grant>,
    http_status: i32,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        let grant = required(token, "token")?;
        match http_status {
            401 => session.reject(*grant.token.fingerprint()),
            100..=599 => Ok(()),
            _ => Err(invalid("http_status", "is no HTTP status; give the one that the service answered")),
        }
    })
}

/// Replaces the key of the session's account. What was held against the old one is forgotten; the current token goes on
/// being served. A session belongs to one account: credentials of another one are refused, open another session for them. A
/// session from a pair alone takes those of any account, once. Both texts are copied. Any thread; does not block.
///
/// Errors: PG_ERR_INVALID_PEM, PG_ERR_INVALID_ARGUMENT (among others: another account), PG_ERR_CLOSED, PG_ERR_NULL_POINTER, PG_ERR_INVALID_UTF8.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_set_credentials(
    session: Option<&pg_session>,
    account_id: *const c_char,
    public_key: *const c_char,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's texts, good for the call.
        let (account_id, public_key) =
            unsafe { (text(account_id, "account_id")?, text(public_key, "public_key")?) };
        session.set_credentials(Credentials::new(account_id, public_key, "set_credentials")?)
    })
}

/// pg_session_set_credentials for texts that are not NUL-terminated.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_set_credentials_sized(
    session: Option<&pg_session>,
    account_id: *const c_char,
    account_id_length: usize,
    public_key: *const c_char,
    public_key_length: usize,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let session = &required(session, "session")?.session;
        // SAFETY: the caller's texts, good for the call.
        let account_id = unsafe { sized_text(account_id, account_id_length, "account_id") }?;
        // SAFETY: as above.
        let public_key = unsafe { sized_text(public_key, public_key_length, "public_key") }?;
        session.set_credentials(Credentials::new(account_id, public_key, "set_credentials")?)
    })
}

/// How the session is, as a JSON object without secrets: phase, generation, fingerprint, seconds_left,
/// has_refresh_token, refreshing, obstacle (why it waits before it calls the service again) and obstacle_seconds_left,
/// last_refresh (cause, seconds_ago, took_ms, succeeded), last_error, clock_skew_seconds,
/// lifetime_disagreement_seconds, lifetime_remark, file_error, store_error, counters. New keys may be added.
/// `*json` is owned by the caller, who frees it with pg_text_free, and NULL on failure. Any thread; does not block.
///
/// Errors: PG_ERR_CLOSED, PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_health(
    session: Option<&pg_session>,
    json: Option<&mut *mut c_char>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(json, "json", error, || {
        let health = required(session, "session")?.session.health()?;
        let text = serde_json::to_string(&health).unwrap_or_default();
        Ok(c_text(&text).into_raw())
    })
}

/// Ends the session's work: callers who wait get PG_ERR_CLOSED, requests are given up, subscriptions end, nothing is begun
/// any more, and a call for a token that is under way is waited for until `timeout_ms` (PG_TIMEOUT_DEFAULT: as long as it takes). Afterwards every call on the session
/// answers PG_ERR_CLOSED; tokens that were handed out live on. May be called again.
///
/// Errors: PG_ERR_TIMEOUT (closed all the same), PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_close(
    session: Option<&pg_session>,
    timeout_ms: i64,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        required(session, "session")?.session.close(timeout)
    })
}

/// Adds an owner: one more pg_session_free is needed. Returns `session`; NULL for NULL. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_ref(session: *mut pg_session) -> *mut pg_session {
    // SAFETY: NULL, or an owner asks.
    infallible(ptr::null_mut(), || unsafe { retain(session) })
}

/// Takes an owner away; with the last one the session is closed without waiting. NULL is fine. Any thread; never
/// blocks on the network.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_session_free(session: *mut pg_session) {
    // SAFETY: NULL, or an owner gives its share up.
    infallible((), || unsafe { release(session) });
}

/// Frees a text that the library made. NULL is fine. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_text_free(text: *mut c_char) {
    infallible((), || {
        if !text.is_null() {
            // SAFETY: made by CString::into_raw, and the caller gives it up.
            drop(unsafe { CString::from_raw(text) });
        }
    });
}

/// What `take` makes of the session's token, if the arguments are good and it is fresh. Without a panic, as long as `take`
/// has none.
#[inline]
fn read_fresh<T>(
    session: Option<&pg_session>,
    timeout_ms: i64,
    take: impl FnOnce(&Arc<Grant>) -> Option<T>,
) -> Option<T> {
    if timeout_ms < PG_TIMEOUT_DEFAULT {
        return None;
    }
    session?.session.try_read(take)
}

/// Copies a text with its NUL, if it fits, and tells its length.
///
/// # Safety
///
/// `capacity` bytes are writable at `buffer`.
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
        Ok(share(session.token(timeout, min_remaining)?))
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
/// NULL, or `capacity` bytes are writable at `buffer`.
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
