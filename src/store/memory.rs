//! A store that lives and dies with the session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Committed, Store, Storing};
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
        let committed = Committed { grant: Arc::new(grant), has_refresh: pair.refresh.is_some() };
        *self.record() = Record { committed: Some(committed.clone()), refresh: pair.refresh };
        committed
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<'a, T: Send + 'a>(value: T) -> Storing<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Store for MemoryStore {
    fn lock(&self) -> Storing<'_, ()> {
        done(())
    }

    fn load(&self) -> Storing<'_, Option<Committed>> {
        done(self.record().committed.clone())
    }

    /// Taking it out of the record is the intent: who dies now leaves none behind.
    fn intend(&self) -> Storing<'_, Option<RefreshToken>> {
        done(self.record().refresh.take())
    }

    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()> {
        self.record().refresh = Some(refresh);
        done(())
    }

    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed> {
        done(self.put(pair, base + 1))
    }

    fn unlock(&self) -> Storing<'_, ()> {
        done(())
    }
}
