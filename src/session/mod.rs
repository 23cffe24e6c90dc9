//! A session: it provides a valid token of one account, at any time, from any thread.
//!
//! In reading order:
//! - `account` (credentials and their record) and [`phase`] (the age of a token);
//! - [`decision`] (events and actions) and [`machine`] (the pure decisions), with its parts `current_token`, `pause` (the
//!   back-off after a failure), `waiter`, [`credential_state`] and [`rejection`] (refusals of credentials and tokens);
//! - [`plan`], [`flight`] and [`outcome`]: the single flight, its task, its steps and its result;
//! - `driver` (performs the actions), `timers`, `requests` (requests that carry a token), [`forward`] (the same with streams,
//!   for a proxy);
//! - `published` and `read_counter` (the lock-free read), `registry`;
//! - [`health`] and [`metrics`] (what a session reports), [`operator`] (manual work on a record).

mod account;
pub mod credential_state;
mod current_token;
pub mod decision;
mod driver;
pub mod flight;
pub mod forward;
pub mod health;
pub mod machine;
pub mod metrics;
pub mod operator;
pub mod outcome;
mod pause;
pub mod phase;
pub mod plan;
mod published;
mod read_counter;
mod registry;
pub mod rejection;
mod requests;
mod timers;
mod waiter;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use self::account::Account;
use self::decision::Policy;
use self::driver::{Driver, TokenRequest};
use self::health::Health;
use self::machine::{closed, static_token};
use self::registry::Registration;
use self::rejection::ReportVerdict;
use crate::client::Client;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::{Body, Level};
use crate::expiry::{ExpiresIn, Lifetime};
use crate::queue::Completion;
use crate::request::{ApiRequest, Response};
use crate::runtime::sharded_arc::{Published, ShardedArc};
use crate::runtime::{self, process::PerProcess};
use crate::secret::Secret;
use crate::status::Status;
use crate::store::{Committed, Location, MemoryStore, Store};
use crate::token::{Fingerprint, Grant, Pair, RefreshToken, Token};

/// When a caller may report a static token again. The report has the same answer then.
const STATIC_PAUSE: Duration = Duration::from_secs(1);

/// A session. It can be used from many threads at once, and in a forked child: the child continues with the inherited
/// token and issues its own pair when that is due.
pub struct Session {
    policy: Policy,
    account: Arc<Account>,
    closed: AtomicBool,
    driver: PerProcess<Registration>,
}

impl Session {
    /// Opens a session for the account that the configuration names. Reads its files; makes no connection.
    pub fn open(client: &Arc<Client>, config: &Config) -> Result<Self, Error> {
        if let Some(token) = config.static_token()? {
            return Session::open_static(client, token);
        }
        let pair = config.pair()?;
        let source = config.credentials_source()?.or_else(|| client.credentials.clone());
        if source.is_none() && pair.is_none() {
            let text = "a session needs credentials (set credentials_file, PAYMENTSGATE_CREDENTIALS_FILE in the environment, or \
                        account_id and public_key) or a pair (set access_token and refresh_token)";
            return Err(Error::new(Status::PG_ERR_NO_CREDENTIALS, text));
        }
        let location = config.location()?;
        if pair.is_some() && !location.is_memory() {
            let text = "access_token and store are both set; the host keeps the pair, so no store is used; leave one of them out";
            return Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text));
        }
        let policy = Policy {
            keep_warm: config.keep_warm,
            on_ambiguous: config.on_ambiguous,
            host_keeps: pair.is_some(),
            fail_without_store: config.fail_without_store,
            is_strict: config.is_strict,
            is_shared: !location.is_memory(),
            has_file: source.as_ref().is_some_and(|source| source.file().is_some()),
            is_static: false,
        };
        let account = Account::new(client.clone(), location, config.keyring()?, source);
        let session = Session::new(policy, account);
        if let Some(pair) = pair {
            let first = first_pair(client, config, pair);
            session.begin_with(first, config.access_token_expires_in.is_none())?;
        } else {
            // The store is opened now, so that its errors are reported here.
            session.account.open_store()?;
        }
        Ok(session)
    }

    /// A session with one token, which is served until the session is closed. It makes no call to obtain another one.
    fn open_static(client: &Arc<Client>, token: &Secret) -> Result<Self, Error> {
        let policy = Policy { is_static: true, ..Policy::default() };
        let account = Account::new(client.clone(), Location::Memory, None, None);
        let session = Session::new(policy, account);
        let token = Token::new(token.clone(), Lifetime::endless(), client.clock.now());
        session.begin_with(Pair { token, refresh: None }, false)?;
        Ok(session)
    }

    fn new(policy: Policy, account: Account) -> Self {
        let (closed, driver) = (AtomicBool::new(false), PerProcess::new());
        Session { policy, account: Arc::new(account), closed, driver }
    }

    /// Creates the driver with a first pair. That is done at once: a refresh token belongs to this process, not to a
    /// child forked before the first call.
    fn begin_with(&self, first: Pair, has_uncertain_age: bool) -> Result<(), Error> {
        let store = MemoryStore::default();
        let first = Committed { has_uncertain_age, ..store.put(first, 1) };
        self.driver.get_or_try_init(|| self.new_driver(Arc::new(store), Some(first)))?;
        Ok(())
    }

    /// Calls `take` with the current token, if a fast check shows that it is fresh. Unless `take` does, it takes no
    /// lock, allocates nothing and does not panic. If it returns `None`, [`Session::fresh`] checks more closely.
    #[inline]
    pub fn try_read<T>(&self, take: impl FnOnce(&Published<Grant>) -> Option<T>) -> Option<T> {
        self.account.published.try_read(take)
    }

    /// The current token, if it is fresh and at least `min_remaining` of its life is left. Reads memory only.
    pub fn fresh(&self, min_remaining: Duration) -> Option<ShardedArc<Grant>> {
        self.account.published.read(min_remaining, Published::share)
    }

    /// A token that is valid now, with at least `min_remaining` of its life left if possible. A fresh token comes
    /// from memory; otherwise the call waits until the deadline. A timeout of zero never blocks.
    pub fn token(&self, timeout: Duration, min_remaining: Duration) -> Result<ShardedArc<Grant>, Error> {
        match self.fresh(min_remaining) {
            Some(grant) => Ok(grant),
            None => {
                let driver = self.driver()?;
                Ok(driver.ask(timeout, driver.token_request(timeout, min_remaining))?.grant)
            }
        }
    }

    /// Like [`Session::token`], as a future of any runtime.
    pub async fn token_async(
        &self,
        timeout: Duration,
        min_remaining: Duration,
    ) -> Result<ShardedArc<Grant>, Error> {
        let driver = self.driver()?;
        requests::token(driver, requests::deadline(driver, timeout), min_remaining).await
    }

    /// Obtains another token than the current one now, with a Refresh or, if that is refused, an Issue. Concurrent
    /// callers share one call. If no newer token comes before the deadline, that is an error, even if the current
    /// token is still valid.
    pub fn refresh(&self, timeout: Duration) -> Result<ShardedArc<Grant>, Error> {
        let driver = self.driver()?;
        let request = TokenRequest { wants_newer: true, ..driver.token_request(timeout, Duration::ZERO) };
        Ok(driver.ask(timeout, request)?.grant)
    }

    /// The same without waiting: the answer completes an operation of a queue.
    pub fn refresh_start(&self, end: Completion, timeout: Duration) {
        match self.driver() {
            Ok(driver) => driver.ask_for(
                end,
                TokenRequest { wants_newer: true, ..driver.token_request(timeout, Duration::ZERO) },
            ),
            Err(error) => end.fail(error),
        }
    }

    /// The generation word: the generation that readers may take from memory. 0: call the library.
    pub fn generation_word(&self) -> *const u64 {
        let word = self.account.published.word();
        if let Ok(driver) = self.driver() {
            driver.watch();
        }
        word.address()
    }

    /// Whether an operation started without waiting would be completed: the library's thread runs, or there is a
    /// token that does not need it.
    pub fn check_start(&self, min_remaining: Duration) -> Result<(), Error> {
        let without_thread = |error| self.token(Duration::ZERO, min_remaining).map(drop).map_err(|_| error);
        runtime::handle().map(drop).or_else(without_thread)
    }

    /// The same without waiting: the answer completes an operation of a queue.
    pub fn token_start(&self, end: Completion, timeout: Duration, min_remaining: Duration) {
        match self.fresh(min_remaining) {
            Some(grant) => end.complete(Body::Token(Ok(grant))),
            None => match self.driver() {
                Ok(driver) => driver.ask_for(end, driver.token_request(timeout, min_remaining)),
                Err(error) => end.fail(error),
            },
        }
    }

    /// Performs an authenticated request and waits for its answer until the deadline. Without a timeout, the setting
    /// `request_timeout_ms` applies.
    pub fn request(&self, request: ApiRequest, timeout: Option<Duration>) -> Result<Arc<Response>, Error> {
        requests::run(self.driver()?, request, timeout.unwrap_or(self.account.client.request_timeout))
    }

    /// The same without waiting: the answer completes an operation of a queue.
    pub fn request_start(&self, end: Completion, request: ApiRequest, timeout: Option<Duration>) {
        match self.driver() {
            Ok(driver) => {
                requests::start(driver, end, request, timeout.unwrap_or(self.account.client.request_timeout))
            }
            Err(error) => end.fail(error),
        }
    }

    /// Delivers notices of the session, and its log lines up to `level`, until it is closed or the operation is
    /// canceled.
    pub fn subscribe(&self, to: Completion, level: Level) {
        match self.driver() {
            Ok(driver) => driver.subscribe(to, level),
            Err(error) => to.fail(error),
        }
    }

    /// Reports that the service answered 401 to this token. A report of an old token has no effect
    /// (compare-and-invalidate).
    pub fn reject(&self, refused: Fingerprint) -> Result<(), Error> {
        match self.driver()?.reject(refused) {
            ReportVerdict::Newer | ReportVerdict::Renewing => Ok(()),
            ReportVerdict::RejectedFresh { retry_after } => {
                let mut text = format!(
                    "the service refuses tokens that it has only just issued; this one is still served, and a report \
                     after {} ms replaces it. Check the account's rights",
                    retry_after.as_millis()
                );
                if !self.policy.is_shared {
                    text += ", and whether other processes use it: each Issue may end earlier tokens, so let \
                             them share one with the setting store";
                }
                let error = Error::new(Status::PG_ERR_REJECTED_FRESH, text);
                Err(Error { retry_after: Some(retry_after), ..error })
            }
            // With a time, like every other error of this status: callers may rely on it.
            ReportVerdict::Static => {
                Err(Error { retry_after: Some(STATIC_PAUSE), ..static_token(Status::PG_ERR_REJECTED_FRESH) })
            }
        }
    }

    /// Replaces the key of the session's account, and resets the credential state. Another account is refused.
    pub fn set_credentials(&self, credentials: Credentials) -> Result<(), Error> {
        if self.policy.is_static {
            return Err(static_token(Status::PG_ERR_INVALID_ARGUMENT));
        }
        let new_credentials = self.account.new_credentials(Arc::new(credentials))?;
        self.driver()?.set_credentials(new_credentials)
    }

    /// The health of the session.
    pub fn health(&self) -> Result<Health, Error> {
        Ok(self.driver()?.health())
    }

    /// Ends all work: waiters get an error, and nothing new starts. Waits for a running call until the deadline. A
    /// second close only waits.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.driver.get() {
            Some(registration) if !registration.driver.close(timeout) => {}
            // Nothing was started in this process. A token that the parent published is withdrawn here, too.
            None => {
                self.account.published.set(None);
                return Ok(());
            }
            Some(_) => return Ok(()),
        }
        let text = "a call to the service is still under way; its pair goes to the store, or to the host that keeps the pairs";
        Err(Error::new(Status::PG_ERR_TIMEOUT, text))
    }

    fn driver(&self) -> Result<&Arc<Driver>, Error> {
        if self.is_closed() {
            return Err(closed());
        }
        let driver =
            &self.driver.get_or_try_init(|| self.new_driver(self.account.open_store()?, None))?.driver;
        // A concurrent close has either found the driver or is seen here.
        if self.is_closed() {
            driver.close(Duration::ZERO);
            return Err(closed());
        }
        Ok(driver)
    }

    fn is_closed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.closed.load(Ordering::SeqCst)
    }

    fn new_driver(&self, store: Arc<dyn Store>, first: Option<Committed>) -> Result<Registration, Error> {
        Registration::new(Driver::new(self.policy, self.account.clone(), store, first)?)
    }
}

/// The pair from the settings. The service's answer that brought it is not known, so its lifetime comes from the
/// settings or from its own claims, and counts from now.
fn first_pair(client: &Client, config: &Config, (access, refresh): (&Secret, &Secret)) -> Pair {
    let lifetime = match config.access_token_expires_in {
        Some(length) => Lifetime::of(length),
        None => Lifetime::from_sources(ExpiresIn::Absent, access.expose(), None),
    };
    let token = Token::new(access.clone(), lifetime, client.clock.now());
    Pair { token, refresh: Some(RefreshToken::new(refresh.clone())) }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends timers and answers waiters. A running flight ends by itself.
        if !self.is_closed() {
            let _ = self.close(Duration::ZERO);
        }
    }
}
