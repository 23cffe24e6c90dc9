//! Connections to Redis servers: made on demand, shared by all sessions of a client, and replaced when they break.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, PushKind};
use redis::{RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::bounded::{BoundedStream, Violation};
use crate::clock::Clock;
use crate::error::{Error, excerpt};
use crate::redaction::Redactor;
use crate::runtime::process::PerProcess;
use crate::runtime::{OnReactor, close_unused, race, settle, standard_streams};
use crate::status::Status;
use crate::sync::lock;
use crate::transport::{TlsSettings, Unresolved, resolve};

/// The limit for one command, including a new connection if one is needed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit after a timeout, until a command is answered: many callers may be waiting in vain.
const SHORT_ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);
/// The part of the limit in which replicas must confirm a write.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(2);
/// An idle connection is closed after this time: few servers have room for one of every process.
const IDLE: Duration = Duration::from_secs(30);

const NO_TLS: &str = "if that port is not one for TLS, write redis:// in store";
const PERHAPS_TLS: &str = "if that port is one for TLS, write rediss:// in store; else check the server";
const RIGHTS: &str = "give the user the rights that docs/redis.md lists";

/// The servers of a client's sessions, each with one connection.
pub(crate) struct RedisServers {
    tls: Arc<TlsSettings>,
    clock: Arc<dyn Clock>,
    /// Per process: a forked child makes its own connections.
    known: PerProcess<Mutex<Vec<Arc<Server>>>>,
}

impl RedisServers {
    pub(crate) fn new(tls: Arc<TlsSettings>, clock: Arc<dyn Clock>) -> Self {
        RedisServers { tls, clock, known: PerProcess::new() }
    }

    /// The server at an address. The same address always gives the same server.
    pub(crate) fn at(&self, address: &Address) -> Result<Arc<Server>, Error> {
        let mut known = lock(self.known.get_or_try_init(|| Ok(Mutex::default()))?);
        if let Some(server) = known.iter().find(|server| server.address == *address) {
            return Ok(server.clone());
        }
        let server = Arc::new(Server {
            address: address.clone(),
            tls: self.tls.clone(),
            clock: self.clock.clone(),
            link: tokio::sync::Mutex::new(None),
            last_timed_out: AtomicBool::new(false),
        });
        known.push(server.clone());
        Ok(server)
    }
}

pub(crate) struct Server {
    address: Address,
    tls: Arc<TlsSettings>,
    clock: Arc<dyn Clock>,
    link: tokio::sync::Mutex<Option<Arc<OnReactor<Link>>>>,
    last_timed_out: AtomicBool,
}

struct Link {
    connection: MultiplexedConnection,
    channels: Channels,
    violation: Violation,
    driver: AbortHandle,
    /// On the boot clock.
    used: Arc<Mutex<Duration>>,
    /// The connection is broken: the next command makes a new one.
    is_broken: AtomicBool,
}

/// The subscribed channels of a connection, and the waiters for messages on them.
type Channels = Arc<Mutex<BTreeMap<String, Arc<Notify>>>>;

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
        close_unused();
    }
}

impl Link {
    fn is_usable(&self, now: Duration) -> bool {
        !self.is_broken.load(Ordering::Relaxed) && now.saturating_sub(*lock(&self.used)) <= IDLE
    }

    fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Returns when there is a message on the channel.
    async fn wait_for_message(&self, channel: &str) {
        let known = lock(&self.channels).get(channel).cloned();
        let notify = known.clone().unwrap_or_default();
        let notified = notify.notified();
        if known.is_none() {
            lock(&self.channels).insert(channel.to_owned(), notify.clone());
            // If the user may not subscribe, the caller waits for its timeout, as without a connection.
            let _ = self.connection.clone().subscribe(channel).await;
        }
        notified.await;
    }
}

/// Wakes the waiters of the channel on which a message arrived.
fn notify_listeners(channels: &Channels, push: &PushInfo) {
    if let (PushKind::Message, Some(Value::BulkString(channel))) = (&push.kind, push.data.first()) {
        let channel = String::from_utf8_lossy(channel);
        lock(channels).get(&*channel).iter().for_each(|waiting| waiting.notify_waiters());
    }
}

struct CommandFailure {
    error: Error,
    /// A new connection may help.
    may_reconnect: bool,
}

impl Server {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends one command, and returns its answer.
    pub(super) async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let mut answers = self.send(&pipeline).await?;
        self.answer(answers.pop())
    }

    /// Sends one command that writes. The answer counts when the configured number of replicas have confirmed the
    /// write.
    pub(super) async fn write<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        let wanted = self.address.replicas;
        if wanted == 0 {
            return self.query(command).await;
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(command);
        pipeline.cmd("WAIT").arg(wanted).arg(REPLICAS_TIMEOUT.as_millis() as u64);
        let mut answers = self.send(&pipeline).await?;
        let replicas: u32 = self.answer(answers.pop())?;
        if replicas < wanted {
            let what = format!("{replicas} of {wanted} replicas have what was written");
            return Err(self.store_error(&what, "check the replicas, or lower `replicas` in store"));
        }
        self.answer(answers.pop())
    }

    /// Returns when there is a message on the channel, and after `limit` at the latest.
    pub(super) async fn listen(&self, channel: &str, limit: Duration) {
        // Without a connection this waits for the whole limit.
        let _ = timeout(limit, async {
            // The lock is not held during the wait.
            let link = self.link.lock().await.clone();
            match link {
                Some(link) => link.wait_for_message(channel).await,
                None => std::future::pending().await,
            }
        })
        .await;
    }

    /// Sends commands together, on a new connection if the current one is broken. So each command may be sent twice.
    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let answer_timeout =
            if self.last_timed_out.load(Ordering::Relaxed) { SHORT_ANSWER_TIMEOUT } else { ANSWER_TIMEOUT };
        let used = Mutex::new(None);
        let attempts = async {
            match self.send_once(pipeline, &used).await {
                Err(failure) if failure.may_reconnect => self.send_once(pipeline, &used).await,
                result => result,
            }
        };
        let outcome = timeout(answer_timeout, attempts).await;
        self.last_timed_out.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(result) => result.map_err(|failure| failure.error),
            Err(_) => {
                // A late answer must not be taken for that of the next command.
                lock(&used).iter().for_each(|link| link.mark_broken());
                let what = format!("no answer within {:?}", answer_timeout);
                Err(self.store_error(&what, "check that the server runs and can be reached from here"))
            }
        }
    }

    async fn send_once(
        &self,
        pipeline: &Pipeline,
        used: &Mutex<Option<Arc<OnReactor<Link>>>>,
    ) -> Result<Vec<Value>, CommandFailure> {
        let link = self.link().await?;
        *lock(used) = Some(link.clone());
        let answers = link.connection.clone().send_packed_commands(pipeline, 0, pipeline.len()).await;
        let answers = answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
        let answers = answers.map_err(|error| {
            self.violation_failure(&link.violation).unwrap_or_else(|| self.classify(&error))
        });
        if answers.as_ref().is_err_and(|failure| failure.may_reconnect) {
            link.mark_broken();
        }
        answers
    }

    /// The current connection, or a new one. A caller waits for at most one connection attempt of another caller.
    async fn link(&self) -> Result<Arc<OnReactor<Link>>, CommandFailure> {
        let mut slot = self.link.lock().await;
        settle().await;
        let now = self.clock.now().boot;
        let link = match slot.take().filter(|link| link.is_here() && link.is_usable(now)) {
            Some(link) => link,
            None => Arc::new(OnReactor::new(self.dial().await?)),
        };
        *lock(&link.used) = now;
        *slot = Some(link.clone());
        Ok(link)
    }

    async fn dial(&self) -> Result<Link, CommandFailure> {
        let Address { host, port, has_tls, .. } = &self.address;
        standard_streams::ensure_open().map_err(|error| CommandFailure { error, may_reconnect: false })?;
        let stream = self.connect(host, *port).await?;
        let _ = stream.set_nodelay(true);
        if !has_tls {
            return self.log_in(stream).await;
        }
        let mut tls = self
            .tls
            .client_config(&*self.tls.files().await)
            .map_err(|error| CommandFailure { error, may_reconnect: false })?;
        tls.alpn_protocols.clear();
        let name = ServerName::try_from(host.clone())
            .map_err(|error| self.refused(&error.to_string(), "check the host in store"))?;
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, stream);
        // A server without TLS waits for a line end and does not answer.
        let connected = timeout(SHORT_ANSWER_TIMEOUT, connecting).await.map_err(|_| CommandFailure {
            error: self.store_error("it does not answer in TLS", NO_TLS),
            may_reconnect: false,
        })?;
        self.log_in(connected.map_err(|error| self.connect_failure(&error))?).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, CommandFailure> {
        let addresses = resolve(host, port).await.map_err(|unresolved| match unresolved {
            Unresolved::Unknown(error) => self.connect_failure(&error),
            Unresolved::NoThread(error) => CommandFailure { error, may_reconnect: false },
        })?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(self.connect_failure(&failure))
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Link, CommandFailure> {
        let mut login = RedisConnectionInfo::default()
            .set_db(self.address.database)
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(user) = &self.address.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.address.password {
            login = login.set_password(password.expose());
        }
        let channels = Channels::default();
        let listening = channels.clone();
        let on_push = move |push: PushInfo| {
            notify_listeners(&listening, &push);
            Ok::<_, ()>(())
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(on_push);
        let violation = Violation::default();
        let stream = BoundedStream::new(stream, violation.clone());
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&login, stream, config).await.map_err(|error| {
                self.violation_failure(&violation).unwrap_or_else(|| self.login_failure(&error))
            })?;
        let used = Arc::new(Mutex::new(self.clock.now().boot));
        let idle = until_idle(self.clock.clone(), used.clone());
        let driver = tokio::spawn(async move {
            race(driver, idle).await;
        });
        let is_broken = AtomicBool::new(false);
        Ok(Link { connection, channels, violation, driver: driver.abort_handle(), used, is_broken })
    }

    fn answer<T: FromRedisValue>(&self, value: Option<Value>) -> Result<T, Error> {
        T::from_redis_value(value.unwrap_or(Value::Nil)).map_err(|_| {
            self.store_error("the answer has an unexpected form", "is there a Redis at this address?")
        })
    }

    /// The failure, if the server has sent an invalid reply.
    fn violation_failure(&self, violation: &Violation) -> Option<CommandFailure> {
        let advice = if self.address.has_tls { "is there a Redis at this address?" } else { PERHAPS_TLS };
        let error = self.store_error(violation.get()?, advice);
        Some(CommandFailure { error, may_reconnect: true })
    }

    fn connect_failure(&self, error: &io::Error) -> CommandFailure {
        let advice = "check host and port in store, and that the server runs and can be reached from here";
        let error = self.store_error(&error.to_string(), advice_on_tls(&error.to_string()).unwrap_or(advice));
        CommandFailure { error, may_reconnect: true }
    }

    fn login_failure(&self, error: &RedisError) -> CommandFailure {
        let mut failure = self.classify(error);
        if error.code().is_none() && !self.address.has_tls {
            failure.error = self.store_error(&error.to_string(), PERHAPS_TLS);
        }
        failure
    }

    fn classify(&self, error: &RedisError) -> CommandFailure {
        let what = error.to_string();
        let failure =
            |advice, may_reconnect| CommandFailure { error: self.store_error(&what, advice), may_reconnect };
        match code(error, &what) {
            Some("WRONGPASS" | "NOAUTH") => self.refused(&what, "check user and password in store"),
            Some("NOPERM") => self.refused(&what, RIGHTS),
            // The user may not do what the script does. The texts are those of Redis 7.0, and of later versions and
            // Valkey.
            Some(_) if what.contains("user executing the script") || what.contains("ACL failure in script") => {
                self.refused(&what, RIGHTS)
            }
            Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => self.refused(
                &what,
                "a node of a cluster is at this address, and not the one for this account; name a proxy in front of it",
            ),
            // Another server has become the primary, or this one is not ready yet.
            Some("READONLY" | "MASTERDOWN") => failure("name the primary in store, or an address that follows it", true),
            Some("LOADING") => failure("it is starting, and will be ready in a while", true),
            Some("OOM") => failure("it has no memory left: raise maxmemory; see docs/redis.md", false),
            Some("MISCONF" | "NOREPLICAS") => failure("it accepts no writes; check the server", false),
            Some(_) => failure("check the server", false),
            None => failure(
                advice_on_tls(&what).unwrap_or("check the server"),
                error.is_unrecoverable_error() || error.is_io_error(),
            ),
        }
    }

    /// The failure for a problem that only an operator can solve.
    fn refused(&self, what: &str, advice: &str) -> CommandFailure {
        let text = self.text(what, advice);
        CommandFailure { error: Error::new(Status::PG_ERR_STORE_REFUSED, text), may_reconnect: false }
    }

    fn store_error(&self, what: &str, advice: &str) -> Error {
        Error::new(Status::PG_ERR_STORE, self.text(what, advice))
    }

    /// Without the password, which a server may repeat. Records come behind a script, which is longer than any echo.
    fn text(&self, what: &str, advice: &str) -> String {
        // An error of megabytes would take seconds to redact, and 400 characters of it are shown.
        let what = Redactor::new(&self.address.password).text(what.chars().take(16 << 10).collect());
        format!("store {}: {}; {advice}", self.address, excerpt(&what))
    }
}

/// The error code, the first word of the server's text. For a command in a script, Redis 6 puts its own text in front:
/// `ERR Error running script (call to f_…): @user_script:16: @user_script: 16: -OOM command not allowed …`
fn code<'a>(error: &'a RedisError, what: &'a str) -> Option<&'a str> {
    let within = if what.contains("Error running script") { what.rsplit_once(": -") } else { None };
    within.and_then(|(_, said)| said.split(' ').next()).or_else(|| error.code())
}

/// The advice for a TLS failure, found by its text.
fn advice_on_tls(what: &str) -> Option<&'static str> {
    if what.contains("invalid peer certificate") {
        Some("check the certificate of the server, and tls.ca_file if it has an authority of its own")
    } else if what.contains("CertificateRequired") {
        Some("the server asks for a certificate of ours: set tls.client_cert_file and tls.client_key_file")
    } else if what.contains("alert") {
        Some("the server does not accept our side of TLS: check its settings, and tls.client_cert_file")
    } else if what.contains("corrupt message") || what.contains("tls handshake eof") {
        Some(NO_TLS)
    } else {
        None
    }
}

/// Returns when the connection has been idle for long enough.
async fn until_idle(clock: Arc<dyn Clock>, used: Arc<Mutex<Duration>>) {
    loop {
        let idle = clock.now().boot.saturating_sub(*lock(&used));
        match IDLE.checked_sub(idle) {
            Some(rest) => tokio::time::sleep(rest + Duration::from_millis(1)).await,
            None => return,
        }
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "the tests of sessions use the rest")]
#[path = "../../../tests/support/redis_server.rs"]
pub(super) mod redis_server;

#[cfg(test)]
mod tests;
