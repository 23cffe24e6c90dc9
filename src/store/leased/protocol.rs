//! The lease protocol of a store that several machines can share: a lease instead of a lock, and compare-and-swap for
//! every write.
//!
//! The lease only saves calls to the service. The version protects the record, and the intent keeps a refresh token
//! from being presented twice: a holder that was stopped until its lease ended finds another version.

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

/// How long a lease lasts, and so how long other sessions wait after a holder was killed.
pub(in crate::store) const LEASE: Duration = Duration::from_secs(6);
/// The interval of renewals during a flight. A call to the service begins at most this long after a renewal.
pub(in crate::store) const RENEWAL: Duration = Duration::from_secs(2);
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);
/// The pause between two attempts to take a lease that another session holds, in milliseconds.
const PAUSE: std::ops::RangeInclusive<u64> = 25..=90;

/// One account's record in some storage, with a lease on it. No two calls run at once.
pub(in crate::store) trait Backend: Send + Sync {
    /// Takes the lease, if it is free or ours. If another session has it, the answer may contain the record, if that is
    /// newer than the generation `known`.
    fn acquire(&self, lease: Duration, known: u64) -> Storing<'_, Acquired>;

    /// Reads the record, and renews the lease if it is ours.
    fn load(&self, lease: Duration) -> Storing<'_, LeaseView>;

    /// Replaces the record, durably, if it still has the given version. `false`: it has another one.
    fn write<'a>(&'a self, lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool>;

    /// Renews the lease, if it is ours, or if it has ended and nobody has taken it or written since `version`. `false`:
    /// it is lost. The future may be dropped early.
    fn renew(&self, lease: Duration, version: u64) -> Storing<'_, bool>;

    /// Frees the lease, if it is ours.
    fn release(&self) -> Storing<'_, ()>;

    /// Sleeps. A simulation can replace it.
    fn sleep_for(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(sleep(time))
    }

    /// Returns when a session has committed or has freed the lease, if the storage reports that, and after `most` at
    /// the latest.
    fn wait_for_change(&self, most: Duration) -> Storing<'_, ()>;

    /// A warning about the chosen store, for the host.
    fn warning(&self) -> Option<String>;
}

pub(in crate::store) enum Acquired {
    Held(LeaseView),
    Busy(Option<LeaseView>),
}

/// The record and the lease at one moment.
pub(in crate::store) struct LeaseView {
    /// Whether this session holds the lease.
    pub(in crate::store) is_held: bool,
    /// The fence token. It changes with each write, and each time that a session takes the lease.
    pub(in crate::store) version: u64,
    pub(in crate::store) record: Option<Bytes>,
    /// The time of the store's clock, if it has one.
    pub(in crate::store) wall: Option<Duration>,
}

pub(in crate::store) struct RecordWrite<'a> {
    pub(in crate::store) record: &'a Bytes,
    pub(in crate::store) generation: u64,
    pub(in crate::store) frees_lease: bool,
    /// The current record is broken, and is kept for analysis.
    pub(in crate::store) keeps_broken: bool,
}

/// A name for one session that no other session has, in this process or another.
pub(in crate::store) fn new_owner() -> Result<String, Error> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random::bytes()?)))
}

pub(in crate::store) struct LeasedStore<B> {
    backend: B,
    clock: Arc<dyn Clock>,
    /// How long to wait for the lease of another session, which renews it during its flight.
    lock_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger,
    /// When the lease was last taken or renewed, measured before the request, on the boot clock; `None`: it is not
    /// ours.
    renewed_at: Option<Duration>,
    version: u64,
    record: Option<Bytes>,
    /// The record was read together with the lease, and the next load uses it.
    is_prefetched: bool,
    is_write_unknown: bool,
    is_broken: bool,
}

impl State {
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
        self.ledger.store_error("the lease has ended, or another session has taken it")
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
        // A newer record that cannot be read is ignored in later attempts.
        let mut known = base.max(self.state().ledger.generation());
        loop {
            let started = self.now();
            let is_last = started >= deadline;
            match self.backend.acquire(LEASE, known).await? {
                // Model: Acquire.
                Acquired::Held(view) => {
                    let mut state = self.state();
                    state.apply(view, self.clock.now());
                    (state.renewed_at, state.is_prefetched) = (Some(started), true);
                    return Ok(Lock::Held);
                }
                // Model: Moved.
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
                // A holder that was stopped until its lease ended waits for the new holder.
                self.wait_for_lease(base).await?;
                self.state().is_prefetched = false;
            }
        }
        let mut state = self.state();
        let entry = state.entry()?;
        Ok(state.ledger.load(entry))
    }

    /// Reads the record again, and detects a lost lease.
    // Model: Reload.
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
            let mut state = self.leased_state().await?;
            let entry = state.entry()?;
            state.ledger.claim(entry)?
        };
        let Some(claim) = claim else { return Ok(None) };
        // Model: WriteIntent.
        let written = match self.write(&claim.intent, false).await {
            Ok(()) => self
                .has_recent_lease()
                .await
                .and_then(|has_recent_lease| if has_recent_lease { Ok(()) } else { Err(self.lease_lost()) }),
            failed => failed,
        };
        if let Err(error) = written {
            // The token was not handed out, so it may stay, if the store accepts the old record.
            // Model: ReadForUndo, Undo.
            if self.leased_state().await.is_ok() {
                let _ = self.write(&claim.undo, false).await;
            }
            return Err(error);
        }
        Ok(Some(RefreshToken::new(claim.secret)))
    }

    /// Whether a call to the service may begin: the lease was taken or renewed recently, or is renewed now. A holder
    /// that was stopped for long must not present a token that others may have given up. Without a lease the answer is
    /// yes.
    // Model: CheckLease.
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

    /// Renews the lease as long as this future is polled.
    // Model: Renew.
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
                // The commit detects what has become of the record.
                Ok(false) => return,
                Err(_) => self.backend.sleep_for(RENEWAL_PAUSE).await,
            }
        }
    }

    // Model: PutBack.
    async fn put_back(&self, refresh: &RefreshToken) -> Result<(), Error> {
        let record = {
            let mut state = self.leased_state().await?;
            let entry = state.entry()?;
            state.ledger.retract(entry, refresh)?
        };
        self.write(&record, false).await
    }

    // Model: Commit.
    async fn commit_pair(&self, base: u64, pair: &Pair) -> Result<Committed, Error> {
        if self.state().is_write_unknown {
            self.reload().await?;
        }
        let (record, committed) = {
            let mut state = self.state();
            let entry = state.entry()?;
            if let Some(committed) = entry.as_ref().and_then(|entry| state.ledger.find_committed(entry, pair))
            {
                // An earlier attempt committed the pair, and its answer was lost.
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

    // Model: BackOff.
    async fn refuse(&self, refusal: &Refusal) -> Result<(), Error> {
        let record = {
            let mut state = self.leased_state().await?;
            let entry = state.entry()?;
            state.ledger.with_refusal(entry, refusal)?
        };
        self.write(&record, false).await
    }

    async fn write(&self, record: &Bytes, frees_lease: bool) -> Result<(), Error> {
        let started = self.now();
        let (version, write) = {
            let mut state = self.state();
            state.is_write_unknown = true;
            let generation = record::generation(record);
            (state.version, RecordWrite { record, generation, frees_lease, keeps_broken: state.is_broken })
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
        state.renewed_at = (!frees_lease).then_some(started);
        Ok(())
    }

    // Model: Release.
    async fn free(&self) -> Result<(), Error> {
        // Not if the last write has freed the lease, nor if it is lost.
        if self.state().renewed_at.take().is_some() { self.backend.release().await } else { Ok(()) }
    }

    #[cfg(test)]
    pub(in crate::store) fn backend(&self) -> &B {
        &self.backend
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state after the last write, if the lease is ours; otherwise an error.
    async fn leased_state(&self) -> Result<MutexGuard<'_, State>, Error> {
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
            "other sessions have held the lease for more than {seconds} s, longer than a flight takes; check that all have \
             the same timeouts"
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
            // If the store cannot be reached, the call is allowed: it uses up no token.
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
            drop(self.leased_state().await?);
            // An empty record means that there is none.
            self.write(&Bytes::default(), true).await?;
            self.state().ledger.forget();
            Ok(())
        })
    }

    fn warning(&self) -> Option<String> {
        self.backend.warning()
    }
}
