//! Checks whether the machine's clocks are usable.

use std::time::Duration;

use paymentsgate_auth::{Clock, Moment, SystemClock};

use super::check::Check;
use super::span;
use crate::exit::Exit;

/// A wall clock before 2025-01-01 was never set, and one after 2100-01-01 was set wrong.
const SANE: std::ops::Range<Duration> =
    Duration::from_secs(1_735_689_600)..Duration::from_secs(4_102_444_800);

pub(super) fn examine() -> Vec<Check> {
    let clock = SystemClock;
    vec![boot_clock(clock.now(), clock.boot_id().is_some()), wall_clock(clock.now())]
}

fn boot_clock(now: Moment, has_boot_id: bool) -> Check {
    let name = "boot clock";
    if now.boot.is_zero() {
        let text = "it is at zero, so the age of tokens is not known; the system must allow clock_gettime(CLOCK_BOOTTIME)";
        return Check::failed(name, Exit::Failed, text);
    }
    let up = span(now.boot);
    if !has_boot_id {
        let text = format!(
            "started {up} ago, but there is no boot id, so the age of a stored token is measured by the wall clock; \
             make /proc/sys/kernel/random/boot_id readable"
        );
        return Check::warning(name, text);
    }
    Check::ok(name, format!("started {up} ago"))
}

fn wall_clock(now: Moment) -> Check {
    let name = "wall clock";
    let day = httpdate::fmt_http_date(std::time::UNIX_EPOCH + now.wall);
    if SANE.contains(&now.wall) {
        Check::ok(name, day)
    } else {
        Check::failed(name, Exit::Failed, format!("it says {day}; set it, or certificates will not be valid"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_found() {
        let at = |boot, wall| Moment { boot: Duration::from_secs(boot), wall: Duration::from_secs(wall) };
        let results = [
            (boot_clock(at(100, 0), true), Verdict::Ok, Exit::Done),
            (boot_clock(at(100, 0), false), Verdict::Warning, Exit::Done),
            (boot_clock(at(0, 0), true), Verdict::Failed, Exit::Failed),
            (wall_clock(at(100, 1_800_000_000)), Verdict::Ok, Exit::Done),
            (wall_clock(at(100, 100)), Verdict::Failed, Exit::Failed),
            (wall_clock(at(100, 5_000_000_000)), Verdict::Failed, Exit::Failed),
        ];
        for (check, verdict, exit) in results {
            assert_eq!((check.result, check.exit), (verdict, exit), "{}", check.text);
        }
    }
}
