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

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<BootId> = Some(BootId([1; 16]));
    const ELSEWHERE: Option<BootId> = Some(BootId([2; 16]));

    struct Frozen(Moment, Option<BootId>);

    impl Clock for Frozen {
        fn now(&self) -> Moment {
            self.0
        }

        fn boot_id(&self) -> Option<BootId> {
            self.1
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn moment(boot: u64, wall: u64) -> Moment {
        Moment { boot: seconds(boot), wall: seconds(wall) }
    }

    /// A stamp of the moment 100 s, 5000 s, and the clock that judges it.
    fn stamp(boot_id: Option<BootId>, now: Moment) -> (Stamp, Frozen) {
        let stamp = Stamp::new(moment(100, 5000), &Frozen(now, boot_id));
        (stamp, Frozen(now, HERE))
    }

    #[test]
    fn a_boot_clock_counts_only_for_its_own_boot() {
        for (of, here, expected) in
            [(HERE, HERE, true), (ELSEWHERE, HERE, false), (None, HERE, false), (None, None, false)]
        {
            let clock = Frozen(moment(0, 0), here);
            assert_eq!(Stamp { boot_id: of, at: moment(0, 0) }.is_of_this_boot(&clock), expected);
        }
    }

    #[test]
    fn the_age_is_exact_within_a_boot_and_else_that_of_the_wall_clock() {
        for (boot_id, now, expected) in [
            (HERE, moment(110, 9999), Some(10)),
            (HERE, moment(100, 0), Some(0)),
            (HERE, moment(99, 9999), None),
            (ELSEWHERE, moment(0, 5010), Some(10)),
            (ELSEWHERE, moment(9999, 4995), Some(0)),
            (ELSEWHERE, moment(9999, 4994), None),
        ] {
            let (stamp, clock) = stamp(boot_id, now);
            assert_eq!(stamp.age(&clock), expected.map(seconds), "{boot_id:?} {now:?}");
        }
    }

    #[test]
    fn clocks_differ_if_they_drift_by_more_than_a_minute() {
        for (wall, expected) in [(5010, false), (5070, false), (5071, true), (4950, false), (4949, true)] {
            let (stamp, clock) = stamp(HERE, moment(110, wall));
            assert_eq!(stamp.clocks_differ(&clock), expected, "{wall}");
        }
    }

    #[test]
    fn a_wait_ends_with_the_stamp_and_is_never_longer_than_its_limit() {
        for (boot_id, now, expected) in [
            (HERE, moment(90, 9999), 10),
            (HERE, moment(100, 0), 0),
            (HERE, moment(0, 0), 20),
            (ELSEWHERE, moment(9999, 4990), 10),
            (ELSEWHERE, moment(0, 5001), 0),
            (ELSEWHERE, moment(0, 0), 20),
        ] {
            let (stamp, clock) = stamp(boot_id, now);
            assert_eq!(stamp.wait(seconds(20), &clock), seconds(expected), "{boot_id:?} {now:?}");
        }
    }
}
