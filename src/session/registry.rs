//! The sessions of this process that have been put to use, so that all of one client can be told together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::driver::Driver;
use crate::client::Client;
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::sync::lock;

/// A client's address, which is no other's while one of its sessions lives, and a number of its own.
type Key = (usize, u64);

#[derive(Default)]
struct SessionRegistry {
    sessions: BTreeMap<Key, Weak<Driver>>,
    numbers: u64,
}

/// A session's working parts, on the registry for as long as this lives.
pub(super) struct Registration {
    pub(super) driver: Arc<Driver>,
    key: Key,
}

impl Registration {
    pub(super) fn new(driver: Arc<Driver>) -> Result<Self, Error> {
        let mut registry = registry()?;
        registry.numbers += 1;
        let key = (address(&driver.client), registry.numbers);
        registry.sessions.insert(key, Arc::downgrade(&driver));
        drop(registry);
        Ok(Registration { driver, key })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(mut registry) = registry() {
            registry.sessions.remove(&self.key);
        }
    }
}

/// The client's sessions and their numbers, in the order in which they were put to use.
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
