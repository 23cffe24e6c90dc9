//! A store of the host: it performs four operations for the library, on threads that may block.

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::protocol::{Acquired, Backend, LeaseView, RecordWrite, new_owner};
use crate::clock::Clock;
use crate::error::Error;
use crate::redaction::Redactor;
use crate::runtime::workers::Workers;
use crate::secret::Wiped;
use crate::status::Status;
use crate::store::Storing;
use crate::store::limited::{LIMIT, Limited, ReleaseLock};
use crate::store::record::{self, RecordKey};

/// How many threads may call one store at once.
const MAX_THREADS: usize = 8;
/// The name of the store in errors.
pub(in crate::store) const STORE_NAME: &str = "(custom)";

/// The operations of a store of the host. Any thread calls them, several at once. An error is a text of the host.
pub trait Host: Send + Sync {
    /// Takes the lock, or renews it for the owner who has it, for the time `lease`. `false`: another owner has it.
    fn lock(&self, key: &CStr, owner: &CStr, lease: Duration) -> Result<bool, String>;

    /// Frees the lock, if this owner has it.
    fn unlock(&self, key: &CStr, owner: &CStr) -> Result<(), String>;

    /// The record, if there is one.
    fn load(&self, key: &CStr) -> Result<Option<HostRecord>, String>;

    /// Replaces the record, durably, if its version is `expected`; 0: if there is no record. `false`: the version is
    /// another one.
    fn save(&self, key: &CStr, expected: u64, version: u64, record: &[u8]) -> Result<bool, String>;
}

/// A record as the host stores it.
#[derive(Clone)]
pub struct HostRecord {
    /// The version that it was saved with, never 0.
    pub version: u64,
    /// Its bytes.
    pub record: Wiped<Vec<u8>>,
}

impl fmt::Debug for HostRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostRecord({} bytes of version {})", self.record.len(), self.version)
    }
}

/// A store of the host, for a configuration.
#[derive(Clone)]
pub struct HostStore {
    pub(in crate::store) host: Arc<dyn Host>,
    /// The threads that call the store, shared by all its sessions.
    workers: Arc<Workers>,
}

impl HostStore {
    /// A store whose operations `host` performs.
    pub fn new(host: Arc<dyn Host>) -> Self {
        HostStore { host, workers: Arc::new(Workers::new("pg-store", MAX_THREADS)) }
    }
}

impl fmt::Debug for HostStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostStore")
    }
}

/// One account's record in a store of the host.
pub(in crate::store) struct CustomBackend {
    calls: Limited<Calls>,
    is_sealed: bool,
}

impl CustomBackend {
    pub(in crate::store) fn new(
        store: &HostStore,
        key: &RecordKey,
        clock: Arc<dyn Clock>,
        is_sealed: bool,
    ) -> Result<Self, Error> {
        let key = CString::new(key.name()).unwrap_or_default();
        let owner = CString::new(new_owner()?).unwrap_or_default();
        let calls = Calls {
            host: store.host.clone(),
            key,
            owner,
            clock,
            is_ours: false,
            absent_version: 0,
            record: Wiped::default(),
        };
        Ok(CustomBackend { calls: Limited::new(calls, store.workers.clone(), LIMIT), is_sealed })
    }

    async fn perform<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Calls) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.calls.perform(work, timeout_error).await
    }
}

impl Backend for CustomBackend {
    fn acquire(&self, lease: Duration, known: u64) -> Storing<'_, Acquired> {
        Box::pin(self.perform(move |calls| {
            if calls.lock(lease)? {
                return calls.read(true).map(Acquired::Held).inspect_err(|_| calls.release_lock());
            }
            let view = calls.read(false)?;
            let generation = view.record.as_ref().map_or(0, |record| record::generation(record));
            Ok(Acquired::Busy((generation > known).then_some(view)))
        }))
    }

    fn load(&self, lease: Duration) -> Storing<'_, LeaseView> {
        Box::pin(self.perform(move |calls| {
            let is_held = calls.is_ours && calls.lock(lease)?;
            calls.read(is_held)
        }))
    }

    fn write<'a>(&'a self, lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool> {
        let RecordWrite { record, frees_lease, .. } = write;
        let record = record.clone();
        Box::pin(self.perform(move |calls| {
            let is_saved = (frees_lease || calls.lock(lease)?) && calls.save(version, record)?;
            if frees_lease && is_saved {
                // The record is saved. A lock that cannot be freed now ends with its lease.
                calls.release_lock();
            }
            Ok(is_saved)
        }))
    }

    fn renew(&self, lease: Duration, _version: u64) -> Storing<'_, bool> {
        Box::pin(
            self.calls
                .perform_without_release(move |calls| Ok(calls.is_ours && calls.lock(lease)?), timeout_error),
        )
    }

    fn release(&self) -> Storing<'_, ()> {
        Box::pin(self.perform(Calls::unlock))
    }

    fn wait_for_change(&self, most: Duration) -> Storing<'_, ()> {
        Box::pin(async move {
            sleep(most).await;
            Ok(())
        })
    }

    fn warning(&self) -> Option<String> {
        (!self.is_sealed).then(|| {
            format!(
                "store {STORE_NAME}: tokens are not sealed there, and everybody who can read the database or its backups can \
                 read them; set store_key"
            )
        })
    }
}

struct Calls {
    host: Arc<dyn Host>,
    key: CString,
    /// A name that no other session has, in this process or another.
    owner: CString,
    clock: Arc<dyn Clock>,
    /// Whether the lock was ours at the last call.
    is_ours: bool,
    /// The version that was last returned for a missing record.
    absent_version: u64,
    /// The record that was last saved or loaded, which no error may show: an error of the host may quote a row of its table.
    record: Wiped<Vec<u8>>,
}

impl ReleaseLock for Calls {
    fn release_lock(&mut self) {
        let _ = self.unlock();
    }
}

impl Calls {
    fn lock(&mut self, lease: Duration) -> Result<bool, Error> {
        let taken = self.host.lock(&self.key, &self.owner, lease);
        self.is_ours = taken.map_err(|words| self.failed("lock", words))?;
        Ok(self.is_ours)
    }

    fn unlock(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.is_ours) {
            self.host.unlock(&self.key, &self.owner).map_err(|words| self.failed("unlock", words))?;
        }
        Ok(())
    }

    fn read(&mut self, is_held: bool) -> Result<LeaseView, Error> {
        let found = self.host.load(&self.key).map_err(|words| self.failed("load", words))?;
        let (version, record) = match found {
            Some(HostRecord { version, record }) => {
                self.record.clone_from(&record);
                (version, Some(record).filter(|record| !record.is_empty()))
            }
            None => {
                // Not counted from 1 again after the host has removed a record: a session that remembers the old
                // version must not take the new record for the old one.
                self.absent_version = u64::try_from(self.clock.now().wall.as_micros()).unwrap_or_default();
                (self.absent_version, None)
            }
        };
        Ok(LeaseView { is_held, version, record, wall: None })
    }

    fn save(&mut self, version: u64, record: Wiped<Vec<u8>>) -> Result<bool, Error> {
        let expected = if version == self.absent_version { 0 } else { version };
        self.record = record;
        let saved = self.host.save(&self.key, expected, version + 1, &self.record);
        saved.map_err(|words| self.failed("save", words))
    }

    fn failed(&self, call: &str, words: String) -> Error {
        let words = Redactor::of_text(&String::from_utf8_lossy(&self.record)).text(words);
        store_error(&format!("`{call}` failed: {words}"))
    }
}

fn timeout_error(limit: Duration) -> Error {
    store_error(&format!("no answer within {} s", limit.as_secs_f32()))
}

fn store_error(what: &str) -> Error {
    let text = format!("store {STORE_NAME}: {what}; the session goes on and tries again");
    Error::new(Status::PG_ERR_STORE, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::SystemClock;
    use crate::runtime::workers::tests::refuse;
    use crate::sync::lock;

    struct NeverCalled;

    impl Host for NeverCalled {
        fn lock(&self, _: &CStr, _: &CStr, _: Duration) -> Result<bool, String> {
            Err("called".into())
        }
        fn unlock(&self, _: &CStr, _: &CStr) -> Result<(), String> {
            Err("called".into())
        }
        fn load(&self, _: &CStr) -> Result<Option<HostRecord>, String> {
            Err("called".into())
        }
        fn save(&self, _: &CStr, _: u64, _: u64, _: &[u8]) -> Result<bool, String> {
            Err("called".into())
        }
    }

    /// A sound store of the host with one record.
    #[derive(Default)]
    struct Shelf {
        holder: Mutex<Option<CString>>,
        record: Mutex<Option<HostRecord>>,
    }

    impl Host for Shelf {
        fn lock(&self, _: &CStr, owner: &CStr, _: Duration) -> Result<bool, String> {
            Ok(**lock(&self.holder).get_or_insert(owner.to_owned()) == *owner)
        }
        fn unlock(&self, _: &CStr, owner: &CStr) -> Result<(), String> {
            lock(&self.holder).take_if(|holder| **holder == *owner);
            Ok(())
        }
        fn load(&self, _: &CStr) -> Result<Option<HostRecord>, String> {
            Ok(lock(&self.record).clone())
        }
        fn save(&self, _: &CStr, expected: u64, version: u64, record: &[u8]) -> Result<bool, String> {
            let mut there = lock(&self.record);
            let is_expected = there.as_ref().map_or(0, |there| there.version) == expected;
            if is_expected {
                *there = Some(HostRecord { version, record: record.to_vec().into() });
            }
            Ok(is_expected)
        }
    }

    impl Shelf {
        fn is_locked(&self) -> bool {
            lock(&self.holder).is_some()
        }

        /// Another session takes the lock, as after the end of a lease.
        fn give_to_another(&self) {
            *lock(&self.holder) = Some(CString::new("another").unwrap());
        }
    }

    fn key() -> RecordKey {
        RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "key")
    }

    fn shelf() -> (Arc<Shelf>, CustomBackend) {
        let shelf = Arc::new(Shelf::default());
        let store = HostStore::new(shelf.clone());
        (shelf, CustomBackend::new(&store, &key(), Arc::new(SystemClock), false).unwrap())
    }

    fn wait<T>(storing: Storing<'_, T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(storing).map_err(|error| error.text).unwrap()
    }

    fn write(backend: &CustomBackend, version: u64, frees_lease: bool) -> bool {
        let record = &record::wrap(&key(), None, 5, &record::records()[0]).unwrap();
        let write = RecordWrite { record, generation: 5, frees_lease, keeps_broken: false };
        wait(backend.write(LIMIT, version, write))
    }

    /// As an exception of Python may that names the arguments of a call, or a value in a row.
    #[test]
    fn an_error_of_the_host_shows_nothing_of_the_record() {
        #[derive(Default)]
        struct Tells(Mutex<Vec<u8>>);
        impl Host for Tells {
            fn lock(&self, _: &CStr, _: &CStr, _: Duration) -> Result<bool, String> {
                Ok(true)
            }
            fn unlock(&self, _: &CStr, _: &CStr) -> Result<(), String> {
                Ok(())
            }
            fn load(&self, _: &CStr) -> Result<Option<HostRecord>, String> {
                Err(format!("no number: {}", lock(&self.0).escape_ascii()))
            }
            fn save(&self, _: &CStr, _: u64, _: u64, record: &[u8]) -> Result<bool, String> {
                lock(&self.0).extend(record);
                Err(format!("cannot bind {}", record.escape_ascii()))
            }
        }
        let store = HostStore::new(Arc::new(Tells::default()));
        let backend = CustomBackend::new(&store, &key(), Arc::new(SystemClock), false).unwrap();
        let token = "a-token-in-a-record-of-the-host";
        let record = Wiped::new(format!("PGRECORD\0\u{1}{token}\0").into_bytes());
        let write = RecordWrite { record: &record, generation: 5, frees_lease: false, keeps_broken: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let error = runtime.block_on(backend.write(LIMIT, 0, write)).unwrap_err();
        assert!(error.text.contains("`save` failed: cannot bind "), "{error}");
        assert!(!error.text.contains(&token[..10]), "{error}");
        let error = runtime.block_on(backend.load(LIMIT)).err().unwrap();
        assert!(error.text.contains("`load` failed: no number: "), "{error}");
        assert!(!error.text.contains(&token[..10]), "{error}");
    }

    #[test]
    fn who_waits_for_the_lock_gets_the_record_only_if_it_is_newer() {
        let (shelf, backend) = shelf();
        assert!(write(&backend, 0, true));
        shelf.give_to_another();
        for (known, expected) in [(4, true), (5, false), (6, false)] {
            let found = match wait(backend.acquire(LIMIT, known)) {
                Acquired::Busy(view) => view.is_some(),
                Acquired::Held(_) => panic!("another session has the lock"),
            };
            assert_eq!(found, expected, "generation 5 for one who knows {known}");
        }
    }

    #[test]
    fn only_the_holder_renews_the_lock() {
        let (shelf, backend) = shelf();
        assert!(!wait(backend.load(LIMIT)).is_held && !wait(backend.renew(LIMIT, 0)));
        assert!(!shelf.is_locked(), "a look takes no lock");
        assert!(matches!(wait(backend.acquire(LIMIT, 0)), Acquired::Held(_)));
        assert!(wait(backend.load(LIMIT)).is_held && wait(backend.renew(LIMIT, 0)));
        shelf.give_to_another();
        assert!(!wait(backend.load(LIMIT)).is_held && !wait(backend.renew(LIMIT, 0)), "it is lost");
    }

    #[test]
    fn a_write_needs_the_lock_or_is_the_last_one() {
        let (shelf, backend) = shelf();
        shelf.give_to_another();
        assert!(!write(&backend, 0, false), "another session has the lock");
        assert!(lock(&shelf.record).is_none());
        *lock(&shelf.holder) = None;
        assert!(matches!(wait(backend.acquire(LIMIT, 0)), Acquired::Held(_)));
        assert!(write(&backend, 0, false) && shelf.is_locked());
        assert!(!write(&backend, 7, true) && shelf.is_locked(), "it has another version");
        assert!(write(&backend, 1, true) && !shelf.is_locked());
        assert_eq!(lock(&shelf.record).as_ref().unwrap().version, 2);
    }

    #[test]
    fn a_store_without_seal_gives_a_warning() {
        let store = HostStore::new(Arc::new(NeverCalled));
        let warning = |is_sealed| {
            CustomBackend::new(&store, &key(), Arc::new(SystemClock), is_sealed).unwrap().warning()
        };
        assert!(warning(false).unwrap().contains("store_key") && warning(true).is_none());
    }

    #[test]
    fn a_refused_thread_is_reported_as_a_system_error() {
        let workers = Arc::new(Workers::with_spawn(refuse, "pg-store", MAX_THREADS));
        let store = HostStore { host: Arc::new(NeverCalled), workers };
        let backend = CustomBackend::new(&store, &key(), Arc::new(SystemClock), false).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let error = runtime.block_on(backend.acquire(LIMIT, 0)).map(|_| ()).unwrap_err();
        assert!(error.status == Status::PG_ERR_SYSTEM && error.is_retryable(), "{error}");
        assert!(error.text.contains("RLIMIT_NPROC"), "{error}");
    }
}
