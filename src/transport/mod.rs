//! The way to the service: one request out, one answer or failure back, and whether a byte has left.

mod admission;
mod fault;
mod http;
mod proxy;
mod resolver;
mod send_latch;
mod tls;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AsHeaderName, HeaderMap};
use zeroize::Zeroizing;

use crate::clock::Moment;
use crate::error::Error;
use crate::secret::Secret;
use crate::status::Status;

pub use http::{HttpOptions, HttpTransport};
pub use proxy::ProxyChoice;
pub(crate) use resolver::{Unresolved, resolve};
pub use tls::{TlsOptions, TlsSettings};

/// A request to a path below the base URL.
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// Below the base URL, without a slash in front; perhaps with a query.
    pub path: Cow<'static, str>,
    /// Besides `Accept`, which asks for JSON where it is not here, and `Accept-Encoding`, which asks for a body as it is.
    pub headers: HeaderMap,
    /// For `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// Sent with its length; `None`: there is no body.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// The setting that limits the body of the answer, and the limit.
    pub limit: Limit,
    /// From now to the last byte of the answer.
    pub timeout: Duration,
}

/// How large a body may be that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The setting that says so.
    pub setting: &'static str,
    /// Its value.
    pub bytes: usize,
}

/// What came of a request.
pub struct Exchange {
    /// When the request began to leave; `None`: the service cannot have seen it and never will. With a body that is
    /// when its first byte left.
    pub sent: Option<Moment>,
    /// The whole answer, or why there is none.
    pub result: Result<RawResponse, Error>,
}

/// A complete HTTP answer of any status.
#[derive(Debug, Default)]
pub struct RawResponse {
    /// The HTTP status.
    pub status: u16,
    /// As sent.
    pub headers: HeaderMap,
    /// The body; empty where it is larger than the limit.
    pub body: Zeroizing<Vec<u8>>,
    /// The limit, where the body is larger.
    pub exceeds: Option<Limit>,
}

impl RawResponse {
    /// A header's first value, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// An error for a body that is larger than the limit.
    pub fn check_size(&self) -> Result<(), Error> {
        let Some(Limit { setting, bytes }) = self.exceeds else { return Ok(()) };
        let text = format!("the answer is larger than {setting} = {bytes}; is base_url the API?");
        Err(Error { http_status: Some(self.status), ..Error::new(Status::PG_ERR_ANSWER_TOO_LARGE, text) })
    }
}

/// A future of a transport.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Exchange> + Send + 'a>>;

/// Carries requests to the service. A transport sends a request at most once: it never repeats one by itself
/// unless no byte of it had left.
pub trait Transport: Send + Sync {
    /// Sends, and waits for the whole answer. Dropping the future gives the request up.
    fn send(&self, request: Request) -> Sending<'_>;
}
