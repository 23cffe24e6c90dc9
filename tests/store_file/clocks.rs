//! The age of a token of another process: exact within one boot, otherwise by the wall clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use paymentsgate_auth::clock::{BootId, Moment};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{RecordFile, Refusal, SystemDisk};
use paymentsgate_auth::token::Pair;

use crate::fixture::{TestClock, folder, key, pair_at};

const HOUR: u64 = 3600;
const BOOT: Option<BootId> = Some(BootId([1; 16]));
const NEXT_BOOT: Option<BootId> = Some(BootId([2; 16]));

fn moment(boot: u64, wall: u64) -> Moment {
    Moment { boot: Duration::from_secs(boot), wall: Duration::from_secs(1_700_000_000 + wall) }
}

/// A token of an hour that came at `then`, seen by a process at `now`: the remaining life, and whether it is certain.
fn left(then: (Moment, Option<BootId>), now: (Moment, Option<BootId>)) -> (u64, bool) {
    left_of(HOUR, then, now)
}

/// The same for a token with a life of this many seconds.
fn left_of(life: u64, then: (Moment, Option<BootId>), now: (Moment, Option<BootId>)) -> (u64, bool) {
    let folder = folder();
    let clock = Arc::new(TestClock(Mutex::new(then)));
    let open = || RecordFile::new(folder.path(), key("a"), None, clock.clone(), Arc::new(SystemDisk));
    let writer = open();
    assert!(writer.try_lock().unwrap());
    let Pair { mut token, refresh } = pair_at("a1", "r1", then.0);
    token.lifetime.length = Duration::from_secs(life);
    writer.commit(0, &Pair { token, refresh }).unwrap();
    *clock.0.lock().unwrap() = now;
    let found = open().load().unwrap().committed.unwrap();
    assert!(!found.token().wall_has_jumped(now.0) || found.has_uncertain_age);
    (found.token().remaining(now.0).as_secs(), found.has_uncertain_age)
}

#[test]
fn within_one_boot_the_boot_clock_decides() {
    let then = (moment(5000, 0), BOOT);
    assert_eq!(left(then, (moment(5600, 600), BOOT)), (HOUR - 600, false));
    assert_eq!(left(then, (moment(5600, 659), BOOT)), (HOUR - 600, false), "clocks drift");
    assert_eq!(left(then, (moment(5600, 541), BOOT)), (HOUR - 600, false));
    assert_eq!(left(then, (moment(9999, 4999), BOOT)), (0, false));
    assert_eq!(
        left(then, (moment(4000, 600), BOOT)),
        (HOUR, true),
        "a boot clock that went back says nothing"
    );
}

/// One of the clocks was set, or the machine was restored from an image that contains its boot ID.
#[test]
fn a_token_whose_age_differs_between_the_clocks_has_an_uncertain_age() {
    let then = (moment(5000, 0), BOOT);
    assert_eq!(left(then, (moment(5600, 662), BOOT)), (HOUR - 600, true));
    assert_eq!(left(then, (moment(5600, 538), BOOT)), (HOUR - 600, true));
    assert_eq!(left(then, (moment(5600, 9000), BOOT)), (HOUR - 600, true));
    let back = Moment { wall: then.0.wall - Duration::from_secs(90_000), ..moment(5600, 0) };
    assert_eq!(left(then, (back, BOOT)), (HOUR - 600, true));
}

#[test]
fn a_lifetime_of_more_than_a_day_counts_as_a_day() {
    const YEARS: u64 = 50 * 365 * 24 * HOUR;
    let then = (moment(5000, 0), BOOT);
    assert_eq!(left_of(YEARS, then, (moment(5600, 600), BOOT)), (24 * HOUR - 600, false));
    assert_eq!(left_of(YEARS, then, (moment(20, 600), NEXT_BOOT)), (24 * HOUR - 600, false));
    assert_eq!(left_of(YEARS, then, (moment(20, 0), None)), (24 * HOUR, false));
}

#[test]
fn after_a_reboot_the_wall_clock_decides() {
    let then = (moment(5000, 0), BOOT);
    assert_eq!(left(then, (moment(9000, 600), NEXT_BOOT)), (HOUR - 600, false));
    assert_eq!(left(then, (moment(20, 600), NEXT_BOOT)), (HOUR - 600, false), "it is older than this boot");
    assert_eq!(left(then, (moment(20, 99_999), NEXT_BOOT)), (0, false));
    assert_eq!(left(then, (moment(20, 0), NEXT_BOOT)), (HOUR, false));
    let before =
        |seconds| (Moment { wall: then.0.wall - Duration::from_secs(seconds), ..moment(20, 0) }, NEXT_BOOT);
    assert_eq!(left(then, before(6)), (HOUR, true), "a wall clock that went back says nothing");
    assert_eq!(left(then, before(4)), (HOUR, false), "small differences between clocks are ignored");
    assert_eq!(
        left((then.0, None), (moment(9000, 600), None)),
        (HOUR - 600, false),
        "some systems have no boot ID"
    );
}

#[test]
fn a_refusal_survives_a_reboot_and_never_lasts_for_years() {
    let folder = folder();
    let clock = Arc::new(TestClock(Mutex::new((moment(5000, 0), BOOT))));
    let record = RecordFile::new(folder.path(), key("a"), None, clock.clone(), Arc::new(SystemDisk));
    assert!(record.try_lock().unwrap());
    let error = Error::new(Status::PG_ERR_REFUSED, "no");
    record.back_off(&Refusal { strikes: 3, until: Duration::from_secs(5900), error }).unwrap();
    let until = |boot, wall, id| {
        *clock.0.lock().unwrap() = (moment(boot, wall), id);
        record.load().unwrap().back_off.unwrap().until.as_secs()
    };
    assert_eq!(until(5100, 5000, BOOT), 5900);
    assert_eq!(until(10, 100, NEXT_BOOT), 810);
    assert_eq!(until(10, 2000, NEXT_BOOT), 10);
    *clock.0.lock().unwrap() = (Moment { boot: Duration::from_secs(10), wall: Duration::ZERO }, NEXT_BOOT);
    assert_eq!(record.load().unwrap().back_off.unwrap().until.as_secs(), 3610, "at most an hour");
}
