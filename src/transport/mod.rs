//! The way to the service: one request out, one answer or failure back, and whether a byte has left.

mod admission;
mod fault;
mod gate;
mod http;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Moment;
use crate::error::Error;
use crate::secret::Secret;

pub use http::HttpTransport;

/// A POST with a JSON body to a path below the base URL.
pub struct Request {
    /// Below the base URL, without a slash in front.
    pub path: &'static str,
    /// For `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// The JSON text.
    pub body: Zeroizing<Vec<u8>>,
    /// From now to the last byte of the answer.
    pub timeout: Duration,
}

/// What came of a request.
pub struct Reply {
    /// When the body began to leave; `None`: not a byte of it left this machine, and none will.
    pub sent: Option<Moment>,
    /// The whole answer, or why there is none.
    pub result: Result<Answer, Error>,
}

/// A complete HTTP answer of any status.
#[derive(Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Date`, as sent.
    pub date: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Content-Encoding`, as sent. None was asked for.
    pub content_encoding: Option<String>,
    /// The body, within the limit.
    pub body: Zeroizing<Vec<u8>>,
}

/// A future of a transport.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// Carries requests to the service. A transport sends a request at most once: it never repeats one by itself
/// unless no byte of it had left.
pub trait Transport: Send + Sync {
    /// Sends, and waits for the whole answer. Dropping the future gives the request up.
    fn send(&self, request: Request) -> Sending<'_>;
}
