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
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::disk::{make_private, open_lock_file, unusable};
use super::notes::Notes;
use crate::error::Error;
use crate::runtime::process::PerProcess;

/// A lock that is held. Dropped, it is freed.
#[derive(Debug)]
pub(super) struct Held(Inode);

/// Device and inode.
type Inode = (u64, u64);
/// The locks that this process holds, each with the files that must not be closed while it does.
type Table = HashMap<Inode, Vec<File>>;

impl Held {
    /// The lock, if it is free.
    pub(super) fn try_new(path: &Path, notes: &Notes) -> Result<Option<Self>, Error> {
        let failed = |error: io::Error| unusable("lock", path, &error);
        let mut table = table()?;
        if inode_at(path).is_some_and(|inode| table.contains_key(&inode)) {
            return Ok(None);
        }
        let file = open_lock_file(path).map_err(failed)?;
        let inode = inode(&file.metadata().map_err(failed)?);
        if let Some(files) = table.get_mut(&inode) {
            // It came into this place a moment ago. To close it now would free the lock of its holder.
            files.push(file);
            return Ok(None);
        }
        notes.extend(make_private(path, &file)?);
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => {}
            // Two names for a lock that another process holds.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        }
        // The lock of a file that was unlinked meanwhile keeps nobody out.
        if inode_at(path) != Some(inode) {
            return Ok(None);
        }
        table.insert(inode, vec![file]);
        Ok(Some(Held(inode)))
    }

    /// Whether its file is still in its place: the lock of one that was removed keeps nobody out.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        inode_at(path) == Some(self.0)
    }
}

impl Drop for Held {
    /// To close the file is to free the lock.
    fn drop(&mut self) {
        if let Ok(mut table) = table() {
            table.remove(&self.0);
        }
    }
}

fn table() -> Result<MutexGuard<'static, Table>, Error> {
    static TABLE: PerProcess<Mutex<Table>> = PerProcess::new();
    let table = TABLE.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(table.lock().unwrap_or_else(PoisonError::into_inner))
}

fn inode_at(path: &Path) -> Option<Inode> {
    fs::symlink_metadata(path).ok().map(|about| inode(&about))
}

fn inode(about: &Metadata) -> Inode {
    (about.dev(), about.ino())
}
