//! The file store: records in a folder that the threads and processes of one machine share: those of one user, or of the users of
//! one group.

mod disk;
#[cfg(test)]
mod hanging_disk;
mod lock;
mod mode;
mod record_file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::disk::file_error;
use super::limited::{LIMIT, Limited, ReleaseLock};
use super::record::{Keyring, RecordKey};
use super::warnings::Warnings;
use super::{Committed, Inspection, Loaded, Lock, Refusal, Store, Storing, Uncommitted};
use crate::clock::Clock;
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::runtime::standard_streams;
use crate::runtime::workers::Workers;
use crate::status::Status;
use crate::sync;
use crate::token::{Pair, RefreshToken};

pub use disk::{Disk, SystemDisk};
pub use mode::StoreMode;
pub use record_file::RecordFile;

/// The pause between two attempts to lock, in milliseconds: the last of many waiters gets the new token within a tenth
/// of a second.
const PAUSE: std::ops::RangeInclusive<u64> = 25..=90;
/// How many operations on one folder may run, and so hang, at a time.
pub(super) const MAX_THREADS: usize = 4;

/// The store of one account in a folder. Temporary threads wait for the disk, never the library's own thread.
pub struct FileStore {
    file: Limited<RecordFile>,
    path: PathBuf,
    warnings: Arc<Warnings>,
    lock_timeout: Duration,
}

impl ReleaseLock for RecordFile {
    /// The session may hold the lock, from this operation or an earlier one.
    fn release_lock(&mut self) {
        self.unlock();
    }
}

impl FileStore {
    /// The store of an account in a folder, which is made on first use if its parent exists. `lock_timeout` is how long
    /// a flight of another session may take.
    pub fn new(
        folder: &Path,
        mode: StoreMode,
        key: RecordKey,
        keyring: Option<Keyring>,
        clock: Arc<dyn Clock>,
        lock_timeout: Duration,
    ) -> Result<Self, Error> {
        let file = RecordFile::new(folder, key, keyring, clock, Arc::new(SystemDisk));
        Ok(FileStore::on(file.with_mode(mode), workers(folder)?, LIMIT, lock_timeout))
    }

    pub(super) fn on(
        file: RecordFile,
        workers: Arc<Workers>,
        limit: Duration,
        lock_timeout: Duration,
    ) -> Self {
        let (path, warnings) = (file.path().to_owned(), file.warnings());
        FileStore { file: Limited::new(file, workers, limit), path, warnings, lock_timeout }
    }

    async fn perform<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RecordFile) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let work = move |file: &mut RecordFile| {
            // The record, the lock and the folder are opened, and the lock is kept.
            standard_streams::ensure_open()
                .map_err(|error| file_error("open", file.path(), &io::Error::other(error)))?;
            work(file)
        };
        self.file.perform(work, |limit| self.timeout_error(limit)).await
    }

    async fn wait_for_lock(&self, base: u64) -> Result<Lock, Error> {
        let deadline = Instant::now() + self.lock_timeout;
        loop {
            let is_last = Instant::now() >= deadline;
            let lock_or_newer = move |file: &RecordFile| {
                if file.try_lock()? {
                    return Ok(Some(Lock::Held));
                }
                Ok(file.has_newer(base)?.then_some(Lock::Moved))
            };
            match self.perform(lock_or_newer).await? {
                Some(lock) => return Ok(lock),
                None if is_last => return Err(self.lock_timeout_error()),
                None => sleep(Duration::from_millis(fastrand::u64(PAUSE))).await,
            }
        }
    }

    fn lock_timeout_error(&self) -> Error {
        let text = format!(
            "store {}: another process has held the lock for more than {} s; look for one that hangs or is stopped",
            self.path.display(),
            self.lock_timeout.as_secs()
        );
        Error::new(Status::PG_ERR_STORE, text)
    }

    fn timeout_error(&self, limit: Duration) -> Error {
        let text = format!(
            "store {}: no answer within {} s; the disk or the network file system hangs",
            self.path.display(),
            limit.as_secs_f32()
        );
        Error::new(Status::PG_ERR_STORE, text)
    }
}

/// The folders that this process has stores in.
type Folders = BTreeMap<PathBuf, Weak<Workers>>;

fn folders() -> Result<MutexGuard<'static, Folders>, Error> {
    static FOLDERS: PerProcess<Mutex<Folders>> = PerProcess::new();
    Ok(sync::lock(FOLDERS.get_or_try_init(|| Ok(Mutex::default()))?))
}

/// The threads for a folder, shared by all its accounts.
fn workers(folder: &Path) -> Result<Arc<Workers>, Error> {
    let mut folders = folders()?;
    if let Some(workers) = folders.get(folder).and_then(Weak::upgrade) {
        return Ok(workers);
    }
    folders.retain(|_, workers| workers.strong_count() > 0);
    let workers = Arc::new(Workers::new("pg-folder", MAX_THREADS));
    folders.insert(folder.to_owned(), Arc::downgrade(&workers));
    Ok(workers)
}

/// A copy for the record: the pair itself stays with the flight in case the disk hangs.
fn copy(pair: &Pair) -> Pair {
    let refresh = pair.refresh.as_ref().map(|refresh| RefreshToken::new(refresh.secret().clone()));
    Pair { token: pair.token.clone(), refresh }
}

impl Store for FileStore {
    fn lock(&self, base: u64) -> Storing<'_, Lock> {
        Box::pin(self.wait_for_lock(base))
    }

    fn load(&self) -> Storing<'_, Loaded> {
        Box::pin(self.perform(RecordFile::load))
    }

    fn intend(&self) -> Storing<'_, Option<RefreshToken>> {
        Box::pin(self.perform(RecordFile::intend))
    }

    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()> {
        Box::pin(self.perform(move |file| file.retract(&refresh)))
    }

    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted> {
        let written = copy(&pair);
        Box::pin(async move {
            let result = self.perform(move |file| file.commit(base, &written)).await;
            result.map_err(|error| Uncommitted { error, pair })
        })
    }

    fn back_off(&self, refusal: Refusal) -> Storing<'_, ()> {
        Box::pin(self.perform(move |file| file.back_off(&refusal)))
    }

    fn unlock(&self) -> Storing<'_, ()> {
        // Opens nothing.
        let unlock = |file: &mut RecordFile| {
            file.unlock();
            Ok(())
        };
        Box::pin(self.file.perform(unlock, |limit| self.timeout_error(limit)))
    }

    fn prepare(&self) -> Storing<'_, ()> {
        Box::pin(self.perform(RecordFile::prepare_folder))
    }

    fn inspect(&self) -> Storing<'_, Inspection> {
        Box::pin(self.perform(RecordFile::inspect))
    }

    fn forget(&self) -> Storing<'_, ()> {
        Box::pin(self.perform(RecordFile::forget))
    }

    fn warning(&self) -> Option<String> {
        self.warnings.all()
    }

    fn new_warnings(&self) -> Vec<String> {
        self.warnings.new_warnings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_of_a_folder_share_threads_and_a_folder_without_a_store_is_forgotten() {
        let parent = tempfile::tempdir().unwrap();
        let [one, other, third] = ["one", "other", "third"].map(|name| parent.path().join(name));
        let first = workers(&one).unwrap();
        let second = workers(&other).unwrap();
        assert!(Arc::ptr_eq(&first, &workers(&one).unwrap()) && !Arc::ptr_eq(&first, &second));
        drop(second);
        let _third = workers(&third).unwrap();
        let known = folders().unwrap();
        assert!(known.contains_key(&one) && !known.contains_key(&other) && known.contains_key(&third));
    }
}
