//! The token that any thread may take without asking: an immutable snapshot, read without a lock, an allocation or a
//! counter that readers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};

use super::phase::Windows;
use crate::clock::{Clock, Glance, Moment};
use crate::store::Committed;
use crate::token::Grant;

/// As long as the two coarse clocks agree this well, no sleep and no set clock can have gone unnoticed that matters.
const AGREEMENT: u64 = 1_000_000_000;

/// What readers see.
#[derive(Default)]
pub(super) struct Published {
    snapshot: ArcSwapOption<Snapshot>,
    /// Somebody has read since the last look. Written only when it changes, so that readers share the line.
    asked: AtomicBool,
    generation: AtomicU64,
}

struct Snapshot {
    committed: Committed,
    windows: Windows,
    /// When `fresh_for` and `remaining`, in nanoseconds, were true.
    taken: Glance,
    /// Until the token is no longer handed out without further thought.
    fresh_for: u64,
    remaining: u64,
}

impl Snapshot {
    fn new(committed: Committed, clock: &dyn Clock) -> Self {
        let taken = clock.glance();
        let windows = Windows::of(&committed.token().lifetime);
        let remaining = committed.token().remaining(clock.now());
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let fresh_for = nanoseconds(remaining.saturating_sub(windows.mandatory));
        Snapshot { committed, windows, taken, fresh_for, remaining: nanoseconds(remaining) }
    }

    fn suffices(&self, passed: u64, min_remaining: Duration) -> bool {
        let remaining = Duration::from_nanos(self.remaining.saturating_sub(passed));
        self.windows.suffices(remaining, min_remaining)
    }
}

impl Published {
    pub(super) fn set(&self, committed: Option<Committed>, clock: &dyn Clock) {
        if let Some(committed) = &committed {
            self.generation.store(committed.generation(), Ordering::Relaxed);
        }
        self.snapshot.store(committed.map(|committed| Arc::new(Snapshot::new(committed, clock))));
    }

    /// Lets `take` see the token if it may be handed out without further thought.
    #[inline]
    pub(super) fn read<T>(
        &self,
        clock: &dyn Clock,
        min_remaining: Duration,
        take: impl FnOnce(&Arc<Grant>) -> T,
    ) -> Option<T> {
        let snapshot = self.snapshot.load();
        let seen = snapshot.as_deref()?;
        let passed = clock.glance().since(seen.taken, AGREEMENT);
        let fresh = passed.is_some_and(|passed| {
            passed < seen.fresh_for && (min_remaining.is_zero() || seen.suffices(passed, min_remaining))
        });
        if !fresh && !self.is_fresh_after_all(&snapshot, clock, min_remaining) {
            return None;
        }
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        Some(take(&seen.committed.grant))
    }

    /// The coarse clocks disagree, or say no: the exact ones decide, and the next reader is spared the question.
    #[cold]
    fn is_fresh_after_all(
        &self,
        snapshot: &Guard<Option<Arc<Snapshot>>>,
        clock: &dyn Clock,
        min_remaining: Duration,
    ) -> bool {
        let Some(seen) = snapshot.as_deref() else { return false };
        let now: Moment = clock.now();
        let remaining = seen.committed.token().remaining(now);
        let fresh = remaining > seen.windows.mandatory && seen.windows.suffices(remaining, min_remaining);
        if !fresh || seen.committed.token().wall_has_jumped(now) {
            return false;
        }
        let renewed = Arc::new(Snapshot::new(seen.committed.clone(), clock));
        self.snapshot.compare_and_swap(snapshot, Some(renewed));
        true
    }

    /// The token there is, fresh or not: what a forked child inherits.
    pub(super) fn last(&self) -> Option<Committed> {
        self.snapshot.load().as_ref().map(|snapshot| snapshot.committed.clone())
    }

    /// The number of the last token that was published.
    pub(super) fn last_generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether somebody has read since this was last asked.
    pub(super) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}
