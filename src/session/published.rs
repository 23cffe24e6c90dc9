//! The published token, which any thread reads without asking the session: an immutable snapshot, read without a lock, an
//! allocation, or a shared cache line that readers write to.
//!
//! A reader looks at one clock only, the second of the wall clock. That clock goes on while the machine is suspended, but it
//! can be set. So a reader trusts it only within the *fresh period*: the few seconds after a reader last checked the boot
//! clock, which cannot be set. Outside the fresh period, before or after it, a reader checks the boot clock too, and renews
//! the period. A wall clock that is set back can thus prolong a token by one fresh period, which is a tenth of the margin S,
//! at least a second. If it is set back again and again, the library's own thread still withdraws the token when the boot
//! clock says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;

use super::phase::Windows;
use super::read_counter::ReadCounter;
use crate::clock::{Clock, Moment, SystemClock};
use crate::runtime::hazard_cell::HazardCell;
use crate::runtime::sharded_arc::Published;
use crate::runtime::word::{Word, unique_number};
use crate::store::Committed;
use crate::token::Grant;

/// The published token of one session.
pub(super) struct PublishedToken {
    /// A clock that is not the system's, which is read directly.
    injected: Option<Arc<dyn Clock>>,
    snapshot: HazardCell<Snapshot>,
    /// Whether the token was read since [`PublishedToken::take_was_read`]. Set when a reader renews the fresh period, which
    /// is often enough.
    was_read: AtomicBool,
    reads: ReadCounter,
    generation: AtomicU64,
    /// The number of the publication that readers get; 0: none.
    number: AtomicU64,
    /// Shows the number to programs that have a copy of the token. Made when a program first asks for it.
    word: OnceBox<Word>,
}

struct Snapshot {
    grant: Published<Grant>,
    has_refresh: bool,
    has_uncertain_age: bool,
    fresh_period: AtomicU64,
}

/// The first second of the period on the wall clock, and its length in seconds. Both are in one word: of two threads that
/// renew it at once, one wins, and either value is right.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FreshPeriod(u64);

impl FreshPeriod {
    /// There was no fresh period yet.
    const NONE: FreshPeriod = FreshPeriod(0);

    /// There will be no fresh period any more. Distinct, because no period begins in the second 1 of 1970.
    const WITHDRAWN: FreshPeriod = FreshPeriod(1 << 32);

    /// Ends when a refresh becomes mandatory, and lasts a tenth of the margin at most; but this limit is at least a second,
    /// the shortest time that readers can measure.
    fn new(windows: &Windows, remaining: Duration, now: Moment) -> Self {
        let most = (windows.margin / 10).max(Duration::from_secs(1));
        let until = now.wall.saturating_add(remaining.saturating_sub(windows.mandatory).min(most));
        // Beginning and end are rounded down, so that it never ends too late.
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
    fn new(Committed { grant, has_refresh, has_uncertain_age }: Committed) -> Self {
        let fresh_period = AtomicU64::new(FreshPeriod::NONE.0);
        Snapshot { grant: Published::new(grant), has_refresh, has_uncertain_age, fresh_period }
    }

    fn committed(&self) -> Committed {
        let Snapshot { has_refresh, has_uncertain_age, .. } = *self;
        Committed { grant: self.grant.share(), has_refresh, has_uncertain_age }
    }

    #[inline]
    fn fresh_period(&self) -> FreshPeriod {
        FreshPeriod(self.fresh_period.load(Ordering::Relaxed))
    }

    /// Decides by the exact clocks, and renews the fresh period for the next readers.
    fn is_fresh(&self, now: Moment, min_remaining: Duration) -> bool {
        let fresh_period = self.fresh_period();
        let token = &self.grant.token;
        let (windows, remaining) = (Windows::of(&token.lifetime), token.remaining(now));
        let is_fresh = fresh_period != FreshPeriod::WITHDRAWN
            && remaining > windows.mandatory
            && !token.wall_has_jumped(now);
        if is_fresh {
            let renewed = FreshPeriod::new(&windows, remaining, now);
            // If this fails, another thread has renewed the period, or withdrawn the token.
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
    /// No token yet.
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

    /// Publishes another token, or none.
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

    /// Stops readers from getting the token. A forked child still inherits it.
    pub(super) fn withdraw(&self) {
        self.snapshot.read(|snapshot| {
            if let Some(snapshot) = snapshot {
                snapshot.fresh_period.store(FreshPeriod::WITHDRAWN.0, Ordering::Relaxed);
            }
        });
        self.number.store(0, Ordering::Relaxed);
        self.update_word();
    }

    /// Sets the word to the number of the publication. For a token that is published, only the thread that will withdraw it
    /// in time calls this, because a program that reads the word looks at no clock.
    pub(super) fn update_word(&self) {
        let number = self.number.load(Ordering::Relaxed);
        // Written only when it changes, because programs read it all the time.
        if let Some(word) = self.word.get().filter(|word| word.get() != number) {
            word.set(number);
        }
    }

    /// The word. A new one is zero until the next [`PublishedToken::update_word`].
    pub(super) fn word(&self) -> &Word {
        self.word.get_or_init(|| Box::new(Word::new()))
    }

    /// False in a forked child, until the child's own driver has checked the inherited token.
    fn is_word_valid(&self) -> bool {
        self.word.get().is_none_or(|word| word.get() != 0)
    }

    /// The result of `take` for the token, if the token is fresh enough to be handed out.
    pub(super) fn read<T>(
        &self,
        min_remaining: Duration,
        take: impl FnOnce(&Published<Grant>) -> T,
    ) -> Option<T> {
        let second = self.second();
        self.snapshot.read_with_slot(|snapshot, slot| {
            let seen = snapshot?;
            let is_known_fresh = seen.fresh_period().holds(second) && min_remaining.is_zero();
            if !is_known_fresh && !self.is_fresh(seen, min_remaining) {
                return None;
            }
            self.reads.count(slot);
            Some(take(&seen.grant))
        })
    }

    /// The fast path of a caller that falls back on [`PublishedToken::read`]: only within the fresh period.
    #[inline]
    pub(super) fn try_read<T>(&self, take: impl FnOnce(&Published<Grant>) -> Option<T>) -> Option<T> {
        // First, so that no register must be saved across this call.
        let second = self.second();
        self.snapshot.try_read(|seen, slot| {
            if !seen.fresh_period().holds(second) {
                return None;
            }
            // Before `take`, which is a call, so that no register must be saved across it.
            self.reads.try_count(slot)?;
            take(&seen.grant)
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

    /// The token, fresh or not, as a forked child inherits it.
    pub(super) fn last(&self) -> Option<Committed> {
        self.snapshot.read(|snapshot| snapshot.map(Snapshot::committed))
    }

    /// The number of the last token that was published.
    pub(super) fn last_generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// How often the published token was handed out.
    pub(super) fn reads(&self) -> u64 {
        self.reads.total()
    }

    /// Whether the token was read since the last call of this.
    pub(super) fn take_was_read(&self) -> bool {
        self.was_read.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::expiry::Lifetime;
    use crate::runtime::word;
    use crate::secret::Secret;
    use crate::token::Token;

    const HOUR: Duration = Duration::from_secs(3600);
    const BOOT: u64 = 10_000;
    const WALL: u64 = 1_700_000_000;

    /// Seconds since the beginning, on the boot clock and on the wall clock.
    struct Clocks(Mutex<(u64, u64)>);

    impl Clock for Clocks {
        fn now(&self) -> Moment {
            let (boot, wall) = *self.0.lock().unwrap();
            Moment { boot: Duration::from_secs(BOOT + boot), wall: Duration::from_secs(WALL - 60 + wall) }
        }
    }

    struct Scene {
        clocks: Arc<Clocks>,
        published: PublishedToken,
    }

    impl Scene {
        /// A token of an hour came at the beginning, when the wall clock showed 60 s.
        fn new() -> Self {
            let clocks = Arc::new(Clocks(Mutex::new((0, 60))));
            let published = PublishedToken::new(&(clocks.clone() as Arc<dyn Clock>));
            let scene = Scene { clocks, published };
            scene.publish(1);
            scene
        }

        fn publish(&self, generation: u64) {
            let token = Token::new(Secret::new("a").unwrap(), Lifetime::of(HOUR), self.clocks.now());
            self.published.set(Some(Committed::private(token, generation)));
        }

        fn set(&self, boot: u64, wall: u64) {
            *self.clocks.0.lock().unwrap() = (boot, 60 + wall);
        }

        fn reads(&self) -> bool {
            self.reads_with(Duration::ZERO)
        }

        fn reads_with(&self, min_remaining: Duration) -> bool {
            self.published.read(min_remaining, |_| ()).is_some()
        }

        fn tries(&self) -> bool {
            self.published.try_read(|_| Some(())).is_some()
        }
    }

    #[test]
    fn a_token_is_read_until_its_refresh_is_mandatory() {
        let scene = Scene::new();
        for (second, expected) in [(0, true), (3479, true), (3480, false), (3600, false), (9999, false)] {
            scene.set(second, second);
            assert_eq!(scene.reads(), expected, "at {second} s");
        }
        // The fresh period ends then too.
        scene.set(3478, 3478);
        assert!(scene.reads());
        scene.set(3479, 3479);
        assert!(scene.tries());
        scene.set(3480, 3480);
        assert!(!scene.tries() && !scene.reads());
    }

    #[test]
    fn the_wall_clock_is_trusted_for_three_seconds_and_in_no_second_before() {
        let scene = Scene::new();
        assert!(!scene.tries(), "no reader has looked at the boot clock");
        assert!(scene.reads());
        // The boot clock says that the token has expired.
        for (wall, is_trusted) in [(0, true), (2, true), (3, false)] {
            scene.set(5000, wall);
            assert_eq!((scene.tries(), scene.reads()), (is_trusted, is_trusted), "at {wall} s");
        }
        *scene.clocks.0.lock().unwrap() = (5000, 59);
        assert!(!scene.tries() && !scene.reads(), "the second before");
    }

    #[test]
    fn a_wall_clock_that_ran_ahead_makes_a_token_uncertain() {
        let scene = Scene::new();
        scene.set(10, 10 + 60);
        assert!(scene.reads());
        scene.set(20, 20 + 61);
        assert!(!scene.reads());
    }

    #[test]
    fn a_caller_that_needs_more_life_looks_at_the_boot_clock() {
        let scene = Scene::new();
        assert!(scene.reads());
        scene.set(2, 2);
        assert!(scene.reads_with(Duration::from_secs(3598)));
        assert!(!scene.reads_with(Duration::from_secs(3599)));
        assert!(scene.reads(), "others still get it");
    }

    #[test]
    fn a_withdrawn_token_is_not_read_and_a_child_inherits_it() {
        let scene = Scene::new();
        assert!(scene.reads());
        scene.published.withdraw();
        assert!(!scene.reads() && !scene.tries());
        assert_eq!(scene.published.last().unwrap().generation(), 1);
        scene.publish(2);
        assert!(scene.reads());
        scene.published.set(None);
        assert!(!scene.reads() && scene.published.last().is_none());
        assert_eq!(scene.published.last_generation(), 2);
    }

    #[test]
    fn reads_are_counted_and_a_read_is_noted_once_in_each_fresh_period() {
        let scene = Scene::new();
        assert!(!scene.published.take_was_read());
        assert!(scene.reads() && scene.reads() && scene.tries());
        assert!(scene.published.take_was_read());
        assert!(!scene.published.take_was_read());
        assert!(scene.reads() && !scene.published.take_was_read(), "the period goes on");
        scene.set(3, 3);
        assert!(scene.reads() && scene.published.take_was_read());
        assert!(!scene.reads_with(HOUR));
        assert_eq!(scene.published.reads(), 5, "only tokens that were handed out count");
    }

    #[test]
    fn the_word_shows_the_publication_once_the_thread_that_withdraws_it_has_set_it() {
        let _exclusive = word::exclusive();
        let scene = Scene::new();
        let word = scene.published.word();
        assert!(word.get() == 0 && !scene.reads(), "as in a forked child");
        scene.published.update_word();
        let first = word.get();
        assert!(first != 0 && scene.reads());
        scene.publish(2);
        assert_eq!(word.get(), first, "the same until the next update");
        scene.published.update_word();
        assert!(![0, first].contains(&word.get()));
        scene.published.set(None);
        assert_eq!(word.get(), 0, "at once");
        scene.publish(3);
        scene.published.update_word();
        assert!(word.get() != 0);
        scene.published.withdraw();
        assert_eq!(word.get(), 0, "at once");
    }
}
