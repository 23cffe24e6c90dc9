//! The lock of one record: a file beside it, locked by the kernel for as long as its holder lives.
//!
//! The lock is a POSIX record lock (`F_SETLK`). It belongs to the process, so that a forked child does not keep its
//! parent's alive, as it would with `flock` and open-file-description locks. It has two weaknesses, both met here: it
//! does not keep the threads of one process apart, and it is lost when *any* descriptor of the file is closed in that
//! process. So each process has one table of the locks that it holds, by device and inode; who is in it is not locked
//! again, and a lock file whose lock is held is not opened. What is left is a host that opens and closes the lock file
//! itself, or two copies of this library in one process. Then two flights may run at once: an intent that is written
//! keeps the other one from the refresh token, and the generation keeps it from the record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::disk::{Disk, file_error, make_private};
use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::store::warnings::Warnings;
use crate::sync;

/// A lock that is held. Dropped, it is freed.
#[derive(Debug)]
pub(super) struct FileLock(Inode);

/// Device and inode.
type Inode = (u64, u64);
/// The locks that this process holds or is about to take, each with the files that must not be closed before it is free.
type Table = HashMap<Inode, Vec<Arc<File>>>;

impl FileLock {
    /// The lock, if it is free. The table is not kept while the file system is asked: one that hangs must not keep others from
    /// theirs.
    pub(super) fn try_new(path: &Path, disk: &dyn Disk, warnings: &Warnings) -> Result<Option<Self>, Error> {
        let failed = |error: io::Error| file_error("lock", path, &error);
        let mut held = None;
        if let Some(inode) = inode_at(path) {
            match table()?.entry(inode) {
                Entry::Occupied(_) => return Ok(None),
                Entry::Vacant(vacant) => drop(vacant.insert(Vec::new())),
            }
            held = Some(FileLock(inode));
        }
        let file = Arc::new(disk.open_lock(path).map_err(failed)?);
        let inode = inode(&file.metadata().map_err(failed)?);
        // Another file may have come into this place a moment ago.
        held = held.filter(|held| held.0 == inode);
        match table()?.entry(inode) {
            // To close it now would free the lock of its holder.
            Entry::Occupied(mut holders) if held.is_none() => {
                holders.get_mut().push(file);
                return Ok(None);
            }
            entry => entry.or_default().push(file.clone()),
        }
        let held = held.unwrap_or_else(|| FileLock(inode));
        warnings.extend(make_private(path, &file)?);
        match fcntl_lock(&*file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => {}
            // Another process holds it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        }
        // The lock of a file that was unlinked meanwhile keeps nobody out.
        Ok(held.is_at(path).then_some(held))
    }

    /// Whether its file is still in its place: the lock of one that was removed keeps nobody out.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        inode_at(path) == Some(self.0)
    }
}

impl Drop for FileLock {
    /// To close the file is to free the lock. Its place in the table is given up after that, or a close would free the lock of
    /// the next holder; the table is not kept meanwhile.
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
            // Nobody takes the lock of a file that was unlinked, but another file may get its inode once it is closed.
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
