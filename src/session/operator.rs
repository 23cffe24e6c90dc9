//! What a person does by hand with one account's place in a store: looks into it, buys the next pair, removes it. By the
//! rules that sessions keep, so that all of it may be done while they run.

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
use super::published::PublishedToken;
use crate::client::Client;
use crate::clock::Moment;
use crate::config::{Config, OnAmbiguous};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::runtime;
use crate::status::Status;
use crate::store::{Committed, Inspection, Store};

/// No store takes longer than this to be read.
const LONGEST_READ: Duration = Duration::from_secs(30);

/// One account's place in a store, and the way to the service. Every call blocks.
pub struct Operator {
    client: Arc<Client>,
    credentials: Arc<Credentials>,
    store: Arc<dyn Store>,
    on_ambiguous: OnAmbiguous,
    fail_without_store: bool,
    is_strict: bool,
}

/// How the next pair is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// As a session does for a caller who waits: with the refresh token, or with the credentials where there is none that
    /// may be presented. Without the store as the settings say.
    Due,
    /// The same, but a pair that the store does not take is none.
    Durable,
    /// The same with the credentials alone, though not while others leave the service alone because it refused them.
    Issue,
    /// With the credentials, whatever others were told.
    ForcedIssue,
}

impl Operator {
    /// Opens the place that the configuration names, which a session would do when it first uses it. Reads its files;
    /// connects nowhere.
    pub fn open(client: &Arc<Client>, config: &Config) -> Result<Self, Error> {
        if config.pair()?.is_some() {
            let text = "access_token and refresh_token are set: a pair that its host keeps, which would be lost here; \
                        leave them out and set credentials_file, or account_id and public_key";
            return Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text));
        }
        let credentials = config.credentials()?.ok_or_else(|| {
            let text = "there are no credentials; set credentials_file, or account_id and public_key";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        })?;
        let store = client.open_store(&config.store, Some(&credentials), config.keyring()?)?;
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

    /// What the store holds. Takes no lock, calls nobody, changes nothing.
    pub fn look(&self) -> Result<Inspection, Error> {
        self.on_store(LONGEST_READ, |store| async move { store.inspect().await })
    }

    /// What was found, as metrics; `None`: it could not be read.
    pub fn metrics(&self, found: Option<Inspection>) -> Result<String, Error> {
        let login = self.client.record_key(&self.credentials)?.name();
        Ok(metrics::of_store(&login, StoreSnapshot { found, now: self.now() }))
    }

    /// The moment now, on the clocks that the store's moments belong to.
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

    /// Buys the successor of what was found, in one flight, unless somebody else is there first. One that does not end
    /// by the deadline goes on as long as the process does.
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
        let published = Arc::new(PublishedToken::new(&self.client.clock));
        let account = Arc::new(Account::fixed(self.client.clone(), self.credentials.clone()));
        let driver =
            Driver::new(self.client.clone(), published, Policy::default(), account, store.clone(), first)?;
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

    /// Removes what the store holds of the account, under its lock. What has been handed out works until it expires.
    pub fn forget(&self, timeout: Duration) -> Result<(), Error> {
        self.on_store(timeout, |store| async move {
            store.lock(u64::MAX).await?;
            let forgotten = store.forget().await;
            store.unlock().await.and(forgotten)
        })
    }

    /// Takes the lock and frees it. Whether it could be had in time: a flight may be under way.
    pub fn try_lock(&self, timeout: Duration) -> Result<bool, Error> {
        let store = self.store.clone();
        let lock_and_unlock = async move {
            store.lock(u64::MAX).await?;
            store.unlock().await
        };
        runtime::run(lock_and_unlock, timeout)?.transpose().map(|done| done.is_some())
    }

    /// What is to be known of the place.
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
