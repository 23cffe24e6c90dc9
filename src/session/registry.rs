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
        registry.sessions.insert((address(&driver.client), number), Arc::downgrade(&driver));
        drop(registry);
        Ok(Registration { driver, number })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(mut registry) = registry() {
            registry.sessions.remove(&(address(&self.driver.client), self.number));
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
