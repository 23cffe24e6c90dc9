//! `pg_client`, and the bare calls Issue and Refresh.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::sync::Arc;

use super::boundary::{
    Output, c_text, closing, fallible, invalid, optional_sized_text, optional_text, output, producing,
    required, sized_text, text, timeout,
};
use super::handle::{Handle, Owned, give, release, share_sharded};
use super::versions::versioned;
use super::{pg_config, pg_error, pg_queue};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::Operation;
use crate::runtime;
use crate::runtime::sharded_arc::ShardedArc;
use crate::secret::Secret;
use crate::session::metrics;
use crate::status::{Fate, Status};
use crate::token::{Grant, RefreshToken, is_access_token};

versioned!(
    pg_client_new,
    pg_client_metrics,
    pg_issue_token,
    pg_issue_token_sized,
    pg_refresh_token,
    pg_refresh_token_sized,
    pg_issue_token_start,
    pg_refresh_token_start,
    pg_client_free
);

/// One service: TLS, proxy, connection pool, and perhaps credentials. A forked child makes its own
/// connections.
pub struct pg_client {
    pub(super) client: Arc<Client>,
}

impl Handle for pg_client {
    type Ownership = Owned;
}

/// Makes a client from settings. Makes no connection and starts no thread. Blocks only to read the files that
/// the settings name.
///
/// Errors: PG_ERR_MISSING_SETTING, PG_ERR_CONFLICTING_SETTINGS, PG_ERR_INVALID_SETTING (with proxy = env: a
/// variable of the environment that cannot be used), PG_ERR_FILE_UNREADABLE, PG_ERR_INVALID_CREDENTIALS_FILE,
/// PG_ERR_INVALID_PEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_client_new(
    config: Option<&pg_config>,
    client: Option<&mut MaybeUninit<*mut pg_client>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(client, "client", error, || {
        let client = Client::new(&required(config, "config")?.config)?;
        Ok(give(pg_client { client }))
    })
}

/// The health of the client's sessions as numbers, in the text format of Prometheus (0.0.4). Serve it as
/// `text/plain; version=0.0.4`. It has each session that this process has used (for a token or any other
/// call) and not closed, with two labels: `session`, its number, and `login`, a hash that distinguishes
/// accounts. It has no secret. docs/metrics.md lists the names. Free `*text` with pg_text_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_client_metrics(
    client: Option<&pg_client>,
    text: Option<&mut MaybeUninit<*mut c_char>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(text, "text", error, || {
        let metrics = metrics::of_client(&required(client, "client")?.client)?;
        Ok(c_text(&metrics).into_raw())
    })
}

/// Obtains a first pair with credentials: POST /auth/token. It spends nothing, so it may be repeated after
/// any failure. `public_key` is the base64 of the PEM file. If both texts are NULL, the credentials are those
/// of the settings. PG_TIMEOUT_DEFAULT: `issue_timeout_ms`. Blocks until the answer or the deadline.
///
/// Errors: PG_ERR_REFUSED (the credentials), PG_ERR_NO_CREDENTIALS, PG_ERR_INVALID_PEM,
/// PG_ERR_INVALID_ARGUMENT, every network and answer status. Source: "Issuing a JWT token" in the vendor's
/// documentation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_issue_token(
    client: Option<&pg_client>,
    account_id: *const c_char,
    public_key: *const c_char,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(token, "token", error, || {
        // SAFETY: the caller's texts are valid for the call.
        let (account_id, public_key) =
            unsafe { (optional_text(account_id, "account_id")?, optional_text(public_key, "public_key")?) };
        issue(client, (account_id, public_key), timeout_ms)
    })
}

/// pg_issue_token with the lengths of the texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_issue_token_sized(
    client: Option<&pg_client>,
    account_id: *const c_char,
    account_id_length: usize,
    public_key: *const c_char,
    public_key_length: usize,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(token, "token", error, || {
        // SAFETY: the caller's texts are valid for the call.
        let account_id = unsafe { optional_sized_text(account_id, account_id_length, "account_id") }?;
        // SAFETY: as above.
        let public_key = unsafe { optional_sized_text(public_key, public_key_length, "public_key") }?;
        issue(client, (account_id, public_key), timeout_ms)
    })
}

/// Obtains the next pair with a refresh token: POST /auth/token/refresh. The refresh token is presented once;
/// the library repeats nothing. `access_token` goes into the Authorization header, unless it is NULL or the
/// setting `send_bearer_on_refresh` is false; it may have expired. If the answer has no new refresh token,
/// `*token` has the old one. PG_TIMEOUT_DEFAULT: `refresh_timeout_ms`. Blocks until the answer or the
/// deadline.
///
/// Errors: PG_ERR_REFUSED, PG_ERR_INVALID_ARGUMENT, every network and answer status. After each of them,
/// pg_error_refresh_token_fate tells whether the refresh token may be presented again. Source: "Managing JWT
/// tokens" in the vendor's documentation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_refresh_token(
    client: Option<&pg_client>,
    access_token: *const c_char,
    refresh_token: *const c_char,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    with_refresh_token(refresh_token, token, error, || {
        // SAFETY: the caller's texts are valid for the call.
        let (access_token, refresh_token) =
            unsafe { (optional_text(access_token, "access_token")?, text(refresh_token, "refresh_token")?) };
        refresh(client, access_token, refresh_token, timeout_ms)
    })
}

/// pg_refresh_token with the lengths of the texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_refresh_token_sized(
    client: Option<&pg_client>,
    access_token: *const c_char,
    access_token_length: usize,
    refresh_token: *const c_char,
    refresh_token_length: usize,
    timeout_ms: i64,
    token: Option<&mut MaybeUninit<*mut Grant>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    with_refresh_token(refresh_token, token, error, || {
        // SAFETY: the caller's texts are valid for the call.
        let access_token = unsafe { optional_sized_text(access_token, access_token_length, "access_token") }?;
        // SAFETY: as above.
        let refresh_token = unsafe { sized_text(refresh_token, refresh_token_length, "refresh_token") }?;
        refresh(client, access_token, refresh_token, timeout_ms)
    })
}

/// pg_issue_token as an operation of a queue: ends in a PG_EVENT_TOKEN.
///
/// Errors: PG_ERR_INVALID_PEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_issue_token_start(
    client: Option<&pg_client>,
    queue: Option<&pg_queue>,
    id: u64,
    account_id: *const c_char,
    public_key: *const c_char,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let client = &required(client, "client")?.client;
        let queue = &required(queue, "queue")?.queue;
        let timeout = timeout(timeout_ms)?;
        // SAFETY: the caller's texts are valid for the call.
        let (account_id, public_key) =
            unsafe { (optional_text(account_id, "account_id")?, optional_text(public_key, "public_key")?) };
        let credentials = both_or_neither((account_id, public_key))?;
        runtime::handle()?;
        client.issue_start(queue.begin(id, Operation::Token)?, credentials, timeout);
        Ok(())
    })
}

/// pg_refresh_token as an operation of a queue: ends in a PG_EVENT_TOKEN, whose error has the fate of the
/// refresh token. After pg_queue_cancel the fate is PG_FATE_UNKNOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_refresh_token_start(
    client: Option<&pg_client>,
    queue: Option<&pg_queue>,
    id: u64,
    access_token: *const c_char,
    refresh_token: *const c_char,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let start = || {
            let client = &required(client, "client")?.client;
            let queue = &required(queue, "queue")?.queue;
            let timeout = timeout(timeout_ms)?;
            // SAFETY: the caller's texts are valid for the call.
            let (access, refresh) = unsafe {
                (optional_text(access_token, "access_token")?, text(refresh_token, "refresh_token")?)
            };
            let (access, refresh) = parse_tokens(access, refresh)?;
            runtime::handle()?;
            client.refresh_start(queue.begin(id, Operation::Refresh)?, access, refresh, timeout);
            Ok(())
        };
        start().map_err(|error: Error| match refresh_token.is_null() {
            true => error,
            false => error.with_fate(Fate::PG_FATE_UNSENT),
        })
    })
}

/// Frees a client. Its tokens and sessions stay valid. Does not block on the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_client_free(client: *mut pg_client) {
    // SAFETY: from pg_client_new, and the caller gives it up; or NULL.
    closing(|| unsafe { release(client) });
}

/// For exports that take a refresh token: an error before the call to the service has sent nothing of it.
fn with_refresh_token(
    refresh_token: *const c_char,
    token: Output<'_, Grant>,
    error: Output<'_, pg_error>,
    work: impl FnOnce() -> Result<*mut Grant, Error>,
) -> Status {
    fallible(error, || {
        let produced = output(token, "token").and_then(|slot| {
            slot.write(work()?);
            Ok(())
        });
        produced.map_err(|error| match error.fate {
            Fate::PG_FATE_NONE if !refresh_token.is_null() => error.with_fate(Fate::PG_FATE_UNSENT),
            _ => error,
        })
    })
}

fn issue(
    client: Option<&pg_client>,
    credentials: (Option<&str>, Option<&str>),
    timeout_ms: i64,
) -> Result<*mut Grant, Error> {
    let client = &required(client, "client")?.client;
    let timeout = timeout(timeout_ms)?;
    Ok(share_sharded(ShardedArc::new(Grant::bare(client.issue(both_or_neither(credentials)?, timeout)?))))
}

fn both_or_neither(credentials: (Option<&str>, Option<&str>)) -> Result<Option<Credentials>, Error> {
    match credentials {
        (None, None) => Ok(None),
        (Some(account_id), Some(public_key)) => Credentials::new(account_id, public_key, "issue").map(Some),
        (Some(_), None) => Err(invalid("public_key", "is NULL but account_id is not; give both or neither")),
        (None, Some(_)) => Err(invalid("account_id", "is NULL but public_key is not; give both or neither")),
    }
}

fn refresh(
    client: Option<&pg_client>,
    access_token: Option<&str>,
    refresh_token: &str,
    timeout_ms: i64,
) -> Result<*mut Grant, Error> {
    let client = &required(client, "client")?.client;
    let timeout = timeout(timeout_ms)?;
    let (access, refresh) = parse_tokens(access_token, refresh_token)?;
    Ok(share_sharded(ShardedArc::new(Grant::bare(client.refresh(access, refresh, timeout)?))))
}

fn parse_tokens(
    access_token: Option<&str>,
    refresh_token: &str,
) -> Result<(Option<Secret>, RefreshToken), Error> {
    let unusable = "is empty, or has a character that no token has";
    let access = match access_token {
        None => None,
        Some(text) => {
            Some(Secret::new(text).filter(is_access_token).ok_or_else(|| invalid("access_token", unusable))?)
        }
    };
    let refresh = Secret::new(refresh_token).ok_or_else(|| invalid("refresh_token", unusable))?;
    Ok((access, RefreshToken::new(refresh)))
}
