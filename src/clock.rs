//! Time, injected. The boot clock measures, the wall clock is only a witness.

#![allow(unsafe_code, reason = "clock_gettime has no safe face in std for CLOCK_BOOTTIME")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than any program runs, and short enough to be added to a clock.
pub const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Wall time may run ahead of the boot clock by this much before it is believed.
const WALL_TOLERANCE: Duration = Duration::from_secs(60);

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

    /// Whether the wall clock has run ahead of the boot clock since `earlier`: the machine may have been restored from
    /// an image, or its clock was set.
    pub fn wall_has_jumped(&self, earlier: Moment) -> bool {
        self.wall.saturating_sub(earlier.wall).saturating_sub(self.since(earlier)) > WALL_TOLERANCE
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

    /// The wall clock's second, for a reader in a hurry.
    fn second(&self) -> u64 {
        self.now().wall.as_secs()
    }

    /// Whether it is a [`SystemClock`], which readers in a hurry ask by themselves.
    fn is_system(&self) -> bool {
        false
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

    fn is_system(&self) -> bool {
        true
    }

    /// 2.5 ns, where the boot clock takes 23 and a coarse clock 5.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[inline]
    fn second(&self) -> u64 {
        // SAFETY: a null pointer asks for the result alone.
        unsafe { libc::time(std::ptr::null_mut()) as u64 }
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
    fn the_second_is_that_of_the_wall_clock() {
        let (before, second, after) = (SystemClock.now(), SystemClock.second(), SystemClock.now());
        // It is a tick late at most.
        let range = before.wall.as_secs() - 1..=after.wall.as_secs();
        assert!(range.contains(&second), "{second} is not in {range:?}");
    }

    #[test]
    fn a_boot_has_one_name() {
        let id = BootId::parse("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(id.0[..3], [0x00, 0x11, 0x22]);
        assert!(["", "0011", "zz112233-4455-6677-8899-aabbccddeeff"].map(BootId::parse) == [None; 3]);
        #[cfg(target_os = "linux")]
        assert!(SystemClock.boot_id().is_some() && SystemClock.boot_id() == SystemClock.boot_id());
    }
}
