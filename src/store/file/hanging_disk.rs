//! Tests with a disk that hangs: the errors, the effect on other sessions, and the state when the disk resumes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::disk::{Disk, SystemDisk};
use super::record_file::RecordFile;
use super::{FileStore, MAX_THREADS};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::runtime::workers::{Workers, tests::refuse};
use crate::secret::Secret;
use crate::status::Status;
use crate::store::limited::LIMIT;
use crate::store::record::RecordKey;
use crate::store::{Lock, Refusal, Store};
use crate::token::{Pair, RefreshToken, Token};
use crate::transport::resolve;

const LONG: Duration = Duration::from_secs(30);
/// Long enough for an operation that does not hang, on a busy machine too.
const SHORT: Duration = Duration::from_secs(2);

/// A step that does not return until the disk resumes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Lock,
    Open,
    Sync,
    Rename,
}

#[derive(Default)]
struct HangingDisk {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Default)]
struct State {
    at: Option<Step>,
    hanging: usize,
}

impl HangingDisk {
    fn hang(&self, at: Step) {
        self.state.lock().unwrap().at = Some(at);
    }

    fn resume(&self) {
        self.state.lock().unwrap().at = None;
        self.resumed.notify_all();
    }

    fn hanging(&self) -> usize {
        self.state.lock().unwrap().hanging
    }

    fn step<T>(&self, step: Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        state.hanging += 1;
        state = self.resumed.wait_while(state, |state| state.at == Some(step)).unwrap();
        state.hanging -= 1;
        drop(state);
        work()
    }
}

impl Disk for HangingDisk {
    fn open(&self, path: &Path) -> io::Result<File> {
        self.step(Step::Open, || SystemDisk.open(path))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step(Step::Sync, || SystemDisk.sync(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, || SystemDisk.rename(from, to))
    }

    fn open_lock(&self, path: &Path, makes: bool) -> io::Result<File> {
        self.step(Step::Lock, || SystemDisk.open_lock(path, makes))
    }
}

/// A folder on a hanging disk, with the threads that its sessions share.
struct Fixture {
    folder: TempDir,
    disk: Arc<HangingDisk>,
    workers: Arc<Workers>,
    runtime: Runtime,
}

impl Fixture {
    fn new() -> Self {
        Fixture::with(Workers::new("pg-folder", MAX_THREADS))
    }

    fn with(workers: Workers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Fixture { folder, disk: Arc::default(), workers: Arc::new(workers), runtime }
    }

    /// The record of an account in another process, whose disk does not hang.
    fn other(&self, account: &str) -> RecordFile {
        RecordFile::new(self.folder.path(), key(account), None, Arc::new(SystemClock), Arc::new(SystemDisk))
    }

    fn store(&self, account: &str, limit: Duration) -> FileStore {
        let clock = Arc::new(SystemClock);
        let file = RecordFile::new(self.folder.path(), key(account), None, clock, self.disk.clone());
        FileStore::on(file, self.workers.clone(), limit, LONG)
    }

    /// A store of an account whose record holds pair 1. The lock is held.
    fn locked(&self, account: &str) -> FileStore {
        let record = self.other(account);
        assert!(record.try_lock().unwrap());
        record.commit(0, &pair(1)).unwrap();
        record.unlock();
        let store = self.store(account, SHORT);
        self.runtime.block_on(async {
            assert_eq!(store.lock(1).await.unwrap(), Lock::Held);
            assert_eq!(store.load().await.unwrap().committed.unwrap().generation(), 1);
        });
        store
    }

    fn expect_timeout<T: std::fmt::Debug>(&self, operation: impl Future<Output = Result<T, Error>>) {
        let error = self.runtime.block_on(operation).unwrap_err();
        let is_told = error.status == Status::PG_ERR_STORE && error.text.contains("no answer within");
        assert!(is_told && error.text.contains("hangs") && error.is_retryable(), "{error}");
    }

    /// Takes the lock as another process, when it is free.
    fn lock_as_other_process(&self, account: &str) -> RecordFile {
        let record = self.other(account);
        eventually(|| record.try_lock().unwrap());
        record.load().unwrap();
        record
    }
}

fn key(account: &str) -> RecordKey {
    RecordKey::new(&"https://pay.example".parse().unwrap(), account, "key")
}

fn pair(number: u64) -> Pair {
    let secret = |kind: &str| Secret::new(&format!("{kind}{number}")).unwrap();
    let lifetime = Lifetime::of(Duration::from_secs(3600));
    let token = Token::new(secret("a"), lifetime, SystemClock.now());
    Pair { token, refresh: Some(RefreshToken::new(secret("r"))) }
}

fn eventually(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a whole flight, which must succeed.
async fn run_flight(store: &FileStore) {
    assert_eq!(store.lock(0).await.unwrap(), Lock::Held);
    store.load().await.unwrap();
    assert!(store.intend().await.unwrap().is_none());
    store.commit(0, pair(1)).await.unwrap();
    store.unlock().await.unwrap();
}

#[test]
fn twenty_hanging_sessions_do_not_block_another_folder_or_the_resolver() {
    for step in [Step::Lock, Step::Open] {
        let (hung, good) = (Fixture::new(), Fixture::new());
        hung.disk.hang(step);
        // Each of them times out in turn, so not SHORT.
        let limit = Duration::from_millis(100);
        let stores: Vec<_> = (0..20).map(|number| hung.store(&number.to_string(), limit)).collect();
        for store in &stores {
            hung.expect_timeout(async {
                store.lock(0).await?;
                store.load().await
            });
        }
        assert_eq!(hung.disk.hanging(), MAX_THREADS, "the others wait for these threads");
        let store = good.store("account", LONG);
        good.runtime.block_on(async {
            run_flight(&store).await;
            assert!(!resolve("localhost", 80).await.ok().unwrap().is_empty());
        });
        assert_eq!(hung.disk.hanging(), MAX_THREADS);
        hung.disk.resume();
        let healed = hung.store("account", LONG);
        hung.runtime.block_on(run_flight(&healed));
    }
}

#[test]
fn the_lock_of_an_operation_that_timed_out_is_freed_when_it_ends() {
    let fixture = Fixture::new();
    let store = fixture.locked("account");
    fixture.disk.hang(Step::Open);
    fixture.expect_timeout(store.load());
    fixture.expect_timeout(store.unlock());
    assert!(!fixture.other("account").try_lock().unwrap());
    fixture.disk.resume();
    fixture.lock_as_other_process("account");
}

#[test]
fn an_operation_that_timed_out_before_it_began_is_not_performed() {
    let fixture = Fixture::new();
    let stores: Vec<_> = (0..=MAX_THREADS).map(|number| fixture.locked(&number.to_string())).collect();
    fixture.disk.hang(Step::Open);
    // The last store finds all threads in use, and tries twice.
    for store in stores.iter().chain(stores.last()) {
        let refusal = Refusal {
            strikes: 3,
            until: SystemClock.now().boot + LONG,
            error: Error::new(Status::PG_ERR_REFUSED, "no"),
        };
        fixture.expect_timeout(store.back_off(refusal));
    }
    fixture.disk.resume();
    let record = fixture.lock_as_other_process(&MAX_THREADS.to_string());
    assert!(record.load().unwrap().back_off.is_none(), "not performed, and its lock freed");
    let record = fixture.lock_as_other_process("0");
    assert!(record.load().unwrap().back_off.is_some(), "this one had begun");
}

#[test]
fn a_late_intent_claims_the_record_and_hands_out_no_token() {
    let fixture = Fixture::new();
    let store = fixture.locked("account");
    fixture.disk.hang(Step::Rename);
    fixture.expect_timeout(async { store.intend().await.map(|_| ()) });
    fixture.disk.resume();
    let record = fixture.lock_as_other_process("account");
    assert!(record.intend().unwrap().is_none());
    assert_eq!(record.commit(1, &pair(2)).unwrap().generation(), 2);
}

#[test]
fn a_commit_that_hangs_gives_the_pair_back_and_is_adopted_if_it_succeeds() {
    let fixture = Fixture::new();
    let store = fixture.locked("account");
    fixture.disk.hang(Step::Sync);
    let uncommitted = fixture.runtime.block_on(store.commit(1, pair(2))).unwrap_err();
    assert!(uncommitted.error.text.contains("no answer within"), "{}", uncommitted.error);
    assert_eq!(uncommitted.pair.refresh.unwrap().secret().expose(), "r2");
    fixture.disk.resume();
    assert_eq!(fixture.lock_as_other_process("account").load().unwrap().committed.unwrap().generation(), 2);
}

#[test]
fn a_late_commit_does_not_overwrite_a_newer_pair() {
    let fixture = Fixture::new();
    let store = fixture.locked("account");
    fixture.disk.hang(Step::Open);
    assert!(fixture.runtime.block_on(store.commit(1, pair(2))).is_err());
    // As if the lock had been lost in the meantime.
    let lock = format!("{}.lock", fixture.other("account").path().display());
    std::fs::remove_file(lock).unwrap();
    let record = fixture.lock_as_other_process("account");
    assert_eq!(record.commit(1, &pair(3)).unwrap().generation(), 2);
    fixture.disk.resume();
    // The next operation succeeds, so the late commit has ended.
    eventually(|| fixture.runtime.block_on(store.unlock()).is_ok());
    assert_eq!(record.load().unwrap().committed.unwrap().token().access.expose(), "a3");
}

#[test]
fn a_refused_thread_is_reported_as_a_system_error() {
    let fixture = Fixture::with(Workers::with_spawn(refuse, "pg-folder", MAX_THREADS));
    let store = fixture.store("account", LIMIT);
    let error = fixture.runtime.block_on(store.lock(0)).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_SYSTEM, "{error}");
    assert!(error.is_retryable() && error.text.contains("RLIMIT_NPROC"), "{error}");
    let uncommitted = fixture.runtime.block_on(store.commit(0, pair(1))).unwrap_err();
    assert_eq!(uncommitted.error.status, Status::PG_ERR_SYSTEM);
    assert!(uncommitted.pair.refresh.is_some());
}
