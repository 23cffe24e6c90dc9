//! The real transport: reqwest on rustls.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use reqwest::{Proxy, Url, redirect, retry};
use zeroize::{Zeroize, Zeroizing};

use super::fault::{self, ResolveError};
use super::gate::{Gate, GatedBody};
use super::tls::TlsSettings;
use super::{Answer, Reply, Request, Sending, Transport};
use crate::clock::Clock;
use crate::config::{Config, ProxyChoice};
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::status::Status;

/// An idle connection older than this is not used again: many servers and gateways close theirs soon, and a
/// refresh that meets a closing connection has an unknown fate.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// HTTPS to one base URL, with its pool of connections.
pub struct HttpTransport {
    base_url: Url,
    tls: TlsSettings,
    proxy: ProxyChoice,
    user_agent: String,
    connect_timeout: Duration,
    max_response_bytes: usize,
    clock: Arc<dyn Clock>,
    /// Connections, TLS tickets and their locks must not be shared with a forked child.
    http: PerProcess<reqwest::Client>,
}

impl HttpTransport {
    /// Reads the files that the configuration names; connects nowhere.
    pub fn new(config: &Config, base_url: Url, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(HttpTransport {
            base_url,
            tls: TlsSettings::load(config)?,
            proxy: config.proxy.clone(),
            user_agent: config.user_agent.clone(),
            connect_timeout: config.connect_timeout,
            max_response_bytes: config.max_response_bytes,
            clock,
            http: PerProcess::new(),
        })
    }

    fn build(&self) -> Result<reqwest::Client, Error> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.client_config()?)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Arc::new(SystemResolver))
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        // Plain http goes to this machine only: through a proxy it would leave it.
        let proxy = if self.base_url.scheme() == "http" { &ProxyChoice::Direct } else { &self.proxy };
        let builder = match proxy {
            ProxyChoice::Direct => builder.no_proxy(),
            ProxyChoice::Environment => builder,
            ProxyChoice::Through(url) => builder.proxy(Proxy::all(url.clone()).map_err(set_up_failed)?),
        };
        builder.build().map_err(set_up_failed)
    }

    async fn exchange(&self, request: Request, gate: Arc<Gate>) -> Result<Answer, Error> {
        let url = self.base_url.join(request.path).map_err(set_up_failed)?;
        let failed = |error: reqwest::Error| {
            let (status, cause) = fault::classify(&error, self.base_url.host_str(), self.proxy.is_in_force());
            Error::new(status, format!("POST {url}: {cause}; {}", fault::advice(status)))
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &request.bearer {
            let line = Zeroizing::new(format!("Bearer {}", token.expose()));
            let mut value = HeaderValue::from_str(&line).map_err(set_up_failed)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = GatedBody::new(request.body, gate, self.clock.clone());
        let http = self.http.get_or_try_init(|| self.build())?;
        let sending = http.post(url.clone()).headers(headers).body(reqwest::Body::wrap(body)).send();
        let mut response = sending.await.map_err(failed)?;

        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let mut answer = Answer {
            status: response.status().as_u16(),
            date: header(DATE),
            retry_after: header(RETRY_AFTER),
            content_encoding: header(CONTENT_ENCODING),
            body: Zeroizing::new(Vec::new()),
        };
        let too_large = || {
            let limit = self.max_response_bytes;
            let mut error = Error::new(
                Status::PG_ERR_ANSWER_TOO_LARGE,
                format!(
                    "POST {url}: the answer is larger than max_response_bytes = {limit}; is base_url the API?"
                ),
            );
            error.http_status = Some(answer.status);
            error
        };
        // A refusal speaks by its status: that its page is too large must not make it look like a lost answer.
        let is_refusal = !(200..300).contains(&answer.status);
        // Room for all of it at once: growing would leave copies of tokens in freed memory.
        let mut content = Zeroizing::new(Vec::with_capacity(self.max_response_bytes));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if content.len() + chunk.len() > self.max_response_bytes {
                return if is_refusal { Ok(answer) } else { Err(too_large()) };
            }
            content.extend_from_slice(&chunk);
            // Zeroes the library's buffer where we are its last user.
            if let Ok(mut buffer) = chunk.try_into_mut() {
                buffer.as_mut().zeroize();
            }
        }
        answer.body = content;
        Ok(answer)
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async move {
            let timeout = request.timeout;
            let gate = Gate::new();
            let path = request.path;
            let result = match tokio::time::timeout(timeout, self.exchange(request, gate.clone())).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(
                    Status::PG_ERR_TIMEOUT,
                    format!(
                        "POST {}{path}: no complete answer within {} ms",
                        self.base_url,
                        timeout.as_millis()
                    ),
                )),
            };
            Reply { sent: gate.shut(), result }
        })
    }
}

/// The setting was checked when it was set, so what fails here is a defect or the system.
fn set_up_failed(error: impl std::fmt::Display) -> Error {
    Error::new(Status::PG_ERR_INTERNAL, format!("the request cannot be set up: {error}"))
}

/// `getaddrinfo` on a thread that comes and goes.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs),
                Err(error) => Err(ResolveError { host: name.as_str().to_owned(), error }.into()),
            }
        })
    }
}
