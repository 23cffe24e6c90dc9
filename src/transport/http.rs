//! The transport over HTTPS, with reqwest and rustls.

use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Proxy, StatusCode, Url, Version, redirect, retry};
use tower::BoxError;
use tower::util::MapFutureLayer;

use super::admission::{Admission, Permit};
use super::fault::{self, RESOLUTION, ResolveError};
use super::proxy::{ProxyChoice, proxy_for};
use super::resolver::{self, Unresolved};
use super::send_latch::{LatchedBody, SendLatch};
use super::tls::{TlsFiles, TlsSettings};
use super::{Exchange, RawResponse, Request, RequestHead, Sending, Streamed, Transport};
use crate::clock::{Clock, Moment};
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::runtime::workers::Workers;
use crate::runtime::{OnReactor, become_task, close_unused, settle, standard_streams};
use crate::secret::Wiped;
use crate::status::Status;
use crate::sync::lock;

/// An older idle connection is not used again: many servers and gateways soon close theirs, and a refresh on a
/// connection that is being closed has an unknown fate.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// How often the TLS files are checked at most. A check waits for another thread, since a file system may hang.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A request on a connection that the network has dropped would wait for its deadline. So while a request is in flight
/// over HTTP/2, the server is pinged at this interval, and without an answer the connection ends.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for data sent over HTTP/1.1, where the system detects missing acknowledgements.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(10);

/// The options of the HTTP transport.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The proxy to use.
    pub proxy: ProxyChoice,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// How long it may take to establish a connection.
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
    /// The proxy for the base URL, if there is one.
    proxy: Option<Url>,
    user_agent: String,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    names: SystemResolver,
    /// A clone is with each question to the resolver that it has not answered yet.
    asked: Arc<()>,
    /// Per process: connections, TLS tickets and their locks must not be shared with a forked child.
    link: PerProcess<Mutex<Option<Link>>>,
}

/// A pool of connections that were all made with the same version of the TLS files, on one reactor.
#[derive(Clone)]
struct Link {
    files: Arc<TlsFiles>,
    /// When the files were last checked.
    checked: Moment,
    http: Arc<OnReactor<reqwest::Client>>,
    admission: Arc<Admission>,
}

impl HttpTransport {
    /// Makes no connection.
    pub fn new(
        options: &HttpOptions,
        base_url: Url,
        tls: Arc<TlsSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let asked = Arc::default();
        Ok(HttpTransport {
            names: SystemResolver { workers: &resolver::WORKERS, asked: Arc::downgrade(&asked) },
            asked,
            proxy: proxy_for(&base_url, &options.proxy, |name| std::env::var_os(name))?.proxy,
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

    /// The current pool, or a new one if the TLS files or the reactor are others now. Requests in flight keep the old one.
    async fn link(&self) -> Result<Link, Error> {
        let checked = self.clock.now();
        let link = self.link.get_or_try_init(|| Ok(Mutex::default()))?;
        let is_recent = |link: &Link| checked.since(link.checked) < FILE_CHECK_INTERVAL;
        if let Some(link) = lock(link).as_ref().filter(|link| link.http.is_here() && is_recent(link)) {
            return Ok(link.clone());
        }
        let files = self.tls.files().await;
        let mut link = lock(link);
        let last = link.as_mut().filter(|link| link.http.is_here());
        if let Some(link) = last.filter(|link| Arc::ptr_eq(&link.files, &files)) {
            link.checked = checked;
            return Ok(link.clone());
        }
        match (self.build(&files), link.clone().filter(|link| link.http.is_here())) {
            (Ok(http), _) => {
                let http = Arc::new(OnReactor::new(http));
                Ok(link.insert(Link { files, checked, http, admission: Arc::default() }).clone())
            }
            // The old pool stays in use: the files are valid, so it is the system's roots that cannot be read now.
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
            .dns_resolver(Arc::new(self.names.clone()))
            .connector_layer(MapFutureLayer::new(away_from_streams))
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

    /// Sends the request and waits for the head of its answer.
    async fn begin(
        &self,
        head: RequestHead,
        url: &Url,
        content: reqwest::Body,
        latch: Arc<SendLatch>,
    ) -> Result<(reqwest::Response, Option<Permit>), Failed> {
        let mut headers = head.headers;
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        // The library decodes no content coding. Without this header a server may choose any coding.
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        if let Some(token) = &head.bearer {
            let line = Wiped::new(format!("Bearer {}", token.expose()));
            let mut value = HeaderValue::from_str(&line).map_err(set_up_failed)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        settle().await;
        let Link { http, admission, .. } = self.link().await?;
        // A slow connection attempt delays no other request for longer.
        let mut permit = tokio::time::timeout(self.connect_timeout, admission.enter()).await.ok();
        if !permit.as_ref().is_some_and(|permit| permit.follows_answer) {
            // A new connection may be refused after its handshake. Its task reads the reason before this one writes.
            become_task().await;
        }
        let body = LatchedBody::new(content, latch, self.clock.clone(), admission.clone());
        let sending = http.request(head.method.clone(), url.clone()).headers(headers);
        let response = sending.body(reqwest::Body::wrap(body)).send().await;
        let response = response.map_err(|error| self.failed(&head.method, url, error, false))?;
        if let Some(permit) = &mut permit {
            permit.answered(response.version() == Version::HTTP_2);
        }
        Ok((response, permit))
    }

    fn failed(&self, method: &Method, url: &Url, error: reqwest::Error, has_begun: bool) -> Failed {
        let mut fault = if error.is_connect() && error.is_timeout() && self.is_resolving() {
            fault::unresolved(self.called_host(), self.connect_timeout, self.proxy.is_some())
        } else {
            fault::classify(&error, self.base_url.host_str(), self.proxy.is_some())
        };
        // A server that has begun to answer has seen the request, whatever it reports later.
        if has_begun && fault.status == Status::PG_ERR_STREAM_REFUSED {
            fault.status = Status::PG_ERR_CONNECTION_LOST;
        }
        // TLS files that cannot be used may be the reason: the connection uses older ones.
        let file_error = self.tls.reload_error().filter(|_| error.is_connect());
        let file_error = file_error.map(|trouble| format!("; besides, {}", trouble.text)).unwrap_or_default();
        let text = format!("{method} {}: {}{file_error}", without_query(url), fault.text());
        Failed { is_connect: error.is_connect(), error: Error::new(fault.status, text) }
    }

    /// The host whose name is resolved.
    fn called_host(&self) -> &str {
        self.proxy.as_ref().unwrap_or(&self.base_url).host_str().unwrap_or_default()
    }

    /// Whether the resolver has not answered yet.
    fn is_resolving(&self) -> bool {
        Arc::strong_count(&self.asked) > 1
    }

    fn timed_out(&self, method: &Method, url: &Url, timeout: Duration, latch: &SendLatch) -> Failed {
        let mut text =
            format!("{method} {}: no complete answer within {} ms", without_query(url), timeout.as_millis());
        if self.is_resolving() && !latch.has_sent() {
            text += &format!("; name resolution of {} has not answered: {RESOLUTION}", self.called_host());
        }
        Error::new(Status::PG_ERR_TIMEOUT, text).into()
    }

    async fn exchange(&self, request: Request, latch: Arc<SendLatch>) -> Result<RawResponse, Failed> {
        let Request { method, path, headers, bearer, body, limit, .. } = request;
        let url = self.url(&path);
        let head = RequestHead { method: method.clone(), path, headers, bearer };
        let content = reqwest::Body::from(Bytes::from_owner(body.unwrap_or_default()));
        // The permit is held until the whole answer is here.
        let (mut response, _permit) = self.begin(head, &url, content, latch).await?;
        let mut answer = RawResponse {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            ..RawResponse::default()
        };
        let announced = announced_length(&method, &response);
        let mut content = Wiped::new(Vec::new());
        let failed = |error| self.failed(&method, &url, error, true);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if content.len() + chunk.len() > limit.bytes {
                answer.exceeds = Some(limit);
                return Ok(answer);
            }
            content.extend_from_slice(&chunk);
        }
        // Over HTTP/2 a server may end an answer early without an error.
        if let Some(announced) = announced.filter(|announced| *announced != content.len() as u64) {
            let text = format!(
                "{method} {}: the answer ended after {} of {announced} bytes; {}",
                without_query(&url),
                content.len(),
                fault::advice(Status::PG_ERR_CONNECTION_LOST)
            );
            return Err(Error::new(Status::PG_ERR_CONNECTION_LOST, text).into());
        }
        answer.body = content;
        Ok(answer)
    }

    /// Sends a request whose body may be a stream, and returns the head of the answer with its body as a stream. The
    /// timeout ends a request of which nothing moves for that time before the head of the answer arrives.
    pub async fn stream(&self, head: RequestHead, content: reqwest::Body, timeout: Duration) -> Streamed {
        let started = self.clock.now();
        let latch = SendLatch::new();
        let without_body = content.is_end_stream();
        let (method, url) = (head.method.clone(), self.url(&head.path));
        let mut sending = pin!(self.begin(head, &url, content, latch.clone()));
        let result = loop {
            let until = latch.moved() + timeout;
            match tokio::time::timeout_at(until.into(), &mut sending).await {
                Ok(result) => break result,
                Err(_) if latch.moved() + timeout > until => {}
                Err(_) => break Err(self.timed_out(&method, &url, timeout, &latch)),
            }
        };
        let sent = was_sent(&latch, started, without_body, &result);
        // The permit ends here: a caller that reads the answer slowly delays no other request.
        let result = result.map(|(response, _permit)| http::Response::from(response));
        Streamed { sent, result: result.map_err(|failed| failed.error) }
    }

    /// The URL of a path below the base URL. Not by joining, which would let a path name another host.
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

impl Drop for HttpTransport {
    fn drop(&mut self) {
        if let Some(link) = self.link.get() {
            drop(lock(link).take());
            close_unused();
        }
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async move {
            let timeout = request.timeout;
            let started = self.clock.now();
            let latch = SendLatch::new();
            let without_body = request.body.as_ref().is_none_or(|body| body.is_empty());
            let (method, path) = (request.method.clone(), request.path.clone());
            let exchange = tokio::time::timeout(timeout, self.exchange(request, latch.clone())).await;
            let result =
                exchange.unwrap_or_else(|_| Err(self.timed_out(&method, &self.url(&path), timeout, &latch)));
            let sent = was_sent(&latch, started, without_body, &result);
            Exchange { sent, result: result.map_err(|failed| failed.error) }
        })
    }
}

/// Closes the latch, and returns when the request was sent, if it was. The HTTP library never polls an empty body, so the
/// latch does not see it: such a request counts as sent, unless the connection failed.
fn was_sent<T>(
    latch: &SendLatch,
    started: Moment,
    without_body: bool,
    result: &Result<T, Failed>,
) -> Option<Moment> {
    let counts_as_sent = without_body && !result.as_ref().is_err_and(|failed| failed.is_connect);
    latch.close().or(counts_as_sent.then_some(started))
}

/// Why there is no answer, and whether the failure came before there was a connection.
struct Failed {
    error: Error,
    is_connect: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, is_connect: false }
    }
}

/// The URL for errors, without its query, which may hold private data.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// The announced length of the body, if any. Answers to HEAD and with status 304 announce a body that does not follow.
fn announced_length(method: &Method, response: &reqwest::Response) -> Option<u64> {
    let is_bare = *method == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED;
    response.content_length().filter(|_| !is_bare)
}

/// The settings were checked, so this is a defect or a problem of the system.
fn set_up_failed(error: impl std::fmt::Display) -> Error {
    Error::new(Status::PG_ERR_INTERNAL, format!("the request cannot be set up: {error}"))
}

/// Keeps the socket of a connection away from the numbers of the standard streams.
async fn away_from_streams<C>(connecting: impl Future<Output = Result<C, BoxError>>) -> Result<C, BoxError> {
    standard_streams::ensure_open()?;
    connecting.await
}

/// The system's resolver, in the form that the HTTP library calls.
#[derive(Clone)]
struct SystemResolver {
    workers: &'static Workers,
    asked: Weak<()>,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (workers, asked) = (self.workers, self.asked.upgrade());
        Box::pin(async move {
            match resolver::resolve_on(workers, name.as_str(), 0, asked).await {
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
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use reqwest::header::HeaderMap;

    use super::*;
    use crate::clock::SystemClock;
    use crate::runtime::run;
    use crate::runtime::workers::Work;
    use crate::runtime::workers::tests::refuse;
    use crate::transport::{Limit, TlsOptions};

    #[test]
    fn a_refused_resolver_thread_is_reported_as_a_system_error() {
        static REFUSING: Workers = Workers::with_spawn(refuse, "pg-names", 1);
        let names = SystemResolver { workers: &REFUSING, asked: Weak::new() };
        let tls = TlsSettings::load(&TlsOptions::default()).unwrap();
        let asking = async move {
            let tls = tls.client_config(&*tls.files().await).unwrap();
            let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
            let client = builder.dns_resolver(Arc::new(names)).build().unwrap();
            client.get("http://name.example").send().await
        };
        let asked = run(asking, Duration::from_secs(30));
        let error = asked.unwrap().unwrap().unwrap_err();
        let fault = fault::classify(&error, Some("name.example"), false);
        assert!(fault.status == Status::PG_ERR_SYSTEM && fault.status.is_transient(), "{:?}", fault.status);
        assert!(fault.text().contains("RLIMIT_NPROC") && error.is_connect(), "{}", fault.text());
    }

    /// Takes the work and never does it, as a resolver whose servers are silent.
    fn hang(_name: &'static str, work: Work) -> io::Result<()> {
        Box::leak(Box::new(work));
        Ok(())
    }

    fn request(timeout: Duration) -> Request {
        Request {
            method: Method::POST,
            path: "auth".into(),
            headers: HeaderMap::new(),
            bearer: None,
            body: Some(Wiped::new(b"{}".to_vec())),
            limit: Limit { setting: "max_response_bytes", bytes: 2 },
            timeout,
        }
    }

    fn failure(connect_timeout: Duration, timeout: Duration, proxy: ProxyChoice) -> Error {
        static SILENT: Workers = Workers::with_spawn(hang, "pg-names", 1);
        let tls = Arc::new(TlsSettings::load(&TlsOptions::default()).unwrap());
        let options = HttpOptions { connect_timeout, proxy, ..HttpOptions::default() };
        let url = Url::parse("https://name.example").unwrap();
        let mut transport = HttpTransport::new(&options, url, tls, Arc::new(SystemClock)).unwrap();
        transport.names.workers = &SILENT;
        let sent = run(async move { transport.send(request(timeout)).await }, Duration::from_secs(60));
        let Exchange { sent, result } = sent.unwrap().unwrap();
        assert!(sent.is_none());
        result.unwrap_err()
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_named_as_the_cause() {
        let (short, long) = (Duration::from_millis(500), Duration::from_secs(50));
        let error = failure(short, long, ProxyChoice::Direct);
        assert_eq!(error.status, Status::PG_ERR_DNS);
        for piece in ["name resolution of name.example", "connect_timeout_ms = 500", "/etc/resolv.conf"] {
            assert!(error.text.contains(piece), "{error}");
        }
        let error = failure(long, short, ProxyChoice::Direct);
        assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
        for piece in ["within 500 ms", "name resolution of name.example", "/etc/resolv.conf"] {
            assert!(error.text.contains(piece), "{error}");
        }
        let proxy = ProxyChoice::Through(Url::parse("http://proxy.example:3128").unwrap());
        let error = failure(short, long, proxy);
        assert!(error.status == Status::PG_ERR_PROXY && error.text.contains("of proxy.example"), "{error}");
    }

    /// Answers each request on each connection with `{}`, and counts the connections.
    fn serve(listener: &TcpListener, connections: &AtomicU32) {
        std::thread::scope(|scope| {
            for stream in listener.incoming().take(2) {
                connections.fetch_add(1, Ordering::Relaxed);
                let mut stream = stream.unwrap();
                scope.spawn(move || {
                    let mut request = Vec::new();
                    let mut piece = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut piece) {
                        request.extend_from_slice(&piece[..length]);
                        if request.ends_with(b"{}") {
                            request.clear();
                            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_connection_is_not_used_on_another_reactor() {
        static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        std::thread::spawn(move || serve(&listener, &CONNECTIONS));
        let tls = Arc::new(TlsSettings::load(&TlsOptions::default()).unwrap());
        let options = HttpOptions { proxy: ProxyChoice::Direct, ..HttpOptions::default() };
        let transport = HttpTransport::new(&options, url, tls, Arc::new(SystemClock)).unwrap();
        // The first one stays, and nobody drives it any more.
        let reactors = [(), ()].map(|()| {
            let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for _ in 0..2 {
                reactor.block_on(async {
                    let answer = transport.send(request(Duration::from_secs(30))).await.result.unwrap();
                    assert_eq!(answer.body.as_slice(), b"{}");
                    // The connection is back in its pool.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                });
            }
            reactor
        });
        assert_eq!((reactors.len(), CONNECTIONS.load(Ordering::Relaxed)), (2, 2));
    }
}
