//! A disk of which any step may fail, before or after it was done, and on which a process may die.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;
use paymentsgate_auth::store::{Disk, SystemDisk};

/// All processes of a fleet have it in common.
pub(crate) struct SharedDisk(Mutex<State>);

struct State {
    rng: Rng,
    /// How likely a step fails, from 0 to 1.
    trouble: f64,
    /// Nothing works, or nothing seems to.
    is_down: bool,
    /// Whoever is at work dies after so many steps.
    steps_to_live: Option<u32>,
    /// A record may have been put in place.
    is_changed: bool,
}

impl SharedDisk {
    pub(crate) fn new(rng: Rng) -> Self {
        SharedDisk(Mutex::new(State {
            rng,
            trouble: 0.0,
            is_down: false,
            steps_to_live: None,
            is_changed: false,
        }))
    }

    pub(crate) fn set_trouble(&self, trouble: f64) {
        self.state().trouble = trouble;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state().is_down
    }

    /// After those steps nothing more is done, until the next process is at work.
    pub(crate) fn set_steps_to_live(&self, steps: Option<u32>) {
        self.state().steps_to_live = steps;
    }

    /// Whether there may be another record than at the last call.
    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.state().is_changed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        let failure = Err(io::Error::other("simulated"));
        if let Some(left) = &mut state.steps_to_live {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return failure,
            }
        }
        let trouble = state.trouble;
        let fails = state.is_down || state.rng.f64() < trouble;
        match (fails, state.rng.bool()) {
            (false, _) => work(),
            (true, false) => failure,
            (true, true) => work().and(failure),
        }
    }
}

impl Disk for SharedDisk {
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
        self.step(|| SystemDisk.write(file, bytes))
    }

    /// No power is lost here.
    fn sync(&self, _file: &File) -> io::Result<()> {
        self.step(|| Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().is_changed = true;
        self.step(|| SystemDisk.rename(from, to))
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        self.step(|| Ok(()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| SystemDisk.remove(path))
    }
}
