//! How often a token was handed out from memory: exact, and no reader waits for another. The first threads have a
//! counter each; those beyond share a few.

use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;

const OWN: usize = 16;
const SHARED: usize = 4;

/// Takes no memory until it counts.
#[derive(Default)]
pub(super) struct ReadCounter(OnceBox<[Counter; OWN + SHARED]>);

/// On a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

impl ReadCounter {
    /// One more, by the reader of that slot: no two readers have the same one at once.
    pub(super) fn count(&self, slot: usize) {
        self.0.get_or_init(Box::default);
        let _ = self.try_count(slot);
    }

    /// The same without a call. `None` if nobody has counted so far.
    #[inline]
    pub(super) fn try_count(&self, slot: usize) -> Option<()> {
        let counters = self.0.get()?;
        if slot < OWN {
            let own = &counters[slot].0;
            own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            counters[OWN + slot % SHARED].0.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    /// All that were counted; in a forked child with those of its parent.
    pub(super) fn total(&self) -> u64 {
        let counters = self.0.get().map_or(&[][..], |counters| &counters[..]);
        counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_lost_however_many_readers_there_are() {
        let counter = ReadCounter::default();
        assert_eq!(counter.total(), 0);
        thread::scope(|scope| {
            for reader in 0..24 {
                let counter = &counter;
                scope.spawn(move || (0..1000).for_each(|_| counter.count(reader)));
            }
        });
        assert_eq!(counter.total(), 24_000);
    }
}
