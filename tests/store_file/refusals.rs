//! Files that are not trusted: those that others could write or can read, of other accounts, of other versions; and broken
//! records, which are replaced.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;

use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Disk, RecordFile, Store};
use ring::digest::{SHA256, digest};
use tokio::runtime::Builder;

use crate::fixture::{
    PATIENCE, access, account, beside, claim, folder, is_root, key, loaded, pair, record, seeded, store,
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Checks that the error names the path and what to do.
fn assert_refused(error: &Error, path: &Path, remedy: &str) {
    assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED, "{error}");
    assert!(error.text.contains(path.to_str().unwrap()) && error.text.contains(remedy), "{error}");
}

#[test]
fn everything_created_is_private_to_its_owner() {
    let parent = folder();
    let folder = parent.path().join("made");
    let record = record(&folder);
    assert!(record.try_lock().unwrap());
    record.commit(0, &pair(1)).unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(record.path()), 0o600);
    assert_eq!(mode(&beside(record.path(), ".lock")[0]), 0o600);
    let name = record.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(name, format!("pg-{}", key("account").name()));
}

/// Modes as a mount with `fsGroup` sets them.
#[test]
fn own_files_with_wide_modes_are_corrected_with_one_warning() {
    for others in [0o660, 0o640, 0o604, 0o620, 0o601] {
        let (folder, path) = seeded();
        let lock = beside(&path, ".lock").remove(0);
        for file in [&path, &lock] {
            chmod(file, others);
        }
        let store = store(folder.path(), PATIENCE);
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            store.lock(9).await.unwrap();
            assert_eq!(access(&store.load().await.unwrap().committed.unwrap()), "a1");
            store.unlock().await.unwrap();
        });
        assert_eq!((mode(&path), mode(&lock)), (0o600, 0o600));
        let told = store.new_warnings();
        assert!(told.len() == 2 && told.iter().all(|text| text.contains("others could use it")), "{told:?}");
        assert!(store.new_warnings().is_empty() && store.warning().unwrap().contains(path.to_str().unwrap()));
    }
}

#[test]
fn a_foreign_owner_is_refused() {
    if !is_root("a foreign owner is refused") {
        return;
    }
    let (folder, path) = seeded();
    chown(&path, Some(65534), None).unwrap();
    let record = record(folder.path());
    assert_refused(&record.load().unwrap_err(), &path, "user 65534");
    chown(&path, Some(0), None).unwrap();
    let lock = &beside(&path, ".lock")[0];
    chown(lock, Some(65534), None).unwrap();
    assert_refused(&record.try_lock().unwrap_err(), lock, "user 65534");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let (folder, path) = seeded();
    let elsewhere = folder.path().join("elsewhere");
    let lock = beside(&path, ".lock").remove(0);
    let record = record(folder.path());
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_refused(&record.load().unwrap_err(), &path, "symbolic link");
    fs::remove_file(&path).unwrap();
    fs::rename(&lock, &elsewhere).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    assert_refused(&record.try_lock().unwrap_err(), &lock, "symbolic link");
}

#[test]
fn a_file_that_is_not_regular_is_refused() {
    let (folder, path) = seeded();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_refused(&record(folder.path()).load().unwrap_err(), &path, "not a regular file");
}

#[test]
fn an_own_folder_that_others_can_write_to_is_corrected() {
    let parent = folder();
    for (before, after) in
        [(0o700, 0o700), (0o755, 0o755), (0o1777, 0o1777), (0o777, 0o755), (0o770, 0o750), (0o2770, 0o2750)]
    {
        chmod(parent.path(), before);
        let store = store(parent.path(), PATIENCE);
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            store.lock(9).await.unwrap();
            store.unlock().await.unwrap();
        });
        assert_eq!(mode(parent.path()), after, "{before:o}");
        assert_eq!(store.new_warnings().len(), usize::from(before != after), "{before:o}");
    }
}

#[test]
fn a_path_that_is_not_an_own_folder_is_an_error_on_use() {
    let parent = folder();
    let path = parent.path().join("folder");
    fs::write(&path, "in the way").unwrap();
    assert_refused(&record(&path).try_lock().unwrap_err(), &path, "not a folder");
    let missing = parent.path().join("missing").join("folder");
    let error = record(&missing).try_lock().unwrap_err();
    assert!(
        error.status == Status::PG_ERR_STORE && error.text.contains(missing.to_str().unwrap()),
        "{error}"
    );
    if is_root("a folder of another user") {
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        chown(&path, Some(65534), None).unwrap();
        assert_refused(&record(&path).try_lock().unwrap_err(), &path, "user 65534");
    }
}

#[test]
fn a_removed_folder_is_created_again() {
    let parent = folder();
    let path = parent.path().join("folder");
    let ours = record(&path);
    assert!(ours.try_lock().unwrap());
    ours.commit(0, &pair(1)).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(ours.commit(1, &pair(2)).is_err());
    // As in a running flight: the lock that was held no longer keeps others out.
    assert!(ours.try_lock().unwrap() && !record(&path).try_lock().unwrap());
    assert_eq!(ours.commit(1, &pair(2)).unwrap().generation(), 2);
    assert_eq!(access(&loaded(&record(&path)).unwrap()), "a2");
}

/// CIFS and 9p are such file systems.
#[test]
fn a_file_system_that_cannot_sync_folders_gives_one_warning_and_no_error() {
    struct NoSync(i32);
    impl Disk for NoSync {
        fn sync_folder(&self, _path: &Path) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(self.0))
        }
    }
    for (code, is_good) in [(libc::EINVAL, true), (libc::EOPNOTSUPP, true), (libc::EIO, false)] {
        let (folder, _) = seeded();
        let disk = Arc::new(NoSync(code));
        let record = RecordFile::new(folder.path(), key("account"), None, Arc::new(SystemClock), disk);
        assert!(record.try_lock().unwrap() && loaded(&record).is_some());
        assert_eq!(record.intend().is_ok(), is_good, "{code}");
        assert_eq!(record.commit(1, &pair(2)).is_ok(), is_good, "{code}");
    }
}

#[test]
fn accounts_in_one_folder_do_not_mix() {
    let folder = folder();
    let [one, other] = ["one", "other"].map(|name| account(folder.path(), name, None));
    assert!(one.try_lock().unwrap() && other.try_lock().unwrap(), "each has its own lock");
    one.commit(0, &pair(1)).unwrap();
    assert!(loaded(&other).is_none());
    other.commit(7, &pair(2)).unwrap();
    assert_eq!((claim(&one).as_deref(), claim(&other).as_deref()), (Some("r1"), Some("r2")));
    fs::copy(one.path(), other.path()).unwrap();
    assert_refused(&other.load().unwrap_err(), other.path(), "another account");
}

#[test]
fn a_record_of_a_later_version_is_kept() {
    let (folder, path) = seeded();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 16;
    bytes[11] = 3;
    let sum = digest(&SHA256, &bytes[..end]);
    bytes[end..].copy_from_slice(&sum.as_ref()[..16]);
    fs::write(&path, &bytes).unwrap();
    let record = record(folder.path());
    assert!(record.try_lock().unwrap());
    assert_refused(&record.load().unwrap_err(), &path, "format 3");
    assert_refused(&record.commit(1, &pair(2)).unwrap_err(), &path, "format 3");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_truncated_record_is_set_aside_and_replaced() {
    let (folder, path) = seeded();
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let record = record(folder.path());
        assert!(loaded(&record).is_none());
        assert!(beside(&path, ".corrupt-").len() <= 1 && path.exists(), "without the lock the record stays");
        assert!(record.try_lock().unwrap());
        assert!(loaded(&record).is_none() && claim(&record).is_none(), "cut at {cut}");
        let aside = beside(&path, ".corrupt-");
        assert_eq!(aside.len(), 1, "the newest one is kept");
        assert_eq!(fs::read(&aside[0]).unwrap(), &bytes[..cut]);
        assert_eq!(mode(&aside[0]), 0o600);
        assert_eq!(record.commit(0, &pair(2)).unwrap().generation(), 1);
        record.unlock();
        assert_eq!(access(&loaded(&record).unwrap()), "a2");
    }
}

#[test]
fn a_restored_older_record_is_ignored() {
    let (folder, path) = seeded();
    let old = fs::read(&path).unwrap();
    let record = record(folder.path());
    assert!(record.try_lock().unwrap() && loaded(&record).is_some());
    assert_eq!(claim(&record).as_deref(), Some("r1"));
    record.commit(1, &pair(2)).unwrap();
    fs::write(&path, old).unwrap();
    let found = loaded(&record).unwrap();
    assert_eq!((found.generation(), access(&found), found.has_refresh), (2, "a2", false));
    assert_eq!(claim(&record), None, "r1 was presented, r2 may have been");
    assert_eq!(record.commit(2, &pair(3)).unwrap().generation(), 3);
}
