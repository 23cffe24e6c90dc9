//! Authenticated requests to the rest of the API: which requests are valid, and when a request is sent again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::redaction::Redactor;
use crate::secret::{Secret, Wiped};
use crate::status::Status;
use crate::token::Grant;
use crate::transport::{Limit, RawResponse, Request};

/// Headers that only the library sets: the destination, the authorization, and the framing of the request.
const RESERVED: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Servers refuse longer URLs, and the HTTP library refuses those of more than twice this length.
const LONGEST_PATH: usize = 32 * 1024;

/// A request that carries a session's token. It is checked when it is made: it can only go to the configured service.
#[derive(Debug)]
pub struct ApiRequest {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Wiped<Vec<u8>>>,
}

/// A complete response of any status. Debug shows no header and no body, which may be secret.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers, in the order in which they arrived.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Wiped<Vec<u8>>,
}

impl ApiRequest {
    /// `path` begins with a slash, may have a query, and is relative to the base URL.
    pub fn new(
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Self, Error> {
        let method = checked_method(method)?;
        let mut headers = checked_headers(headers)?;
        if body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        // For methods that usually have a body, the request states that the body is empty (RFC 9110, 8.6).
        let is_usual = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let body = body.or(is_usual.then_some(&[])).map(|body| Wiped::new(body.to_vec()));
        Ok(ApiRequest { method, path: checked_path(path)?, headers, body })
    }

    /// Builds the request to send, with the token of `grant`.
    pub(crate) fn with_token(&self, grant: &Grant, limit: Limit, timeout: Duration) -> Request {
        Request {
            method: self.method.clone(),
            path: self.path.clone().into(),
            headers: self.headers.clone(),
            bearer: Some(grant.token.access.clone()),
            body: self.body.clone(),
            limit,
            timeout,
        }
    }

    /// The request in errors and log lines, for example `POST /deals/payin`.
    pub(crate) fn name(&self) -> String {
        name(&self.method, &self.path)
    }

    /// Whether the request may be repeated without changing anything.
    pub(crate) fn is_safe(&self) -> bool {
        self.method.is_safe()
    }
}

/// A request in errors and log lines: without the query, which may hold private data, and without tokens in the path.
pub(crate) fn name(method: &Method, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let segments =
        path.split('/').map(|segment| if segment.starts_with("eyJ") { "[token]" } else { segment });
    format!("{method} /{}", segments.collect::<Vec<_>>().join("/"))
}

fn invalid(text: String) -> Error {
    Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
}

pub(crate) fn checked_method(method: &str) -> Result<Method, Error> {
    let is_word = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let parsed = Method::from_bytes(method.as_bytes()).ok().filter(|_| is_word);
    parsed.filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE)).ok_or_else(|| {
        let excerpt: String = method.chars().take(32).collect();
        invalid(format!("the argument `method` is {excerpt:?}; give GET, POST, PUT, PATCH or DELETE"))
    })
}

/// Checks the path, and returns it without its slash.
pub(crate) fn checked_path(path: &str) -> Result<String, Error> {
    let wrong = |what: &str| {
        // The path is not shown, since it may hold private data.
        invalid(format!("the argument `path` {what}; give a path below base_url, for example /wallet"))
    };
    let Some(relative) = path.strip_prefix('/') else { return Err(wrong("does not begin with a slash")) };
    if path.len() > LONGEST_PATH {
        return Err(wrong("is longer than 32,768 bytes"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
        return Err(wrong("has a character that must be percent-encoded"));
    }
    let decoded = decoded(relative.split('?').next().unwrap_or_default());
    let mut segments = decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    if segments.any(|segment| segment == "." || segment == "..") {
        return Err(wrong("has a segment `.` or `..`, which could lead out of base_url"));
    }
    Ok(relative.to_owned())
}

/// A server may decode the path before it splits it, and some drop what follows a semicolon or a NUL in a segment.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = path.to_ascii_lowercase();
    for (coded, plain) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%3b", ";"), ("%00", ";")] {
        decoded = decoded.replace(coded, plain);
    }
    Cow::Owned(decoded)
}

fn checked_headers(headers: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let mut checked = HeaderMap::new();
    for (name, value) in headers {
        let excerpt: String = name.chars().take(64).collect();
        let wrong = |what: &str| invalid(format!("the header {excerpt:?} {what}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("has no valid name"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(wrong("is set by the library; leave it out"));
        }
        // The header's value may be a secret of the caller.
        let mut value =
            HeaderValue::from_str(value).map_err(|_| wrong("has a value that is not valid in a header"))?;
        value.set_sensitive(true);
        checked
            .try_append(name, value)
            .map_err(|_| wrong("exceeds the number of headers that a request can have"))?;
    }
    Ok(checked)
}

/// Decides whether a request is sent again. Each reason counts once.
#[derive(Debug)]
pub struct Attempts {
    /// The request may be repeated without changing anything.
    is_safe: bool,
    /// The body is still there. A body that came as a stream is not.
    is_repeatable: bool,
    renewed: bool,
    repeated: bool,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The request has ended.
    Done,
    /// The token was refused: send the request once more with a newer token.
    RetryWithNewerToken,
    /// The request had no effect, or is safe to repeat: send it once more.
    Retry,
}

impl Attempts {
    /// Of a request that has not been sent.
    pub fn new(is_safe: bool, is_repeatable: bool) -> Self {
        Attempts { is_safe, is_repeatable, renewed: false, repeated: false }
    }

    /// Records that a newer token would not help.
    pub fn give_up_renewing(&mut self) {
        self.renewed = true;
    }

    /// Decides what to do after an attempt, by whether it was sent and by the HTTP status or the failure.
    pub fn after(&mut self, was_sent: bool, result: Result<u16, Status>) -> Next {
        match result {
            // The service does not act on a request whose token it refuses.
            Ok(401) if self.is_repeatable && !self.renewed => {
                self.renewed = true;
                Next::RetryWithNewerToken
            }
            Ok(_) => Next::Done,
            Err(status) => {
                // The server may have closed an idle connection at that moment. A new connection may be enough.
                let is_broken =
                    matches!(status, Status::PG_ERR_CONNECTION_LOST | Status::PG_ERR_STREAM_REFUSED);
                let is_harmless = self.is_safe || !may_be_seen(was_sent, status);
                if self.is_repeatable && is_broken && is_harmless && !self.repeated {
                    self.repeated = true;
                    return Next::Retry;
                }
                Next::Done
            }
        }
    }

    /// The error of a request with this token that has ended. It says whether the request may have acted, and does not show
    /// the token, which a proxy or a certificate may hold.
    pub fn failed(&self, was_sent: bool, token: &Secret, error: Error) -> Error {
        let may_have_acted = !self.is_safe && may_be_seen(was_sent, error.status);
        Error { may_have_acted, text: Redactor::new([token]).text(error.text), ..error }
    }
}

/// Whether the service may have seen a request that failed.
fn may_be_seen(was_sent: bool, status: Status) -> bool {
    was_sent && status != Status::PG_ERR_STREAM_REFUSED
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Response {
    /// The response that the caller gets, or an error if its body is too large.
    pub(crate) fn read(request: &ApiRequest, answer: RawResponse) -> Result<Self, Error> {
        answer.check_size().map_err(|error| Error {
            text: format!("{}: {}", request.name(), error.text),
            may_have_acted: !request.is_safe(),
            ..error
        })?;
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts of a request that is not safe to repeat.
    fn post() -> Attempts {
        Attempts::new(false, true)
    }

    fn token() -> Secret {
        Secret::new("t0ken").unwrap()
    }

    #[test]
    fn a_refused_token_is_renewed_once_and_the_second_refusal_is_returned() {
        let mut attempts = post();
        assert_eq!(attempts.after(true, Ok(401)), Next::RetryWithNewerToken);
        assert_eq!(attempts.after(true, Ok(401)), Next::Done);
    }

    #[test]
    fn after_a_broken_connection_a_safe_request_is_sent_once_more() {
        let (status, mut attempts) = (Status::PG_ERR_CONNECTION_LOST, Attempts::new(true, true));
        assert_eq!(attempts.after(true, Err(status)), Next::Retry);
        assert_eq!(attempts.after(true, Err(status)), Next::Done);
        let error = attempts.failed(true, &token(), Error::new(status, "simulated"));
        assert!(!error.may_have_acted && error.is_retryable());
    }

    #[test]
    fn a_request_that_may_have_acted_is_not_sent_again_and_the_error_says_so() {
        for status in [Status::PG_ERR_CONNECTION_LOST, Status::PG_ERR_TIMEOUT] {
            assert_eq!(post().after(true, Err(status)), Next::Done);
            let error = post().failed(true, &token(), Error::new(status, "simulated"));
            assert!(error.may_have_acted && !error.is_retryable(), "{status:?}");
        }
    }

    #[test]
    fn a_name_has_neither_the_query_nor_a_token() {
        let name = |path| ApiRequest::new("GET", path, &[], None).unwrap().name();
        assert_eq!(name("/wallet/4711?secret=x"), "GET /wallet/4711");
        assert_eq!(name("/introspect/eyJhbGciOiJIUzI1NiJ9.e30.c2ln/now"), "GET /introspect/[token]/now");
    }

    #[test]
    fn neither_an_error_nor_a_debug_line_shows_what_an_answer_repeats() {
        let error = Error::new(Status::PG_ERR_CERTIFICATE_NAME, "it is only valid for https://x/t0ken");
        assert_eq!(post().failed(false, &token(), error).text, "it is only valid for https://x/[redacted]");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("t0ken"))]);
        let body = || Wiped::new(b"t0ken".to_vec());
        let response = Response { status: 200, headers: headers.clone(), body: body() };
        let answer = RawResponse { status: 200, headers, body: body(), exceeds: None };
        assert_eq!(
            format!("{response:?} {answer:?}"),
            "Response { status: 200, .. } RawResponse { status: 200, .. }"
        );
    }

    #[test]
    fn a_request_that_the_service_has_not_seen_is_sent_again() {
        for (was_sent, status) in
            [(false, Status::PG_ERR_CONNECTION_LOST), (true, Status::PG_ERR_STREAM_REFUSED)]
        {
            assert_eq!(post().after(was_sent, Err(status)), Next::Retry);
        }
        // Nothing listens at the address: the caller decides how long to wait.
        assert_eq!(post().after(false, Err(Status::PG_ERR_CONNECT)), Next::Done);
        assert!(
            post().failed(false, &token(), Error::new(Status::PG_ERR_CONNECT, "simulated")).is_retryable()
        );
    }

    #[test]
    fn a_request_whose_body_was_a_stream_is_sent_once() {
        for is_safe in [false, true] {
            let mut attempts = Attempts::new(is_safe, false);
            assert_eq!(attempts.after(true, Ok(401)), Next::Done);
            assert_eq!(attempts.after(false, Err(Status::PG_ERR_CONNECTION_LOST)), Next::Done);
        }
    }

    #[test]
    fn a_path_stays_below_the_base_url() {
        for path in [
            "wallet",
            "",
            "/a/../b",
            "/..",
            "/%2E%2e/x",
            "/a/..%2Fb",
            "/a%5C.%2e",
            "/a/..;/b",
            "/%2e%2e%3Bx/b",
            "/a/..%00/b",
            "/a b",
            "/a#b",
            "/a\\b",
            "/ä",
            "/a\n",
        ] {
            let error = ApiRequest::new("GET", path, &[], None).unwrap_err();
            assert!(
                error.text.contains("`path`") && error.status == Status::PG_ERR_INVALID_ARGUMENT,
                "{path}"
            );
        }
        for path in
            ["/", "/wallet", "/wallet;a=1", "/fx/calculation?a=../b&c=%20", "//wallet", "/http://host/"]
        {
            assert!(ApiRequest::new("GET", path, &[], None).is_ok(), "{path}");
        }
    }

    #[test]
    fn invalid_methods_and_reserved_headers_are_refused_without_showing_values() {
        for method in ["", "get", "CONNECT", "TRACE", "GET /"] {
            assert!(ApiRequest::new(method, "/", &[], None).unwrap_err().text.contains("`method`"));
        }
        for name in ["Authorization", "host", "Content-Length", "bad name", ""] {
            let error = ApiRequest::new("GET", "/", &[(name, "hunter2")], None).unwrap_err();
            assert!(error.text.contains(&format!("{name:?}")) && !error.text.contains("hunter2"));
        }
        let split = ApiRequest::new("GET", "/", &[("X-A", "hunter2\r\nX-B: 1")], None).unwrap_err();
        assert!(!split.text.contains("hunter2"));
    }
}
