//! A store in a folder, shared by the threads and processes of one user on one machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::disk::SystemDisk;
use super::key::RecordKey;
use super::keyring::Keyring;
use super::record_file::RecordFile;
use super::{Committed, Inspection, Loaded, Lock, Refusal, Store, Storing, Uncommitted};
use crate::clock::Clock;
use crate::defect;
use crate::error::Error;
use crate::status::Status;
use crate::token::{Pair, RefreshToken};

/// Between two looks at a lock that somebody else holds, in milliseconds: the last of many is to have the new token within
/// a tenth of a second.
const PAUSE: std::ops::RangeInclusive<u64> = 25..=90;

/// One account's place in a folder. The disk is waited for on threads that come and go, never on the library's own.
pub struct FileStore {
    file: Arc<RecordFile>,
    patience: Duration,
}

impl FileStore {
    /// The place of that account in a folder, which is made if its parent is there. `patience` is how long to wait for
    /// the lock: as long as the flight of somebody else may take.
    pub fn open(
        folder: &Path,
        key: RecordKey,
        keyring: Option<Keyring>,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let file = Arc::new(RecordFile::open(folder, key, keyring, clock, Arc::new(SystemDisk))?);
        Ok(FileStore { file, patience })
    }

    /// Performs an operation, whose panic is an error.
    async fn perform<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RecordFile) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.blocking(|file| contained(|| work(file))).await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&RecordFile) -> T + Send + 'static) -> T {
        let (answer, waiting) = oneshot::channel();
        self.spawn(Box::new(move |file| drop(answer.send(work(file)))));
        match waiting.await {
            Ok(done) => done,
            // Only a runtime that is going down gives up a task, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        }
    }

    /// One kind of task for all operations: each kind is some kilobytes of code.
    fn spawn(&self, work: Box<dyn FnOnce(&RecordFile) + Send>) {
        let file = self.file.clone();
        spawn_blocking(move || work(&file));
    }

    async fn wait_for_lock(&self, base: u64) -> Result<Lock, Error> {
        let give_up = Instant::now() + self.patience;
        loop {
            let is_last = Instant::now() >= give_up;
            let lock_or_newer = move |file: &RecordFile| {
                if file.try_lock()? {
                    return Ok(Some(Lock::Held));
                }
                Ok(file.has_newer(base)?.then_some(Lock::Moved))
            };
            match self.perform(lock_or_newer).await? {
                Some(lock) => return Ok(lock),
                None if is_last => return Err(self.too_long()),
                None => sleep(Duration::from_millis(fastrand::u64(PAUSE))).await,
            }
        }
    }

    fn too_long(&self) -> Error {
        let text = format!(
            "store {}: another process has held the lock for more than {} s; look for one that hangs or is stopped",
            self.file.path().display(),
            self.patience.as_secs()
        );
        Error::new(Status::PG_ERR_STORE, text)
    }
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
        let write = move |file: &RecordFile| (contained(|| file.commit(base, &pair)), pair);
        Box::pin(async {
            let (result, pair) = self.blocking(write).await;
            result.map_err(|error| Uncommitted { error, pair })
        })
    }

    fn cool(&self, refusal: Refusal) -> Storing<'_, ()> {
        Box::pin(self.perform(move |file| file.cool(&refusal)))
    }

    fn unlock(&self) -> Storing<'_, ()> {
        Box::pin(self.perform(|file| {
            file.unlock();
            Ok(())
        }))
    }

    fn inspect(&self) -> Storing<'_, Inspection> {
        Box::pin(self.perform(RecordFile::inspect))
    }

    fn forget(&self) -> Storing<'_, ()> {
        Box::pin(self.perform(RecordFile::forget))
    }

    fn warning(&self) -> Option<String> {
        let network = network_file_system(self.file.path().parent()?)?;
        Some(format!(
            "store {}: on a network file system ({network}), whose locks and renames may not hold; use a local disk, or \
             a store made for many machines",
            self.file.path().display()
        ))
    }
}

fn contained<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    defect::contain(work).and_then(|done| done)
}

/// Its name, if the folder is on one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    match rustix::fs::statfs(folder).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn network_file_system(_folder: &Path) -> Option<&'static str> {
    None
}
