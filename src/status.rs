//! The statuses of the C interface, and the fate of a refresh token. They have their C names here, so that one search
//! finds a name in the header, in this crate and in each binding.

/// The result of a call.
///
/// A number is never reused and never changes its meaning. 1-99: a mistake in the call; 100-199: in the
/// configuration; 200-299: the network; 300-399: the service's answer; 400-499: the store; 900-999: this
/// library or the system. New numbers may come: treat an unknown one as a failure.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Success.
    PG_OK = 0,

    /// An argument that must not be NULL is NULL. The error text names it.
    ///
    /// Fix the call.
    PG_ERR_NULL_POINTER = 1,
    /// A text argument is not valid UTF-8. The error text names it.
    ///
    /// Pass UTF-8.
    PG_ERR_INVALID_UTF8 = 2,
    /// An argument is empty, out of range, or has a character that cannot be sent. The error text names it.
    ///
    /// Fix the call.
    PG_ERR_INVALID_ARGUMENT = 3,
    /// The session is closed.
    ///
    /// Open another session, or stop: waiting calls end with this status when the program closes the session.
    PG_ERR_CLOSED = 4,
    /// pg_queue_cancel ended the operation.
    ///
    /// Do nothing: the program asked for it.
    PG_ERR_CANCELED = 5,
    /// No setting has this name.
    ///
    /// Look the name up in the table of settings.
    PG_ERR_UNKNOWN_SETTING = 100,
    /// The value is not valid for the setting.
    ///
    /// Set a value that the error text describes.
    PG_ERR_INVALID_SETTING = 101,
    /// A setting without a default is missing. The error text names it.
    ///
    /// Set it.
    PG_ERR_MISSING_SETTING = 102,
    /// Two settings exclude each other. The error text names both.
    ///
    /// Leave one out.
    PG_ERR_CONFLICTING_SETTINGS = 103,
    /// A file that a setting names cannot be read. The error text has the setting and the path.
    ///
    /// Fix the path or the permissions of the file.
    PG_ERR_FILE_UNREADABLE = 104,
    /// The credentials file is not the vendor's JSON, or lacks a key. The error text has the path and the
    /// key.
    ///
    /// Use the file as the vendor provides it.
    PG_ERR_INVALID_CREDENTIALS_FILE = 105,
    /// A public key, certificate or private key is not valid PEM of its kind.
    ///
    /// Compare it with the original file: often a line is missing or was wrapped.
    PG_ERR_INVALID_PEM = 106,
    /// The URL is plain http to a host that is not this machine: tokens would cross the network unencrypted.
    ///
    /// Use https.
    PG_ERR_INSECURE_URL = 107,
    /// The call needs credentials, and neither the arguments nor the configuration have any.
    ///
    /// Set `credentials_file`, or `account_id` and `public_key`.
    PG_ERR_NO_CREDENTIALS = 108,
    /// The host name could not be resolved, or not within `connect_timeout_ms`. Nothing was sent.
    ///
    /// Try again. If it persists, check the name in `base_url` and the name servers.
    PG_ERR_DNS = 200,
    /// No connection: refused, unreachable, or not made within `connect_timeout_ms`. Nothing was sent.
    ///
    /// Try again. If it persists, check the network, the firewall and `base_url`.
    PG_ERR_CONNECT = 201,
    /// The proxy could not be reached, or did not allow the connection. Nothing was sent.
    ///
    /// Check the settings of the proxy, and whether it allows this host.
    PG_ERR_PROXY = 202,
    /// TLS failed, but not because of the server's certificate; for example, the server requires a client
    /// certificate. With TLS 1.3 this can show after the request was sent.
    ///
    /// Check the settings `tls.…`. A proxy that intercepts TLS can also be the cause.
    PG_ERR_TLS = 203,
    /// The server's certificate has expired or is not yet valid, or this machine's date is wrong. Nothing was
    /// sent.
    ///
    /// Check this machine's date. If it is right, the server's operator must act.
    PG_ERR_CERTIFICATE_EXPIRED = 204,
    /// The issuer of the server's certificate is not trusted. Nothing was sent.
    ///
    /// If the issuer is your own, set `tls.ca_file`. If not, stop.
    PG_ERR_CERTIFICATE_UNTRUSTED = 205,
    /// The server's certificate is for another host name. Nothing was sent.
    ///
    /// Check the host in `base_url`.
    PG_ERR_CERTIFICATE_NAME = 206,
    /// The deadline of the call passed.
    ///
    /// Try again with a longer timeout. A refresh may have spent its refresh token: check the fate.
    PG_ERR_TIMEOUT = 207,
    /// The connection broke after a part of the request was sent.
    ///
    /// Check the fate of the refresh token. A request that only reads may be repeated.
    PG_ERR_CONNECTION_LOST = 208,
    /// The server did not process the request: it refused the HTTP/2 stream, or closed the connection first.
    ///
    /// Try again.
    PG_ERR_STREAM_REFUSED = 209,
    /// The service refused the credentials (issue) or the refresh token (refresh).
    ///
    /// For a refresh token, issue a new pair. For credentials, get valid ones: the error text has the
    /// service's message.
    PG_ERR_REFUSED = 300,
    /// Too many requests (HTTP 429 or 425).
    ///
    /// Wait as long as the error says (`pg_error_retry_after_ms`).
    PG_ERR_RATE_LIMITED = 301,
    /// Issue was refused, but not by the API: another 4xx, or one without the API's error body.
    ///
    /// Look for a wrong `base_url`, or a firewall or proxy in between.
    PG_ERR_BLOCKED = 302,
    /// The server answered with a redirect. Redirects are never followed.
    ///
    /// Set `base_url` to the address of the service.
    PG_ERR_REDIRECT = 303,
    /// The service failed (HTTP 5xx or 408).
    ///
    /// Try again later.
    PG_ERR_SERVER = 304,
    /// The answer has no usable token: broken JSON, a missing or wrong field, not UTF-8, or unrequested
    /// compression.
    ///
    /// Check that `base_url` is the address of the API. A firewall's error page can also be the cause.
    PG_ERR_MALFORMED_ANSWER = 305,
    /// The answer is larger than `max_response_bytes`.
    ///
    /// Check that `base_url` is the address of the API. For your own requests, raise
    /// `request_max_response_bytes`.
    PG_ERR_ANSWER_TOO_LARGE = 306,
    /// The service issued a token whose lifetime is too short to use.
    ///
    /// Try again later, and check the clocks.
    PG_ERR_BORN_EXPIRED = 307,
    /// The service refuses tokens that it has just issued, one after the other. The next one comes after a
    /// pause (`pg_error_retry_after_ms`); until then the session returns this one.
    ///
    /// Check the account: its permissions, whether it is blocked, and whether other processes use it without
    /// sharing a store.
    PG_ERR_REJECTED_FRESH = 308,
    /// The store cannot be read, written or locked. The error text names the store.
    ///
    /// Do what the error text says. The session goes on with what it has: see the setting `on_store_down`.
    PG_ERR_STORE = 400,
    /// The store is not this program's: it has another owner, is a symbolic link, or has a record of another
    /// account or version.
    ///
    /// Use a folder of this program's own, or fix its owner.
    PG_ERR_STORE_REFUSED = 401,
    /// The record is sealed, and `store_key` does not open it: it was sealed with another key, or tampered
    /// with. Nothing was changed.
    ///
    /// Set the key that sealed it. Several keys may be set; the first one seals.
    PG_ERR_STORE_KEY = 402,
    /// A defect of this library. The error text has its place; no state was lost.
    ///
    /// Report it, with the error text.
    PG_ERR_INTERNAL = 900,
    /// The operating system did not provide what the library needs: its thread, or the system's trust roots.
    ///
    /// Read the error text, and check the limits of the process.
    PG_ERR_SYSTEM = 901,
}

impl Status {
    /// Every status, ordered by number.
    pub const ALL: &'static [Status] = {
        use Status::*;
        &[
            PG_OK,
            PG_ERR_NULL_POINTER,
            PG_ERR_INVALID_UTF8,
            PG_ERR_INVALID_ARGUMENT,
            PG_ERR_CLOSED,
            PG_ERR_CANCELED,
            PG_ERR_UNKNOWN_SETTING,
            PG_ERR_INVALID_SETTING,
            PG_ERR_MISSING_SETTING,
            PG_ERR_CONFLICTING_SETTINGS,
            PG_ERR_FILE_UNREADABLE,
            PG_ERR_INVALID_CREDENTIALS_FILE,
            PG_ERR_INVALID_PEM,
            PG_ERR_INSECURE_URL,
            PG_ERR_NO_CREDENTIALS,
            PG_ERR_DNS,
            PG_ERR_CONNECT,
            PG_ERR_PROXY,
            PG_ERR_TLS,
            PG_ERR_CERTIFICATE_EXPIRED,
            PG_ERR_CERTIFICATE_UNTRUSTED,
            PG_ERR_CERTIFICATE_NAME,
            PG_ERR_TIMEOUT,
            PG_ERR_CONNECTION_LOST,
            PG_ERR_STREAM_REFUSED,
            PG_ERR_REFUSED,
            PG_ERR_RATE_LIMITED,
            PG_ERR_BLOCKED,
            PG_ERR_REDIRECT,
            PG_ERR_SERVER,
            PG_ERR_MALFORMED_ANSWER,
            PG_ERR_ANSWER_TOO_LARGE,
            PG_ERR_BORN_EXPIRED,
            PG_ERR_REJECTED_FRESH,
            PG_ERR_STORE,
            PG_ERR_STORE_REFUSED,
            PG_ERR_STORE_KEY,
            PG_ERR_INTERNAL,
            PG_ERR_SYSTEM,
        ]
    };

    /// Whether the same call may succeed later although the caller changes nothing.
    pub fn is_transient(self) -> bool {
        use Status::*;
        matches!(
            self,
            PG_ERR_DNS
                | PG_ERR_CONNECT
                | PG_ERR_PROXY
                | PG_ERR_TLS
                | PG_ERR_TIMEOUT
                | PG_ERR_CONNECTION_LOST
                | PG_ERR_STREAM_REFUSED
                | PG_ERR_RATE_LIMITED
                | PG_ERR_SERVER
                | PG_ERR_MALFORMED_ANSWER
                | PG_ERR_BORN_EXPIRED
                | PG_ERR_STORE
                | PG_ERR_SYSTEM
        )
    }
}

/// What happened to the refresh token of a failed call.
///
/// The rule: a refresh token is never presented twice once a byte of it may have left this machine.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Fate {
    /// The call had no refresh token.
    #[default]
    PG_FATE_NONE = 0,
    /// No byte of it left this machine: it may be presented again.
    PG_FATE_UNSENT = 1,
    /// The server said that it did not use it (429, 425, or a refused or unprocessed HTTP/2 stream): it may
    /// be presented again.
    PG_FATE_NOT_CONSUMED = 2,
    /// The server refused it: issue a new pair.
    PG_FATE_REFUSED = 3,
    /// It may be spent, and the answer was lost: never present it again, issue a new pair.
    PG_FATE_UNKNOWN = 4,
}
