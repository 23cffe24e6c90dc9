//! Inspection and removal of records by an operator.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Form, RecordFile, Refusal};

use crate::disk::{AtOneStep, TestDisk, Trouble};
use crate::fixture::{
    access, account, beside, claim, folder, key, keyring, loaded, pair, record, seeded, seeded_with,
};

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut contents: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    contents.sort();
    contents
}

#[test]
fn an_inspection_shows_the_records_and_changes_nothing() {
    let empty = folder();
    let nothing = record(empty.path()).inspect().unwrap();
    assert!(nothing.loaded.committed.is_none() && nothing.form.is_none(), "{nothing:?}");
    let folder = empty.path().join("missing");
    assert!(record(&folder).inspect().unwrap().form.is_none() && !folder.exists(), "a folder is not made");
    fs::write(&folder, "not a folder").unwrap();
    let error = record(&folder).inspect().unwrap_err();
    assert!(error.text.contains("not a folder; name a folder, or one to be made"), "{error}");

    let (folder, path) = seeded();
    let before = contents(folder.path());
    let seen = record(folder.path()).inspect().unwrap();
    assert_eq!((seen.store_name.as_str(), seen.form), (path.to_str().unwrap(), Some(Form::Plain)));
    let committed = seen.loaded.committed.unwrap();
    assert_eq!((committed.generation(), access(&committed), committed.has_refresh), (1, "a1", true));
    assert!(seen.intent.is_none() && seen.loaded.back_off.is_none());
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn an_inspection_shows_the_owner_of_the_intent_and_the_refusal() {
    let (folder, _) = seeded();
    let flying = record(folder.path());
    assert!(flying.try_lock().unwrap());
    assert!(claim(&flying).is_some());
    let error = Error::new(Status::PG_ERR_REFUSED, "refused");
    let until = SystemClock.now().boot + Duration::from_secs(60);
    flying.back_off(&Refusal { strikes: 2, until, error }).unwrap();
    let seen = record(folder.path()).inspect().unwrap();
    let claim = seen.intent.unwrap();
    assert_eq!(claim.pid, std::process::id());
    assert!(claim.age.unwrap() < Duration::from_secs(60));
    assert_eq!(seen.loaded.back_off.unwrap().strikes, 2);
    assert!(!seen.loaded.committed.unwrap().has_refresh);
}

#[test]
fn an_inspection_shows_the_form_of_a_record() {
    let (folder, path) = seeded_with(Some(keyring(&[1])));
    let with = |bytes: &[u8]| account(folder.path(), "account", Some(keyring(bytes))).inspect();
    assert_eq!(with(&[2, 1]).unwrap().form, Some(Form::Sealed));
    assert_eq!(with(&[2]).unwrap_err().status, Status::PG_ERR_STORE_KEY);
    let half = fs::read(&path).unwrap();
    fs::write(&path, &half[..half.len() / 2]).unwrap();
    assert_eq!(with(&[1]).unwrap().form, Some(Form::Broken));
    assert!(path.exists() && beside(&path, ".corrupt-").is_empty(), "a broken record stays in its place");
}

#[test]
fn a_removed_record_leaves_only_its_lock_file() {
    let (folder, path) = seeded();
    let other = account(folder.path(), "other", None);
    assert!(other.try_lock().unwrap());
    other.commit(0, &pair(7)).unwrap();
    for suffix in [".corrupt-1", ".tmp-1-2"] {
        fs::write(format!("{}{suffix}", path.display()), "tokens").unwrap();
        fs::write(format!("{}{suffix}", other.path().display()), "tokens").unwrap();
    }
    let record = record(folder.path());
    assert_eq!(record.forget().unwrap_err().status, Status::PG_ERR_STORE, "not without the lock");
    assert!(record.try_lock().unwrap() && loaded(&record).is_some());
    record.forget().unwrap();
    assert_eq!(beside(&path, ""), beside(&path, ".lock"));
    assert_eq!(beside(other.path(), "").len(), 4, "the record of another account is kept");
    assert!(loaded(&record).is_none(), "and it is not cached");
    record.forget().unwrap();
    assert_eq!(record.commit(0, &pair(2)).unwrap().generation(), 1);
}

#[test]
fn a_removal_that_fails_or_is_not_synced_is_an_error() {
    for at in 0.. {
        let (folder, path) = seeded();
        fs::write(format!("{}.corrupt-1", path.display()), "tokens").unwrap();
        let disk = Arc::new(TestDisk::new(AtOneStep::new(Trouble::Fail)));
        let record =
            RecordFile::new(folder.path(), key("account"), None, Arc::new(SystemClock), disk.clone());
        assert!(record.try_lock().unwrap());
        disk.plan.arm(at);
        match record.forget() {
            // The record, the broken one, the folder.
            Ok(()) => return assert_eq!(at, 3),
            Err(error) => assert!(error.text.contains(path.to_str().unwrap()), "{error}"),
        }
        record.forget().unwrap();
        assert_eq!(beside(&path, ""), beside(&path, ".lock"), "the next try removes it");
    }
}
