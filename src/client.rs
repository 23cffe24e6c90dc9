//! The client: the calls Issue and Refresh, each one request under one deadline, blocking or not. It also opens stores.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use tokio::sync::oneshot;

use crate::clock::{Clock, Moment, SystemClock};
use crate::config::Config;
use crate::credentials::{Credentials, CredentialsSource};
use crate::defect;
use crate::error::Error;
use crate::event::Body;
use crate::protocol::{self, Call};
use crate::queue::Completion;
use crate::runtime::sharded_arc::ShardedArc;
use crate::runtime::{self, race, standard_streams};
use crate::secret::Secret;
use crate::status::{Fate, Status};
use crate::store::{self, Keyring, Location, MemoryStore, Owner, RecordKey, RedisServers, Store};
use crate::token::{Grant, Pair, RefreshToken};
use crate::transport::{Exchange, Limit, RawResponse, Request, Sending, TlsSettings, Transport};

/// Added to the timeout of an Issue, this is how long a session waits for the lock of another. A holder that takes
/// longer counts as a store that is down: callers without a token do not wait for it.
const LOCK_ALLOWANCE: Duration = Duration::from_secs(10);
/// A delay up to this length before a call is not subtracted from its timeout.
const NEGLIGIBLE_DELAY: Duration = Duration::from_millis(20);

/// A connection to one service: settings, connections, and perhaps credentials. Any number of threads may use it at
/// once.
pub struct Client {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) credentials: Option<CredentialsSource>,
    tls: Arc<TlsSettings>,
    pub(crate) issue_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
    pub(crate) send_bearer_on_refresh: bool,
    base_url: Option<Url>,
    pub(crate) servers: RedisServers,
    /// The limit for answers to Issue and Refresh.
    pub(crate) limit: Limit,
    pub(crate) request_timeout: Duration,
    /// The limit for answers to all other requests.
    pub(crate) request_limit: Limit,
}

impl Client {
    /// Checks the configuration and reads its files. Makes no connection and starts no thread.
    pub fn new(config: &Config) -> Result<Arc<Self>, Error> {
        // The files that are read must not get the descriptors of the standard streams.
        standard_streams::ensure_open()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let base_url = match &config.base_url {
            Some(base_url) => base_url.clone(),
            None if config.static_token.is_some() => {
                return Client::with_parts(config, Box::new(NoService), clock);
            }
            None => return Err(no_base_url()),
        };
        let transport = config.transport(base_url, clock.clone())?;
        let tls = transport.tls().clone();
        Client::assemble(config, Box::new(transport), clock, tls)
    }

    /// Like `new`, with a transport and a clock of the caller.
    pub fn with_parts(
        config: &Config,
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let tls = Arc::new(TlsSettings::load(&config.tls)?);
        Client::assemble(config, transport, clock, tls)
    }

    fn assemble(
        config: &Config,
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
        tls: Arc<TlsSettings>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Client {
            transport,
            servers: RedisServers::new(tls.clone(), clock.clone()),
            tls,
            clock,
            base_url: config.base_url.clone(),
            credentials: config.credentials_source()?,
            issue_timeout: config.issue_timeout,
            refresh_timeout: config.refresh_timeout,
            send_bearer_on_refresh: config.send_bearer_on_refresh,
            limit: Limit { setting: "max_response_bytes", bytes: config.max_response_bytes },
            request_timeout: config.request_timeout,
            request_limit: Limit {
                setting: "request_max_response_bytes",
                bytes: config.request_max_response_bytes,
            },
        }))
    }

    /// Why a changed file could not be used at the last check. The last good content stays in use.
    pub(crate) fn file_error(&self) -> Option<Error> {
        self.tls.reload_error().or_else(|| self.credentials.as_ref()?.reload_error())
    }

    /// The base URL of the service.
    pub fn base_url(&self) -> Option<&Url> {
        self.base_url.as_ref()
    }

    /// The time by the client's clock.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The setting `request_timeout_ms`.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Requests the base URL without a token, to learn whether the service answers, in whatever way. Spends nothing.
    /// Blocks until the deadline at most.
    pub fn probe(self: &Arc<Self>, timeout: Duration) -> Result<RawResponse, Error> {
        let request = Request {
            method: Method::GET,
            path: "".into(),
            headers: HeaderMap::new(),
            bearer: None,
            body: None,
            limit: self.request_limit,
            timeout,
        };
        let client = self.clone();
        let answered = runtime::run(async move { client.transport.send(request).await.result }, timeout)?;
        answered.unwrap_or_else(|| {
            Err(Error::new(Status::PG_ERR_TIMEOUT, "the service gave no complete answer within the deadline"))
        })
    }

    pub(crate) fn open_store(
        &self,
        location: &Location,
        credentials: Option<&Credentials>,
        keyring: Option<Keyring>,
    ) -> Result<Arc<dyn Store>, Error> {
        // A session without credentials has only a pair, which its host stores.
        let Some(credentials) = credentials else { return Ok(Arc::new(MemoryStore::default())) };
        let owner = Owner {
            key: self.record_key(credentials)?,
            keyring,
            clock: self.clock.clone(),
            lock_timeout: self.issue_timeout + LOCK_ALLOWANCE,
        };
        store::open(location, &self.servers, owner)
    }

    /// The name of an account's record in a store: the same for every session with these credentials on this service.
    pub(crate) fn record_key(&self, credentials: &Credentials) -> Result<RecordKey, Error> {
        let Credentials { account_id, public_key } = credentials;
        let base_url = self.base_url.as_ref().ok_or_else(no_base_url)?;
        Ok(RecordKey::new(base_url, account_id.expose(), public_key.expose()))
    }

    /// An upper bound for the time of a flight: the lock, a Refresh, three times an Issue, and the commits.
    pub(crate) fn longest_flight(&self) -> Duration {
        2 * (self.refresh_timeout + 3 * self.issue_timeout) + Duration::from_secs(60)
    }

    /// Issues a pair, with the client's own credentials if none are given. Blocks until the deadline at most.
    pub fn issue(
        self: &Arc<Self>,
        credentials: Option<Credentials>,
        timeout: Option<Duration>,
    ) -> Result<Pair, Error> {
        let source = self.default_source(&credentials);
        self.call(self.issue_call(credentials)?, None, source, timeout.unwrap_or(self.issue_timeout))
    }

    /// Like the blocking call, without waiting: the answer ends an operation of a queue.
    pub fn issue_start(
        self: &Arc<Self>,
        end: Completion,
        credentials: Option<Credentials>,
        timeout: Option<Duration>,
    ) {
        let source = self.default_source(&credentials);
        match self.issue_call(credentials) {
            Ok(call) => self.start(call, None, source, timeout.unwrap_or(self.issue_timeout), end),
            Err(error) => end.fail(error),
        }
    }

    /// Where an Issue takes its credentials from, if the caller gives none.
    fn default_source(&self, given: &Option<Credentials>) -> Option<CredentialsSource> {
        self.credentials.clone().filter(|_| given.is_none())
    }

    fn issue_call(&self, credentials: Option<Credentials>) -> Result<Call, Error> {
        let credentials = credentials.or_else(|| Some(Credentials::clone(&self.credentials.as_ref()?.last()))).ok_or_else(|| {
            let text = "issue: no credentials were given and the configuration has none; set credentials_file \
                        (PAYMENTSGATE_CREDENTIALS_FILE in the environment), or account_id and public_key";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        })?;
        Ok(Call::Issue(credentials))
    }

    /// Obtains the next pair. Blocks until the deadline at most. On failure the error's fate says whether the refresh
    /// token may be presented again.
    pub fn refresh(
        self: &Arc<Self>,
        access: Option<Secret>,
        refresh: RefreshToken,
        timeout: Option<Duration>,
    ) -> Result<Pair, Error> {
        let (call, unsent) = self.refresh_call(access, refresh);
        self.call(call, unsent, None, timeout.unwrap_or(self.refresh_timeout))
    }

    /// Like the blocking call, without waiting: the answer ends an operation of a queue.
    pub fn refresh_start(
        self: &Arc<Self>,
        end: Completion,
        access: Option<Secret>,
        refresh: RefreshToken,
        timeout: Option<Duration>,
    ) {
        let (call, unsent) = self.refresh_call(access, refresh);
        self.start(call, unsent, None, timeout.unwrap_or(self.refresh_timeout), end);
    }

    /// The call, and the access token if it is not sent.
    fn refresh_call(&self, access: Option<Secret>, refresh: RefreshToken) -> (Call, Option<Secret>) {
        let (sent, unsent) = if self.send_bearer_on_refresh { (access, None) } else { (None, access) };
        (Call::Refresh { refresh, access: sent }, unsent)
    }

    /// Makes the call, with the newest credentials of `source`. The timeout counts from `started`, since the library's
    /// thread may have been busy.
    async fn make(
        &self,
        mut call: Call,
        unsent_access: Option<Secret>,
        source: Option<CredentialsSource>,
        started: Moment,
        timeout: Duration,
    ) -> Result<Pair, Error> {
        if let Some(source) = source {
            call = Call::Issue(Credentials::clone(&*source.reload_async().await));
        }
        // Only a considerable delay is subtracted, so that an error names the timeout that the caller gave.
        let spent = Some(self.clock.now().since(started)).filter(|spent| *spent > NEGLIGIBLE_DELAY);
        let left = timeout.saturating_sub(spent.unwrap_or_default());
        if left.is_zero() {
            let text = format!("{}: the deadline passed before it began, so nothing was sent", call.name());
            return Err(unsent(&call)(Error::new(Status::PG_ERR_TIMEOUT, text)));
        }
        let own = self.credentials.as_ref().map(CredentialsSource::last);
        let key = own.as_ref().map(|own| &own.public_key);
        let others: Vec<_> = key.into_iter().chain(&unsent_access).collect();
        let result = call.make(&*self.transport, &*self.clock, self.limit, left, &others).await;
        result.map_err(|failure| failure.error)
    }

    fn start(
        self: &Arc<Self>,
        call: Call,
        unsent_access: Option<Secret>,
        source: Option<CredentialsSource>,
        timeout: Duration,
        end: Completion,
    ) {
        let started = self.clock.now();
        let runtime = match check_time(&call, timeout).and_then(|()| runtime::handle()) {
            Ok(runtime) => runtime,
            Err(error) => return end.complete(Body::Token(Err(unsent(&call)(error)))),
        };
        let (cancel, canceled) = oneshot::channel::<()>();
        end.on_cancel(move || drop(cancel));
        let client = self.clone();
        runtime.spawn(async move {
            let work = client.make(call, unsent_access, source, started, timeout);
            match race(defect::catch_panic_async(work), canceled).await {
                Some(Ok(outcome)) => {
                    end.complete(Body::Token(outcome.map(|pair| ShardedArc::new(Grant::bare(pair)))));
                }
                Some(Err(error)) => end.fail(error),
                // Canceled: the operation's final event has been delivered.
                None => {}
            }
        });
    }

    fn call(
        self: &Arc<Self>,
        call: Call,
        unsent_access: Option<Secret>,
        source: Option<CredentialsSource>,
        timeout: Duration,
    ) -> Result<Pair, Error> {
        let is_refresh = matches!(call, Call::Refresh { .. });
        let unsent = unsent(&call);
        check_time(&call, timeout).map_err(&unsent)?;
        let (client, started) = (self.clone(), self.clock.now());
        let work = async move { client.make(call, unsent_access, source, started, timeout).await };
        match runtime::run(work, timeout) {
            Ok(Some(result)) => result,
            Ok(None) => {
                Err(protocol::abandoned(is_refresh, Status::PG_ERR_TIMEOUT, "no answer within the deadline"))
            }
            // The library's thread could not be started.
            Err(error) if error.status == Status::PG_ERR_SYSTEM => Err(unsent(error)),
            Err(error) => Err(protocol::abandoned(is_refresh, error.status, &error.text)),
        }
    }
}

/// The transport of a client with a static token and without a base URL. It sends nothing.
struct NoService;

impl Transport for NoService {
    fn send(&self, _request: Request) -> Sending<'_> {
        Box::pin(ready(Exchange { sent: None, result: Err(no_base_url()) }))
    }
}

pub(crate) fn no_base_url() -> Error {
    let text = "base_url is not set; set it, or PAYMENTSGATE_BASE_URL in the environment: the production host is given to \
                each merchant, the sandbox is https://secure.sandbox.paymentsgate.io";
    Error::new(Status::PG_ERR_MISSING_SETTING, text)
}

fn check_time(call: &Call, timeout: Duration) -> Result<(), Error> {
    if timeout.is_zero() {
        let text = format!("{}: the timeout is 0, so nothing was sent; give the call some time", call.name());
        return Err(Error::new(Status::PG_ERR_TIMEOUT, text));
    }
    Ok(())
}

/// The fate of the refresh token if a call fails before it begins.
fn unsent(call: &Call) -> impl Fn(Error) -> Error + use<> {
    let fate = if matches!(call, Call::Refresh { .. }) { Fate::PG_FATE_UNSENT } else { Fate::PG_FATE_NONE };
    move |error| error.with_fate(fate)
}
