//! The account of a session: its credentials, their file, and the location of its record.

use std::sync::Arc;

use crate::client::Client;
use crate::credentials::{Credentials, CredentialsSource};
use crate::error::Error;
use crate::rotation::Watcher;
use crate::runtime::hazard_cell::HazardCell;
use crate::store::{Keyring, Location, Store};

/// The account of a session. A forked child inherits it.
pub(super) struct Account {
    client: Arc<Client>,
    location: Location,
    keyring: Option<Keyring>,
    source: Option<Arc<CredentialsSource>>,
    watcher: Watcher,
    /// The current credentials. A forked child starts with them.
    credentials: HazardCell<Arc<Credentials>>,
    /// The credentials last taken from the file. The host may have set others since.
    last_from_file: HazardCell<Arc<Credentials>>,
}

/// Another key of the account, with the store of its record. A store in memory stays the same.
pub(super) struct NewCredentials {
    pub(super) credentials: Arc<Credentials>,
    pub(super) store: Option<Arc<dyn Store>>,
}

impl Account {
    pub(super) fn new(
        client: Arc<Client>,
        location: Location,
        keyring: Option<Keyring>,
        source: Option<Arc<CredentialsSource>>,
    ) -> Self {
        let credentials = source.as_ref().map(|source| source.reload());
        let [credentials, last_from_file] = [credentials.clone(), credentials].map(HazardCell::new);
        Account { client, location, keyring, source, watcher: Watcher::new(), credentials, last_from_file }
    }

    /// An account with fixed credentials and no location: the caller has opened its store.
    pub(super) fn fixed(client: Arc<Client>, credentials: Arc<Credentials>) -> Self {
        let credentials = HazardCell::new(Some(credentials));
        Account { credentials, ..Account::new(client, Location::Memory, None, None) }
    }

    pub(super) fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.read(|credentials| credentials.cloned())
    }

    /// Sets the current credentials, also for children forked from now on.
    pub(super) fn set_credentials(&self, credentials: &Arc<Credentials>) {
        self.credentials.replace(Some(credentials.clone()));
    }

    /// Notes the credentials that were taken from the file.
    pub(super) fn note_from_file(&self, credentials: &Arc<Credentials>) {
        self.last_from_file.replace(Some(credentials.clone()));
    }

    /// The store of the current credentials.
    pub(super) fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        self.client.open_store(&self.location, self.credentials().as_deref(), self.keyring.clone())
    }

    /// Credentials that replace the current ones.
    pub(super) fn new_credentials(&self, credentials: Arc<Credentials>) -> Result<NewCredentials, Error> {
        let store = match self.location {
            Location::Memory => None,
            _ => Some(self.client.open_store(&self.location, Some(&credentials), self.keyring.clone())?),
        };
        Ok(NewCredentials { credentials, store })
    }

    /// The credentials in the file, if their key is not the one last taken from it.
    pub(super) async fn changed_credentials(self: &Arc<Self>) -> Option<Result<NewCredentials, Error>> {
        if !self.source.as_ref()?.has_file() {
            return None;
        }
        let account = self.clone();
        // This blocks: it reads the file and may open a folder.
        let compare = move || {
            let last_from_file = account.last_from_file.read(|last_from_file| last_from_file.cloned())?;
            let credentials = account.source.as_ref()?.renewed(&last_from_file)?;
            Some(account.new_credentials(credentials))
        };
        self.watcher.perform(compare).await.flatten()
    }

    /// Why a changed file could not be used at the last look. Its earlier content stays in use.
    pub(super) fn file_error(&self) -> Option<Error> {
        self.source.as_ref().and_then(|source| source.reload_error()).or_else(|| self.client.file_error())
    }
}
