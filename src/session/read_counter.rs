//! Counts how often the published token was handed out: exactly, and without contention between readers. The first threads
//! have a counter each; the others share a few.

use once_cell::race::OnceBox;

use crate::sync::{AtomicU64, Ordering};

const OWN: usize = 16;
const SHARED: usize = 4;

/// Takes no memory before the first count.
#[derive(Default)]
pub(super) struct ReadCounter(OnceBox<[Counter; OWN + SHARED]>);

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

impl ReadCounter {
    /// Counts one read by the reader in a slot. No two readers have the same slot at once.
    pub(super) fn count(&self, slot: usize) {
        self.0.get_or_init(Box::default);
        let _ = self.try_count(slot);
    }

    /// The same without a function call. `None` before the first count.
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

    /// The sum of all counts. In a forked child it includes those of the parent.
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
    fn no_count_is_lost_with_many_readers() {
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

    #[test]
    fn only_the_first_readers_have_a_counter_each() {
        for slot in 0..24 {
            let counter = ReadCounter::default();
            counter.count(slot);
            let counts = counter.0.get().unwrap().each_ref().map(|counter| counter.0.load(Ordering::Relaxed));
            let expected = if slot < OWN { slot } else { OWN + slot % SHARED };
            assert_eq!(counts.iter().position(|count| *count == 1), Some(expected), "slot {slot}");
        }
    }
}
