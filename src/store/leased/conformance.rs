//! The check of a store of the host: tests each promise of the contract, on keys that nobody else uses.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::custom::{Host, HostRecord, HostStore, STORE_NAME};
use super::protocol::new_owner;
use crate::error::Error;
use crate::runtime::signals::with_signals_blocked;
use crate::runtime::thread_builder;
use crate::secret::Wiped;
use crate::status::Status;
use crate::store::limited::LIMIT;
use crate::sync::ignore_poison;

const CALLERS: usize = 8;
/// How many times each race is run, since it is not lost each time.
const ROUNDS: usize = 5;
const LONG_LEASE: Duration = Duration::from_secs(60);
const SHORT_LEASE: Duration = Duration::from_millis(200);
/// A store may count time in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(20);
/// A version that is larger than a 32-bit number or a double can hold.
const FIRST: u64 = (1 << 62) + 1;

/// Tests every promise of the contract. The error names the first broken promise, or quotes the store when it failed.
/// Takes about a second. The saved records stay in the store.
pub fn check(HostStore { host, .. }: &HostStore) -> Result<(), Error> {
    let (progress, updates) = channel();
    let observed = ObservedHost { host: host.clone(), progress: progress.clone() };
    let prefix = format!("check-{}", new_owner()?);
    // A call that does not return blocks this thread, not the caller's.
    spawn(move || {
        let result = Checks { host: Arc::new(observed), prefix, keys: Cell::new(0) }.run();
        let _ = progress.send(Progress::Finished(result));
    })
    .map_err(|error| no_thread(&error))?;
    let mut in_flight = Vec::new();
    loop {
        match updates.recv_timeout(LIMIT) {
            Ok(Progress::Begun(call)) => in_flight.push(call),
            Ok(Progress::Ended(call)) => {
                if let Some(at) = in_flight.iter().position(|other| *other == call) {
                    in_flight.remove(at);
                }
            }
            Ok(Progress::Finished(result)) => return result,
            Err(RecvTimeoutError::Timeout) => {
                let call = in_flight.first().unwrap_or(&"a call");
                let late = broken(format!("`{call}` has not returned within {} s", LIMIT.as_secs()));
                return Err(Error { status: Status::PG_ERR_TIMEOUT, ..late });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(
                    Status::PG_ERR_INTERNAL,
                    "the check of a store has ended; please report it",
                ));
            }
        }
    }
}

/// A thread of a race, or why the system gave none.
type StartedThread<T> = io::Result<JoinHandle<Result<Option<T>, Error>>>;

enum Progress {
    Begun(&'static str),
    Ended(&'static str),
    Finished(Result<(), Error>),
}

/// The store, which reports its calls.
struct ObservedHost {
    host: Arc<dyn Host>,
    progress: Sender<Progress>,
}

impl ObservedHost {
    fn call<T>(
        &self,
        call: &'static str,
        work: impl FnOnce(&dyn Host) -> Result<T, String>,
    ) -> Result<T, Error> {
        let _ = self.progress.send(Progress::Begun(call));
        let result = work(&*self.host);
        let _ = self.progress.send(Progress::Ended(call));
        result.map_err(|words| {
            Error::new(
                Status::PG_ERR_STORE,
                format!("store {STORE_NAME}: `{call}` failed during the check: {words}"),
            )
        })
    }

    fn lock(&self, key: &CString, owner: &CString, lease: Duration) -> Result<bool, Error> {
        self.call("lock", |host| host.lock(key, owner, lease))
    }

    fn unlock(&self, key: &CString, owner: &CString) -> Result<(), Error> {
        self.call("unlock", |host| host.unlock(key, owner))
    }

    fn load(&self, key: &CString) -> Result<Option<HostRecord>, Error> {
        self.call("load", |host| host.load(key))
    }

    fn save(&self, key: &CString, expected: u64, next: &HostRecord) -> Result<bool, Error> {
        self.call("save", |host| host.save(key, expected, next.version, &next.record))
    }
}

struct Checks {
    host: Arc<ObservedHost>,
    prefix: String,
    keys: Cell<u32>,
}

impl Checks {
    fn run(&self) -> Result<(), Error> {
        self.check_missing_record()?;
        self.check_records()?;
        self.check_keys()?;
        self.check_locks()?;
        self.check_leases()?;
        for _ in 0..ROUNDS {
            self.check_races()?;
        }
        Ok(())
    }

    fn check_missing_record(&self) -> Result<(), Error> {
        let key = self.new_key();
        let is_none = || self.host.load(&key).map(|found| found.is_none());
        require(is_none()?, || "`load` found a record under a key that was never saved".into())?;
        let is_saved = self.host.save(&key, FIRST, &host_record(FIRST + 1, b"one"))?;
        require(!is_saved && is_none()?, || {
            format!("`save` saved a record that should have replaced version {FIRST}, though there was none")
        })
    }

    fn check_records(&self) -> Result<(), Error> {
        let key = self.new_key();
        let every_byte: Vec<u8> = (0..1 << 16).map(|at: u32| (at ^ (at >> 8)) as u8).collect();
        let (first, second) = (host_record(FIRST, &every_byte), host_record(FIRST + 1, b"\0"));
        let is_saved = self.host.save(&key, 0, &first)?;
        require(is_saved, || "`save` did not save the first record of a key (expected version 0)".into())?;
        self.expect_record(&key, &first)?;

        let is_saved = self.host.save(&key, 0, &second)?;
        require(!is_saved, || "`save` with expected version 0 replaced a record that was there".into())?;
        self.expect_record(&key, &first)?;

        let is_saved = self.host.save(&key, first.version, &second)?;
        require(is_saved, || "`save` did not replace a record whose version was the expected one".into())?;
        self.expect_record(&key, &second)?;

        let stale = self.host.save(&key, first.version, &host_record(FIRST + 2, b"stale"))?;
        require(!stale, || "`save` replaced a record whose version was not the expected one".into())?;
        self.expect_record(&key, &second)
    }

    /// Requires that the record is there, unchanged.
    fn expect_record(&self, key: &CString, saved: &HostRecord) -> Result<(), Error> {
        let found = self.host.load(key)?;
        let Some(found) = found else {
            return require(false, || "`load` did not find what was saved".into());
        };
        require(found.version == saved.version, || {
            format!(
                "`load` answered with version {} where {} was the last saved",
                found.version, saved.version
            )
        })?;
        let (here, there) = (found.record.len(), saved.record.len());
        require(here == there, || format!("a record of {there} bytes came back with {here} bytes"))?;
        let differing = found.record.iter().zip(saved.record.iter()).position(|(one, other)| one != other);
        require(differing.is_none(), || {
            format!(
                "a record of {there} bytes came back with another byte at {}",
                differing.unwrap_or_default()
            )
        })
    }

    fn check_keys(&self) -> Result<(), Error> {
        let key = self.new_key();
        let longer = CString::new([key.as_bytes(), b"0"].concat()).unwrap_or_default();
        let (one, other) = (host_record(FIRST, b"one"), host_record(FIRST, b"other"));
        let are_saved = self.host.save(&key, 0, &one)? && self.host.save(&longer, 0, &other)?;
        require(are_saved, || {
            "`save` took two keys for one, although one is only the beginning of the other".into()
        })?;
        self.expect_record(&key, &one)?;
        self.expect_record(&longer, &other)?;
        let [a, b] = owners();
        let are_locked = self.host.lock(&key, &a, LONG_LEASE)? && self.host.lock(&longer, &b, LONG_LEASE)?;
        require(are_locked, || "`lock` refused the lock of a key that nobody has".into())?;
        self.host.unlock(&key, &a)?;
        self.host.unlock(&longer, &b)
    }

    fn check_locks(&self) -> Result<(), Error> {
        let (key, [a, b]) = (self.new_key(), owners());
        let lock = |owner| self.host.lock(&key, owner, LONG_LEASE);
        require(lock(&a)?, || "`lock` refused the lock of a key that nobody has".into())?;
        require(!lock(&b)?, || "`lock` gave a lock to one owner while another had it".into())?;
        require(lock(&a)?, || "`lock` did not renew the lock for the owner who had it".into())?;
        require(!lock(&b)?, || "`lock` gave a lock to another owner after it was renewed".into())?;
        self.host.unlock(&key, &b)?;
        require(!lock(&b)?, || "`unlock` freed the lock for an owner who did not have it".into())?;
        self.host.unlock(&key, &a)?;
        require(lock(&b)?, || "`unlock` did not free the lock for the owner who had it".into())?;
        self.host.unlock(&key, &b)
    }

    fn check_leases(&self) -> Result<(), Error> {
        let (key, [a, b]) = (self.new_key(), owners());
        let asked = Instant::now();
        let is_ours = self.host.lock(&key, &a, SHORT_LEASE)?;
        require(is_ours, || "`lock` refused the lock of a key that nobody has".into())?;
        let granted = Instant::now();
        while !self.host.lock(&key, &b, LONG_LEASE)? {
            require(granted.elapsed() < LIMIT, || {
                format!("a lease of {} ms is not over after {} s", SHORT_LEASE.as_millis(), LIMIT.as_secs())
            })?;
            thread::sleep(PAUSE);
        }
        // An upper bound for the lease's duration: it began after the request, and had ended before this was noticed.
        let lasted = asked.elapsed();
        require(lasted + ROUNDING >= SHORT_LEASE, || {
            format!("a lease of {} ms was over after {} ms", SHORT_LEASE.as_millis(), lasted.as_millis())
        })?;
        require(!self.host.lock(&key, &a, LONG_LEASE)?, || {
            "`lock` renewed a lease that was over, though another owner had taken the lock since".into()
        })?;
        self.host.unlock(&key, &a)?;
        require(!self.host.lock(&key, &a, LONG_LEASE)?, || {
            "`unlock` by an owner whose lease was over freed the lock of its successor".into()
        })?;
        self.host.unlock(&key, &b)?;

        let key = self.new_key();
        self.host.lock(&key, &a, SHORT_LEASE)?;
        self.host.lock(&key, &a, LONG_LEASE)?;
        thread::sleep(SHORT_LEASE * 2);
        require(!self.host.lock(&key, &b, LONG_LEASE)?, || {
            "`lock` by the owner who had the lock did not prolong the lease".into()
        })?;
        self.host.unlock(&key, &a)
    }

    fn check_races(&self) -> Result<(), Error> {
        let key = Arc::new(self.new_key());
        let first = self.race_to_save(&key, 0, FIRST)?;
        let second = self.race_to_save(&key, first.version, FIRST + 1)?;
        self.expect_record(&key, &second)?;

        let asked = key.clone();
        let locked = self.at_once(move |host, number| {
            let owner = owner(number);
            Ok(host.lock(&asked, &owner, LONG_LEASE)?.then_some(owner))
        })?;
        require(locked.len() == 1, || {
            format!("of {CALLERS} owners who asked for one lock at once, {} got it", locked.len())
        })?;
        locked.iter().try_for_each(|owner| self.host.unlock(&key, owner))
    }

    /// Of all callers that save at once with the same expected version, exactly one succeeds.
    fn race_to_save(&self, key: &Arc<CString>, expected: u64, version: u64) -> Result<HostRecord, Error> {
        let asked = key.clone();
        let saved = self.at_once(move |host, number| {
            let record = host_record(version, format!("record of {number}").as_bytes());
            Ok(host.save(&asked, expected, &record)?.then_some(record))
        })?;
        require(saved.len() == 1, || {
            let count = saved.len();
            format!("of {CALLERS} calls of `save` at once that expected the same version, {count} saved")
        })?;
        let winner = saved.into_iter().next().unwrap_or_else(|| host_record(version, b""));
        self.expect_record(key, &winner)?;
        Ok(winner)
    }

    /// Runs `work` in all callers at once, and returns the results that are not `None`.
    fn at_once<T: Send + 'static>(
        &self,
        work: impl Fn(&ObservedHost, usize) -> Result<Option<T>, Error> + Send + Sync + 'static,
    ) -> Result<Vec<T>, Error> {
        let (work, start) = (Arc::new(work), Arc::new(RwLock::new(())));
        let start_guard = ignore_poison(start.write());
        let threads = (0..CALLERS).map(|number| {
            let (host, work, start) = (self.host.clone(), work.clone(), start.clone());
            spawn(move || {
                drop(start.read());
                work(&host, number)
            })
        });
        let threads: Vec<_> = threads.collect();
        drop(start_guard);
        join_all(threads)
    }

    /// A key that nobody has used.
    fn new_key(&self) -> CString {
        self.keys.set(self.keys.get() + 1);
        CString::new(format!("{}-{}", self.prefix, self.keys.get())).unwrap_or_default()
    }
}

fn require(is_kept: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if is_kept { Ok(()) } else { Err(broken(otherwise())) }
}

fn broken(what: String) -> Error {
    let text = format!("the store breaks its contract: {what}. The contract is in docs/custom-store.md");
    Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
}

fn host_record(version: u64, record: &[u8]) -> HostRecord {
    HostRecord { version, record: Wiped::new(record.to_vec()) }
}

fn owners() -> [CString; 2] {
    [owner(0), owner(1)]
}

fn owner(number: usize) -> CString {
    CString::new(format!("owner-{number}")).unwrap_or_default()
}

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    with_signals_blocked(|| thread_builder("pg-check").spawn(work))
}

/// The results that are not `None`. Every thread is joined, also if another one could not be started, so that none runs the
/// host's code after the check.
fn join_all<T>(threads: Vec<StartedThread<T>>) -> Result<Vec<T>, Error> {
    let join =
        |thread: StartedThread<T>| thread.map_err(|error| no_thread(&error))?.join().unwrap_or(Ok(None));
    let results: Vec<_> = threads.into_iter().map(join).collect();
    results.into_iter().filter_map(Result::transpose).collect()
}

fn no_thread(error: &io::Error) -> Error {
    let text = format!("the system gave no thread for the check: {error}; check the process limits");
    Error::new(Status::PG_ERR_SYSTEM, text)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_thread_that_calls_the_host_is_joined_although_another_one_was_refused() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let slow = {
            let has_ended = has_ended.clone();
            spawn(move || {
                // The callback of a slow host.
                thread::sleep(Duration::from_millis(50));
                has_ended.store(true, Ordering::SeqCst);
                Ok(Some(1))
            })
        };
        let error = join_all(vec![Err(io::ErrorKind::WouldBlock.into()), slow]).unwrap_err();
        assert!(error.status == Status::PG_ERR_SYSTEM && error.text.contains("no thread"), "{error}");
        assert!(has_ended.load(Ordering::SeqCst), "the host's code runs after the check");
    }
}
