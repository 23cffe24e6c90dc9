//! The sessions of this process that have been put to use, so that all of one client can be told together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::core::Core;
use crate::client::Client;
use crate::error::Error;
use crate::runtime::process::PerProcess;

/// A client's address, which is no other's while one of its sessions lives, and a number of its own.
type Key = (usize, u64);

#[derive(Default)]
struct Register {
    sessions: BTreeMap<Key, Weak<Core>>,
    numbers: u64,
}

/// A session's working parts, on the register for as long as this lives.
pub(super) struct Enrolled {
    pub(super) core: Arc<Core>,
    key: Key,
}

impl Enrolled {
    pub(super) fn new(core: Arc<Core>) -> Result<Self, Error> {
        let mut register = register()?;
        register.numbers += 1;
        let key = (address(&core.client), register.numbers);
        register.sessions.insert(key, Arc::downgrade(&core));
        drop(register);
        Ok(Enrolled { core, key })
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        if let Ok(mut register) = register() {
            register.sessions.remove(&self.key);
        }
    }
}

/// The client's sessions and their numbers, in the order in which they were put to use.
pub(super) fn sessions_of(client: &Arc<Client>) -> Result<Vec<(u64, Arc<Core>)>, Error> {
    let of_client = (address(client), 0)..=(address(client), u64::MAX);
    let register = register()?;
    let sessions = register.sessions.range(of_client);
    Ok(sessions.filter_map(|((_, number), core)| Some((*number, core.upgrade()?))).collect())
}

fn address(client: &Arc<Client>) -> usize {
    Arc::as_ptr(client).addr()
}

fn register() -> Result<MutexGuard<'static, Register>, Error> {
    static REGISTER: PerProcess<Mutex<Register>> = PerProcess::new();
    let register = REGISTER.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(register.lock().unwrap_or_else(PoisonError::into_inner))
}
