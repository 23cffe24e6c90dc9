//! A disk that fails, dies or loses power at a step that a test names, and one on which others act between two steps.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use paymentsgate_auth::store::{Disk, SystemDisk};

use crate::faulty_disk::{FaultPlan, FaultyDisk, StepFate};

/// What happens at the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An error, and nothing is done.
    Fail,
    /// An error, although it was done.
    FailAfterwards,
    /// An error at this step and at every later one.
    FailForever,
    /// The end of the process, by kill -9.
    Kill,
}

pub(crate) type TestDisk = FaultyDisk<AtOneStep>;

/// Counts the steps, and brings trouble at one of them.
pub(crate) struct AtOneStep {
    trouble: Trouble,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: u64,
    trouble_at: Option<u64>,
}

impl AtOneStep {
    pub(crate) fn new(trouble: Trouble) -> Self {
        AtOneStep { trouble, state: Mutex::default() }
    }

    /// The trouble comes this many steps from now.
    pub(crate) fn arm(&self, after: u64) {
        let mut state = self.state.lock().unwrap();
        state.trouble_at = Some(state.steps + after);
    }

    /// Whether the trouble has come.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.trouble_at.is_some_and(|at| state.steps > at)
    }
}

impl FaultPlan for AtOneStep {
    fn next(&self) -> StepFate {
        let mut state = self.state.lock().unwrap();
        let order = state.trouble_at.map(|at| state.steps.cmp(&at));
        state.steps += 1;
        match (order, self.trouble) {
            (Some(Ordering::Equal), Trouble::Fail | Trouble::FailForever)
            | (Some(Ordering::Greater), Trouble::FailForever) => StepFate::Fails,
            (Some(Ordering::Equal), Trouble::FailAfterwards) => StepFate::FailsAfterwards,
            (Some(Ordering::Equal), Trouble::Kill) => StepFate::Kills,
            (None | Some(_), _) => StepFate::Done,
        }
    }
}

/// A disk that calls a test before each operation on a path, with the operation's name. It may return an error in its place.
pub(crate) struct Interrupted<F>(pub(crate) F);

impl<F: Fn(&str, &Path) -> io::Result<()> + Send + Sync> Disk for Interrupted<F> {
    fn open(&self, path: &Path) -> io::Result<File> {
        (self.0)("open", path).and_then(|()| SystemDisk.open(path))
    }

    fn read(&self, file: &File, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
        SystemDisk.read(file, limit, into)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        (self.0)("create", path).and_then(|()| SystemDisk.create(path))
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        SystemDisk.write(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        SystemDisk.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)("rename", from).and_then(|()| SystemDisk.rename(from, to))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        (self.0)("sync_folder", path).and_then(|()| SystemDisk.sync_folder(path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)("remove", path).and_then(|()| SystemDisk.remove(path))
    }

    fn open_lock(&self, path: &Path, makes: bool) -> io::Result<File> {
        (self.0)("open_lock", path).and_then(|()| SystemDisk.open_lock(path, makes))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)("link", from).and_then(|()| SystemDisk.link(from, to))
    }
}
