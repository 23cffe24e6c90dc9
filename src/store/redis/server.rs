//! A connection to a Redis server: made when it is needed, shared by all sessions of a client, made anew when it breaks.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, ProtocolVersion, PushInfo};
use redis::{RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Address;
use crate::clock::Clock;
use crate::error::Error;
use crate::runtime::first;
use crate::runtime::process::PerProcess;
use crate::status::Status;
use crate::transport::TlsSettings;

/// For one question with its answer, and a new connection before it if that is needed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of these, for replicas to have what was written.
const REPLICAS_PATIENCE: Duration = Duration::from_secs(2);
/// A connection that nobody used for longer is closed: few servers have room for one of every process.
const IDLE: Duration = Duration::from_secs(30);

/// The servers that the sessions of a client use, each with one connection.
pub(crate) struct Servers {
    tls: Arc<TlsSettings>,
    clock: Arc<dyn Clock>,
    /// A forked child makes its own connections.
    known: PerProcess<Mutex<Vec<Arc<Server>>>>,
}

impl Servers {
    pub(crate) fn new(tls: Arc<TlsSettings>, clock: Arc<dyn Clock>) -> Self {
        Servers { tls, clock, known: PerProcess::new() }
    }

    /// The server at that address, the same one each time.
    pub(crate) fn at(&self, address: &Address) -> Result<Arc<Server>, Error> {
        let known = self.known.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = known.iter().find(|server| server.address == *address) {
            return Ok(server.clone());
        }
        let server = Arc::new(Server {
            address: address.clone(),
            tls: self.tls.clone(),
            clock: self.clock.clone(),
            link: tokio::sync::Mutex::new(None),
            news: Arc::default(),
        });
        known.push(server.clone());
        Ok(server)
    }
}

/// One server.
pub(crate) struct Server {
    address: Address,
    tls: Arc<TlsSettings>,
    clock: Arc<dyn Clock>,
    link: tokio::sync::Mutex<Option<Link>>,
    /// Somebody has told something on a channel.
    news: Arc<Notify>,
}

/// A connection.
struct Link {
    connection: MultiplexedConnection,
    /// The channels that it listens to.
    channels: Vec<String>,
    driver: AbortHandle,
    /// When it was last used, on the boot clock.
    used: Arc<Mutex<Duration>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why there is no answer.
struct Trouble {
    error: Error,
    /// Another connection may do better.
    is_of_connection: bool,
}

impl Server {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// One question, with its answer.
    pub(super) async fn ask<T: FromRedisValue>(&self, question: Cmd) -> Result<T, Error> {
        let mut questions = Pipeline::with_capacity(1);
        questions.add_command(question);
        let mut answers = self.converse(&questions).await?;
        self.answer(answers.pop())
    }

    /// One that writes: the answer counts when as many replicas have it as there must be.
    pub(super) async fn write<T: FromRedisValue>(&self, question: Cmd) -> Result<T, Error> {
        let wanted = self.address.replicas;
        if wanted == 0 {
            return self.ask(question).await;
        }
        let mut questions = Pipeline::with_capacity(2);
        questions.add_command(question);
        questions.cmd("WAIT").arg(wanted).arg(REPLICAS_PATIENCE.as_millis() as u64);
        let mut answers = self.converse(&questions).await?;
        let replicas: u32 = self.answer(answers.pop())?;
        if replicas < wanted {
            let what = format!("{replicas} of {wanted} replicas have what was written");
            return Err(self.trouble(&what, "look at the replicas, or lower `replicas` in store"));
        }
        self.answer(answers.pop())
    }

    /// Returns when something is told on that channel, and after `most` at the latest.
    pub(super) async fn listen(&self, channel: &str, most: Duration) {
        let told = self.news.notified();
        let waiting = async {
            // Without it the pause is over later, and that is all.
            let _ = self.subscribe(channel).await;
            told.await;
        };
        let _ = timeout(most, waiting).await;
    }

    async fn subscribe(&self, channel: &str) -> Result<(), Trouble> {
        let mut link = self.link.lock().await;
        let Some(link) = &mut *link else { return Ok(()) };
        if !link.channels.iter().any(|known| known == channel) {
            link.connection.subscribe(channel).await.map_err(|error| self.failed(&error))?;
            link.channels.push(channel.to_owned());
        }
        Ok(())
    }

    /// Questions together, on a new connection if the one there is has broken. Each may so be asked twice.
    async fn converse(&self, questions: &Pipeline) -> Result<Vec<Value>, Error> {
        let twice = async {
            match self.try_to_converse(questions).await {
                Err(trouble) if trouble.is_of_connection => {
                    self.hang_up().await;
                    self.try_to_converse(questions).await
                }
                result => result,
            }
        };
        match timeout(PATIENCE, twice).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(trouble)) => {
                if trouble.is_of_connection {
                    self.hang_up().await;
                }
                Err(trouble.error)
            }
            Err(_) => {
                self.hang_up().await;
                let what = format!("no answer within {} s", PATIENCE.as_secs());
                Err(self.trouble(&what, "check that the server runs and can be reached from here"))
            }
        }
    }

    async fn try_to_converse(&self, questions: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let mut connection = self.connection().await?;
        let answers = connection.send_packed_commands(questions, 0, questions.len()).await;
        let answers = answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
        answers.map_err(|error| self.failed(&error))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Trouble> {
        let mut link = self.link.lock().await;
        let now = self.clock.now().boot;
        if link.as_ref().is_some_and(|link| now.saturating_sub(*lock(&link.used)) > IDLE) {
            *link = None;
        }
        let link = match &mut *link {
            Some(link) => link,
            none => none.insert(self.dial().await?),
        };
        *lock(&link.used) = now;
        Ok(link.connection.clone())
    }

    async fn hang_up(&self) {
        *self.link.lock().await = None;
    }

    async fn dial(&self) -> Result<Link, Trouble> {
        let Address { host, port, has_tls, .. } = &self.address;
        let stream =
            TcpStream::connect((host.as_str(), *port)).await.map_err(|error| self.unreachable(&error))?;
        let _ = stream.set_nodelay(true);
        if !has_tls {
            return self.log_in(stream).await;
        }
        let mut tls = self.tls.client_config().map_err(|error| Trouble { error, is_of_connection: false })?;
        tls.alpn_protocols.clear();
        let name = ServerName::try_from(host.clone())
            .map_err(|error| self.refused(&error.to_string(), "check the host in store"))?;
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, stream);
        self.log_in(connecting.await.map_err(|error| self.unreachable(&error))?).await
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Link, Trouble> {
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
        let news = self.news.clone();
        let tell = move |_: PushInfo| {
            news.notify_waiters();
            Ok::<_, ()>(())
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(tell);
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config)
            .await
            .map_err(|error| self.failed(&error))?;
        let used = Arc::new(Mutex::new(self.clock.now().boot));
        let idle = until_idle(self.clock.clone(), used.clone());
        let driver = tokio::spawn(async move {
            first(driver, idle).await;
        });
        Ok(Link { connection, channels: Vec::new(), driver: driver.abort_handle(), used })
    }

    fn answer<T: FromRedisValue>(&self, value: Option<Value>) -> Result<T, Error> {
        T::from_redis_value(value.unwrap_or(Value::Nil)).map_err(|_| {
            self.trouble("an answer that is none of the script's", "is there a Redis at this address?")
        })
    }

    fn unreachable(&self, error: &io::Error) -> Trouble {
        let advice = if error.kind() == io::ErrorKind::InvalidData {
            "check the certificate of the server, and tls.ca_file if it has an authority of its own"
        } else {
            "check host and port in store, and that the server runs and can be reached from here"
        };
        Trouble { error: self.trouble(&error.to_string(), advice), is_of_connection: true }
    }

    /// The words of the server hold nothing that it was sent.
    fn failed(&self, error: &RedisError) -> Trouble {
        let what = error.to_string();
        match error.code() {
            Some("WRONGPASS" | "NOAUTH") => self.refused(&what, "check user and password in store"),
            Some("NOPERM") => self.refused(&what, "give the user the rights that docs/redis.md lists"),
            Some("MOVED" | "ASK" | "CROSSSLOT") => {
                self.refused(&what, "a node of a cluster is at this address; name a proxy in front of it")
            }
            // Another server is the primary now, or this one is not ready yet.
            Some("READONLY" | "LOADING" | "MASTERDOWN") => {
                Trouble { error: self.trouble(&what, "look at the server"), is_of_connection: true }
            }
            _ => Trouble {
                error: self.trouble(&what, "look at the server"),
                is_of_connection: error.is_unrecoverable_error() || error.is_io_error(),
            },
        }
    }

    /// Nothing will be better without a person's help.
    fn refused(&self, what: &str, advice: &str) -> Trouble {
        let text = format!("store {}: {what}; {advice}", self.address);
        Trouble { error: Error::new(Status::PG_ERR_STORE_REFUSED, text), is_of_connection: false }
    }

    fn trouble(&self, what: &str, advice: &str) -> Error {
        Error::new(Status::PG_ERR_STORE, format!("store {}: {what}; {advice}", self.address))
    }
}

/// Resolves when the connection has not been used for long.
async fn until_idle(clock: Arc<dyn Clock>, used: Arc<Mutex<Duration>>) {
    loop {
        let idle = clock.now().boot.saturating_sub(*lock(&used));
        match IDLE.checked_sub(idle) {
            Some(rest) => tokio::time::sleep(rest + Duration::from_millis(1)).await,
            None => return,
        }
    }
}

fn lock(used: &Mutex<Duration>) -> std::sync::MutexGuard<'_, Duration> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}
