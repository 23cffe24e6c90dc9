//! Forwards requests to the rest of the API with the session's token, for a proxy: both bodies are streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use reqwest::Method;
use reqwest::header::HeaderMap;

use super::Session;
use super::requests::{deadline, report, token};
use crate::config::Config;
use crate::error::Error;
use crate::event::Level;
use crate::request::{Attempts, Next, checked_method, checked_path, name};
use crate::transport::{HttpTransport, RequestHead};

/// The body of an answer, as a stream.
pub type AnswerBody = reqwest::Body;

/// A session and connections of its own to the service. Its futures run on the caller's tokio runtime.
pub struct Forwarder {
    session: Arc<Session>,
    transport: HttpTransport,
}

/// A request to forward.
pub struct ForwardedRequest {
    /// The HTTP method.
    pub method: Method,
    /// The path below the base URL; it begins with a slash and may have a query.
    pub path: String,
    /// The headers, without those of the connection and without `Authorization`.
    pub headers: HeaderMap,
    /// The body.
    pub body: ForwardedBody,
}

/// The body of a request to forward.
pub enum ForwardedBody {
    /// The whole body. The request is repeated once where [`Session::request`] would repeat it.
    Whole(Bytes),
    /// A stream. The request is sent once.
    Stream(reqwest::Body),
}

impl ForwardedBody {
    /// A body that is sent as it arrives.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        ForwardedBody::Stream(reqwest::Body::wrap(body))
    }
}

impl Forwarder {
    /// Connects to the service as the configuration says, on behalf of the session. Makes no connection yet.
    pub fn new(session: &Arc<Session>, config: &Config) -> Result<Self, Error> {
        let client = &session.account.client;
        let base_url = client.base_url().cloned().ok_or_else(crate::client::no_base_url)?;
        let transport = config.transport(base_url, client.clock.clone())?;
        Ok(Forwarder { session: session.clone(), transport })
    }

    /// Sends the request and returns the head of the answer, of any status. The timeout limits each wait for a token,
    /// and each attempt, from the last piece of the request to the head of the answer.
    pub async fn send(
        &self,
        request: ForwardedRequest,
        timeout: Duration,
    ) -> Result<http::Response<AnswerBody>, Error> {
        let ForwardedRequest { method, path, headers, mut body } = request;
        checked_method(method.as_str())?;
        let path = checked_path(&path)?;
        let name = name(&method, &path);
        let driver = self.session.driver()?;
        let mut attempts = Attempts::new(method.is_safe(), matches!(body, ForwardedBody::Whole(_)));
        loop {
            let grant = token(driver, deadline(driver, timeout), Duration::ZERO).await?;
            let head = RequestHead {
                method: method.clone(),
                path: path.clone().into(),
                headers: headers.clone(),
                bearer: Some(grant.token.access.clone()),
            };
            let content = match &mut body {
                ForwardedBody::Whole(bytes) => bytes.clone().into(),
                ForwardedBody::Stream(stream) => std::mem::take(stream),
            };
            let streamed = self.transport.stream(head, content, timeout).await;
            let was_sent = streamed.sent.is_some();
            let answered =
                streamed.result.as_ref().map(|answer| answer.status().as_u16()).map_err(|error| error.status);
            report(driver, &grant, &mut attempts, answered);
            let why = match attempts.after(was_sent, answered) {
                Next::Done => {
                    let failed = |error| attempts.failed(was_sent, &grant.token.access, error);
                    return streamed.result.map_err(failed);
                }
                Next::RetryWithNewerToken => "the token was refused",
                Next::Retry => "the connection broke",
            };
            driver.log(Level::PG_LOG_INFO, || format!("{name}: {why}; retrying"));
        }
    }
}
