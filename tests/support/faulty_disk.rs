//! A disk on which each step can fail before or after it is done, or end the process, and which can lose power.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use paymentsgate_auth::store::{Disk, SystemDisk};
use rustix::process::{Signal, getpid, kill_process};

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepFate {
    Done,
    /// An error, and the step is not done. Of a write, half is done, as on a full disk.
    Fails,
    /// An error, although the step is done.
    FailsAfterwards,
    /// The process ends, as by kill -9.
    Kills,
}

/// Chooses the fate of each step.
pub(crate) trait FaultPlan: Send + Sync {
    fn next(&self) -> StepFate;
}

pub(crate) struct FaultyDisk<P> {
    pub(crate) plan: P,
    volatile: Mutex<Volatile>,
    is_changed: AtomicBool,
}

/// What a loss of power takes. Nothing is really synced: this is what a sync changes.
#[derive(Default)]
struct Volatile {
    syncs: u64,
    /// Inodes with bytes that were not synced.
    unsynced: BTreeSet<u64>,
    /// What each file held before its name was replaced, oldest first.
    renamed: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl<P: FaultPlan> FaultyDisk<P> {
    pub(crate) fn new(plan: P) -> Self {
        FaultyDisk { plan, volatile: Mutex::default(), is_changed: AtomicBool::new(false) }
    }

    /// One step. A test can use it as a named place in its own code.
    pub(crate) fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let failure = Err(io::Error::other("the disk fails"));
        match self.plan.next() {
            StepFate::Done => work(),
            StepFate::Fails => failure,
            StepFate::FailsAfterwards => work().and(failure),
            StepFate::Kills => {
                kill_process(getpid(), Signal::KILL)?;
                unreachable!("killed")
            }
        }
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.volatile.lock().unwrap().syncs
    }

    /// Whether a record may have been replaced since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        self.is_changed.swap(false, Ordering::SeqCst)
    }

    /// Takes the bytes that were not synced and, where `names_too`, the names that the folder did not sync.
    pub(crate) fn lose_power(&self, folder: &Path, names_too: bool) {
        let mut volatile = self.volatile.lock().unwrap();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let about = entry.metadata().unwrap();
            if volatile.unsynced.contains(&about.ino()) {
                OpenOptions::new().write(true).open(entry.path()).unwrap().set_len(about.len() / 2).unwrap();
            }
        }
        while let Some((path, before)) = volatile.renamed.pop().filter(|_| names_too) {
            match before {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
    }
}

impl<P: FaultPlan> Disk for FaultyDisk<P> {
    fn open(&self, path: &Path) -> io::Result<File> {
        self.step(|| SystemDisk.open(path))
    }

    fn read(&self, file: &File, most: u64, into: &mut Vec<u8>) -> io::Result<()> {
        self.step(|| SystemDisk.read(file, most, into))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.step(|| SystemDisk.create(path))
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.volatile.lock().unwrap().unsynced.insert(file.metadata()?.ino());
        let half = &bytes[..bytes.len() / 2];
        self.step(|| SystemDisk.write(file, bytes)).inspect_err(|_| drop(SystemDisk.write(file, half)))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step(|| {
            let mut volatile = self.volatile.lock().unwrap();
            volatile.unsynced.remove(&file.metadata()?.ino());
            volatile.syncs += 1;
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.is_changed.store(true, Ordering::SeqCst);
        self.step(|| {
            let before = fs::read(to).ok();
            self.volatile.lock().unwrap().renamed.push((to.to_owned(), before));
            SystemDisk.rename(from, to)
        })
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        self.step(|| {
            let mut volatile = self.volatile.lock().unwrap();
            volatile.renamed.clear();
            volatile.syncs += 1;
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| SystemDisk.remove(path))
    }

    fn share(&self, file: &File, gid: u32, mode: u32) -> io::Result<()> {
        self.step(|| SystemDisk.share(file, gid, mode))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| SystemDisk.link(from, to))
    }
}
