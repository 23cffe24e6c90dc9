//! The numbers every call answers with. They keep their C names here, so that one word is found in the
//! header, in this crate and in each binding.

/// What a call came to.
///
/// The numbers are for ever: a value is never reused and never changes its meaning. They come in groups:
/// 1-99 a mistake in the call, 100-199 in the configuration, 200-299 the network, 300-399 the service's
/// answer, 400-499 the store, 900-999 this library. New ones may be added, so treat an unknown number as a failure.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Success.
    PG_OK = 0,

    /// An argument that must not be NULL was NULL. The text names it.
    ///
    /// Mend the call.
    PG_ERR_NULL_POINTER = 1,
    /// A text argument is not valid UTF-8. The text names it.
    ///
    /// Give UTF-8.
    PG_ERR_INVALID_UTF8 = 2,
    /// An argument is empty, out of range, or holds a character that cannot be sent. The text names it.
    ///
    /// Mend the call.
    PG_ERR_INVALID_ARGUMENT = 3,
    /// The session has been closed.
    ///
    /// Open another one, or end: this is what waiting calls come to at the end of a program.
    PG_ERR_CLOSED = 4,
    /// The operation was ended by pg_queue_cancel.
    ///
    /// Nothing: whoever canceled it did not want the answer.
    PG_ERR_CANCELED = 5,
    /// No setting has that name.
    ///
    /// Look it up in the table of settings.
    PG_ERR_UNKNOWN_SETTING = 100,
    /// The value does not fit the setting.
    ///
    /// The text says what would.
    PG_ERR_INVALID_SETTING = 101,
    /// A setting without a default was not given. The text names it.
    ///
    /// Give it.
    PG_ERR_MISSING_SETTING = 102,
    /// Two settings exclude each other. The text names both.
    ///
    /// Leave one out.
    PG_ERR_CONFLICTING_SETTINGS = 103,
    /// A file that a setting names cannot be read. The text gives the setting and the path.
    ///
    /// Mend the path or the rights of the file.
    PG_ERR_FILE_UNREADABLE = 104,
    /// The credentials file is not the vendor's JSON, or lacks a key. The text gives the path and the key.
    ///
    /// Take the file as the vendor gives it.
    PG_ERR_INVALID_CREDENTIALS_FILE = 105,
    /// A public key, certificate or private key is not the PEM it should be.
    ///
    /// Compare it with the file it came from: often a line is missing or was wrapped.
    PG_ERR_INVALID_PEM = 106,
    /// Plain http to a host that is not this machine: tokens would cross the network in clear.
    ///
    /// Use https.
    PG_ERR_INSECURE_URL = 107,
    /// The call needs credentials, and neither the arguments nor the configuration hold any.
    ///
    /// Set `credentials_file`, or `account_id` and `public_key`.
    PG_ERR_NO_CREDENTIALS = 108,
    /// The host name could not be resolved. Nothing was sent.
    ///
    /// Try again; if it stays, look at the name in `base_url` and at the name servers.
    PG_ERR_DNS = 200,
    /// No connection could be made: refused, unreachable, or longer than `connect_timeout_ms`. Nothing was sent.
    ///
    /// Try again; if it stays, look at the network, the firewall and `base_url`.
    PG_ERR_CONNECT = 201,
    /// The proxy could not be reached or would not let the connection through. Nothing was sent.
    ///
    /// Look at the settings of the proxy, and whether it lets this host through.
    PG_ERR_PROXY = 202,
    /// TLS failed for a reason other than the server's certificate, for example a client certificate that the server
    /// wants. In TLS 1.3 that may come to light after the request has left.
    ///
    /// Look at the settings `tls.…`; a proxy that breaks TLS open shows here, too.
    PG_ERR_TLS = 203,
    /// The server's certificate has expired or is not yet valid (or this machine's date is wrong). Nothing was sent.
    ///
    /// Look at this machine's date; if it is right, the server's owner must act.
    PG_ERR_CERTIFICATE_EXPIRED = 204,
    /// The server's certificate comes from an issuer that is not trusted. Nothing was sent.
    ///
    /// If the issuer is one of yours, name it in `tls.ca_file`; if not, do not go on.
    PG_ERR_CERTIFICATE_UNTRUSTED = 205,
    /// The server's certificate is for another host name. Nothing was sent.
    ///
    /// Look at the host in `base_url`.
    PG_ERR_CERTIFICATE_NAME = 206,
    /// The deadline of the call passed.
    ///
    /// Try again with more time. A refresh that was under way may have spent its token: see the fate.
    PG_ERR_TIMEOUT = 207,
    /// The connection broke after the request had begun to leave.
    ///
    /// See the fate of the refresh token; a request that only reads may be made again.
    PG_ERR_CONNECTION_LOST = 208,
    /// The server did not look at the request: it refused the HTTP/2 stream, or went away before it came to it.
    ///
    /// Try again.
    PG_ERR_STREAM_REFUSED = 209,
    /// The service refused: the credentials (issue) or the refresh token (refresh).
    ///
    /// For a refresh token issue a new pair; for credentials get valid ones, the text has the service's own words.
    PG_ERR_REFUSED = 300,
    /// Too many requests (429, 425).
    ///
    /// Wait for as long as the error says (`pg_error_retry_after_ms`).
    PG_ERR_RATE_LIMITED = 301,
    /// Issue was refused, but not in the API's own way: another 4xx, or one without the API's error body.
    ///
    /// Look for a wrong `base_url`, a firewall or a proxy in between.
    PG_ERR_BLOCKED = 302,
    /// The server answered with a redirect. Redirects are never followed.
    ///
    /// Set `base_url` to where the service is.
    PG_ERR_REDIRECT = 303,
    /// The service failed (5xx, 408).
    ///
    /// Try again later.
    PG_ERR_SERVER = 304,
    /// The answer was no usable token: broken JSON, a missing or wrong field, not UTF-8, compressed unasked.
    ///
    /// Look whether `base_url` is that of the API; a page of a firewall shows here, too.
    PG_ERR_MALFORMED_ANSWER = 305,
    /// The answer is larger than `max_response_bytes`.
    ///
    /// Look whether `base_url` is that of the API; for requests of yours, raise `request_max_response_bytes`.
    PG_ERR_ANSWER_TOO_LARGE = 306,
    /// The service issued a token whose lifetime is too short to use.
    ///
    /// Try again later; look at the clocks.
    PG_ERR_BORN_EXPIRED = 307,
    /// The service refuses tokens that it has only just issued, one after the other. The next one comes after a pause
    /// (`pg_error_retry_after_ms`); until then this one goes on being served.
    ///
    /// Look at the account: its rights, whether it is blocked, or whether other processes log in with it and have no store in
    /// common.
    PG_ERR_REJECTED_FRESH = 308,
    /// The store cannot be read or written, or its lock cannot be had. The text names the store.
    ///
    /// Do what the text says. The session goes on with what it has: see the setting `on_store_down`.
    PG_ERR_STORE = 400,
    /// The store belongs to somebody else: another owner, a symbolic link, or a record of another account or version.
    ///
    /// Give a folder of this program's own, or mend its owner.
    PG_ERR_STORE_REFUSED = 401,
    /// The record is sealed, and `store_key` does not open it: another key, or it was tampered with. Nothing was
    /// changed.
    ///
    /// Give the key that it was sealed with; several may be given, the first seals.
    PG_ERR_STORE_KEY = 402,
    /// A defect of this library. The text gives the place; no state was lost.
    ///
    /// Report it, with the text.
    PG_ERR_INTERNAL = 900,
    /// The operating system would not give what the library needs: its thread, or the system's trust roots.
    ///
    /// The text says what; look at the limits of the process.
    PG_ERR_SYSTEM = 901,
}

impl Status {
    /// Every status, in the order of the numbers.
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

    /// Whether the same call may succeed later with nothing changed on this side.
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

/// What became of the refresh token that a failed call was given.
///
/// The rule behind it: a refresh token is never presented twice once a byte of it may have left this machine.
#[allow(non_camel_case_types, reason = "the names are the C header's")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Fate {
    /// The call carried no refresh token.
    #[default]
    PG_FATE_NONE = 0,
    /// No byte of it left this machine: it may be presented again.
    PG_FATE_UNSENT = 1,
    /// The server said that it did not use it (429, 425, an HTTP/2 stream that it refused or did not come to): it may be
    /// presented again.
    PG_FATE_NOT_CONSUMED = 2,
    /// The server refused it: issue a new pair.
    PG_FATE_REFUSED = 3,
    /// It may have been spent, and the answer was lost: never present it again, issue a new pair.
    PG_FATE_UNKNOWN = 4,
}
