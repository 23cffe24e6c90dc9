//! Time, injected. The boot clock measures, the wall clock is only a witness.

#![allow(unsafe_code, reason = "clock_gettime has no safe face in std for CLOCK_BOOTTIME")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than any program runs, and short enough to be added to a clock.
pub const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the machine booted, suspend included.
    pub boot: Duration,
    /// Since 1970, as the machine believes.
    pub wall: Duration,
}

impl Moment {
    /// How much boot time has passed since `earlier`; never negative.
    pub fn since(&self, earlier: Moment) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }
}

/// A cheap look at two clocks, in nanoseconds and some milliseconds coarse. One stops while the machine sleeps, the
/// other can be set. As long as they agree on what has passed, neither has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Stops while the machine sleeps.
    pub running: u64,
    /// Can be set.
    pub wall: u64,
}

impl Glance {
    /// What has passed since `earlier`, if both clocks agree on it within `tolerance`.
    #[inline]
    pub fn since(self, earlier: Glance, tolerance: u64) -> Option<u64> {
        let running = self.running.saturating_sub(earlier.running);
        let wall = self.wall.wrapping_sub(earlier.wall);
        (wall.wrapping_sub(running).wrapping_add(tolerance) <= 2 * tolerance).then_some(running)
    }
}

/// One run of the machine from its start to its end: only within it can readings of the boot clock be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// From the text of a UUID.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().replace('-', "");
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
        Some(BootId(number.to_be_bytes()))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The moment now.
    fn now(&self) -> Moment;

    /// Which run of the machine the boot clock counts, if the machine tells.
    fn boot_id(&self) -> Option<BootId> {
        None
    }

    /// The time for a reader in a hurry.
    fn glance(&self) -> Glance {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = self.now();
        Glance { running: nanoseconds(now.boot), wall: nanoseconds(now.wall) }
    }
}

/// The machine's own clocks.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment { boot: boot_time(), wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Read anew each time: 10 µs, next to the write to a disk that it is wanted for.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn boot_id(&self) -> Option<BootId> {
        BootId::parse(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
    }

    /// 7 ns for both, where the boot clock alone takes 23.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn glance(&self) -> Glance {
        let nanoseconds = |clock| {
            let time = read(clock);
            (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
        };
        Glance {
            running: nanoseconds(libc::CLOCK_MONOTONIC_COARSE),
            wall: nanoseconds(libc::CLOCK_REALTIME_COARSE),
        }
    }
}

/// `CLOCK_BOOTTIME` counts while the machine sleeps; `std::time::Instant` on Linux does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

fn boot_time() -> Duration {
    let time = read(BOOT_CLOCK);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[inline]
fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; on failure it stays zero.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_runs_and_never_goes_back() {
        let clock = SystemClock;
        let first = clock.now();
        let second = clock.now();
        assert!(first.boot > Duration::ZERO && second.boot >= first.boot);
        assert_eq!(
            first.since(Moment { boot: second.boot + Duration::from_secs(9), ..second }),
            Duration::ZERO
        );
    }

    #[test]
    fn a_boot_has_one_name() {
        let id = BootId::parse("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(id.0[..3], [0x00, 0x11, 0x22]);
        assert!(["", "0011", "zz112233-4455-6677-8899-aabbccddeeff"].map(BootId::parse) == [None; 3]);
        #[cfg(target_os = "linux")]
        assert!(SystemClock.boot_id().is_some() && SystemClock.boot_id() == SystemClock.boot_id());
    }

    #[test]
    fn a_glance_notices_sleep_and_set_clocks() {
        let second = 1_000_000_000;
        let start = Glance { running: 50 * second, wall: 900 * second };
        let after = |running: u64, wall: i64| {
            let wall = start.wall.wrapping_add_signed(wall * second as i64);
            Glance { running: start.running + running * second, wall }.since(start, second)
        };
        assert_eq!(after(0, 0), Some(0));
        assert_eq!(after(600, 600), Some(600 * second));
        assert_eq!(after(600, 601), Some(600 * second));
        assert_eq!(after(0, 600), None, "it slept, or the clock was put forward");
        assert_eq!(after(600, 0), None, "the clock was put back");
        assert_eq!(after(0, -2000), None);
        let system = SystemClock.glance();
        assert_eq!(system.since(system, 0), Some(0));
    }
}
