//! Translates an error of the HTTP library to a status, by types and kinds, never by the text.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::{CertificateError, Error as TlsError, OtherError};

use crate::error::{Error, excerpt};
use crate::status::Status;

/// A host name that did not resolve. It has its own type to distinguish it from a refused connection.
#[derive(Debug)]
pub(super) struct ResolveError {
    pub(super) host: String,
    pub(super) error: io::Error,
}

impl std::fmt::Display for ResolveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.host, self.error)
    }
}

impl StdError for ResolveError {}

pub(super) struct Fault {
    pub(super) status: Status,
    /// The text of the innermost cause.
    cause: String,
    /// Advice that is more specific than that of the status.
    advice: Option<&'static str>,
}

impl Fault {
    pub(super) fn text(&self) -> String {
        format!("{}; {}", excerpt(&self.cause), self.advice.unwrap_or(advice(self.status)))
    }
}

/// Certificates made by `openssl req -x509` have this form.
const AUTHORITY: &str = "the server shows a certificate of an authority (CA:TRUE) as its own: its owner must give it one \
                         that an authority has issued for a server (CA:FALSE), and tls.ca_file must hold that authority";

/// A container's filter of system calls may be the reason.
const NO_RANDOM: &str =
    "the system gives no random numbers, so nothing was sent; check that getrandom is allowed";

pub(super) const RESOLUTION: &str =
    "check this machine's name resolution (/etc/hosts, and the servers in /etc/resolv.conf)";

/// The fault of a connection that was not made in time because the resolver had not answered.
pub(super) fn unresolved(host: &str, limit: Duration, through_proxy: bool) -> Fault {
    let status = if through_proxy { Status::PG_ERR_PROXY } else { Status::PG_ERR_DNS };
    let limit = limit.as_millis();
    let cause = format!("name resolution of {host} has not answered within connect_timeout_ms = {limit}");
    Fault { status, cause, advice: Some(RESOLUTION) }
}

pub(super) fn classify(error: &reqwest::Error, host: Option<&str>, through_proxy: bool) -> Fault {
    let mut status = None;
    let mut advice = None;
    let mut is_tls = false;
    let mut cause = String::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(source) = next {
        status = status.or_else(|| own_status(source, host));
        advice = advice.or_else(|| tls_advice(source.downcast_ref()?));
        is_tls |= io_error(source).is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
        cause = cause_text(source);
        next = inner(source);
    }
    let fallback = match (error.is_connect(), through_proxy) {
        _ if is_tls => Status::PG_ERR_TLS,
        (true, true) => Status::PG_ERR_PROXY,
        (true, false) => Status::PG_ERR_CONNECT,
        (false, _) => Status::PG_ERR_CONNECTION_LOST,
    };
    Fault { status: status.unwrap_or(fallback), cause, advice }
}

/// Without the debug data of a GOAWAY: the server chooses it, and may repeat a token there.
fn cause_text(source: &(dyn StdError + 'static)) -> String {
    let go_away = source.downcast_ref::<h2::Error>().filter(|error| error.is_go_away());
    match go_away.and_then(h2::Error::reason) {
        Some(reason) => format!("the connection was ended over HTTP/2: {reason}"),
        None => source.to_string(),
    }
}

/// An HTTP/2 error keeps only the kind and the text of the I/O error below it. The TLS library uses `InvalidData`, for
/// example for the TLS 1.3 alert "certificate required".
fn io_error<'a>(source: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    source.downcast_ref().or_else(|| source.downcast_ref::<h2::Error>()?.get_io())
}

/// The next cause. An `io::Error` hides the error it wraps from `source`.
fn inner<'a>(source: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match source.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => source.source(),
    }
}

fn own_status(source: &(dyn StdError + 'static), host: Option<&str>) -> Option<Status> {
    if let Some(unresolved) = source.downcast_ref::<ResolveError>() {
        let ours = host == Some(unresolved.host.as_str());
        return Some(if ours { Status::PG_ERR_DNS } else { Status::PG_ERR_PROXY });
    }
    if let Some(error) = source.downcast_ref::<TlsError>() {
        return Some(tls_status(error));
    }
    // An error of this library, for example a thread that the system refused.
    if let Some(error) = source.downcast_ref::<Error>() {
        return Some(error.status);
    }
    // RFC 9113, 8.7: the server has not processed a stream that it refused with REFUSED_STREAM, nor one after the last
    // stream of its GOAWAY. Other streams do not get this error.
    let is_unprocessed = source.downcast_ref::<h2::Error>().is_some_and(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (is_refused || error.is_go_away())
    });
    is_unprocessed.then_some(Status::PG_ERR_STREAM_REFUSED)
}

fn tls_status(error: &TlsError) -> Status {
    use CertificateError as Why;
    match error {
        TlsError::InvalidCertificate(why) => match why {
            Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. } => {
                Status::PG_ERR_CERTIFICATE_EXPIRED
            }
            Why::NotValidForName | Why::NotValidForNameContext { .. } => Status::PG_ERR_CERTIFICATE_NAME,
            _ => Status::PG_ERR_CERTIFICATE_UNTRUSTED,
        },
        TlsError::FailedToGetRandomBytes => Status::PG_ERR_SYSTEM,
        _ => Status::PG_ERR_TLS,
    }
}

fn tls_advice(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::FailedToGetRandomBytes => Some(NO_RANDOM),
        error => is_authority_as_server(error).then_some(AUTHORITY),
    }
}

fn is_authority_as_server(error: &TlsError) -> bool {
    let TlsError::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else { return false };
    why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// What the operator can do.
pub(super) fn advice(status: Status) -> &'static str {
    match status {
        Status::PG_ERR_DNS => {
            "check the host in base_url, and this machine's name resolution (/etc/hosts, and the servers in /etc/resolv.conf)"
        }
        Status::PG_ERR_CONNECT => {
            "check base_url, connect_timeout_ms, and that the host is reachable from here"
        }
        Status::PG_ERR_PROXY => "check the setting proxy, and that the proxy lets this host through",
        Status::PG_ERR_TLS => {
            "check that base_url is an https server, and the client certificate if it asks for one: it must be one issued for \
             a client, not that of an authority"
        }
        Status::PG_ERR_CERTIFICATE_EXPIRED => {
            "check this machine's date; otherwise the server's owner must renew it"
        }
        Status::PG_ERR_CERTIFICATE_UNTRUSTED => "set tls.ca_file if the server has an authority of its own",
        Status::PG_ERR_CERTIFICATE_NAME => {
            "check that base_url has the host name that the certificate is for"
        }
        Status::PG_ERR_STREAM_REFUSED => "the server is going away or busy",
        Status::PG_ERR_SYSTEM => "nothing was sent",
        _ => "check the network between here and the host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_that_the_system_refuses_is_no_fault_of_the_server() {
        let error = TlsError::FailedToGetRandomBytes;
        assert_eq!(tls_status(&error), Status::PG_ERR_SYSTEM);
        assert_eq!(tls_advice(&error), Some(NO_RANDOM));
        // In the form in which the HTTP library returns the error.
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
        assert_eq!(inner(&wrapped).and_then(|source| own_status(source, None)), Some(Status::PG_ERR_SYSTEM));
    }
}
