//! The conformance check of a store finds each broken promise and names it.

use std::sync::Arc;

use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{HostStore, check};

use crate::table::{Call, Flaw, Table, Trouble};

#[test]
fn a_sound_store_passes_every_time() {
    let store = HostStore::new(Arc::new(Table::default()));
    for _ in 0..3 {
        check(&store).unwrap();
    }
}

#[test]
fn each_flaw_is_found() {
    for (flaw, words) in [
        (Flaw::FindsWhatWasNeverSaved, "`load` found a record under a key that was never saved"),
        (Flaw::SavesOverNothing, "though there was none"),
        (Flaw::DeniesThatItSaved, "though there was none"),
        (Flaw::RefusesTheFirstSave, "`save` did not save the first record"),
        (Flaw::ReplacesWithoutExpecting, "`save` with expected version 0 replaced"),
        (Flaw::RefusesTheExpectedVersion, "whose version was the expected one"),
        (Flaw::IgnoresTheVersion, "`save` replaced a record whose version was not the expected one"),
        (Flaw::RoundsVersions, "`load` answered with version"),
        (Flaw::EndsAtNul, "came back with 0 bytes"),
        (Flaw::CutsRecords, "a record of 65536 bytes came back with 8192 bytes"),
        (Flaw::BreaksBytes, "another byte at 128"),
        (Flaw::CutsKeys, "took two keys for one"),
        (Flaw::LocksEverythingAtOnce, "`lock` refused the lock of a key that nobody has"),
        (Flaw::LocksForEverybody, "`lock` gave a lock to one owner while another had it"),
        (Flaw::DoesNotRenew, "`lock` did not renew"),
        (Flaw::UnlocksForEverybody, "`unlock` freed the lock for an owner who did not have it"),
        (Flaw::NeverUnlocks, "`unlock` did not free the lock"),
        (Flaw::LeaseNeverEnds, "a lease of 200 ms is not over after 5 s"),
        (Flaw::LeaseInWholeSeconds, "a lease of 200 ms was over after"),
        (Flaw::RenewsWhatIsLost, "`lock` renewed a lease that was over"),
        (Flaw::DoesNotProlong, "did not prolong"),
        (Flaw::SavesWithoutAtomicity, "calls of `save` at once"),
        (Flaw::LocksWithoutAtomicity, "owners who asked for one lock at once"),
    ] {
        let error = check(&HostStore::new(Arc::new(Table::with(flaw)))).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_INVALID_ARGUMENT, "{flaw:?}");
        assert!(error.text.contains(words), "{flaw:?}: {}", error.text);
    }
}

#[test]
fn the_report_quotes_the_error_of_a_failing_store() {
    for call in [Call::Lock, Call::Unlock, Call::Load, Call::Save] {
        let table = Arc::new(Table::default());
        table.arm(call, 0, Trouble::Fail);
        let error = check(&HostStore::new(table)).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_STORE);
        let name = format!("{call:?}").to_lowercase();
        let words = format!("`{name}` failed during the check: no {call:?} today");
        assert!(error.text.contains(&words), "{}", error.text);
    }
}

#[test]
fn the_report_names_a_call_that_does_not_return() {
    let table = Arc::new(Table::default());
    table.arm(Call::Load, 2, Trouble::Hang);
    let error = check(&HostStore::new(table.clone())).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    assert!(error.text.contains("`load` has not returned within 5 s"), "{}", error.text);
    table.repair();
}
