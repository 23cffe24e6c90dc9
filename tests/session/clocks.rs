//! Suspended machines, and wall clocks that are set.

use pg_sandbox::{Action, Point, Route};

use crate::fixture::Fixture;
use crate::support::{self, NOW, PATIENCE};

/// Seconds after which callers wait for a new token.
const MANDATORY: u64 = 3600 - 110;

#[test]
fn a_suspended_machine_is_noticed_at_once() {
    let fixture = Fixture::new();
    fixture.token();
    assert!(fixture.is_fresh());
    fixture.pass(MANDATORY);
    assert!(!fixture.is_fresh());
}

#[test]
fn a_wall_clock_set_back_prolongs_a_token_by_one_lease_at_most() {
    for lost in [0, 1, 2, 10, 3600] {
        let fixture = Fixture::new();
        fixture.token();
        assert!(fixture.is_fresh());
        fixture.pass(MANDATORY);
        fixture.set_wall(-(MANDATORY as i64) - lost);
        if lost >= 4 {
            assert!(!fixture.is_fresh(), "set back by {lost} s it is outside of the lease");
        }
        // The lease lasts three seconds, wherever the clock is in it.
        fixture.pass(3 + lost.unsigned_abs().min(3));
        assert!(!fixture.is_fresh(), "set back by {lost} s");
        assert_eq!(fixture.token().generation, 2);
    }
}

#[test]
fn a_wall_clock_that_stands_still_does_not_stop_the_librarys_thread() {
    let fixture = Fixture::new();
    fixture.token();
    assert!(fixture.is_fresh() && fixture.word() != 0);
    // No renewal ends before this test has looked.
    fixture.fault(Route::Refresh, Point::Before, Action::Hang);
    fixture.pass(MANDATORY);
    fixture.set_wall(-(MANDATORY as i64));
    // The thread would wake by the boot clock; this call stands for its wake-up.
    assert_eq!(fixture.word(), 0);
    assert!(!fixture.is_fresh());
}

#[test]
fn a_wall_clock_set_forward_by_little_changes_nothing_and_by_much_counts_as_mandatory() {
    let fixture = Fixture::new();
    fixture.token();
    fixture.set_wall(40);
    assert!(fixture.is_fresh() && fixture.word() != 0);
    fixture.pass(MANDATORY);
    assert!(!fixture.is_fresh());
    assert_eq!(fixture.token().generation, 2);
    fixture.pass(60);
    assert!(fixture.is_fresh());
    fixture.set_wall(7200);
    assert!(!fixture.is_fresh());
    assert_eq!(fixture.word(), 0);
    assert_eq!(fixture.token().generation, 3);
    assert!(fixture.is_fresh() && fixture.word() != 0);
}

#[test]
fn a_wall_clock_that_ran_ahead_overrides_the_pause_between_two_refreshes_once() {
    let fixture = Fixture::new();
    let session = fixture.open(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(2);
    support::WALL_AHEAD_S.fetch_add(7200, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
}
