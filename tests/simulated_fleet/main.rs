//! Random histories of 2 to 40 processes that share one record, in simulated time: the real store on a disk that
//! fails, the real flights and machines, and one service with single-use refresh tokens. Processes start, end, stop and
//! die at any step; the network and the disk fail at every point; tokens are revoked, and credentials refused. After every
//! step the invariants of docs/lifecycle.md are checked. A history that fails names its seed:
//! `PG_SEED=n cargo test --test simulated_fleet`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the totals are printed")]

mod clock;
mod disk;
#[path = "../support/faulty_disk.rs"]
#[allow(dead_code, reason = "the tests of the file store use the loss of power")]
mod faulty_disk;
mod fleet;
mod process;
#[path = "../support/simulated.rs"]
#[allow(dead_code, reason = "the simulated session makes business calls")]
mod simulated;
mod weather;

use fleet::Fleet;
use simulated::histories;

#[test]
fn random_fleet_histories_keep_the_invariants() {
    let (lived, [processes, crashes, served, failed, calls, generations]) = histories(90, |seed| {
        let mut fleet = Fleet::new(seed);
        fleet.live();
        fleet.tally()
    });
    println!(
        "{lived} histories, {processes} processes, {crashes} crashes, {served} callers served, {failed} got an error, \
         {calls} calls for {generations} generations"
    );
    assert!(served > 0 && crashes > 0 && generations > 0);
}
