//! Every operation on the disk fails, one by one. The record is then the old one or the new one, and no refresh
//! token has two owners.

use std::path::Path;
use std::sync::Arc;

use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::store::RecordFile;
use tempfile::TempDir;

use crate::disk::{AtOneStep, TestDisk, Trouble};
use crate::fixture::{access, beside, claim, folder, key, loaded, pair, record, seeded};

/// The result of a flight on a failing disk.
#[derive(Debug, Default)]
struct Flown {
    presented: Option<String>,
    /// The refresh token could not be claimed, since the disk failed.
    intend_failed: bool,
    put_back: bool,
    committed: bool,
}

fn armed(folder: &Path, trouble: Trouble, at: u64) -> (Arc<TestDisk>, RecordFile) {
    let disk = Arc::new(TestDisk::new(AtOneStep::new(trouble)));
    let record = RecordFile::new(folder, key("account"), None, Arc::new(SystemClock), disk.clone());
    disk.plan.arm(at);
    (disk, record)
}

/// A flight that presents the refresh token, or returns it unsent.
fn fly(record: &RecordFile, is_sent: bool) -> Flown {
    let mut flown = Flown::default();
    assert!(record.try_lock().unwrap());
    if record.load().is_err() {
        return flown;
    }
    match record.intend() {
        Ok(Some(refresh)) if !is_sent => {
            flown.put_back = record.retract(&refresh).is_ok();
            return flown;
        }
        Ok(Some(refresh)) => flown.presented = Some(refresh.secret().expose().to_owned()),
        Ok(None) => {}
        Err(_) => flown.intend_failed = true,
    }
    if flown.presented.is_some() {
        flown.committed = (0..5).any(|_| record.commit(1, &pair(2)).is_ok());
    }
    flown
}

/// Checks the record that the next process finds, on a good disk.
fn check(folder: &Path, flown: &Flown, trouble: Trouble, context: &str) {
    let next = record(folder);
    assert!(next.try_lock().unwrap(), "{context}");
    let found = loaded(&next).unwrap_or_else(|| panic!("{context}: no record"));
    let offered = claim(&next);
    match found.generation() {
        1 => assert!(access(&found) == "a1" && !flown.committed, "{context}"),
        2 => assert!(access(&found) == "a2" && offered.as_deref() == Some("r2"), "{context}"),
        other => panic!("{context}: generation {other}"),
    }
    if flown.presented.is_some() {
        assert_ne!(offered, flown.presented, "{context}: presented twice");
    }
    if flown.put_back || flown.intend_failed && trouble != Trouble::FailForever {
        assert_eq!(offered.as_deref(), Some("r1"), "{context}: an unsent refresh token is lost");
    }
    if flown.presented.is_some() && trouble != Trouble::FailForever {
        assert!(flown.committed, "{context}: a pair that was committed again was not stored");
    }
    assert_eq!(next.commit(found.generation(), &pair(3)).unwrap().generation(), found.generation() + 1);
}

#[test]
fn each_operation_fails_once_or_forever() {
    for trouble in [Trouble::Fail, Trouble::FailAfterwards, Trouble::FailForever] {
        for is_sent in [true, false] {
            for at in 0.. {
                let (folder, path) = seeded();
                let (disk, record) = armed(folder.path(), trouble, at);
                let flown = fly(&record, is_sent);
                record.unlock();
                let context = format!("{trouble:?} at step {at}: {flown:?}");
                check(folder.path(), &flown, trouble, &context);
                assert!(trouble == Trouble::FailForever || beside(&path, ".tmp-").len() <= 1, "{context}");
                if !disk.plan.is_over() {
                    assert!(at > 10 && flown.committed == is_sent && flown.put_back != is_sent, "{context}");
                    break;
                }
            }
        }
    }
}

#[test]
fn power_is_lost_at_each_operation() {
    for names_too in [true, false] {
        for at in 0.. {
            let (folder, _) = seeded();
            let (disk, record) = armed(folder.path(), Trouble::FailForever, at);
            let flown = fly(&record, true);
            record.unlock();
            disk.lose_power(folder.path(), names_too);
            let context = format!("power lost at step {at} (names too: {names_too}): {flown:?}");
            check(folder.path(), &flown, Trouble::FailForever, &context);
            if !disk.plan.is_over() {
                assert!(flown.committed, "{context}");
                break;
            }
        }
    }
}

#[test]
fn a_flight_waits_for_the_disk_four_times() {
    let (folder, _) = seeded();
    let (disk, record) = armed(folder.path(), Trouble::Fail, u64::from(u32::MAX));
    assert!(fly(&record, true).committed);
    assert_eq!(disk.syncs(), 4);
}

/// A session whose commit of pair 1 got an error, although the record was written. The lock is free.
fn failed_but_written() -> (TempDir, RecordFile) {
    for at in 0.. {
        let folder = folder();
        let (disk, ours) = armed(folder.path(), Trouble::FailAfterwards, u64::from(u32::MAX));
        assert!(ours.try_lock().unwrap() && loaded(&ours).is_none());
        disk.plan.arm(at);
        let is_committed = ours.commit(0, &pair(1)).is_ok();
        ours.unlock();
        if !is_committed && ours.path().exists() {
            return (folder, ours);
        }
    }
    panic!("no step of a commit writes the record and fails");
}

/// The session offers the pair again, after what another session has done to the record.
fn offered_again(meanwhile: impl FnOnce(&RecordFile)) -> (TempDir, RecordFile) {
    let (folder, ours) = failed_but_written();
    let other = record(folder.path());
    assert!(other.try_lock().unwrap());
    assert_eq!(loaded(&other).unwrap().generation(), 1);
    meanwhile(&other);
    other.unlock();
    assert!(ours.try_lock().unwrap());
    let found = loaded(&ours).unwrap().generation();
    assert_eq!(ours.commit(0, &pair(1)).unwrap().generation(), found + 1);
    (folder, ours)
}

#[test]
fn a_pair_that_is_offered_again_keeps_its_refresh_token_if_nobody_has_taken_it() {
    let (_folder, ours) = offered_again(|_| {});
    assert_eq!(claim(&ours).as_deref(), Some("r1"));
}

#[test]
fn a_pair_that_is_offered_again_loses_a_refresh_token_that_another_session_has_taken() {
    let (_folder, ours) = offered_again(|other| assert_eq!(claim(other).as_deref(), Some("r1")));
    assert_eq!(claim(&ours), None, "the other session died after its intent");
    let (_folder, ours) = offered_again(|other| {
        assert_eq!(claim(other).as_deref(), Some("r1"));
        other.commit(1, &pair(2)).unwrap();
    });
    assert_eq!(claim(&ours), None, "the other session has committed its successor");
    assert!(!loaded(&ours).unwrap().has_refresh);
}
