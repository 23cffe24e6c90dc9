//! Connections: accepted up to a limit, answered, and drained at the end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::answer::{self, Answer};
use super::listen::{Role, Socket};
use super::{Agent, caller, health, proxy, system, tokens};

/// How long a connection may be idle, or take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The limit of connections for health.
const HEALTH_CONNECTIONS: u32 = 64;
/// The limit of the head of a request. It is checked between two reads, so one of up to twice this length may pass.
const HEAD_BYTES: usize = 64 * 1024;
/// How long a connection that has not been used may take for its first request when the agent stops.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// A connection that the system has accepted when the agent stops is served: its request may have been sent. So the agent accepts
/// connections until it has seen none after this time, or for the limit.
const LAST_CONNECTIONS: Duration = Duration::from_millis(50);
const LAST_CONNECTIONS_LIMIT: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, for example because no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Server {
    agent: Arc<Agent>,
    /// One for each connection for tokens or the proxy.
    permits: Arc<Semaphore>,
    /// One for each connection for health, which is reachable from outside and must not depend on the others.
    health_permits: Arc<Semaphore>,
    limit: u32,
    stopping: watch::Sender<bool>,
    /// The tasks that accept connections.
    doors: JoinSet<()>,
}

impl Server {
    pub(super) fn new(agent: &Arc<Agent>, limit: u32) -> Self {
        Server {
            agent: agent.clone(),
            permits: Arc::new(Semaphore::new(limit as usize)),
            health_permits: Arc::new(Semaphore::new(HEALTH_CONNECTIONS as usize)),
            limit,
            stopping: watch::Sender::new(false),
            doors: JoinSet::new(),
        }
    }

    /// Accepts the connections to a socket from now on.
    pub(super) fn accept(&mut self, role: Role, socket: Socket) -> Result<(), paymentsgate_auth::Error> {
        let failed = |error: io::Error| system("use a socket", &error);
        let door = match socket {
            Socket::Unix(listener) => Listener::Unix(UnixListener::from_std(listener).map_err(failed)?),
            Socket::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener).map_err(failed)?),
        };
        let permits = if role == Role::Health { &self.health_permits } else { &self.permits };
        let (agent, permits, stopping) = (self.agent.clone(), permits.clone(), self.stopping.subscribe());
        self.doors.spawn(async move {
            let stops_after = |time| {
                let mut stopping = stopping.clone();
                async move {
                    requested(&mut stopping).await;
                    sleep(time).await;
                }
            };
            let mut last = pin!(stops_after(LAST_CONNECTIONS));
            let mut limit = pin!(stops_after(LAST_CONNECTIONS_LIMIT));
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = &mut limit => return,
                    accepted = door.accept() => accepted,
                    () = &mut last => return,
                };
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let (agent, stopping) = (agent.clone(), stopping.clone());
                match accepted {
                    Ok(Stream::Tcp(stream)) => {
                        tokio::spawn(async move {
                            serve(agent, role, true, stream, stopping).await;
                            drop(permit);
                        });
                    }
                    Ok(Stream::Unix(stream)) => {
                        tokio::spawn(async move {
                            serve(agent, role, false, stream, stopping).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        agent.log.error(&format!("cannot accept a connection: {error}"));
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        Ok(())
    }

    /// Accepts no more connections, and returns when the open ones have ended.
    pub(super) async fn drain(&mut self) {
        self.stopping.send_replace(true);
        while self.doors.join_next().await.is_some() {}
        let _ = self.permits.acquire_many(self.limit).await;
        let _ = self.health_permits.acquire_many(HEALTH_CONNECTIONS).await;
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Fails only for a connection that has gone.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

/// Answers the requests of one connection. When the agent stops, the request under way is the last one.
async fn serve(
    agent: Arc<Agent>,
    role: Role,
    is_tcp: bool,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = agent.counters.connected();
    // Holds a permit from the first request on.
    let used = Notify::new();
    let service = service_fn(|request| {
        used.notify_one();
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(answer(&agent, role, is_tcp, request).await) }
    });
    let mut stream = TimeoutStream::new(stream);
    // A caller that does not read ends its connection.
    stream.set_write_timeout(Some(agent.client.request_timeout()));
    let connection = http(HEAD_TIMEOUT).serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    // What goes wrong with a connection is the caller's concern, who sees it.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = requested(&mut stopping) => {
            // hyper would close a connection that has not been used without reading from it.
            let first_request = timeout(FIRST_REQUEST, used.notified());
            tokio::select! {
                _ = connection.as_mut() => return,
                begun = first_request => if begun.is_err() { return },
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// How requests are read.
fn http(head_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES);
    http
}

/// Returns when the agent stops.
async fn requested(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn answer(agent: &Agent, role: Role, is_tcp: bool, request: Request<Incoming>) -> Answer {
    let checked = if is_tcp { caller::check(role, request.headers(), agent.secret.as_ref()) } else { Ok(()) };
    let answer = match (checked, role) {
        (Err(refusal), _) => {
            agent.counters.refused();
            let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::FORBIDDEN);
            answer::refusal(status, "AGENT_REFUSED", refusal.text())
        }
        (Ok(()), Role::Proxy) => proxy::forward(agent, request).await,
        (Ok(()), Role::Tokens) => tokens::answer(agent, request).await,
        (Ok(()), Role::Health) => health::answer(agent, &request).await.unwrap_or_else(answer::unknown),
    };
    agent.counters.answered(role, answer.status().as_u16());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a connection ends by itself on which a caller sends this, and then nothing more.
    fn ends(sent: &str) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (caller, stream) = tokio::net::UnixStream::pair().unwrap();
            caller.writable().await.unwrap();
            assert_eq!(caller.try_write(sent.as_bytes()).unwrap(), sent.len());
            let service = service_fn(|_| async { Ok::<_, Infallible>(answer::unknown()) });
            let connection = http(Duration::from_millis(50)).serve_connection(TokioIo::new(stream), service);
            timeout(Duration::from_secs(30), connection).await.is_ok()
        })
    }

    #[test]
    fn a_connection_that_is_idle_or_does_not_finish_its_head_ends() {
        for sent in ["", "GET /v1/token HTTP/1.1\r\nHost: a", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            assert!(ends(sent), "{sent:?}");
        }
    }
}
