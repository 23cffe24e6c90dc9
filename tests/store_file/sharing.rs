//! Records that one store writes and another one reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::error::{Error, ServerError};
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::Store as _;
use paymentsgate_auth::store::{RecordFile, Refusal};
use paymentsgate_auth::token::{Pair, RefreshToken};

use crate::fixture::{PATIENCE, access, beside, claim, folder, loaded, pair, record, seeded, store};

fn locked(folder: &std::path::Path) -> RecordFile {
    let record = record(folder);
    assert!(record.try_lock().unwrap());
    record
}

#[test]
fn each_store_sees_the_commits_of_the_other() {
    let (folder, _) = seeded();
    let [one, other] = [(), ()].map(|()| record(folder.path()));
    for (turn, generation) in (2..8).zip(1..) {
        let (ours, theirs) = if turn % 2 == 0 { (&one, &other) } else { (&other, &one) };
        assert!(ours.try_lock().unwrap());
        assert!(!theirs.try_lock().unwrap(), "threads of one process exclude each other too");
        assert_eq!(loaded(ours).unwrap().generation(), generation);
        assert_eq!(claim(ours), Some(format!("r{}", turn - 1)));
        ours.commit(generation, &pair(turn)).unwrap();
        ours.unlock();
        let seen = loaded(theirs).unwrap();
        assert_eq!(
            (seen.generation(), access(&seen), seen.has_refresh),
            (generation + 1, &*format!("a{turn}"), true)
        );
        assert!(!seen.has_uncertain_age);
    }
}

#[test]
fn an_open_intent_hides_the_refresh_token() {
    let (folder, path) = seeded();
    let one = locked(folder.path());
    assert_eq!(claim(&one).as_deref(), Some("r1"));
    assert_eq!(claim(&one), None, "the store that wrote the intent does not get it either");
    one.unlock();
    assert!(!fs::read(&path).unwrap().windows(2).any(|bytes| bytes == b"r1"), "it is no longer in the file");
    let other = locked(folder.path());
    let found = loaded(&other).unwrap();
    assert!(found.generation() == 1 && !found.has_refresh);
    assert_eq!(claim(&other), None);
    assert_eq!(other.commit(1, &pair(2)).unwrap().generation(), 2);
    assert_eq!(claim(&other).as_deref(), Some("r2"));
}

/// A temporary file may be one that the holder of the lock is writing.
#[test]
fn temporary_files_are_removed_only_with_the_lock_and_after_a_session_died_in_its_flight() {
    let (folder, path) = seeded();
    let temporary = format!("{}.tmp-1-2", path.display());
    fs::write(&temporary, "tokens").unwrap();
    let remains = || fs::exists(&temporary).unwrap();
    let holder = locked(folder.path());
    loaded(&holder);
    assert!(remains(), "no session died");
    assert_eq!(claim(&holder).as_deref(), Some("r1"));
    loaded(&record(folder.path()));
    assert!(remains(), "without the lock");
    loaded(&holder);
    assert!(!remains());
}

#[test]
fn an_unsent_refresh_token_is_returned_to_the_record() {
    let (folder, _) = seeded();
    let one = locked(folder.path());
    let refresh = one.intend().unwrap().unwrap();
    one.retract(&refresh).unwrap();
    one.unlock();
    let other = locked(folder.path());
    assert_eq!(claim(&other).as_deref(), Some("r1"));
    let stranger = RefreshToken::new(Secret::new("another").unwrap());
    assert_eq!(other.retract(&stranger).unwrap_err().status, Status::PG_ERR_STORE);
}

#[test]
fn a_pair_without_a_refresh_token_leaves_the_record_without_one() {
    let (folder, _) = seeded();
    let one = locked(folder.path());
    assert!(loaded(&one).is_some() && claim(&one).is_some());
    one.commit(1, &Pair { refresh: None, ..pair(2) }).unwrap();
    assert!(claim(&one).is_none() && !loaded(&one).unwrap().has_refresh);
}

#[test]
fn nothing_is_written_without_the_lock() {
    let (folder, path) = seeded();
    let before = fs::read(&path).unwrap();
    let record = record(folder.path());
    let refresh = RefreshToken::new(Secret::new("r1").unwrap());
    let refusal =
        Refusal { strikes: 1, until: Duration::MAX, error: Error::new(Status::PG_ERR_REFUSED, "no") };
    for error in [
        record.intend().map(|_| ()).unwrap_err(),
        record.retract(&refresh).unwrap_err(),
        record.commit(9, &pair(2)).map(|_| ()).unwrap_err(),
        record.back_off(&refusal).unwrap_err(),
    ] {
        assert!(error.status == Status::PG_ERR_STORE && error.text.contains("lock"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_store_that_lost_the_lock_does_not_overwrite_a_newer_pair() {
    let (folder, path) = seeded();
    let late = locked(folder.path());
    loaded(&late);
    assert!(claim(&late).is_some());
    // The lock is lost with its file, which was removed.
    fs::remove_file(&beside(&path, ".lock")[0]).unwrap();
    let other = locked(folder.path());
    assert_eq!(claim(&other), None, "the intent protects the refresh token");
    loaded(&other);
    other.commit(1, &pair(2)).unwrap();
    let error = late.commit(1, &pair(3)).unwrap_err();
    assert!(error.status == Status::PG_ERR_STORE && error.text.contains("another session"), "{error}");
    assert_eq!(access(&loaded(&late).unwrap()), "a2");
    let stale = RefreshToken::new(Secret::new("r1").unwrap());
    assert!(late.retract(&stale).is_err());
    assert_eq!(claim(&other).as_deref(), Some("r2"));
}

#[test]
fn generations_continue_from_the_highest_one() {
    let (folder, _) = seeded();
    let one = locked(folder.path());
    loaded(&one);
    assert_eq!(one.commit(41, &pair(2)).unwrap().generation(), 42);
    assert_eq!(one.commit(3, &pair(3)).unwrap().generation(), 43);
}

#[test]
fn a_refusal_is_visible_to_all_until_a_call_succeeds() {
    let folder = folder();
    let one = locked(folder.path());
    let server = ServerError { code: Some("ERROR_CREDENTIALS_NOT_FOUND".into()), ..ServerError::default() };
    let error = Error {
        http_status: Some(401),
        server: Some(Box::new(server)),
        ..Error::new(Status::PG_ERR_REFUSED, "the text of the service, which may contain anything")
    };
    let until = SystemClock.now().boot + Duration::from_secs(30);
    one.back_off(&Refusal { strikes: 2, until, error }).unwrap();
    one.unlock();
    let other = locked(folder.path());
    let found = other.load().unwrap();
    let refusal = found.back_off.unwrap();
    assert!(found.committed.is_none() && refusal.strikes == 2);
    assert!(refusal.until.abs_diff(until) < Duration::from_millis(100));
    assert_eq!((refusal.error.status, refusal.error.http_status), (Status::PG_ERR_REFUSED, Some(401)));
    assert_eq!(refusal.error.server.unwrap().code.unwrap(), "ERROR_CREDENTIALS_NOT_FOUND");
    assert!(!refusal.error.text.contains("may contain anything"), "{}", refusal.error.text);
    // An expired refusal leaves its count of strikes until a pair comes.
    let over = Refusal { strikes: 2, until: Duration::ZERO, error: Error::new(Status::PG_ERR_REFUSED, "no") };
    other.back_off(&over).unwrap();
    assert_eq!(other.load().unwrap().back_off.unwrap().strikes, 2);
    assert_eq!(other.commit(0, &pair(1)).unwrap().generation(), 1);
    assert!(other.load().unwrap().back_off.is_none());
}

#[test]
fn the_lock_file_is_kept_and_a_held_lock_stays_held() {
    let (folder, path) = seeded();
    let lock = beside(&path, ".lock").remove(0);
    fs::write(&lock, "a note").unwrap();
    let inode = fs::metadata(&lock).unwrap().ino();
    for _ in 0..3 {
        let one = locked(folder.path());
        assert!(one.try_lock().unwrap(), "a flight that broke off is followed by another one");
        assert!(!record(folder.path()).try_lock().unwrap());
        drop(one);
    }
    assert_eq!(fs::read_to_string(&lock).unwrap(), "a note");
    assert_eq!(fs::metadata(&lock).unwrap().ino(), inode);
}

#[test]
fn a_local_folder_gives_no_warning() {
    assert_eq!(store(folder().path(), PATIENCE).warning(), None);
}
