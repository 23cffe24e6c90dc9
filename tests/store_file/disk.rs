//! Disks that fail, die or lose power at a step that a test names.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use paymentsgate_auth::store::{Disk, SystemDisk};
use rustix::process::{Signal, getpid, kill_process};

/// What happens at the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An error, and nothing done.
    Fail,
    /// An error, though it was done.
    FailAfterwards,
    /// An error now and from now on.
    FailForEver,
    /// The end of the process, by kill -9.
    Kill,
}

/// Counts its steps, and gets into trouble at one of them.
pub(crate) struct TestDisk {
    trouble: Trouble,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: u64,
    trouble_at: Option<u64>,
    syncs: u64,
    /// Inodes with bytes that a loss of power would take.
    unsynced: BTreeSet<u64>,
    /// What would be back in its place after one, oldest first.
    renamed: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl TestDisk {
    pub(crate) fn new(trouble: Trouble) -> Self {
        TestDisk { trouble, state: Mutex::default() }
    }

    /// Trouble comes after so many steps from now.
    pub(crate) fn arm(&self, after: u64) {
        let mut state = self.state.lock().unwrap();
        state.trouble_at = Some(state.steps + after);
    }

    /// Whether the trouble has come.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.trouble_at.is_some_and(|at| state.steps > at)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().unwrap().syncs
    }

    /// One step, which may be no more than a place in a test.
    pub(crate) fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let now = {
            let mut state = self.state.lock().unwrap();
            let step = state.steps;
            state.steps += 1;
            state.trouble_at.map(|at| step.cmp(&at))
        };
        let failure = Err(io::Error::other("the disk fails"));
        match (now, self.trouble) {
            (Some(std::cmp::Ordering::Greater), Trouble::FailForEver) => failure,
            (None | Some(std::cmp::Ordering::Less | std::cmp::Ordering::Greater), _) => work(),
            (_, Trouble::Kill) => {
                kill_process(getpid(), Signal::KILL)?;
                unreachable!("killed")
            }
            (_, Trouble::FailAfterwards) => work().and(failure),
            (_, Trouble::Fail | Trouble::FailForEver) => failure,
        }
    }

    /// What was not made to last is gone: bytes that were not synced, and where `names_too`, names in the folder.
    pub(crate) fn lose_power(&self, folder: &Path, names_too: bool) {
        let mut state = self.state.lock().unwrap();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let about = entry.metadata().unwrap();
            if state.unsynced.contains(&about.ino()) {
                OpenOptions::new().write(true).open(entry.path()).unwrap().set_len(about.len() / 2).unwrap();
            }
        }
        while let Some((path, before)) = state.renamed.pop().filter(|_| names_too) {
            match before {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
    }
}

impl Disk for TestDisk {
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
        self.state.lock().unwrap().unsynced.insert(file.metadata()?.ino());
        // A disk that is full is full in the middle.
        let half = &bytes[..bytes.len() / 2];
        self.step(|| SystemDisk.write(file, bytes)).inspect_err(|_| drop(SystemDisk.write(file, half)))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step(|| {
            let mut state = self.state.lock().unwrap();
            state.unsynced.remove(&file.metadata()?.ino());
            state.syncs += 1;
            SystemDisk.sync(file)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| {
            let before = fs::read(to).ok();
            self.state.lock().unwrap().renamed.push((to.to_owned(), before));
            SystemDisk.rename(from, to)
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step(|| {
            let mut state = self.state.lock().unwrap();
            state.renamed.clear();
            state.syncs += 1;
            SystemDisk.sync_folder(path)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| SystemDisk.remove(path))
    }
}
