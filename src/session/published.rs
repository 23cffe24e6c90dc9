//! The token that any thread may take without asking: an immutable snapshot, read without a lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::phase::{Phase, Windows};
use crate::clock::Moment;
use crate::store::Committed;

/// What readers see.
#[derive(Default)]
pub(super) struct Published {
    snapshot: ArcSwapOption<Snapshot>,
    /// Somebody has read since the last look. Written only when it changes, so that readers share the line.
    asked: AtomicBool,
}

struct Snapshot {
    committed: Committed,
    windows: Windows,
}

impl Published {
    pub(super) fn set(&self, committed: Option<Committed>) {
        self.snapshot.store(committed.map(|committed| {
            let windows = Windows::of(&committed.token().lifetime);
            Snapshot { committed, windows }.into()
        }));
    }

    /// The token, if it may be handed out without further thought.
    pub(super) fn fresh(&self, now: Moment, min_remaining: Duration) -> Option<Committed> {
        let snapshot = self.snapshot.load();
        let Snapshot { committed, windows } = snapshot.as_deref()?;
        let remaining = committed.token().remaining(now);
        let fresh = windows.phase(remaining) < Phase::Mandatory && remaining >= min_remaining;
        if !fresh || committed.token().wall_has_jumped(now) {
            return None;
        }
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        Some(committed.clone())
    }

    /// The token there is, fresh or not: what a forked child inherits.
    pub(super) fn last(&self) -> Option<Committed> {
        self.snapshot.load().as_ref().map(|snapshot| snapshot.committed.clone())
    }

    /// Whether somebody has read since this was last asked.
    pub(super) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}
