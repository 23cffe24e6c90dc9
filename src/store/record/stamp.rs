//! A moment that is valid across processes and restarts of the machine.

use std::time::Duration;

use crate::clock::{BootId, Clock, Moment};

/// The tolerated difference between the wall clocks of two machines, or of one machine before and after a restart.
const WALL_CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The tolerated drift between the two clocks of one machine within the life of a token.
const DRIFT_TOLERANCE: Duration = Duration::from_secs(60);

/// A moment, with the boot to which its boot clock belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) boot_id: Option<BootId>,
    pub(in crate::store) at: Moment,
}

impl Stamp {
    pub(in crate::store) fn new(at: Moment, clock: &dyn Clock) -> Self {
        Stamp { boot_id: clock.boot_id(), at }
    }

    /// How long ago it was: exact within one boot, otherwise by the wall clock. `None`: it seems to be in the future,
    /// so the clocks cannot tell.
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

    /// Whether the two clocks disagree on the age by more than drift: one was set, or the machine was restored from an
    /// image, including its boot id.
    pub(in crate::store) fn clocks_differ(&self, clock: &dyn Clock) -> bool {
        let now = clock.now();
        // How far the wall clock is ahead of the boot clock.
        let ahead = |at: Moment| at.wall.as_secs_f64() - at.boot.as_secs_f64();
        (ahead(now) - ahead(self.at)).abs() > DRIFT_TOLERANCE.as_secs_f64()
    }

    /// The time until then: zero if it has passed, and at most `limit`, since a clock that was set back must not cause
    /// a wait of years.
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
