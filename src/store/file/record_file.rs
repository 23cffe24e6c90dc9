//! One account's record in a folder: each step of a flight is one blocking operation.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, is_unsupported, open_folder};
use super::lock::FileLock;
use super::mode::StoreMode;
use crate::clock::Clock;
use crate::error::Error;
use crate::secret::Wiped;
use crate::store::record::{Bytes, Entry, Found, Keyring, Ledger, RecordKey};
use crate::store::warnings::Warnings;
use crate::store::{Committed, Inspection, Loaded, Refusal};
use crate::sync::lock;
use crate::token::{Pair, RefreshToken};

/// A record holds two tokens. A file that is larger than any answer of the service is not a record.
const MAX_BYTES: u64 = 64 << 20;

/// The record and its lock. It belongs to the process that made it; a forked child makes its own.
pub struct RecordFile {
    folder: PathBuf,
    path: PathBuf,
    mode: StoreMode,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    warnings: Arc<Warnings>,
    state: Mutex<State>,
}

struct State {
    lock: Option<FileLock>,
    ledger: Ledger,
}

impl RecordFile {
    /// The record of an account in a folder, sealed if there is a keyring. Files are accessed only on use.
    pub fn new(
        folder: &Path,
        key: RecordKey,
        keyring: Option<Keyring>,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Self {
        let (folder, path) = (folder.to_owned(), folder.join(format!("pg-{}", key.name())));
        let ledger = Ledger::new(key, keyring, clock.clone(), path.display().to_string());
        let state = Mutex::new(State { lock: None, ledger });
        let mode = StoreMode::Private;
        RecordFile { folder, path, mode, clock, disk, warnings: Arc::default(), state }
    }

    /// The same record, for those who may use the folder.
    pub fn with_mode(self, mode: StoreMode) -> Self {
        RecordFile { mode, ..self }
    }

    /// The path of the record.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn warnings(&self) -> Arc<Warnings> {
        self.warnings.clone()
    }

    /// Takes the lock, if it is free. A lock that is still held from an interrupted flight is kept. The folder is made
    /// if its parent exists.
    pub fn try_lock(&self) -> Result<bool, Error> {
        let mut state = self.state();
        self.prepare_folder()?;
        let path = self.sibling(".lock");
        if !state.lock.as_ref().is_some_and(|held| held.is_at(&path)) {
            state.lock = None;
            state.lock = FileLock::try_new(&path, &self.temporary(), &*self.disk, self.mode, &self.warnings)?;
        }
        Ok(state.lock.is_some())
    }

    /// Frees the lock, if it is held.
    pub fn unlock(&self) {
        self.state().lock = None;
    }

    /// Whether another session has committed a pair that is newer than `base` and than the last one that was loaded
    /// here.
    pub fn has_newer(&self, base: u64) -> Result<bool, Error> {
        let state = self.state();
        Ok(self.read(&state)?.is_some_and(|entry| state.ledger.is_newer(&entry, base)))
    }

    /// Reads the content.
    pub fn load(&self) -> Result<Loaded, Error> {
        let mut state = self.state();
        let found = self.read(&state)?;
        if state.lock.is_some() && found.as_ref().is_some_and(Ledger::is_claimed) {
            // A session died during a flight, perhaps while it was writing.
            let _ = self.remove_others(".tmp-", None);
        }
        Ok(state.ledger.load(found))
    }

    /// Reads the content for operators. Needs no lock and changes no record.
    pub fn inspect(&self) -> Result<Inspection, Error> {
        match open_folder(&self.folder) {
            Ok(folder) => drop(self.mode.check_folder(&self.folder, &folder)?),
            // Nothing has been stored yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.mode.file_error("open", &self.folder, &error)),
        }
        let bytes = self.read_bytes()?;
        self.state().ledger.inspect(bytes.as_ref())
    }

    /// Removes the record and its temporary and broken files, durably. The lock file stays: without it, two sessions
    /// could hold the lock.
    pub fn forget(&self) -> Result<(), Error> {
        let mut state = self.locked()?;
        let removed = match self.disk.remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.remove_others(".corrupt-", None))
            .and_then(|()| self.remove_others(".tmp-", None))
            .and_then(|()| self.sync_folder())
            .map_err(|error| self.mode.file_error("remove", &self.path, &error))?;
        state.ledger.forget();
        Ok(())
    }

    /// Replaces the refresh token by an intent, durably, and returns the token.
    pub fn intend(&self) -> Result<Option<RefreshToken>, Error> {
        let state = self.locked()?;
        let Some(claim) = state.ledger.claim(self.read(&state)?)? else { return Ok(None) };
        if let Err(error) = self.write(&claim.intent) {
            // The token was not handed out, so it may stay, if the disk accepts the old record.
            let _ = self.write(&claim.undo);
            return Err(error);
        }
        Ok(Some(RefreshToken::new(claim.secret)))
    }

    /// Replaces the intent by the refresh token.
    pub fn retract(&self, refresh: &RefreshToken) -> Result<(), Error> {
        let state = self.locked()?;
        self.write(&state.ledger.retract(self.read(&state)?, refresh)?)
    }

    /// Commits a pair, durably, unless another session has committed one since the last `load`.
    pub fn commit(&self, base: u64, pair: &Pair) -> Result<Committed, Error> {
        let mut state = self.locked()?;
        let found = self.read(&state)?;
        let (record, committed) = state.ledger.next_record(found, base, pair)?;
        self.write(&record)?;
        state.ledger.remember(&committed);
        Ok(committed)
    }

    /// Stores a refusal for all sessions that share the record.
    pub fn back_off(&self, refusal: &Refusal) -> Result<(), Error> {
        let state = self.locked()?;
        self.write(&state.ledger.with_refusal(self.read(&state)?, refusal)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state, if the lock is held; otherwise an error.
    fn locked(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.lock.is_none() {
            return Err(state.ledger.store_error("its lock is not held, so nothing is written"));
        }
        Ok(state)
    }

    /// Reads and checks the record. The holder of the lock moves a broken record away.
    fn read(&self, state: &State) -> Result<Option<Entry>, Error> {
        let bytes = self.read_bytes()?;
        let found = state.ledger.read(bytes.as_ref().map(|bytes| bytes.as_slice()))?;
        if matches!(found, Found::Broken) && state.lock.is_some() {
            self.move_broken();
        }
        Ok(found.entry())
    }

    fn read_bytes(&self) -> Result<Option<Bytes>, Error> {
        let failed = |error: io::Error| self.mode.file_error("read", &self.path, &error);
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        self.warnings.extend(self.mode.check_file(&self.path, &file)?);
        let length = file.metadata().map_err(failed)?.len().min(MAX_BYTES);
        // Room for the whole file and one byte: a buffer that grows would leave a copy behind.
        let mut bytes = Wiped::new(Vec::with_capacity(length as usize + 1));
        self.disk.read(&file, length, &mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes the record. Readers see the old record or the new one, even after a loss of power.
    fn write(&self, record: &Bytes) -> Result<(), Error> {
        let temporary = self.temporary();
        let disk = &self.disk;
        self.mode
            .create(&**disk, &temporary)
            .and_then(|file| disk.write(&file, record).and_then(|()| disk.sync(&file)))
            .and_then(|()| disk.rename(&temporary, &self.path))
            .inspect_err(|_| drop(disk.remove(&temporary)))
            .and_then(|()| self.sync_folder())
            .map_err(|error| self.mode.file_error("write", &self.path, &error))
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.disk.sync_folder(&self.folder) {
            Err(error) if is_unsupported(&error) => {
                self.warnings.extend([format!(
                    "store {}: this file system cannot sync a folder ({error}); after a loss of power an older record may \
                     be there",
                    self.folder.display()
                )]);
                Ok(())
            }
            synced => synced,
        }
    }

    /// Makes the folder if necessary, and ensures that nobody else can replace files in it.
    pub(super) fn prepare_folder(&self) -> Result<(), Error> {
        let failed = |error: io::Error| self.mode.file_error("make or open", &self.folder, &error);
        let folder = match open_folder(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.mode.make_folder(&self.folder).map_err(failed)?;
                open_folder(&self.folder)
            }
            opened => opened,
        };
        let folder = folder.map_err(failed)?;
        self.warnings.extend(self.mode.check_folder(&self.folder, &folder)?);
        self.mode.mark_folder(&*self.disk, &self.folder)?;
        self.warnings.extend(network_file_system(&folder).map(|network| {
            format!(
                "store {}: on a network file system ({network}), whose locks and renames may not hold; use a local disk, \
                 or a store made for many machines",
                self.path.display()
            )
        }));
        Ok(())
    }

    /// Keeps the newest broken record for analysis. If that fails, the next commit still replaces it.
    fn move_broken(&self) {
        let destination = self.sibling(&format!(".corrupt-{}", self.clock.now().wall.as_secs()));
        if self.disk.rename(&self.path, &destination).is_ok() {
            let _ = self.remove_others(".corrupt-", Some(&destination));
        }
        let _ = self.remove_others(".tmp-", None);
    }

    /// Removes the record's files with this suffix. With the lock held, nobody else is writing them.
    fn remove_others(&self, suffix: &str, except: Option<&Path>) -> io::Result<()> {
        let prefix = self.sibling(suffix);
        let is_match = |name: &OsStr| {
            let start = prefix.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(start.as_encoded_bytes())
        };
        let mut result = Ok(());
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if is_match(&entry.file_name()) && Some(&*entry.path()) != except {
                result = result.and(self.disk.remove(&entry.path()));
            }
        }
        result
    }

    /// Random, since in a container every process may have the same id as the one that died before it.
    fn temporary(&self) -> PathBuf {
        self.sibling(&format!(".tmp-{}-{:016x}", process::id(), fastrand::u64(..)))
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

/// The name of the network file system that the folder is on, if any.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn network_file_system(folder: &File) -> Option<&'static str> {
    match rustix::fs::fstatfs(folder).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn network_file_system(_folder: &File) -> Option<&'static str> {
    None
}
