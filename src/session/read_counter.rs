//! How often a token was handed out from memory: exact, and no reader waits for another. The first threads have a
//! counter each; those beyond share a few.

use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;

const OWN: usize = 16;
const SHARED: usize = 4;

/// Takes no memory until it counts.
#[derive(Default)]
pub(super) struct Served(OnceBox<[Counter; OWN + SHARED]>);

/// On a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

impl Served {
    /// One more, by the reader of that number: no two readers have the same one at once.
    pub(super) fn count(&self, reader: usize) {
        self.0.get_or_init(Box::default);
        let _ = self.quick_count(reader);
    }

    /// The same without a call. `None` if nobody has counted so far.
    #[inline]
    pub(super) fn quick_count(&self, reader: usize) -> Option<()> {
        let counters = self.0.get()?;
        if reader < OWN {
            let own = &counters[reader].0;
            own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            counters[OWN + reader % SHARED].0.fetch_add(1, Ordering::Relaxed);
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
        let served = Served::default();
        assert_eq!(served.total(), 0);
        thread::scope(|scope| {
            for reader in 0..24 {
                let served = &served;
                scope.spawn(move || (0..1000).for_each(|_| served.count(reader)));
            }
        });
        assert_eq!(served.total(), 24_000);
    }
}
