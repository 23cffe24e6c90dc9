//! A moment that outlives the process, and the machine's next start.

use std::time::Duration;

use crate::clock::{BootId, Clock, Moment};

/// The wall clocks of two machines, or of one before and after a restart, may be so far apart.
const WALL_CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The two clocks of one machine may drift so far apart within the life of a token.
const DRIFT_TOLERANCE: Duration = Duration::from_secs(60);

/// A moment, with the run of the machine to which its boot clock belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) boot_id: Option<BootId>,
    pub(in crate::store) at: Moment,
}

impl Stamp {
    pub(in crate::store) fn new(at: Moment, clock: &dyn Clock) -> Self {
        Stamp { boot_id: clock.boot_id(), at }
    }

    /// How long ago it was. Exact within one run of the machine, else as the wall clock has it; `None` if it seems to
    /// lie ahead, so that the clocks know nothing of it.
    pub(in crate::store) fn age(&self, clock: &dyn Clock) -> Option<Duration> {
        let now = clock.now();
        if self.is_of_this_boot(clock) {
            now.boot.checked_sub(self.at.boot)
        } else {
            now.wall
                .saturating_add(WALL_CLOCK_TOLERANCE)
                .checked_sub(self.at.wall)
                .map(|age| age.saturating_sub(WALL_CLOCK_TOLERANCE))
        }
    }

    /// Whether its age by the boot clock and by the wall clock are further apart than clocks that run: one of them was set, or
    /// the machine was restored from an image, with the name of its run and all.
    pub(in crate::store) fn clocks_differ(&self, clock: &dyn Clock) -> bool {
        let now = clock.now();
        // Between the two readings: what each clock is ahead of the other.
        let ahead = |at: Moment| at.wall.as_secs_f64() - at.boot.as_secs_f64();
        (ahead(now) - ahead(self.at)).abs() > DRIFT_TOLERANCE.as_secs_f64()
    }

    /// How long it is until then, zero if it is past, and never more than `most`: a clock that was set back must not
    /// make anybody wait for years.
    pub(in crate::store) fn wait(&self, limit: Duration, clock: &dyn Clock) -> Duration {
        let now = clock.now();
        let wait = if self.is_of_this_boot(clock) {
            self.at.boot.saturating_sub(now.boot)
        } else {
            self.at.wall.saturating_sub(now.wall)
        };
        wait.min(limit)
    }

    pub(in crate::store) fn is_of_this_boot(&self, clock: &dyn Clock) -> bool {
        self.boot_id.is_some() && self.boot_id == clock.boot_id()
    }
}
