//! The connection to the service: sends one request, returns one answer or error, and records whether a byte has left.

mod admission;
mod fault;
mod http;
#[cfg(any(test, target_env = "musl"))]
mod name_servers;
mod proxy;
mod resolver;
mod send_latch;
mod tls;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AsHeaderName, HeaderMap};

use crate::clock::Moment;
use crate::error::Error;
use crate::secret::{Secret, Wiped};
use crate::status::Status;

pub use http::{HttpOptions, HttpTransport};
pub(crate) use proxy::proxy_for;
pub use proxy::{ProxyChoice, ProxyReason, ProxyRoute};
pub(crate) use resolver::{Unresolved, resolve};
pub use tls::{TlsOptions, TlsSettings};

/// A request to a path below the base URL.
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The path below the base URL, without a slash in front; it may have a query.
    pub path: Cow<'static, str>,
    /// Further headers. `Accept` defaults to JSON and `Accept-Encoding` to `identity`, unless they are given here.
    pub headers: HeaderMap,
    /// For `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// The body, sent with its length; `None`: there is no body.
    pub body: Option<Wiped<Vec<u8>>>,
    /// The setting that limits the body of the answer, and the limit.
    pub limit: Limit,
    /// The time limit, from now to the last byte of the answer.
    pub timeout: Duration,
}

/// A request without its body.
#[derive(Clone)]
pub struct RequestHead {
    /// The HTTP method.
    pub method: Method,
    /// The path below the base URL, as in [`Request`].
    pub path: Cow<'static, str>,
    /// Further headers, as in [`Request`].
    pub headers: HeaderMap,
    /// For `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
}

/// The outcome of a request whose answer is a stream.
pub struct Streamed {
    /// As in [`Exchange`].
    pub sent: Option<Moment>,
    /// The head of the answer and its body, or the reason why there is none.
    pub result: Result<::http::Response<reqwest::Body>, Error>,
}

/// The largest body that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The setting that defines the limit.
    pub setting: &'static str,
    /// Its value.
    pub bytes: usize,
}

/// The outcome of a request.
pub struct Exchange {
    /// When the request began to leave (with a body: when its first byte left). `None`: the service has not seen the
    /// request and never will.
    pub sent: Option<Moment>,
    /// The whole answer, or the reason why there is none.
    pub result: Result<RawResponse, Error>,
}

/// A complete HTTP answer of any status. Debug shows no header and no body, which may be secret.
#[derive(Default)]
pub struct RawResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The body; empty where it is larger than the limit.
    pub body: Wiped<Vec<u8>>,
    /// The limit, if the body is larger.
    pub exceeds: Option<Limit>,
}

impl fmt::Debug for RawResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

impl RawResponse {
    /// A header's first value, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// An error if the body is larger than the limit.
    pub fn check_size(&self) -> Result<(), Error> {
        let Some(Limit { setting, bytes }) = self.exceeds else { return Ok(()) };
        let text = format!("the answer is larger than {setting} = {bytes}; is base_url the API?");
        Err(Error { http_status: Some(self.status), ..Error::new(Status::PG_ERR_ANSWER_TOO_LARGE, text) })
    }
}

/// A future of a transport.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Exchange> + Send + 'a>>;

/// Sends requests to the service. A transport sends a request at most once: it repeats one only if no byte of it had
/// left.
pub trait Transport: Send + Sync {
    /// Sends a request and waits for the whole answer. Dropping the future abandons the request.
    fn send(&self, request: Request) -> Sending<'_>;
}
