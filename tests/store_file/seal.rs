//! Sealed records: they are read only with the key, and are not changed without it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::error::{Error, ServerError};
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Keyring, RecordFile, Refusal};
use paymentsgate_auth::token::RefreshToken;
use ring::digest::{SHA256, digest};

use crate::fixture::{
    access, account, beside, claim, folder, key, keyring, loaded, pair, pair_at, sealed_record, seeded,
    seeded_with,
};

/// The offsets in a record: docs/record-format.md.
const KEY: usize = 12;
const GENERATION: usize = 44;
const PAYLOAD: usize = 56;

fn locked(folder: &Path, keyring: Option<&Keyring>) -> RecordFile {
    let record = account(folder, "account", keyring.cloned());
    assert!(record.try_lock().unwrap());
    record
}

/// Checks that the error names the file and the setting, and says that nothing was changed.
fn assert_other_key(error: &Error, path: &Path) {
    assert_eq!(error.status, Status::PG_ERR_STORE_KEY, "{error}");
    for piece in [path.to_str().unwrap(), "store_key", "nothing was changed"] {
        assert!(error.text.contains(piece), "{error}");
    }
}

fn refusal() -> Refusal {
    let until = SystemClock.now().boot + Duration::from_secs(60);
    let server = ServerError { code: Some("ERROR_CODE".into()), ..ServerError::default() };
    let error = Error { server: Some(Box::new(server)), ..Error::new(Status::PG_ERR_REFUSED, "refused") };
    Refusal { strikes: 1, until, error }
}

/// Writes the record with a correct checksum.
fn put(path: &Path, at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len() - 16;
    bytes[at..at + new.len()].copy_from_slice(new);
    let sum = digest(&SHA256, &bytes[..end]);
    bytes[end..].copy_from_slice(&sum.as_ref()[..16]);
    fs::write(path, &bytes).unwrap();
    bytes
}

pub(crate) fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn sealed_files_show_nothing_of_a_pair_or_a_key() {
    let texts = ["the-access-token", "the refresh token", "ERROR_CODE"];
    for keys in [None, Some(keyring(b"ko"))] {
        let folder = folder();
        let record = locked(folder.path(), keys.as_ref());
        let mut seen = Vec::new();
        let mut look = || {
            for entry in fs::read_dir(folder.path()).unwrap() {
                seen.extend(fs::read(entry.unwrap().path()).unwrap());
            }
        };
        record.commit(0, &pair_at(texts[0], texts[1], SystemClock.now())).unwrap();
        look();
        record.intend().unwrap().unwrap();
        look();
        record.back_off(&refusal()).unwrap();
        look();
        assert!(holds(&seen, b"PGRECORD"));
        for text in texts {
            assert_eq!(holds(&seen, text.as_bytes()), keys.is_none(), "{text}");
        }
        assert!(!holds(&seen, &[b'k'; 8]) && !holds(&seen, &[b'o'; 8]));
    }
}

#[test]
fn a_store_without_the_key_changes_nothing() {
    let (folder, path) = seeded_with(Some(keyring(&[1])));
    let bytes = fs::read(&path).unwrap();
    for keys in [None, Some(keyring(&[2])), Some(keyring(&[2, 3]))] {
        let record = account(folder.path(), "account", keys);
        assert_other_key(&record.load().unwrap_err(), &path);
        assert!(record.try_lock().unwrap());
        let refresh = RefreshToken::new(Secret::new("r1").unwrap());
        for error in [
            record.has_newer(0).unwrap_err(),
            record.load().unwrap_err(),
            record.intend().unwrap_err(),
            record.retract(&refresh).unwrap_err(),
            record.back_off(&refusal()).unwrap_err(),
            record.commit(0, &pair(2)).unwrap_err(),
            record.commit(9, &pair(2)).unwrap_err(),
        ] {
            assert_other_key(&error, &path);
        }
        assert!(
            fs::read(&path).unwrap() == bytes && beside(&path, ".").len() == 1,
            "only the lock file is beside it"
        );
    }
    assert_eq!(claim(&locked(folder.path(), Some(&keyring(&[1])))).as_deref(), Some("r1"));
}

#[test]
fn two_stores_with_the_same_key_share_records() {
    let (folder, _) = seeded_with(Some(keyring(&[1])));
    let [one, other] = [(), ()].map(|()| sealed_record(folder.path()));
    assert!(one.try_lock().unwrap() && loaded(&one).is_some());
    assert_eq!(claim(&one).as_deref(), Some("r1"));
    one.commit(1, &pair(2)).unwrap();
    one.unlock();
    assert!(other.has_newer(1).unwrap());
    let found = loaded(&other).unwrap();
    assert_eq!((found.generation(), access(&found), found.has_refresh), (2, "a2", true));
}

#[test]
fn a_key_is_replaced_in_two_steps_with_both_keys() {
    let (folder, path) = seeded_with(Some(keyring(&[1])));
    let [old, both, new] = [keyring(&[1]), keyring(&[2, 1]), keyring(&[2])];
    let record = locked(folder.path(), Some(&both));
    assert_eq!(access(&loaded(&record).unwrap()), "a1");
    assert!(loaded(&account(folder.path(), "account", Some(old.clone()))).is_some(), "not written yet");
    assert_eq!(claim(&record).as_deref(), Some("r1"));
    record.commit(1, &pair(2)).unwrap();
    record.unlock();
    assert_other_key(&locked(folder.path(), Some(&old)).load().unwrap_err(), &path);
    for keys in [&both, &new] {
        assert_eq!(access(&loaded(&locked(folder.path(), Some(keys))).unwrap()), "a2");
    }
}

#[test]
fn a_plain_record_is_refused_with_a_key_unless_the_setting_allows_it() {
    let (folder, path) = seeded();
    let before = fs::read(&path).unwrap();
    let record = locked(folder.path(), Some(&keyring(&[1])));
    for error in [
        record.load().unwrap_err(),
        record.has_newer(0).unwrap_err(),
        record.intend().unwrap_err(),
        record.commit(0, &pair(2)).unwrap_err(),
        record.commit(9, &pair(2)).unwrap_err(),
    ] {
        assert_other_key(&error, &path);
        assert!(error.text.contains("not sealed") && error.text.contains("store_accept_plain"), "{error}");
    }
    assert!(
        fs::read(&path).unwrap() == before && beside(&path, ".").len() == 1,
        "only the lock file is beside it"
    );
    drop(record);
    let record = locked(folder.path(), Some(&keyring(&[1]).accepting_plain(true)));
    assert_eq!(access(&loaded(&record).unwrap()), "a1");
    assert_eq!(claim(&record).as_deref(), Some("r1"));
    record.commit(1, &pair(2)).unwrap();
    record.unlock();
    assert_other_key(&account(folder.path(), "account", None).load().unwrap_err(), &path);
    assert_eq!(access(&loaded(&sealed_record(folder.path())).unwrap()), "a2", "the new record is sealed");
}

#[test]
fn a_record_moved_to_another_account_or_generation_does_not_open() {
    let keys = keyring(&[1]);
    let (folder, path) = seeded_with(Some(keys.clone()));
    let other = account(folder.path(), "another", Some(keys.clone()));
    fs::copy(&path, other.path()).unwrap();
    let refused = other.load().unwrap_err();
    assert_eq!(refused.status, Status::PG_ERR_STORE_REFUSED, "{refused}");
    put(other.path(), KEY, key("another").hash());
    assert_other_key(&other.load().unwrap_err(), other.path());
    let later = put(&path, GENERATION, &7u64.to_be_bytes());
    let record = locked(folder.path(), Some(&keys));
    assert_other_key(&record.load().unwrap_err(), &path);
    assert_other_key(&record.commit(1, &pair(2)).unwrap_err(), &path);
    assert_eq!(fs::read(&path).unwrap(), later);
}

#[test]
fn a_tampered_sealed_record_is_kept_and_a_broken_one_is_replaced() {
    let keys = keyring(&[1]);
    let (folder, path) = seeded_with(Some(keys.clone()));
    let whole = fs::read(&path).unwrap();
    let tampered = put(&path, PAYLOAD + 20, &[whole[PAYLOAD + 20] ^ 1]);
    let record = locked(folder.path(), Some(&keys));
    assert_other_key(&record.load().unwrap_err(), &path);
    assert_eq!(fs::read(&path).unwrap(), tampered);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(loaded(&record).is_none() && beside(&path, ".corrupt-").len() == 1);
    record.commit(0, &pair(2)).unwrap();
    assert_eq!(access(&loaded(&sealed_record(folder.path())).unwrap()), "a2");
    assert!(account(folder.path(), "account", None).load().is_err(), "sealed again");
}
