//! One account's record in a folder: each step of a flight as one operation that blocks.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard};

use zeroize::Zeroizing;

use super::disk::{Disk, file_error, is_unsupported, make_folder_private, make_private, open_folder};
use super::lock::FileLock;
use crate::clock::Clock;
use crate::error::Error;
use crate::store::record::{Bytes, Entry, Found, Keyring, Ledger, RecordKey};
use crate::store::warnings::Warnings;
use crate::store::{Committed, Inspection, Loaded, Refusal};
use crate::sync::lock;
use crate::token::{Pair, RefreshToken};

/// A record is two tokens long; what is larger than any answer of the service is none.
const MAX_BYTES: u64 = 64 << 20;

/// The record and its lock. It belongs to the process that made it: a forked child makes its own.
pub struct RecordFile {
    folder: PathBuf,
    path: PathBuf,
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
    /// The record of that account in a folder. With a keyring it is sealed. Nothing is looked at before it is used.
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
        RecordFile { folder, path, clock, disk, warnings: Arc::default(), state }
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the host should know of the place.
    pub(super) fn warnings(&self) -> Arc<Warnings> {
        self.warnings.clone()
    }

    /// Takes the lock, if nobody else has it. A lock that is held already, because its flight broke off, is kept. The folder
    /// is made if its parent is there.
    pub fn try_lock(&self) -> Result<bool, Error> {
        let mut state = self.state();
        self.prepare_folder()?;
        let path = self.sibling(".lock");
        if !state.lock.as_ref().is_some_and(|held| held.is_at(&path)) {
            state.lock = None;
            state.lock = FileLock::try_new(&path, &*self.disk, &self.warnings)?;
        }
        Ok(state.lock.is_some())
    }

    /// Frees the lock, if it is held.
    pub fn unlock(&self) {
        self.state().lock = None;
    }

    /// Whether somebody has committed a pair that is newer than `base` and than the last one that was loaded here.
    pub fn has_newer(&self, base: u64) -> Result<bool, Error> {
        let state = self.state();
        Ok(self.read(&state)?.is_some_and(|entry| state.ledger.is_newer(&entry, base)))
    }

    /// What there is.
    pub fn load(&self) -> Result<Loaded, Error> {
        let mut state = self.state();
        let found = self.read(&state)?;
        if state.lock.is_some() && found.as_ref().is_some_and(Ledger::is_claimed) {
            // Somebody died in a flight, perhaps while writing.
            let _ = self.remove_others(".tmp-", None);
        }
        Ok(state.ledger.load(found))
    }

    /// What lies there, as it is. Needs no lock and changes no record.
    pub fn inspect(&self) -> Result<Inspection, Error> {
        match open_folder(&self.folder) {
            Ok(folder) => drop(make_folder_private(&self.folder, &folder)?),
            // Nothing has been kept yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error("open", &self.folder, &error)),
        }
        let bytes = self.read_bytes()?;
        self.state().ledger.inspect(bytes.as_ref())
    }

    /// Removes the record and what lies beside it, durably. The lock file stays, or two could hold it.
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
            .map_err(|error| file_error("remove", &self.path, &error))?;
        state.ledger.forget();
        Ok(())
    }

    /// Puts an intent in the refresh token's place, durably, and hands it out.
    pub fn intend(&self) -> Result<Option<RefreshToken>, Error> {
        let state = self.locked()?;
        let Some(claim) = state.ledger.claim(self.read(&state)?)? else { return Ok(None) };
        if let Err(error) = self.write(&claim.intent) {
            // It was not handed out, so it may stay, should the disk take that back.
            let _ = self.write(&claim.undo);
            return Err(error);
        }
        Ok(Some(RefreshToken::new(claim.secret)))
    }

    /// Puts the refresh token back in the intent's place.
    pub fn retract(&self, refresh: &RefreshToken) -> Result<(), Error> {
        let state = self.locked()?;
        self.write(&state.ledger.retract(self.read(&state)?, refresh)?)
    }

    /// Makes a pair the newest, durably, unless somebody else has committed one since the last `load`.
    pub fn commit(&self, base: u64, pair: &Pair) -> Result<Committed, Error> {
        let mut state = self.locked()?;
        let (record, committed) = state.ledger.next_record(self.read(&state)?, base, pair)?;
        self.write(&record)?;
        state.ledger.remember(&committed);
        Ok(committed)
    }

    /// Lets all who share the record know of a refusal.
    pub fn back_off(&self, refusal: &Refusal) -> Result<(), Error> {
        let state = self.locked()?;
        self.write(&state.ledger.with_refusal(self.read(&state)?, refusal)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state of a record whose lock is held.
    fn locked(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.lock.is_none() {
            return Err(state.ledger.store_error("its lock is not held, so nothing is written"));
        }
        Ok(state)
    }

    /// The record, checked. A broken one is set aside by who holds the lock.
    fn read(&self, state: &State) -> Result<Option<Entry>, Error> {
        let bytes = self.read_bytes()?;
        let found = state.ledger.read(bytes.as_ref().map(|bytes| bytes.as_slice()))?;
        if matches!(found, Found::Broken) && state.lock.is_some() {
            self.move_broken();
        }
        Ok(found.entry())
    }

    fn read_bytes(&self) -> Result<Option<Bytes>, Error> {
        let failed = |error: io::Error| file_error("read", &self.path, &error);
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        self.warnings.extend(make_private(&self.path, &file)?);
        let length = file.metadata().map_err(failed)?.len().min(MAX_BYTES);
        // Room for all of it and a byte more: growing would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
        self.disk.read(&file, length, &mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Readers see the old record or the new one; so does whoever comes after a loss of power.
    fn write(&self, record: &Bytes) -> Result<(), Error> {
        // Chance, since in a container every process has the same number as the dead one before it.
        let temporary = self.sibling(&format!(".tmp-{}-{:016x}", process::id(), fastrand::u64(..)));
        let disk = &self.disk;
        disk.create(&temporary)
            .and_then(|file| disk.write(&file, record).and_then(|()| disk.sync(&file)))
            .and_then(|()| disk.rename(&temporary, &self.path))
            .inspect_err(|_| drop(disk.remove(&temporary)))
            .and_then(|()| self.sync_folder())
            .map_err(|error| file_error("write", &self.path, &error))
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

    /// Sees to it that the folder is there and that nobody else replaces files in it.
    pub(super) fn prepare_folder(&self) -> Result<(), Error> {
        let failed = |error: io::Error| file_error("make or open", &self.folder, &error);
        let folder = match open_folder(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match DirBuilder::new().mode(0o700).create(&self.folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                    _ => open_folder(&self.folder),
                }
            }
            opened => opened,
        };
        let folder = folder.map_err(failed)?;
        self.warnings.extend(make_folder_private(&self.folder, &folder)?);
        self.warnings.extend(network_file_system(&folder).map(|network| {
            format!(
                "store {}: on a network file system ({network}), whose locks and renames may not hold; use a local disk, \
                 or a store made for many machines",
                self.path.display()
            )
        }));
        Ok(())
    }

    /// Keeps the newest broken record, for whoever wants to know what broke it. If that fails, the next commit
    /// replaces it all the same.
    fn move_broken(&self) {
        let destination = self.sibling(&format!(".corrupt-{}", self.clock.now().wall.as_secs()));
        if self.disk.rename(&self.path, &destination).is_ok() {
            let _ = self.remove_others(".corrupt-", Some(&destination));
        }
        let _ = self.remove_others(".tmp-", None);
    }

    /// Removes what lies beside the record under such names. With the lock held nobody else is writing there.
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

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

/// Its name, if the folder is on one.
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
