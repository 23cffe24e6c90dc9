//! A store that several machines may share: a lease instead of a lock, and no write without knowing the last one.
//!
//! The lease only saves calls to the service. What keeps the record whole is its version, and what keeps a refresh token from
//! being presented twice is the intent: a holder who was stopped, and wakes up after its lease, finds another version.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::{Clock, Moment};
use crate::error::Error;
use crate::random;
use crate::status::Status;
use crate::store::record::{self, Bytes, Entry, Found, Ledger};
use crate::store::{Committed, Inspection, Loaded, Lock, Refusal, Store, Storing, Uncommitted};
use crate::sync::lock;
use crate::token::{Pair, RefreshToken};

/// How long a lease lasts: what a holder that was killed costs the others.
pub(in crate::store) const LEASE: Duration = Duration::from_secs(6);
/// While its flight runs it is renewed as often; a call to the service begins within so long of a renewal.
pub(in crate::store) const RENEWAL: Duration = Duration::from_secs(2);
/// After a renewal that has failed.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at a lease that somebody else holds, in milliseconds.
const PAUSE: std::ops::RangeInclusive<u64> = 25..=90;

/// One account's record somewhere, with a lease on it. Nothing here is called twice at once.
pub(in crate::store) trait Backend: Send + Sync {
    /// Takes the lease for so long, if nobody else has it; one of our own begins anew. Who finds it taken may say what the
    /// record is, if that is newer than the generation `known`.
    fn acquire(&self, lease: Duration, known: u64) -> Storing<'_, Acquired>;

    /// Reads the record, and renews the lease if it is ours.
    fn load(&self, lease: Duration) -> Storing<'_, LeaseView>;

    /// Replaces the record, durably, if its version is still that one. `false`: it is not.
    fn write<'a>(&'a self, lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool>;

    /// Renews the lease, if it is ours, or is over and nobody has taken it or written since that version. `false`: it is
    /// lost. To give it up in the middle does no harm.
    fn renew(&self, lease: Duration, version: u64) -> Storing<'_, bool>;

    /// Frees the lease, if it is ours.
    fn release(&self) -> Storing<'_, ()>;

    /// Sleeps.
    fn sleep_for(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(sleep(time))
    }

    /// Returns when somebody has committed or freed the lease, as far as that is told, and after `most` at the latest.
    fn wait_for_change(&self, most: Duration) -> Storing<'_, ()>;

    /// What the host should know of the place that it chose.
    fn warning(&self) -> Option<String>;
}

/// What came of asking for the lease.
pub(in crate::store) enum Acquired {
    Held(LeaseView),
    Busy(Option<LeaseView>),
}

/// The record at one moment.
pub(in crate::store) struct LeaseView {
    /// Whether the lease is ours.
    pub(in crate::store) is_held: bool,
    /// Another one after each change, and each time that somebody takes the lease.
    pub(in crate::store) version: u64,
    pub(in crate::store) record: Option<Bytes>,
    /// The time by the clock of the store, if it has one.
    pub(in crate::store) wall: Option<Duration>,
}

/// A record that is to be written.
pub(in crate::store) struct RecordWrite<'a> {
    pub(in crate::store) record: &'a Bytes,
    pub(in crate::store) generation: u64,
    /// The lease is freed with it.
    pub(in crate::store) is_last: bool,
    /// What is there now is broken, and is kept aside.
    pub(in crate::store) keeps_broken: bool,
}

/// The name of one session, unlike any other's, in this process or another.
pub(in crate::store) fn new_owner() -> Result<String, Error> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random::bytes()?)))
}

/// A backend as a store.
pub(in crate::store) struct LeasedStore<B> {
    backend: B,
    clock: Arc<dyn Clock>,
    /// For the lease of somebody else, who renews it as long as its flight takes.
    lock_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger,
    /// When the lease was last asked for or renewed, from before that, on the boot clock; `None`: it is not ours.
    renewed_at: Option<Duration>,
    version: u64,
    record: Option<Bytes>,
    /// The record has been read and nobody has looked at it yet.
    is_prefetched: bool,
    /// It is not known whether the last write was done.
    is_write_unknown: bool,
    /// The record is no record.
    is_broken: bool,
}

impl State {
    /// Takes note of what is there.
    fn apply(&mut self, view: LeaseView, now: Moment) {
        if let Some(wall) = view.wall {
            self.ledger.set_store_clock(wall, now);
        }
        self.version = view.version;
        self.record = view.record;
        self.is_write_unknown = false;
    }

    fn entry(&mut self) -> Result<Option<Entry>, Error> {
        let found = self.ledger.read(self.record.as_deref().map(Vec::as_slice))?;
        self.is_broken = matches!(found, Found::Broken);
        Ok(found.entry())
    }

    fn lease_lost(&self) -> Error {
        self.ledger.store_error("the lease is over, or others have taken it")
    }
}

impl<B: Backend> LeasedStore<B> {
    pub(in crate::store) fn new(
        backend: B,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        lock_timeout: Duration,
    ) -> Self {
        let state = State {
            ledger,
            renewed_at: None,
            version: 0,
            record: None,
            is_prefetched: false,
            is_write_unknown: false,
            is_broken: false,
        };
        LeasedStore { backend, clock, lock_timeout, state: Mutex::new(state) }
    }

    async fn wait_for_lease(&self, base: u64) -> Result<Lock, Error> {
        let deadline = self.now() + self.lock_timeout;
        // A newer record that cannot be read is waited for as if there were none.
        let mut known = base.max(self.state().ledger.generation());
        loop {
            let started = self.now();
            let is_last = started >= deadline;
            match self.backend.acquire(LEASE, known).await? {
                Acquired::Held(view) => {
                    let mut state = self.state();
                    state.apply(view, self.clock.now());
                    (state.renewed_at, state.is_prefetched) = (Some(started), true);
                    return Ok(Lock::Held);
                }
                Acquired::Busy(Some(view)) => {
                    let mut state = self.state();
                    state.apply(view, self.clock.now());
                    match state.entry()? {
                        Some(entry) if state.ledger.is_newer(&entry, base) => {
                            state.is_prefetched = true;
                            return Ok(Lock::Moved);
                        }
                        Some(_) => {}
                        None => known = u64::MAX,
                    }
                }
                Acquired::Busy(None) => {}
            }
            if is_last {
                return Err(self.lease_timeout_error());
            }
            self.backend.wait_for_change(Duration::from_millis(fastrand::u64(PAUSE))).await?;
        }
    }

    async fn read(&self) -> Result<Loaded, Error> {
        if !std::mem::take(&mut self.state().is_prefetched) {
            let was_held = self.state().renewed_at.is_some();
            self.reload().await?;
            let (is_held, base) = {
                let state = self.state();
                (state.renewed_at.is_some(), state.ledger.generation())
            };
            if was_held && !is_held {
                // A holder that was stopped past its lease waits for the one that has taken it.
                self.wait_for_lease(base).await?;
                self.state().is_prefetched = false;
            }
        }
        let mut state = self.state();
        let entry = state.entry()?;
        Ok(state.ledger.load(entry))
    }

    /// Reads the record anew. A lease that turns out to be lost is lost.
    async fn reload(&self) -> Result<(), Error> {
        let started = self.now();
        let view = self.backend.load(LEASE).await?;
        let mut state = self.state();
        state.renewed_at = state.renewed_at.filter(|_| view.is_held).map(|_| started);
        state.apply(view, self.clock.now());
        Ok(())
    }

    async fn claim(&self) -> Result<Option<RefreshToken>, Error> {
        let claim = {
            let mut state = self.locked_state().await?;
            let entry = state.entry()?;
            state.ledger.claim(entry)?
        };
        let Some(claim) = claim else { return Ok(None) };
        let written = match self.write(&claim.intent, false).await {
            Ok(()) => self
                .has_recent_lease()
                .await
                .and_then(|has_recent_lease| if has_recent_lease { Ok(()) } else { Err(self.lease_lost()) }),
            failed => failed,
        };
        if let Err(error) = written {
            // It was not handed out, so it may stay, should the store take that back.
            if self.locked_state().await.is_ok() {
                let _ = self.write(&claim.undo, false).await;
            }
            return Err(error);
        }
        Ok(Some(RefreshToken::new(claim.secret)))
    }

    /// Whether a call to the service may begin: the lease was asked for or renewed a moment ago, or is so now. A holder
    /// that was stopped for long must not present what others may have given up for lost. Without a lease there is nothing
    /// to lose.
    async fn has_recent_lease(&self) -> Result<bool, Error> {
        let is_recent =
            |state: &State| state.renewed_at.is_none_or(|at| self.now().saturating_sub(at) <= RENEWAL);
        if is_recent(&self.state()) {
            return Ok(true);
        }
        Ok(self.renew().await? && is_recent(&self.state()))
    }

    async fn renew(&self) -> Result<bool, Error> {
        let (started, version) = (self.now(), self.state().version);
        let is_renewed = self.backend.renew(LEASE, version).await?;
        let mut state = self.state();
        if is_renewed {
            state.renewed_at = state.renewed_at.map(|_| started);
        }
        Ok(is_renewed)
    }

    /// Renews the lease for as long as this is awaited.
    async fn renew_until_lost(&self) {
        loop {
            let Some(at) = self.state().renewed_at else { return };
            let due = (at + RENEWAL).saturating_sub(self.now());
            if !due.is_zero() {
                self.backend.sleep_for(due).await;
                continue;
            }
            match self.renew().await {
                Ok(true) => {}
                // The commit will tell what has become of the record.
                Ok(false) => return,
                Err(_) => self.backend.sleep_for(RENEWAL_PAUSE).await,
            }
        }
    }

    async fn put_back(&self, refresh: &RefreshToken) -> Result<(), Error> {
        let record = {
            let mut state = self.locked_state().await?;
            let entry = state.entry()?;
            state.ledger.retract(entry, refresh)?
        };
        self.write(&record, false).await
    }

    async fn commit_pair(&self, base: u64, pair: &Pair) -> Result<Committed, Error> {
        if self.state().is_write_unknown {
            self.reload().await?;
        }
        let (record, committed) = {
            let mut state = self.state();
            let entry = state.entry()?;
            if let Some(committed) = entry.as_ref().and_then(|entry| state.ledger.find_committed(entry, pair))
            {
                // An earlier try did it, and its answer was lost.
                state.ledger.remember(&committed);
                return Ok(committed);
            }
            if state.renewed_at.is_none() {
                return Err(state.lease_lost());
            }
            state.ledger.next_record(entry, base, pair)?
        };
        self.write(&record, true).await?;
        self.state().ledger.remember(&committed);
        Ok(committed)
    }

    async fn refuse(&self, refusal: &Refusal) -> Result<(), Error> {
        let record = {
            let mut state = self.locked_state().await?;
            let entry = state.entry()?;
            state.ledger.with_refusal(entry, refusal)?
        };
        self.write(&record, false).await
    }

    async fn write(&self, record: &Bytes, is_last: bool) -> Result<(), Error> {
        let started = self.now();
        let (version, write) = {
            let mut state = self.state();
            state.is_write_unknown = true;
            let generation = record::generation(record);
            (state.version, RecordWrite { record, generation, is_last, keeps_broken: state.is_broken })
        };
        let is_done = self.backend.write(LEASE, version, write).await?;
        let mut state = self.state();
        state.is_write_unknown = false;
        if !is_done {
            state.renewed_at = None;
            return Err(state.lease_lost());
        }
        (state.version, state.record, state.is_broken) =
            (version.saturating_add(1), Some(record.clone()), false);
        state.renewed_at = (!is_last).then_some(started);
        Ok(())
    }

    async fn free(&self) -> Result<(), Error> {
        // Not one that was freed with the last write, nor one that is lost.
        if self.state().renewed_at.take().is_some() { self.backend.release().await } else { Ok(()) }
    }

    #[cfg(test)]
    pub(in crate::store) fn backend(&self) -> &B {
        &self.backend
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state, as of the last write, of a record whose lease is ours.
    async fn locked_state(&self) -> Result<MutexGuard<'_, State>, Error> {
        if self.state().is_write_unknown {
            self.reload().await?;
        }
        let state = self.state();
        if state.renewed_at.is_none() {
            return Err(state.lease_lost());
        }
        Ok(state)
    }

    fn lease_lost(&self) -> Error {
        self.state().lease_lost()
    }

    fn now(&self) -> Duration {
        self.clock.now().boot
    }

    fn lease_timeout_error(&self) -> Error {
        let seconds = self.lock_timeout.as_secs();
        let what = format!(
            "others have held the lease for more than {seconds} s, longer than a flight takes; look whether all have the same \
             timeouts"
        );
        Error::new(Status::PG_ERR_STORE, self.state().ledger.store_error(&what).text)
    }
}

impl<B: Backend> Store for LeasedStore<B> {
    fn lock(&self, base: u64) -> Storing<'_, Lock> {
        Box::pin(self.wait_for_lease(base))
    }

    fn load(&self) -> Storing<'_, Loaded> {
        Box::pin(self.read())
    }

    fn intend(&self) -> Storing<'_, Option<RefreshToken>> {
        Box::pin(self.claim())
    }

    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()> {
        Box::pin(async move { self.put_back(&refresh).await })
    }

    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted> {
        Box::pin(async move {
            let result = self.commit_pair(base, &pair).await;
            result.map_err(|error| Uncommitted { error, pair })
        })
    }

    fn back_off(&self, refusal: Refusal) -> Storing<'_, ()> {
        Box::pin(async move { self.refuse(&refusal).await })
    }

    fn unlock(&self) -> Storing<'_, ()> {
        Box::pin(self.free())
    }

    fn ensure_lease(&self) -> Storing<'_, ()> {
        Box::pin(async {
            // One that cannot be asked has nothing to say against a call that uses nothing up.
            if self.has_recent_lease().await.unwrap_or(true) { Ok(()) } else { Err(self.lease_lost()) }
        })
    }

    fn keep_lease(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.renew_until_lost())
    }

    fn inspect(&self) -> Storing<'_, Inspection> {
        Box::pin(async {
            let view = self.backend.load(LEASE).await?;
            let mut state = self.state();
            if let Some(wall) = view.wall {
                state.ledger.set_store_clock(wall, self.clock.now());
            }
            state.ledger.inspect(view.record.as_ref())
        })
    }

    fn forget(&self) -> Storing<'_, ()> {
        Box::pin(async {
            drop(self.locked_state().await?);
            // Without bytes there is no record.
            self.write(&Bytes::default(), true).await?;
            self.state().ledger.forget();
            Ok(())
        })
    }

    fn warning(&self) -> Option<String> {
        self.backend.warning()
    }
}
