//! The two bare calls, each one request under one deadline. For callers who keep their own state.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::protocol::{self, Call};
use crate::runtime;
use crate::secret::Secret;
use crate::status::{Fate, Status};
use crate::token::{Pair, RefreshToken};
use crate::transport::{HttpTransport, Limit, Transport};

/// A way to one service: settings, connections, and perhaps credentials. Usable from any thread at once.
pub struct Client {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) issue_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
    pub(crate) send_bearer_on_refresh: bool,
    /// Of the answers to Issue and Refresh.
    pub(crate) limit: Limit,
    pub(crate) request_timeout: Duration,
    /// Of the answers to all other requests.
    pub(crate) request_limit: Limit,
}

impl Client {
    /// Checks the configuration and reads its files. Connects nowhere and starts no thread.
    pub fn new(config: &Config) -> Result<Arc<Self>, Error> {
        let base_url = config.base_url.clone().ok_or_else(|| {
            let text = "base_url is not set; the production host is given to each merchant, the sandbox is \
                        https://secure.sandbox.paymentsgate.io";
            Error::new(Status::PG_ERR_MISSING_SETTING, text)
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let transport = HttpTransport::new(config, base_url, clock.clone())?;
        Client::with_parts(config, Box::new(transport), clock)
    }

    /// The same on a transport and a clock of the caller's.
    pub fn with_parts(
        config: &Config,
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Client {
            transport,
            clock,
            credentials: config.credentials()?,
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

    /// Issues a pair, with the client's own credentials if none are given. Blocks until the deadline at the most.
    pub fn issue(
        self: &Arc<Self>,
        credentials: Option<Credentials>,
        timeout: Option<Duration>,
    ) -> Result<Pair, Error> {
        let credentials = credentials.or_else(|| self.credentials.clone()).ok_or_else(|| {
            let text = "issue: no credentials were given and the configuration has none; set credentials_file, or \
                        account_id and public_key";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        })?;
        self.call(Call::Issue(credentials), timeout.unwrap_or(self.issue_timeout))
    }

    /// Buys the next pair. Blocks until the deadline at the most. On failure the error's fate tells whether the
    /// refresh token may be presented again.
    pub fn refresh(
        self: &Arc<Self>,
        access: Option<Secret>,
        refresh: RefreshToken,
        timeout: Option<Duration>,
    ) -> Result<Pair, Error> {
        let access = access.filter(|_| self.send_bearer_on_refresh);
        self.call(Call::Refresh { refresh, access }, timeout.unwrap_or(self.refresh_timeout))
    }

    fn call(self: &Arc<Self>, call: Call, timeout: Duration) -> Result<Pair, Error> {
        let is_refresh = matches!(call, Call::Refresh { .. });
        let unsent = |error: Error| {
            error.with_fate(if is_refresh { Fate::PG_FATE_UNSENT } else { Fate::PG_FATE_NONE })
        };
        if timeout.is_zero() {
            let text =
                format!("{}: the timeout is 0, so nothing was sent; give the call some time", call.name());
            return Err(unsent(Error::new(Status::PG_ERR_TIMEOUT, text)));
        }
        let client = self.clone();
        let work = async move { call.make(&*client.transport, &*client.clock, client.limit, timeout).await };
        match runtime::run(work, timeout) {
            Ok(Some(result)) => result.map_err(|failure| failure.error),
            Ok(None) => {
                Err(protocol::abandoned(is_refresh, Status::PG_ERR_TIMEOUT, "no answer within the deadline"))
            }
            // The library's thread could not be started.
            Err(error) if error.status == Status::PG_ERR_SYSTEM => Err(unsent(error)),
            Err(error) => Err(protocol::abandoned(is_refresh, error.status, &error.text)),
        }
    }
}
