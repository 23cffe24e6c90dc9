//! The clock that a session uses, which tests replace. The boot clock measures time; the wall clock is only compared with
//! it, because it can be set.

#![allow(unsafe_code, reason = "std has no safe function to read CLOCK_BOOTTIME")]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::SHA256;

/// Longer than any program runs, and short enough to be added to a clock.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How far the wall clock may run ahead of the boot clock before this counts as a jump.
const WALL_TOLERANCE: Duration = Duration::from_secs(60);

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time since the machine booted, with the time in which it was suspended.
    pub boot: Duration,
    /// The time since 1970, as the machine's wall clock says.
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

/// Identifies one run of one boot clock. Readings can be compared only within it. It stands for one boot of the machine and
/// one time namespace, which shifts the clocks for the processes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Reads the text of a UUID.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().replace('-', "");
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
        Some(BootId(number.to_be_bytes()))
    }

    /// The identity of a clock that differs from the boot clock of the same boot.
    fn of_other_clock(self, difference: &str) -> Self {
        let digest = ring::digest::digest(&SHA256, &[&self.0, difference.as_bytes()].concat());
        let mut name = [0; 16];
        name.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        BootId(name)
    }

    /// The identity of this process's clock on Linux. `read` gives the content of a file, or the target of a link, below
    /// `/proc`. `None` if it is not known which clock it is.
    #[cfg(any(test, target_os = "linux", target_os = "android"))]
    fn of_process(kind: Kind, read: impl Fn(&str) -> std::io::Result<String>) -> Option<Self> {
        let boot = BootId::parse(&read("sys/kernel/random/boot_id").ok()?)?;
        let clock = match kind {
            Kind::Boot => "boottime",
            Kind::Monotonic => "monotonic",
        };
        let shift = match read("self/timens_offsets") {
            Ok(offsets) => {
                // These offsets are those of the next child, which may be in another namespace.
                if read("self/ns/time").ok()? != read("self/ns/time_for_children").ok()? {
                    return None;
                }
                let line = offsets.lines().find(|line| line.starts_with(clock))?;
                line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
            }
            // The kernel has no time namespaces.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "0 0".into(),
            Err(_) => return None,
        };
        let is_plain = kind == Kind::Boot && shift == "0 0";
        Some(if is_plain { boot } else { boot.of_other_clock(&format!("{clock} {shift}")) })
    }

    /// The identity of this process's clock on macOS. `answer` is that of the kernel to `kern.bootsessionuuid`, with a NUL.
    #[cfg(any(test, target_vendor = "apple"))]
    fn of_session(kind: Kind, answer: &[u8]) -> Option<Self> {
        let boot = BootId::parse(std::str::from_utf8(answer).ok()?.trim_end_matches('\0'))?;
        Some(if kind == Kind::Boot { boot } else { boot.of_other_clock("monotonic") })
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The moment now.
    fn now(&self) -> Moment;

    /// The identity of the boot clock, if it is known.
    fn boot_id(&self) -> Option<BootId> {
        None
    }

    /// The second of the wall clock, for the fast path of a read.
    fn second(&self) -> u64 {
        self.now().wall.as_secs()
    }

    /// Whether it is a [`SystemClock`], which the fast path of a read asks directly.
    fn is_system(&self) -> bool {
        false
    }
}

/// The machine's own clocks.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            boot: BOOT_CLOCK.now(read),
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Read again at each call. That takes about 20 µs, little beside the write to a disk that needs it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn boot_id(&self) -> Option<BootId> {
        let below_proc = |name: &str| {
            let path = std::path::Path::new("/proc").join(name);
            match name.starts_with("self/ns/") {
                true => std::fs::read_link(path).map(|to| to.to_string_lossy().into_owned()),
                false => std::fs::read_to_string(path),
            }
        };
        BOOT_CLOCK.now(read);
        BootId::of_process(BOOT_CLOCK.kind(), below_proc)
    }

    #[cfg(target_vendor = "apple")]
    fn boot_id(&self) -> Option<BootId> {
        let (mut answer, mut length) = ([0_u8; 64], 64);
        let name = c"kern.bootsessionuuid".as_ptr();
        // SAFETY: the name ends in a NUL, and the kernel writes at most `length` bytes.
        let refused = unsafe {
            libc::sysctlbyname(name, answer.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0)
        };
        BOOT_CLOCK.now(read);
        answer
            .get(..length)
            .filter(|_| refused == 0)
            .and_then(|answer| BootId::of_session(BOOT_CLOCK.kind(), answer))
    }

    fn is_system(&self) -> bool {
        true
    }

    /// `time` takes 2.5 ns; the boot clock takes 23 ns and a coarse clock 5 ns.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[inline]
    fn second(&self) -> u64 {
        // SAFETY: with a null pointer the call only returns the time.
        unsafe { libc::time(std::ptr::null_mut()) as u64 }
    }
}

static BOOT_CLOCK: BootClock = BootClock { kind: AtomicU8::new(UNDECIDED), ahead: AtomicU64::new(0) };

/// `CLOCK_BOOTTIME`, or `CLOCK_MONOTONIC_RAW` on macOS, which count while the machine is suspended; `std::time::Instant` does
/// not. Where the system has no such clock, or refuses it later, the monotonic clock replaces it for the rest of the process, without a jump.
struct BootClock {
    kind: AtomicU8,
    /// By how many nanoseconds it was ahead of the monotonic clock at the first reading.
    ahead: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boot,
    Monotonic,
}

const UNDECIDED: u8 = 0;
const BOOT: u8 = 1;
const MONOTONIC: u8 = 2;

impl BootClock {
    /// The time now. `read` gives the time of a clock; `None`: the system refuses that clock.
    fn now(&self, read: impl Fn(libc::clockid_t) -> Option<Duration>) -> Duration {
        let kind = self.kind.load(Ordering::Acquire);
        let boot = system_clock().filter(|_| kind != MONOTONIC).and_then(&read);
        if kind == BOOT
            && let Some(boot) = boot
        {
            return boot;
        }
        let monotonic = read(libc::CLOCK_MONOTONIC).unwrap_or_default();
        match boot {
            Some(boot) => {
                let ahead = boot.saturating_sub(monotonic).as_nanos().try_into().unwrap_or(u64::MAX);
                self.ahead.store(ahead, Ordering::Relaxed);
                // Threads that race here have all read the boot clock.
                let _ = self.kind.compare_exchange(UNDECIDED, BOOT, Ordering::AcqRel, Ordering::Relaxed);
                boot
            }
            None => {
                self.kind.store(MONOTONIC, Ordering::Release);
                monotonic.saturating_add(Duration::from_nanos(self.ahead.load(Ordering::Relaxed)))
            }
        }
    }

    /// Which clock it is, after the first reading.
    fn kind(&self) -> Kind {
        if self.kind.load(Ordering::Acquire) == MONOTONIC { Kind::Monotonic } else { Kind::Boot }
    }
}

/// The clock that counts while the machine is suspended, if the system may have one.
fn system_clock() -> Option<libc::clockid_t> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Some(libc::CLOCK_BOOTTIME);
    // clock_gettime(3) of macOS: it increments while the system is asleep, unlike CLOCK_UPTIME_RAW, and no adjustment of
    // the wall clock changes it, unlike CLOCK_MONOTONIC. On Linux the clock of this name stops.
    #[cfg(target_vendor = "apple")]
    return Some(libc::CLOCK_MONOTONIC_RAW);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    None
}

fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    let is_refused = unsafe { libc::clock_gettime(clock, &mut time) } != 0;
    let time = || Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?));
    if is_refused { None } else { time() }
}

#[cfg(test)]
mod tests {
    use std::io;

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
        // It is at most one tick late.
        let range = before.wall.as_secs() - 1..=after.wall.as_secs();
        assert!(range.contains(&second), "{second} is not in {range:?}");
    }

    #[test]
    fn a_boot_has_one_identity() {
        let id = BootId::parse("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(id.0[..3], [0x00, 0x11, 0x22]);
        assert!(["", "0011", "zz112233-4455-6677-8899-aabbccddeeff"].map(BootId::parse) == [None; 3]);
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        assert!(SystemClock.boot_id().is_some() && SystemClock.boot_id() == SystemClock.boot_id());
    }

    #[test]
    fn a_boot_of_macos_has_one_identity() {
        let answer = b"00112233-4455-6677-8899-AABBCCDDEEFF\0";
        let boot = BootId::of_session(Kind::Boot, answer).unwrap();
        assert_eq!(Some(boot), BootId::parse(UUID));
        assert_ne!(BootId::of_session(Kind::Monotonic, answer).unwrap(), boot);
        assert!(
            [&b""[..], b"\0", b"\xff\0"].map(|answer| BootId::of_session(Kind::Boot, answer)) == [None; 3]
        );
    }

    const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff\n";

    /// The identity in a process with these `timens_offsets`; `has_moved`: its children are in another namespace.
    fn named(kind: Kind, offsets: io::Result<&str>, has_moved: bool) -> Option<BootId> {
        let offsets = offsets.map(str::to_owned).map_err(|error| error.kind());
        BootId::of_process(kind, |name| match name {
            "sys/kernel/random/boot_id" => Ok(UUID.into()),
            "self/timens_offsets" => offsets.clone().map_err(io::Error::from),
            "self/ns/time" => Ok("time:[1]".into()),
            "self/ns/time_for_children" => Ok(if has_moved { "time:[2]" } else { "time:[1]" }.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn a_shifted_clock_has_another_identity() {
        let offsets = |boot: &str| format!("monotonic           5         6\nboottime   {boot}\n");
        let shifted = |boot: &str| named(Kind::Boot, Ok(&offsets(boot)), false).unwrap();
        let plain = BootId::parse(UUID).unwrap();
        assert_eq!(shifted("         0         0"), plain);
        assert_eq!(shifted("1000 0"), shifted("   1000         0"));
        let others = [plain, shifted("1000 0"), shifted("-1000 0"), shifted("0 1000"), shifted("1000 1")];
        for (index, one) in others.iter().enumerate() {
            assert!(!others[..index].contains(one));
        }
        let no_namespaces = || Err(io::ErrorKind::NotFound.into());
        assert_eq!(named(Kind::Boot, no_namespaces(), false), Some(plain));
        // The monotonic clock stops while the machine is suspended, so it is another clock.
        let monotonic = named(Kind::Monotonic, no_namespaces(), false).unwrap();
        assert!(!others.contains(&monotonic));
        assert_ne!(named(Kind::Monotonic, Ok(&offsets("0 0")), false).unwrap(), monotonic);
    }

    #[test]
    fn a_clock_that_is_not_known_has_no_identity() {
        let plain = "monotonic 0 0\nboottime 0 0\n";
        assert_eq!(named(Kind::Boot, Ok(plain), true), None);
        assert_eq!(named(Kind::Boot, Err(io::ErrorKind::PermissionDenied.into()), false), None);
        assert_eq!(named(Kind::Boot, Ok("monotonic 0 0\n"), false), None);
    }

    /// Seconds of the boot and of the monotonic clock.
    fn reading(boot: Option<u64>, monotonic: u64) -> impl Fn(libc::clockid_t) -> Option<Duration> {
        move |clock| match clock {
            libc::CLOCK_MONOTONIC => Some(Duration::from_secs(monotonic)),
            _ => boot.map(Duration::from_secs),
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn where_the_boot_clock_is_refused_time_goes_on() {
        let clock = || BootClock { kind: AtomicU8::new(UNDECIDED), ahead: AtomicU64::new(0) };
        let seconds = |clock: &BootClock, boot, monotonic| clock.now(reading(boot, monotonic)).as_secs();
        let never = clock();
        assert_eq!([10, 12].map(|now| seconds(&never, None, now)), [10, 12]);
        // Decided once: the boot clock is not used again, and time does not jump.
        assert_eq!((seconds(&never, Some(5000), 13), never.kind()), (13, Kind::Monotonic));

        let refused_later = clock();
        assert_eq!((seconds(&refused_later, Some(1010), 10), refused_later.kind()), (1010, Kind::Boot));
        assert_eq!(seconds(&refused_later, Some(1020), 15), 1020);
        assert_eq!([20, 30].map(|now| seconds(&refused_later, None, now)), [1020, 1030]);
        assert_eq!(refused_later.kind(), Kind::Monotonic);
    }
}
