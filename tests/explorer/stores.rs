//! The store of a history, and the incidents of the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::clock::now;
use crate::incidents::StoreKind;
use crate::road::Road;
use crate::server::RedisServer;

/// The key of a copy of the record in Redis.
const SAVED: &str = "saved";

pub(crate) enum StoreWorld {
    Memory,
    File {
        folder: PathBuf,
        saved: Vec<(String, Vec<u8>)>,
    },
    /// Until when the server answers nobody.
    Redis {
        server: Box<RedisServer>,
        road: Road,
        silent_until: Duration,
    },
}

impl StoreWorld {
    pub(crate) fn new(kind: StoreKind, home: &TempDir) -> Self {
        match kind {
            StoreKind::Memory | StoreKind::Pair => StoreWorld::Memory,
            StoreKind::File => StoreWorld::File { folder: home.path().join("store"), saved: Vec::new() },
            StoreKind::Redis => {
                let server = Box::new(RedisServer::start(&[]));
                let road = Road::to(server.port);
                StoreWorld::Redis { server, road, silent_until: Duration::ZERO }
            }
        }
    }

    /// The value of the setting `store`.
    pub(crate) fn setting(&self) -> String {
        match self {
            StoreWorld::Memory => "memory:".into(),
            StoreWorld::File { folder, .. } => format!("file:{}", folder.display()),
            StoreWorld::Redis { road, .. } => format!("redis://127.0.0.1:{}", road.port),
        }
    }

    /// Makes the store unusable, or usable again. Meanwhile a file is in the place of the folder.
    pub(crate) fn take_away(&self, is_away: bool) {
        match self {
            StoreWorld::Memory => {}
            StoreWorld::File { folder, .. } => swap_folder(folder, is_away),
            StoreWorld::Redis { road, .. } if is_away => road.close(),
            StoreWorld::Redis { road, .. } => road.open(),
        }
    }

    /// The server accepts commands and does not answer.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        if let StoreWorld::Redis { road, .. } = self {
            road.freeze(is_frozen);
        }
    }

    pub(crate) fn stop_server(&mut self, is_stopped: bool) {
        if let StoreWorld::Redis { server, silent_until, .. } = self {
            *silent_until = if is_stopped { Duration::MAX } else { Duration::ZERO };
            let pid = Pid::from_raw(server.pid() as i32).unwrap();
            kill_process(pid, if is_stopped { Signal::STOP } else { Signal::CONT }).unwrap();
        }
    }

    pub(crate) fn pause_clients(&mut self, so_long: Duration) {
        self.ask(&["client", "pause", &so_long.as_millis().to_string()]);
        if let StoreWorld::Redis { silent_until, .. } = self {
            *silent_until = (*silent_until).max(now() + so_long);
        }
    }

    /// Nothing can be written to the store.
    pub(crate) fn fill(&self, is_full: bool) {
        self.ask(&["config", "set", "maxmemory", if is_full { "1" } else { "0" }]);
    }

    /// The server is a read-only replica of a server that does not exist.
    pub(crate) fn demote(&self, is_replica: bool) {
        let [host, port] = if is_replica { ["127.0.0.1", "1"] } else { ["no", "one"] };
        self.ask(&["replicaof", host, port]);
    }

    pub(crate) fn cut(&self) {
        if let StoreWorld::Redis { road, .. } = self {
            road.cut();
        }
    }

    pub(crate) fn forget_connections(&self) {
        if let StoreWorld::Redis { road, .. } = self {
            road.forget();
        }
    }

    /// The server restarts without its data.
    pub(crate) fn restart(&mut self) {
        if let StoreWorld::Redis { server, silent_until, .. } = self {
            *silent_until = Duration::ZERO;
            server.kill();
            server.start_again();
        }
    }

    /// Removes everything in the store, including the folder.
    pub(crate) fn empty(&self) {
        match self {
            StoreWorld::Memory => {}
            StoreWorld::File { folder, .. } => drop(fs::remove_dir_all(folder)),
            StoreWorld::Redis { .. } => drop(self.ask(&["flushall"])),
        }
    }

    pub(crate) fn break_record(&self) {
        match self {
            StoreWorld::Memory => {}
            StoreWorld::File { folder, .. } => {
                for (path, mut bytes) in records(folder) {
                    bytes.truncate(bytes.len() / 2);
                    let _ = fs::write(path, bytes);
                }
            }
            StoreWorld::Redis { .. } => drop(self.ask(&["hset", &self.key(), "record", "spoilt"])),
        }
    }

    /// Saves a copy of the record, to be restored later.
    pub(crate) fn save(&mut self) {
        match self {
            StoreWorld::Memory => {}
            StoreWorld::File { folder, saved } => {
                *saved = records(folder)
                    .map(|(path, bytes)| (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes))
                    .collect();
            }
            StoreWorld::Redis { .. } => drop(self.ask(&["copy", &self.key(), SAVED, "replace"])),
        }
    }

    /// Restores the copy, like a backup.
    pub(crate) fn put_back(&self) {
        match self {
            StoreWorld::Memory => {}
            StoreWorld::File { folder, saved } => {
                for (name, bytes) in saved {
                    let _ = fs::write(folder.join(name), bytes);
                }
            }
            StoreWorld::Redis { .. } => drop(self.ask(&["copy", SAVED, &self.key(), "replace"])),
        }
    }

    /// The name of the one record; empty if there is none.
    fn key(&self) -> String {
        self.ask(&["keys", "pg:*:session"])
    }

    fn ask(&self, words: &[&str]) -> String {
        match self {
            // A command would wait meanwhile, and the history with it.
            StoreWorld::Redis { server, silent_until, .. } if now() > *silent_until => server.cli(words),
            _ => String::new(),
        }
    }
}

/// The records of a folder, without their locks and other files beside them.
fn records(folder: &Path) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_record = |path: &PathBuf| path.extension().is_none() && path.is_file();
    entries.filter(is_record).filter_map(|path| Some((path.clone(), fs::read(path).ok()?)))
}

fn swap_folder(folder: &Path, is_away: bool) {
    let beside = folder.with_extension("away");
    if is_away {
        let _ = fs::rename(folder, &beside);
        let _ = fs::write(folder, "no folder");
    } else {
        let _ = fs::remove_file(folder);
        let _ = fs::rename(&beside, folder);
    }
}
