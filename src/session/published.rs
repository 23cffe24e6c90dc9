//! The token that any thread may take without asking: an immutable snapshot, read without a lock, an allocation or a
//! memory line that readers write to.
//!
//! A reader looks at one clock, the second of the wall clock, which runs on while the machine sleeps but can be set. So
//! it vouches only for a *lease*: the few seconds since somebody last looked at the clock that nobody can set. Outside
//! of the fresh period, on either side, a reader looks there too, and renews it. A clock put back can thus prolong a token by
//! one fresh period, a tenth of the margin S or a second; one put back again and again meets our own thread, which withdraws
//! the token when the boot clock says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;

use super::phase::Windows;
use super::read_counter::ReadCounter;
use crate::clock::{Clock, Moment, SystemClock};
use crate::runtime::hazard_cell::HazardCell;
use crate::runtime::word::{Word, unique_number};
use crate::store::Committed;
use crate::token::Grant;

/// What readers see.
pub(super) struct PublishedToken {
    /// Where it is not the system's: that one is asked without a detour.
    injected: Option<Arc<dyn Clock>>,
    snapshot: HazardCell<Snapshot>,
    /// Somebody has read since the last look. Noted when a lease is renewed, which is often enough.
    was_read: AtomicBool,
    reads: ReadCounter,
    generation: AtomicU64,
    /// Which publication readers are served from; 0: none.
    number: AtomicU64,
    /// Repeats the number for programs that hold the token's text already, from the first time that one asks for it.
    word: OnceBox<Word>,
}

struct Snapshot {
    committed: Committed,
    fresh_period: AtomicU64,
}

/// From a second of the wall clock, for so many seconds. One word, so that two who renew it at once leave the one or
/// the other, and both are true.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FreshPeriod(u64);

impl FreshPeriod {
    /// None so far.
    const NONE: FreshPeriod = FreshPeriod(0);

    /// None, and there will be none any more. No lease begins in the second 1 of 1970.
    const WITHDRAWN: FreshPeriod = FreshPeriod(1 << 32);

    /// Until the token turns mandatory; no longer than a tenth of the margin, but a second at least, which is what
    /// readers can tell apart.
    fn new(windows: &Windows, remaining: Duration, now: Moment) -> Self {
        let most = (windows.margin / 10).max(Duration::from_secs(1));
        let until = now.wall.saturating_add(remaining.saturating_sub(windows.mandatory).min(most));
        // Beginning and end are rounded down: the end never lies later than it may.
        let from = now.wall.as_secs();
        FreshPeriod(from << 32 | (until.as_secs() - from))
    }

    #[inline]
    fn holds(self, second: u64) -> bool {
        let passed = (second as u32).wrapping_sub((self.0 >> 32) as u32);
        passed < self.0 as u32
    }
}

impl Snapshot {
    fn new(committed: Committed) -> Self {
        Snapshot { committed, fresh_period: AtomicU64::new(FreshPeriod::NONE.0) }
    }

    #[inline]
    fn fresh_period(&self) -> FreshPeriod {
        FreshPeriod(self.fresh_period.load(Ordering::Relaxed))
    }

    /// The exact clocks decide, and the next reader is spared the question.
    fn is_fresh(&self, now: Moment, min_remaining: Duration) -> bool {
        let fresh_period = self.fresh_period();
        let token = self.committed.token();
        let (windows, remaining) = (Windows::of(&token.lifetime), token.remaining(now));
        let is_fresh = fresh_period != FreshPeriod::WITHDRAWN
            && remaining > windows.mandatory
            && !token.wall_has_jumped(now);
        if is_fresh {
            let renewed = FreshPeriod::new(&windows, remaining, now);
            // Whoever was quicker has renewed it as well, or withdrawn it.
            let _ = self.fresh_period.compare_exchange(
                fresh_period.0,
                renewed.0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        is_fresh && windows.suffices(remaining, min_remaining)
    }
}

impl PublishedToken {
    /// Nothing yet.
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        PublishedToken {
            injected: (!clock.is_system()).then(|| clock.clone()),
            snapshot: HazardCell::default(),
            was_read: AtomicBool::new(false),
            reads: ReadCounter::default(),
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
            self.update_word();
        }
    }

    /// Nobody is served from it any more. It is still what a forked child inherits.
    pub(super) fn withdraw(&self) {
        self.snapshot.read(|snapshot| {
            if let Some(snapshot) = snapshot {
                snapshot.fresh_period.store(FreshPeriod::WITHDRAWN.0, Ordering::Relaxed);
            }
        });
        self.number.store(0, Ordering::Relaxed);
        self.update_word();
    }

    /// Lets the word say what readers are served from. Called by whoever will withdraw it in time: a program that reads
    /// the word looks at no clock.
    pub(super) fn update_word(&self) {
        let number = self.number.load(Ordering::Relaxed);
        // Written only when it changes: programs look at it all the time.
        if let Some(word) = self.word.get().filter(|word| word.get() != number) {
            word.set(number);
        }
    }

    /// The word, silent until the next [`PublishedToken::update_word`] if it is new.
    pub(super) fn word(&self) -> &Word {
        self.word.get_or_init(|| Box::new(Word::new()))
    }

    /// In a forked child nobody vouches for what is inherited, until its own driver does.
    fn is_word_valid(&self) -> bool {
        self.word.get().is_none_or(|word| word.get() != 0)
    }

    /// What `take` makes of the token, if it may be handed out without further thought.
    pub(super) fn read<T>(&self, min_remaining: Duration, take: impl FnOnce(&Arc<Grant>) -> T) -> Option<T> {
        let second = self.second();
        self.snapshot.read_with_slot(|snapshot, slot| {
            let seen = snapshot?;
            let is_known_fresh = seen.fresh_period().holds(second) && min_remaining.is_zero();
            if !is_known_fresh && !self.is_fresh(seen, min_remaining) {
                return None;
            }
            self.reads.count(slot);
            Some(take(&seen.committed.grant))
        })
    }

    /// The same in a hurry, for whoever asks [`PublishedToken::read`] if this has none: within the lease alone.
    #[inline]
    pub(super) fn try_read<T>(&self, take: impl FnOnce(&Arc<Grant>) -> Option<T>) -> Option<T> {
        // Before anything else has to be kept across the call.
        let second = self.second();
        self.snapshot.try_read(|seen, slot| {
            if !seen.fresh_period().holds(second) {
                return None;
            }
            // Before the taking, which is a call: nothing has to be kept across it.
            self.reads.try_count(slot)?;
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
        self.was_read.store(true, Ordering::Relaxed);
        self.is_word_valid() && seen.is_fresh(self.now(), min_remaining)
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
    pub(super) fn reads(&self) -> u64 {
        self.reads.total()
    }

    /// Whether somebody has read since this was last asked.
    pub(super) fn take_was_read(&self) -> bool {
        self.was_read.swap(false, Ordering::Relaxed)
    }
}
