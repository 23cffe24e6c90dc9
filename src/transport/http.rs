//! The real transport: reqwest on rustls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Proxy, StatusCode, Url, Version, redirect, retry};
use zeroize::{Zeroize, Zeroizing};

use super::admission::Admission;
use super::fault::{self, ResolveError};
use super::proxy::{ProxyChoice, proxy_for};
use super::resolver::{self, Unresolved};
use super::send_latch::{LatchedBody, SendLatch};
use super::tls::{TlsFiles, TlsSettings};
use super::{Exchange, RawResponse, Request, Sending, Transport};
use crate::clock::Clock;
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::runtime::standard_streams;
use crate::runtime::workers::Workers;
use crate::status::Status;
use crate::sync::lock;

/// An idle connection older than this is not used again: many servers and gateways close theirs soon, and a
/// refresh that meets a closing connection has an unknown fate.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// A connection that a network has forgotten answers nothing, and every request on it would wait for its deadline. So while
/// a request is under way over HTTP/2 the server is pinged this often, and the connection ends without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for what is sent over HTTP/1.1, where the system tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(10);

/// How requests travel.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Through which proxy.
    pub proxy: ProxyChoice,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions { proxy: ProxyChoice::Direct, user_agent: String::new(), connect_timeout: Duration::ZERO }
    }
}

/// HTTPS to one base URL, with its pool of connections.
pub struct HttpTransport {
    base_url: Url,
    tls: Arc<TlsSettings>,
    /// On the way to the base URL.
    proxy: Option<Url>,
    user_agent: String,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    /// Connections, TLS tickets and their locks must not be shared with a forked child.
    link: PerProcess<Mutex<Option<Link>>>,
}

/// Connections, all of them made with the same version of the TLS files.
#[derive(Clone)]
struct Link {
    files: Arc<TlsFiles>,
    http: reqwest::Client,
    admission: Arc<Admission>,
}

impl HttpTransport {
    /// Connects nowhere.
    pub fn new(
        options: &HttpOptions,
        base_url: Url,
        tls: Arc<TlsSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Ok(HttpTransport {
            proxy: proxy_for(&base_url, &options.proxy, |name| std::env::var_os(name))?,
            base_url,
            tls,
            user_agent: options.user_agent.clone(),
            connect_timeout: options.connect_timeout,
            clock,
            link: PerProcess::new(),
        })
    }

    /// The TLS files that connections are made with.
    pub fn tls(&self) -> &Arc<TlsSettings> {
        &self.tls
    }

    /// The connections there are, or fresh ones where the TLS files have changed. Requests under way keep the old ones.
    async fn link(&self) -> Result<Link, Error> {
        let files = self.tls.files().await;
        let link = self.link.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut link = lock(link);
        if let Some(link) = link.as_ref().filter(|link| Arc::ptr_eq(&link.files, &files)) {
            return Ok(link.clone());
        }
        match (self.build(&files), link.clone()) {
            (Ok(http), _) => Ok(link.insert(Link { files, http, admission: Arc::default() }).clone()),
            // What has worked goes on: the files are good, so it is the system's roots that cannot be read now.
            (Err(_), Some(last)) => Ok(last),
            (Err(error), None) => Err(error),
        }
    }

    fn build(&self, files: &TlsFiles) -> Result<reqwest::Client, Error> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.client_config(files)?)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .dns_resolver(Arc::new(SystemResolver(&resolver::WORKERS)))
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let builder = builder.tcp_user_timeout(UNACKNOWLEDGED_LIMIT);
        let builder = match &self.proxy {
            None => builder.no_proxy(),
            Some(url) => builder.proxy(Proxy::all(url.clone()).map_err(set_up_failed)?),
        };
        builder.build().map_err(set_up_failed)
    }

    async fn exchange(&self, request: Request, latch: Arc<SendLatch>) -> Result<RawResponse, Failed> {
        let url = self.url(&request.path);
        let failed = |error: reqwest::Error, has_begun: bool| {
            let mut fault = fault::classify(&error, self.base_url.host_str(), self.proxy.is_some());
            // Who has begun to answer has looked at the request, whatever it says afterwards.
            if has_begun && fault.status == Status::PG_ERR_STREAM_REFUSED {
                fault.status = Status::PG_ERR_CONNECTION_LOST;
            }
            // Files that cannot be used may be why: what is in use is older.
            let file_error = self.tls.reload_error().filter(|_| error.is_connect());
            let file_error =
                file_error.map(|trouble| format!("; besides, {}", trouble.text)).unwrap_or_default();
            let text = format!("{} {}: {}{file_error}", request.method, without_query(&url), fault.text());
            Failed { is_connect: error.is_connect(), error: Error::new(fault.status, text) }
        };
        let mut headers = request.headers;
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        // Nothing is unpacked here. Without the header a server may choose any coding.
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        if let Some(token) = &request.bearer {
            let line = Zeroizing::new(format!("Bearer {}", token.expose()));
            let mut value = HeaderValue::from_str(&line).map_err(set_up_failed)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        standard_streams::ensure_open().map_err(|error| Failed { error, is_connect: true })?;
        let Link { http, admission, .. } = self.link().await?;
        // A connection that takes as long as it may holds up nobody else.
        let mut permit = tokio::time::timeout(self.connect_timeout, admission.enter()).await.ok();
        let body =
            LatchedBody::new(request.body.unwrap_or_default(), latch, self.clock.clone(), admission.clone());
        let sending = http.request(request.method.clone(), url.clone()).headers(headers);
        let response = sending.body(reqwest::Body::wrap(body)).send().await;
        let mut response = response.map_err(|error| failed(error, false))?;
        if let Some(permit) = &mut permit {
            permit.answered(response.version() == Version::HTTP_2);
        }

        let mut answer = RawResponse {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            ..RawResponse::default()
        };
        let limit = request.limit.bytes;
        let announced = announced_length(&request.method, &response);
        let mut content = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(error, true))? {
            if content.len() + chunk.len() > limit {
                answer.exceeds = Some(request.limit);
                return Ok(answer);
            }
            append(&mut content, &chunk);
            // Zeroes the library's buffer where we are its last user.
            if let Ok(mut buffer) = chunk.try_into_mut() {
                buffer.as_mut().zeroize();
            }
        }
        // Over HTTP/2 a server may end an answer early and call that no error.
        if let Some(announced) = announced.filter(|announced| *announced != content.len() as u64) {
            let text = format!(
                "{} {}: the answer ended after {} of {announced} bytes; {}",
                request.method,
                without_query(&url),
                content.len(),
                fault::advice(Status::PG_ERR_CONNECTION_LOST)
            );
            return Err(Error::new(Status::PG_ERR_CONNECTION_LOST, text).into());
        }
        answer.body = content;
        Ok(answer)
    }

    /// A path below the base URL. Not by joining, which would let a path name another host.
    fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path()));
        if query.is_some() {
            url.set_query(query);
        }
        url
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async move {
            let timeout = request.timeout;
            let started = self.clock.now();
            let latch = SendLatch::new();
            // An empty body is never fetched either.
            let without_body = request.body.as_ref().is_none_or(|body| body.is_empty());
            let (method, path) = (request.method.clone(), request.path.clone());
            let result = match tokio::time::timeout(timeout, self.exchange(request, latch.clone())).await {
                Ok(result) => result,
                Err(_) => {
                    let url = without_query(&self.url(&path));
                    let text =
                        format!("{method} {url}: no complete answer within {} ms", timeout.as_millis());
                    Err(Error::new(Status::PG_ERR_TIMEOUT, text).into())
                }
            };
            // No gate has seen a request without a body: only what fails in connecting is known not to have left.
            let counts_as_sent = without_body && !result.as_ref().is_err_and(|failed| failed.is_connect);
            let sent = latch.close().or(counts_as_sent.then_some(started));
            Exchange { sent, result: result.map_err(|failed| failed.error) }
        })
    }
}

/// Why there is no answer, and whether it failed before there was a connection.
struct Failed {
    error: Error,
    is_connect: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, is_connect: false }
    }
}

/// A URL as an error may show it: a query may hold anything.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// How many bytes the body is to have, if that is told. An answer to HEAD, and one that nothing has changed, tells of a body
/// that does not come.
fn announced_length(method: &Method, response: &reqwest::Response) -> Option<u64> {
    let is_bare = *method == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED;
    response.content_length().filter(|_| !is_bare)
}

/// A vector that grows by itself leaves copies of tokens in freed memory.
fn append(content: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if content.capacity() - content.len() < chunk.len() {
        let room = (content.len() + chunk.len()).max(content.len() * 2);
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(content);
        *content = larger;
    }
    content.extend_from_slice(chunk);
}

/// The setting was checked when it was set, so what fails here is a defect or the system.
fn set_up_failed(error: impl std::fmt::Display) -> Error {
    Error::new(Status::PG_ERR_INTERNAL, format!("the request cannot be set up: {error}"))
}

/// The system's resolver, as the HTTP library asks it.
struct SystemResolver(&'static Workers);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let workers = self.0;
        Box::pin(async move {
            match resolver::resolve_on(workers, name.as_str(), 0).await {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(Unresolved::Unknown(error)) => {
                    Err(ResolveError { host: name.as_str().to_owned(), error }.into())
                }
                Err(Unresolved::NoThread(error)) => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run;
    use crate::runtime::workers::tests::refuse;
    use crate::transport::TlsOptions;

    #[test]
    fn a_thread_that_is_refused_for_a_name_is_told_as_what_it_is() {
        static REFUSING: Workers = Workers::with_spawn(refuse, "pg-names", 1);
        let tls = TlsSettings::load(&TlsOptions::default()).unwrap();
        let asking = async move {
            let tls = tls.client_config(&*tls.files().await).unwrap();
            let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
            let client = builder.dns_resolver(Arc::new(SystemResolver(&REFUSING))).build().unwrap();
            client.get("http://name.example").send().await
        };
        let asked = run(asking, Duration::from_secs(30));
        let error = asked.unwrap().unwrap().unwrap_err();
        let fault = fault::classify(&error, Some("name.example"), false);
        assert!(fault.status == Status::PG_ERR_SYSTEM && fault.status.is_transient(), "{:?}", fault.status);
        assert!(fault.text().contains("RLIMIT_NPROC") && error.is_connect(), "{}", fault.text());
    }
}
