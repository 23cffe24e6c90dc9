//! The registry of the sessions that are in use in this process, for what concerns all sessions of a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::driver::Driver;
use crate::client::Client;
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::sync::lock;

/// The client's address, which no other client has while one of its sessions lives, and the session's number.
type Key = (usize, u64);

#[derive(Default)]
struct SessionRegistry {
    sessions: BTreeMap<Key, Weak<Driver>>,
    numbers: u64,
}

/// The driver of a session. It is in the registry while this lives.
pub(super) struct Registration {
    pub(super) driver: Arc<Driver>,
    number: u64,
}

impl Registration {
    pub(super) fn new(driver: Arc<Driver>) -> Result<Self, Error> {
        let mut registry = registry()?;
        registry.numbers += 1;
        let number = registry.numbers;
        registry.sessions.insert((address(&driver.account.client), number), Arc::downgrade(&driver));
        drop(registry);
        Ok(Registration { driver, number })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(mut registry) = registry() {
            registry.sessions.remove(&(address(&self.driver.account.client), self.number));
        }
    }
}

/// The sessions of a client with their numbers, in the order of their first use.
pub(super) fn sessions_of(client: &Arc<Client>) -> Result<Vec<(u64, Arc<Driver>)>, Error> {
    let of_client = (address(client), 0)..=(address(client), u64::MAX);
    let registry = registry()?;
    let sessions = registry.sessions.range(of_client);
    Ok(sessions.filter_map(|((_, number), driver)| Some((*number, driver.upgrade()?))).collect())
}

fn address(client: &Arc<Client>) -> usize {
    Arc::as_ptr(client).addr()
}

fn registry() -> Result<MutexGuard<'static, SessionRegistry>, Error> {
    static REGISTRY: PerProcess<Mutex<SessionRegistry>> = PerProcess::new();
    let registry = REGISTRY.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(lock(registry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::session::Session;

    fn client() -> Arc<Client> {
        let mut config = Config::default();
        config.set("static_token", "a-token").unwrap();
        Client::new(&config).unwrap()
    }

    fn session(client: &Arc<Client>) -> Session {
        let mut config = Config::default();
        config.set("static_token", "a-token").unwrap();
        Session::open(client, &config).unwrap()
    }

    fn entries_of(client: &Arc<Client>) -> usize {
        registry().unwrap().sessions.keys().filter(|(of, _)| *of == address(client)).count()
    }

    #[test]
    fn the_registry_has_the_sessions_of_a_client_until_they_are_dropped() {
        let (ours, other) = (client(), client());
        let (first, second, _of_other) = (session(&ours), session(&ours), session(&other));
        let [one, two] = sessions_of(&ours).unwrap().try_into().ok().unwrap();
        assert!(one.0 < two.0, "in the order of their first use");
        assert!(!Arc::ptr_eq(&one.1, &two.1));
        drop(first);
        assert_eq!(
            sessions_of(&ours).unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            [two.0]
        );
        assert_eq!(entries_of(&ours), 1, "nothing stays of a session that was dropped");
        drop(second);
        assert_eq!((entries_of(&ours), entries_of(&other)), (0, 1));
    }
}
