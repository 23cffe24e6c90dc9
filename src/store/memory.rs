//! A store that lives and dies with the session.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{Committed, Inspection, Loaded, Lock, Refusal, Store, Storing, Uncommitted};
use crate::sync::lock;
use crate::token::{Grant, Pair, RefreshToken};

/// Memory of this process. A session has a single flight, so the lock has nothing to wait for.
#[derive(Default)]
pub struct MemoryStore {
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    committed: Option<Committed>,
    refresh: Option<RefreshToken>,
}

impl MemoryStore {
    /// Makes a pair the newest, under that number.
    pub fn put(&self, pair: Pair, generation: u64) -> Committed {
        let grant = Grant { token: pair.token, generation, refresh: None };
        let committed = Committed {
            grant: Arc::new(grant),
            has_refresh: pair.refresh.is_some(),
            has_uncertain_age: false,
        };
        *self.record() = Record { committed: Some(committed.clone()), refresh: pair.refresh };
        committed
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

fn ready<'a, T: Send + 'a, E: Send + 'a>(value: T) -> Storing<'a, T, E> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Store for MemoryStore {
    fn lock(&self, _base: u64) -> Storing<'_, Lock> {
        ready(Lock::Held)
    }

    /// A session knows by itself what it was refused.
    fn load(&self) -> Storing<'_, Loaded> {
        let committed = self.record().committed.clone();
        ready(Loaded { has_worked: committed.is_some(), committed, back_off: None })
    }

    /// Taking it out of the record is the intent: who dies now leaves none behind.
    fn intend(&self) -> Storing<'_, Option<RefreshToken>> {
        ready(self.record().refresh.take())
    }

    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()> {
        self.record().refresh = Some(refresh);
        ready(())
    }

    fn back_off(&self, _refusal: Refusal) -> Storing<'_, ()> {
        ready(())
    }

    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted> {
        ready(self.put(pair, base + 1))
    }

    fn unlock(&self) -> Storing<'_, ()> {
        ready(())
    }

    fn inspect(&self) -> Storing<'_, Inspection> {
        let loaded = Loaded { committed: self.record().committed.clone(), ..Loaded::default() };
        ready(Inspection { store_name: "memory:".into(), loaded, ..Inspection::default() })
    }

    fn forget(&self) -> Storing<'_, ()> {
        *self.record() = Record::default();
        ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::expiry::Lifetime;
    use crate::secret::Secret;
    use crate::token::Token;

    #[test]
    fn what_is_forgotten_is_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = MemoryStore::default();
        let lifetime = Lifetime::of(Duration::from_secs(9));
        let token = Token::new(Secret::new("a").unwrap(), lifetime, SystemClock.now());
        store.put(Pair { token, refresh: Secret::new("r").map(RefreshToken::new) }, 1);
        assert!(runtime.block_on(store.inspect()).unwrap().loaded.committed.is_some());
        runtime.block_on(store.forget()).unwrap();
        assert!(runtime.block_on(store.inspect()).unwrap().loaded.committed.is_none());
        assert!(runtime.block_on(store.intend()).unwrap().is_none());
    }
}
