//! The account of a session: its credentials, their file, the location of its record, and its published token.

use std::sync::Arc;

use super::published::PublishedToken;
use crate::client::Client;
use crate::credentials::{Credentials, CredentialsSource, renewed};
use crate::error::Error;
use crate::rotation::{Reloaded, Watcher};
use crate::runtime::hazard_cell::HazardCell;
use crate::store::{Keyring, Location, Store};

/// The account of a session, for its readers and for the driver of each process: a forked child inherits it. Boxed is what many
/// sessions do not have: a process may have very many.
pub(super) struct Account {
    pub(super) client: Arc<Client>,
    pub(super) published: PublishedToken,
    /// The current credentials. A forked child starts with them.
    credentials: HazardCell<Arc<Credentials>>,
    file: Option<Box<CredentialsFile>>,
    /// `None`: in memory.
    place: Option<Box<Place>>,
}

/// The file that the credentials came from.
struct CredentialsFile {
    file: Arc<Reloaded<Credentials>>,
    watcher: Watcher,
    /// The credentials last taken from the file. The host may have set others since.
    last: HazardCell<Arc<Credentials>>,
}

/// Where the record of the account is stored, outside of the process.
struct Place {
    location: Location,
    keyring: Option<Keyring>,
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
        source: Option<CredentialsSource>,
    ) -> Self {
        let credentials = source.as_ref().map(CredentialsSource::reload);
        let file = source.as_ref().and_then(CredentialsSource::file).map(|file| {
            let last = HazardCell::new(credentials.clone());
            Box::new(CredentialsFile { file: file.clone(), watcher: Watcher::new(), last })
        });
        let place = (!location.is_memory()).then(|| Box::new(Place { location, keyring }));
        let published = PublishedToken::new(&client.clock);
        Account { client, published, credentials: HazardCell::new(credentials), file, place }
    }

    /// An account with fixed credentials and no location: the caller has opened its store.
    pub(super) fn fixed(client: Arc<Client>, credentials: Arc<Credentials>) -> Self {
        Account::new(client, Location::Memory, None, Some(CredentialsSource::Settings(credentials)))
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
        if let Some(file) = &self.file {
            file.last.replace(Some(credentials.clone()));
        }
    }

    /// The store of the current credentials.
    pub(super) fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        let credentials = self.credentials();
        match &self.place {
            Some(place) => self.open_place(place, credentials.as_deref()),
            None => self.client.open_store(&Location::Memory, credentials.as_deref(), None),
        }
    }

    fn open_place(
        &self,
        Place { location, keyring }: &Place,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<dyn Store>, Error> {
        self.client.open_store(location, credentials, keyring.clone())
    }

    /// Credentials that replace the current ones.
    pub(super) fn new_credentials(&self, credentials: Arc<Credentials>) -> Result<NewCredentials, Error> {
        let open = |place: &Place| self.open_place(place, Some(&credentials));
        let store = self.place.as_deref().map(open).transpose()?;
        Ok(NewCredentials { credentials, store })
    }

    /// The credentials in the file, if their key is not the one last taken from it.
    pub(super) async fn changed_credentials(self: &Arc<Self>) -> Option<Result<NewCredentials, Error>> {
        let file = self.file.as_ref()?;
        let account = self.clone();
        // This blocks: it reads the file and may open a folder.
        let compare = move || {
            let CredentialsFile { file, last, .. } = account.file.as_deref()?;
            let last = last.read(|last| last.cloned())?;
            Some(account.new_credentials(renewed(file, &last)?))
        };
        file.watcher.perform(compare).await.flatten()
    }

    /// Why a changed file could not be used at the last look. Its earlier content stays in use.
    pub(super) fn file_error(&self) -> Option<Error> {
        let of_credentials = self.file.as_ref().and_then(|account| account.file.reload_error());
        of_credentials.or_else(|| self.client.file_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::secret::Secret;

    /// A forked child makes its driver with them.
    #[test]
    fn credentials_that_the_host_has_set_are_those_of_the_next_driver() {
        let mut config = Config::default();
        config.set("static_token", "a-token").unwrap();
        let client = Client::new(&config).unwrap();
        let credentials = |key: &str| {
            let [account_id, public_key] = ["account", key].map(|text| Secret::new(text).unwrap());
            Arc::new(Credentials { account_id, public_key })
        };
        let account = Account::fixed(client, credentials("old key"));
        account.set_credentials(&credentials("new key"));
        assert_eq!(account.credentials().unwrap().public_key.expose(), "new key");
    }
}
