//! The lock of a record: a lock file beside the record, locked by the kernel as long as its holder lives.
//!
//! It is a POSIX record lock (`F_SETLK`), which belongs to the process: a forked child does not keep its parent's lock
//! alive, as with `flock` or open-file-description locks. It has two weaknesses: it does not exclude other threads of
//! the process, and it is lost when *any* descriptor of the file is closed there. So each process has one table of its
//! locks, by device and inode. A lock in the table is not taken again, and its file is not opened. This does not help
//! if the host opens and closes the lock file itself, or if two copies of this library run in one process. Then two
//! flights may run at once: the intent protects the refresh token, and the generation protects the record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::disk::Disk;
use super::mode::StoreMode;
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::store::warnings::Warnings;
use crate::sync;

/// A held lock. Dropping it frees the lock.
#[derive(Debug)]
pub(super) struct FileLock(Inode);

/// Device and inode.
type Inode = (u64, u64);
/// The locks that this process holds or is about to take, each with the files that must stay open until it is free.
type Table = HashMap<Inode, Vec<Arc<File>>>;

impl FileLock {
    /// Takes the lock, if it is free. The table is not locked during file system calls: one that hangs must not block
    /// other locks. `temporary` is for a new lock file.
    pub(super) fn try_new(
        path: &Path,
        temporary: &Path,
        disk: &dyn Disk,
        mode: StoreMode,
        warnings: &Warnings,
    ) -> Result<Option<Self>, Error> {
        let failed = |error: io::Error| mode.file_error("lock", path, &error);
        let mut held = None;
        if let Some(inode) = inode_at(path) {
            match table()?.entry(inode) {
                Entry::Occupied(_) => return Ok(None),
                Entry::Vacant(vacant) => drop(vacant.insert(Vec::new())),
            }
            held = Some(FileLock(inode));
        }
        let file = Arc::new(mode.open_lock(disk, path, temporary).map_err(failed)?);
        let inode = inode(&file.metadata().map_err(failed)?);
        // Another file may have replaced this one in the meantime.
        held = held.filter(|held| held.0 == inode);
        match table()?.entry(inode) {
            // Closing the file now would free its holder's lock.
            Entry::Occupied(mut holders) if held.is_none() => {
                holders.get_mut().push(file);
                return Ok(None);
            }
            entry => entry.or_default().push(file.clone()),
        }
        let held = held.unwrap_or_else(|| FileLock(inode));
        warnings.extend(mode.check_file(path, &file)?);
        match fcntl_lock(&*file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => {}
            // Another process holds the lock.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        }
        // The lock of a file that was unlinked in the meantime excludes nobody.
        Ok(held.is_at(path).then_some(held))
    }

    /// Whether the lock file is still at `path`: the lock of a removed file excludes nobody.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        inode_at(path) == Some(self.0)
    }
}

impl Drop for FileLock {
    /// Closing the file frees the lock. Its entry in the table is removed after that, or the close would free the next
    /// holder's lock. The table is not locked during the close.
    fn drop(&mut self) {
        while let Ok(mut table) = table() {
            let mut files = table.get_mut(&self.0).map(std::mem::take).unwrap_or_default();
            let is_last = files.is_empty();
            if is_last {
                table.remove(&self.0);
            }
            drop(table);
            if is_last {
                return;
            }
            // Nobody locks an unlinked file, but another file may get its inode once it is closed.
            if files.iter().all(|file| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0))
                && let Ok(mut table) = self::table()
            {
                files.extend(table.remove(&self.0).unwrap_or_default());
                drop(table);
                return drop(files);
            }
            drop(files);
        }
    }
}

fn table() -> Result<MutexGuard<'static, Table>, Error> {
    static TABLE: PerProcess<Mutex<Table>> = PerProcess::new();
    let table = TABLE.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(sync::lock(table))
}

fn inode_at(path: &Path) -> Option<Inode> {
    fs::symlink_metadata(path).ok().map(|metadata| inode(&metadata))
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}
