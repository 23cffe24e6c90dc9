//! The token that any thread may take without asking: an immutable snapshot, read without a lock, an allocation or a
//! memory line that readers write to.
//!
//! A reader looks at one clock, the second of the wall clock, which runs on while the machine sleeps but can be set. So
//! it vouches only for a *lease*: the few seconds since somebody last looked at the clock that nobody can set. Outside
//! of the lease, on either side, a reader looks there too, and renews it. A clock put back can thus prolong a token by
//! one lease, a tenth of the margin S or a second; one put back again and again meets our own thread, which withdraws
//! the token when the boot clock says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;

use super::phase::Windows;
use super::read_counter::Served;
use crate::clock::{Clock, Moment, SystemClock};
use crate::runtime::hazard_cell::Pinned;
use crate::runtime::word::{Word, unique_number};
use crate::store::Committed;
use crate::token::Grant;

/// What readers see.
pub(super) struct Published {
    /// Where it is not the system's: that one is asked without a detour.
    injected: Option<Arc<dyn Clock>>,
    snapshot: Pinned<Snapshot>,
    /// Somebody has read since the last look. Noted when a lease is renewed, which is often enough.
    asked: AtomicBool,
    served: Served,
    generation: AtomicU64,
    /// Which publication readers are served from; 0: none.
    number: AtomicU64,
    /// Repeats the number for programs that hold the token's text already, from the first time that one asks for it.
    word: OnceBox<Word>,
}

struct Snapshot {
    committed: Committed,
    lease: AtomicU64,
}

/// From a second of the wall clock, for so many seconds. One word, so that two who renew it at once leave the one or
/// the other, and both are true.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lease(u64);

impl Lease {
    /// None so far.
    const NONE: Lease = Lease(0);

    /// None, and there will be none any more. No lease begins in the second 1 of 1970.
    const WITHDRAWN: Lease = Lease(1 << 32);

    /// Until the token turns mandatory; no longer than a tenth of the margin, but a second at least, which is what
    /// readers can tell apart.
    fn new(windows: &Windows, remaining: Duration, now: Moment) -> Self {
        let most = (windows.margin / 10).max(Duration::from_secs(1));
        let until = now.wall.saturating_add(remaining.saturating_sub(windows.mandatory).min(most));
        // Beginning and end are rounded down: the end never lies later than it may.
        let from = now.wall.as_secs();
        Lease(from << 32 | (until.as_secs() - from))
    }

    #[inline]
    fn holds(self, second: u64) -> bool {
        let passed = (second as u32).wrapping_sub((self.0 >> 32) as u32);
        passed < self.0 as u32
    }
}

impl Snapshot {
    fn new(committed: Committed) -> Self {
        Snapshot { committed, lease: AtomicU64::new(Lease::NONE.0) }
    }

    #[inline]
    fn lease(&self) -> Lease {
        Lease(self.lease.load(Ordering::Relaxed))
    }

    /// The exact clocks decide, and the next reader is spared the question.
    fn is_fresh(&self, now: Moment, min_remaining: Duration) -> bool {
        let lease = self.lease();
        let token = self.committed.token();
        let (windows, remaining) = (Windows::of(&token.lifetime), token.remaining(now));
        let is_fresh =
            lease != Lease::WITHDRAWN && remaining > windows.mandatory && !token.wall_has_jumped(now);
        if is_fresh {
            let renewed = Lease::new(&windows, remaining, now);
            // Whoever was quicker has renewed it as well, or withdrawn it.
            let _ = self.lease.compare_exchange(lease.0, renewed.0, Ordering::Relaxed, Ordering::Relaxed);
        }
        is_fresh && windows.suffices(remaining, min_remaining)
    }
}

impl Published {
    /// Nothing yet.
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Published {
            injected: (!clock.is_system()).then(|| clock.clone()),
            snapshot: Pinned::default(),
            asked: AtomicBool::new(false),
            served: Served::default(),
            generation: AtomicU64::new(0),
            number: AtomicU64::new(0),
            word: OnceBox::new(),
        }
    }

    pub(super) fn set(&self, committed: Option<Committed>) {
        let number = if committed.is_some() { unique_number() } else { 0 };
        if let Some(committed) = &committed {
            self.generation.store(committed.generation(), Ordering::Relaxed);
        }
        self.snapshot.replace(committed.map(Snapshot::new));
        self.number.store(number, Ordering::Relaxed);
        if number == 0 {
            self.vouch();
        }
    }

    /// Nobody is served from it any more. It is still what a forked child inherits.
    pub(super) fn withdraw(&self) {
        self.snapshot.read(|snapshot| {
            if let Some(snapshot) = snapshot {
                snapshot.lease.store(Lease::WITHDRAWN.0, Ordering::Relaxed);
            }
        });
        self.number.store(0, Ordering::Relaxed);
        self.vouch();
    }

    /// Lets the word say what readers are served from. Called by whoever will withdraw it in time: a program that reads
    /// the word looks at no clock.
    pub(super) fn vouch(&self) {
        let number = self.number.load(Ordering::Relaxed);
        // Written only when it changes: programs look at it all the time.
        if let Some(word) = self.word.get().filter(|word| word.get() != number) {
            word.set(number);
        }
    }

    /// The word, silent until the next [`Published::vouch`] if it is new.
    pub(super) fn word(&self) -> &Word {
        self.word.get_or_init(|| Box::new(Word::new()))
    }

    /// In a forked child nobody vouches for what is inherited, until its own core does.
    fn is_vouched_for(&self) -> bool {
        self.word.get().is_none_or(|word| word.get() != 0)
    }

    /// What `take` makes of the token, if it may be handed out without further thought.
    pub(super) fn read<T>(&self, min_remaining: Duration, take: impl FnOnce(&Arc<Grant>) -> T) -> Option<T> {
        let second = self.second();
        self.snapshot.read_as(|snapshot, reader| {
            let seen = snapshot?;
            let is_leased = seen.lease().holds(second) && min_remaining.is_zero();
            if !is_leased && !self.is_fresh(seen, min_remaining) {
                return None;
            }
            self.served.count(reader);
            Some(take(&seen.committed.grant))
        })
    }

    /// The same in a hurry, for whoever asks [`Published::read`] if this has none: within the lease alone.
    #[inline]
    pub(super) fn glance<T>(&self, take: impl FnOnce(&Arc<Grant>) -> Option<T>) -> Option<T> {
        // Before anything else has to be kept across the call.
        let second = self.second();
        self.snapshot.glance(|seen, reader| {
            if !seen.lease().holds(second) {
                return None;
            }
            // Before the taking, which is a call: nothing has to be kept across it.
            self.served.quick_count(reader)?;
            take(&seen.committed.grant)
        })
    }

    #[inline]
    fn second(&self) -> u64 {
        match &self.injected {
            None => SystemClock.second(),
            Some(clock) => clock.second(),
        }
    }

    fn now(&self) -> Moment {
        match &self.injected {
            None => SystemClock.now(),
            Some(clock) => clock.now(),
        }
    }

    fn is_fresh(&self, seen: &Snapshot, min_remaining: Duration) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        self.is_vouched_for() && seen.is_fresh(self.now(), min_remaining)
    }

    /// The token there is, fresh or not: what a forked child inherits.
    pub(super) fn last(&self) -> Option<Committed> {
        self.snapshot.read(|snapshot| snapshot.map(|snapshot| snapshot.committed.clone()))
    }

    /// The number of the last token that was published.
    pub(super) fn last_generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// How often a token was read from memory, without asking.
    pub(super) fn served(&self) -> u64 {
        self.served.total()
    }

    /// Whether somebody has read since this was last asked.
    pub(super) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}
