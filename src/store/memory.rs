//! A store in memory, which ends with the session.

use std::sync::{Mutex, MutexGuard};

use super::{Committed, Inspection, Loaded, Lock, Refusal, Store, Storing, Uncommitted};
use crate::runtime::sharded_arc::ShardedArc;
use crate::sync::lock;
use crate::token::{Grant, Pair, RefreshToken};

/// A store in the memory of this process. A session has only one flight at a time, so the lock never waits.
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
    /// Stores a pair as the newest, with the given generation.
    pub fn put(&self, pair: Pair, generation: u64) -> Committed {
        let grant = Grant { token: pair.token, generation, refresh: None };
        let committed = Committed {
            grant: ShardedArc::new(grant),
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

    /// No back-off is stored, since the session itself remembers it.
    fn load(&self) -> Storing<'_, Loaded> {
        let committed = self.record().committed.clone();
        ready(Loaded { has_worked: committed.is_some(), committed, back_off: None })
    }

    /// Taking the token out of the record is the intent: a flight that dies now leaves no token behind.
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
    fn a_pair_is_there_until_it_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = MemoryStore::default();
        let lifetime = Lifetime::of(Duration::from_secs(9));
        let token = Token::new(Secret::new("a").unwrap(), lifetime, SystemClock.now());
        let pair = Pair { token, refresh: Secret::new("r").map(RefreshToken::new) };
        assert!(!runtime.block_on(store.load()).unwrap().has_worked);
        let committed = runtime.block_on(store.commit(4, pair)).unwrap();
        assert_eq!((committed.generation(), committed.has_refresh), (5, true));
        let loaded = runtime.block_on(store.load()).unwrap();
        assert_eq!((loaded.has_worked, loaded.committed.unwrap().generation()), (true, 5));
        let found = runtime.block_on(store.inspect()).unwrap();
        assert_eq!((&*found.store_name, found.loaded.committed.unwrap().generation()), ("memory:", 5));
        runtime.block_on(store.forget()).unwrap();
        assert!(runtime.block_on(store.inspect()).unwrap().loaded.committed.is_none());
        assert!(runtime.block_on(store.intend()).unwrap().is_none());
    }
}
