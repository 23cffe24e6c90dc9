//! Manual work on the record of one account: inspect it, obtain the next pair, remove it. It follows the same rules
//! as sessions, so it is safe while they run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::decision::Policy;
use super::driver::{Driver, FlightDeps};
use super::metrics::{self, StoreSnapshot};
use super::outcome::FlightOutcome;
use super::phase::{Phase, Windows};
use super::plan::Plan;
use crate::client::Client;
use crate::clock::Moment;
use crate::config::{Config, OnAmbiguous};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::runtime;
use crate::status::Status;
use crate::store::{Committed, Inspection, Store};

/// The longest time to read a store.
const LONGEST_READ: Duration = Duration::from_secs(30);

/// The record of one account in a store, and access to the service. Every call blocks.
pub struct Operator {
    client: Arc<Client>,
    credentials: Arc<Credentials>,
    store: Arc<dyn Store>,
    on_ambiguous: OnAmbiguous,
    fail_without_store: bool,
    is_strict: bool,
}

/// How to obtain the next pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// As a session does for a waiting caller: with the refresh token, or with the credentials if there is none that
    /// may be presented. If the store is down, the settings apply.
    Due,
    /// Like `Due`, but a pair that could not be written to the store is an error.
    Durable,
    /// Like `Durable`, with the credentials only. A back-off in the store is respected.
    Issue,
    /// Like `Issue`, but a back-off in the store is ignored.
    ForcedIssue,
}

impl Operator {
    /// Opens the store that the configuration names, as a session would. Reads its files; makes no connection.
    pub fn open(client: &Arc<Client>, config: &Config) -> Result<Self, Error> {
        if config.pair()?.is_some() {
            let text = "access_token and refresh_token are set: the host keeps this pair, and it would be lost here; \
                        leave them out and set credentials_file, or account_id and public_key";
            return Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text));
        }
        let credentials = config.credentials()?.ok_or_else(|| {
            let text = "there are no credentials; set credentials_file (PAYMENTSGATE_CREDENTIALS_FILE in the environment), or \
                        account_id and public_key";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        })?;
        let store = client.open_store(&config.location()?, Some(&credentials), config.keyring()?)?;
        let operator = Operator {
            client: client.clone(),
            credentials: Arc::new(credentials),
            store,
            on_ambiguous: config.on_ambiguous,
            fail_without_store: config.fail_without_store,
            is_strict: config.is_strict,
        };
        operator.on_store(LONGEST_READ, |store| async move { store.prepare().await })?;
        Ok(operator)
    }

    /// What the store holds. Takes no lock, does not call the service, changes nothing.
    pub fn look(&self) -> Result<Inspection, Error> {
        self.on_store(LONGEST_READ, |store| async move { store.inspect().await })
    }

    /// The result of a look as metrics; `None`: the store could not be read.
    pub fn metrics(&self, found: Option<Inspection>) -> Result<String, Error> {
        let login = self.client.record_key(&self.credentials)?.name();
        Ok(metrics::of_store(&login, StoreSnapshot { found, now: self.now() }))
    }

    /// The current time, on the clocks that the store uses.
    pub fn now(&self) -> Moment {
        self.client.clock.now()
    }

    /// The phase of a token from the store.
    pub fn phase(&self, committed: &Committed) -> Phase {
        let (token, now) = (committed.token(), self.now());
        let phase = Windows::of(&token.lifetime).phase(token.remaining(now));
        let is_certain = !committed.has_uncertain_age && !token.wall_has_jumped(now);
        if is_certain { phase } else { phase.max(Phase::Mandatory) }
    }

    /// Obtains the successor of the pair that was found, in one flight, unless another process is faster. A flight
    /// that is not finished at the deadline continues while the process runs.
    pub fn renew(
        &self,
        found: &Inspection,
        renewal: Renewal,
        timeout: Duration,
    ) -> Result<FlightOutcome, Error> {
        let first = found.loaded.committed.clone();
        let base = first.as_ref().map_or(0, Committed::generation);
        let plan = Plan {
            issue_only: matches!(renewal, Renewal::Issue | Renewal::ForcedIssue),
            allows_private_pair: renewal == Renewal::Due && !self.fail_without_store,
            is_strict: renewal != Renewal::Due || self.is_strict,
            strikes: found.loaded.back_off.as_ref().map_or(0, |refusal| refusal.strikes),
            respects_back_off: renewal != Renewal::ForcedIssue,
            on_ambiguous: self.on_ambiguous,
            ..Plan::plain(base)
        };
        let (credentials, store) = (Some(self.credentials.clone()), self.store.clone());
        let account = Arc::new(Account::fixed(self.client.clone(), self.credentials.clone()));
        let driver = Driver::new(Policy::default(), account, store.clone(), first)?;
        let flight =
            async move { driver.run_flight(plan, FlightDeps { record_number: 0, store, credentials }).await };
        let outcome = runtime::run(flight, timeout)?.ok_or_else(|| {
            let text = "no token within the deadline; give it more time";
            Error::new(Status::PG_ERR_TIMEOUT, text)
        })?;
        let wait = outcome.refusal.as_ref().map(|refusal| refusal.until.saturating_sub(self.now().boot));
        let result =
            outcome.result.map_err(|error| Error { retry_after: wait.or(error.retry_after), ..error });
        Ok(FlightOutcome { result, ..outcome })
    }

    /// Removes the record of the account, under its lock. Tokens that were handed out work until they expire.
    pub fn forget(&self, timeout: Duration) -> Result<(), Error> {
        self.on_store(timeout, |store| async move {
            store.lock(u64::MAX).await?;
            let forgotten = store.forget().await;
            store.unlock().await.and(forgotten)
        })
    }

    /// Takes the lock and releases it. Returns whether it was free in time: a flight may be holding it.
    pub fn try_lock(&self, timeout: Duration) -> Result<bool, Error> {
        let store = self.store.clone();
        let lock_and_unlock = async move {
            store.lock(u64::MAX).await?;
            store.unlock().await
        };
        runtime::run(lock_and_unlock, timeout)?.transpose().map(|done| done.is_some())
    }

    /// A warning about the store, if there is one.
    pub fn warning(&self) -> Option<String> {
        self.store.warning()
    }

    fn on_store<T, F>(&self, timeout: Duration, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        runtime::run(work(self.store.clone()), timeout)?.unwrap_or_else(|| {
            let seconds = timeout.as_secs();
            let text =
                format!("the store was not ready within {seconds} s; another process may hold its lock");
            Err(Error::new(Status::PG_ERR_STORE, text))
        })
    }
}
