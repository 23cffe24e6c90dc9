//! A folder for one test, with accounts, pairs, and processes that share it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use paymentsgate_auth::clock::{BootId, Clock, Moment, SystemClock};
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::store::{Committed, FileStore, Keyring, RecordFile, RecordKey, StoreMode, SystemDisk};
use paymentsgate_auth::token::{Pair, RefreshToken, Token};
use rustix::process::geteuid;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Whether a test can become another user. Without root it is skipped, which is said, and not through the test harness, which
/// hides the output of a passing test. In CI, where each test runs as root, that is a failure.
pub(crate) fn is_root(what: &str) -> bool {
    if !geteuid().is_root() {
        let text = format!("SKIPPED, NOT TESTED: {what}. Run as root: only root becomes another user\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        assert!(std::env::var_os("CI").is_none(), "{text}");
    }
    geteuid().is_root()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn key(account_id: &str) -> RecordKey {
    RecordKey::new(&"https://pay.example".parse().unwrap(), account_id, "public key")
}

/// Keys that repeat one byte.
pub(crate) fn keyring(bytes: &[u8]) -> Keyring {
    let keys: Vec<_> = bytes.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
    Keyring::parse(&keys.join(",")).unwrap()
}

pub(crate) fn account(folder: &Path, account_id: &str, keyring: Option<Keyring>) -> RecordFile {
    RecordFile::new(folder, key(account_id), keyring, Arc::new(SystemClock), Arc::new(SystemDisk))
}

pub(crate) fn record(folder: &Path) -> RecordFile {
    account(folder, "account", None)
}

/// Sealed with key 1.
pub(crate) fn sealed_record(folder: &Path) -> RecordFile {
    account(folder, "account", Some(keyring(&[1])))
}

pub(crate) fn store(folder: &Path, patience: Duration) -> FileStore {
    FileStore::new(folder, StoreMode::Private, key("account"), None, Arc::new(SystemClock), patience).unwrap()
}

pub(crate) fn pair_at(access: &str, refresh: &str, anchor: Moment) -> Pair {
    let lifetime = Lifetime::of(Duration::from_secs(3600));
    let token = Token::new(Secret::new(access).unwrap(), lifetime, anchor);
    Pair { token, refresh: Secret::new(refresh).map(RefreshToken::new) }
}

/// `a7` and `r7` for 7; each pair of a test has its own number.
pub(crate) fn pair(number: u64) -> Pair {
    pair_at(&format!("a{number}"), &format!("r{number}"), SystemClock.now())
}

/// A folder in which pair 1 is the newest.
pub(crate) fn seeded() -> (TempDir, PathBuf) {
    seeded_with(None)
}

pub(crate) fn seeded_with(keyring: Option<Keyring>) -> (TempDir, PathBuf) {
    let folder = folder();
    let record = account(folder.path(), "account", keyring);
    assert!(record.try_lock().unwrap());
    assert_eq!(record.commit(0, &pair(1)).unwrap().generation(), 1);
    record.unlock();
    (folder, record.path().to_owned())
}

pub(crate) fn loaded(record: &RecordFile) -> Option<Committed> {
    record.load().unwrap().committed
}

pub(crate) fn access(committed: &Committed) -> &str {
    committed.token().access.expose()
}

/// The refresh token that `intend` returns, as text.
pub(crate) fn claim(record: &RecordFile) -> Option<String> {
    record.intend().unwrap().map(|refresh| refresh.secret().expose().to_owned())
}

/// The files beside the record whose name continues with `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> Vec<PathBuf> {
    let prefix = format!("{}{suffix}", path.file_name().unwrap().to_str().unwrap());
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|name| name.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).collect()
}

/// A clock that a test sets.
pub(crate) struct TestClock(pub(crate) Mutex<(Moment, Option<BootId>)>);

impl Clock for TestClock {
    fn now(&self) -> Moment {
        self.0.lock().unwrap().0
    }

    fn boot_id(&self) -> Option<BootId> {
        self.0.lock().unwrap().1
    }
}

/// Runs this same test in another process, which finds its job by `job()`.
pub(crate) fn start(test: &str, folder: &Path, number: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("PG_TEST_FOLDER", folder).env("PG_TEST_NUMBER", number.to_string());
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// In a process made by `start`: the folder, and the number.
pub(crate) fn job() -> Option<(PathBuf, u64)> {
    let folder = std::env::var_os("PG_TEST_FOLDER")?;
    Some((folder.into(), std::env::var("PG_TEST_NUMBER").unwrap().parse().unwrap()))
}
