//! Values that are read from files, and read again when the files are replaced: certificates, keys, credentials.
//!
//! The file's [`Version`] shows a change; no content is read for that. If the new content cannot be used, it is
//! reported, and the last good value stays in use: it may be half of a pair of files that are renamed one after the
//! other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::runtime::workers::Workers;
use crate::sync::lock;

/// The limit for one check of a few files. A file system that takes longer counts as hanging.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// The attributes that differ between versions of a file. A symbolic link is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    /// `None`: the file cannot be examined, perhaps because it is being replaced.
    fn of(path: &PathBuf) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The threads that check files, shared by all sessions and clients.
static WORKERS: Workers = Workers::new("pg-files", 4);

/// Checks files on threads that may block. A check that hangs delays its callers by [`READ_TIMEOUT`] once; then checks
/// are skipped until it has ended.
pub(crate) struct Watcher {
    /// Alive while a check that nobody waits for still runs. Per process, since a lock that the parent held must not
    /// block a forked child.
    hanging: PerProcess<Mutex<Weak<()>>>,
}

impl Watcher {
    pub(crate) const fn new() -> Self {
        Watcher { hanging: PerProcess::new() }
    }

    /// Runs a check. `None`: a check hangs, or there is no thread.
    pub(crate) async fn perform<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.hanging()?.strong_count() > 0 {
            return None;
        }
        let life = Arc::new(());
        let watch = Arc::downgrade(&life);
        let read = move || {
            let found = read();
            drop(life);
            found
        };
        match tokio::time::timeout(READ_TIMEOUT, WORKERS.perform(read)).await {
            Ok(found) => found.ok(),
            Err(_) => {
                *self.hanging()? = watch;
                None
            }
        }
    }

    fn hanging(&self) -> Option<MutexGuard<'_, Weak<()>>> {
        let hanging = self.hanging.get_or_try_init(|| Ok(Mutex::default())).ok()?;
        Some(lock(hanging))
    }
}

type Versions = Vec<Option<Version>>;

pub(crate) type Make<T> = Box<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// A value that is read from files, and read again when they have changed.
pub(crate) struct Reloaded<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    watcher: Watcher,
    first: Current<T>,
    /// Per process, since a lock that the parent held must not block a forked child.
    current: PerProcess<Mutex<Current<T>>>,
}

struct Current<T> {
    value: Arc<T>,
    /// The versions before the value was read; `None` after a failure, so that the files are read again.
    versions: Option<Versions>,
    error: Option<Error>,
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        let Current { value, versions, error } = self;
        Current { value: value.clone(), versions: versions.clone(), error: error.clone() }
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the first value. Without paths the value never changes.
    pub(crate) fn new(paths: Vec<PathBuf>, make: Make<T>) -> Result<Self, Error> {
        // Taken before the files are read, so that a change during the read is noticed later.
        let versions = versions(&paths);
        let first = Current { value: Arc::new(make()?), versions: Some(versions), error: None };
        Ok(Reloaded { paths, make, watcher: Watcher::new(), first, current: PerProcess::new() })
    }

    /// The last good value, read again if the files have changed. Checks the files, which may block.
    pub(crate) fn reload(&self) -> Arc<T> {
        let found = versions(&self.paths);
        let Some(seen) = self.current().map(|current| current.versions.clone()) else {
            return self.first.value.clone();
        };
        if seen.as_ref() == Some(&found) {
            return self.last();
        }
        // Outside of the lock, since a file system may hang. Of two callers that read at once the last one is right, or
        // reads again.
        let made = (self.make)();
        let Some(mut current) = self.current() else { return self.first.value.clone() };
        match made {
            Ok(value) => *current = Current { value: Arc::new(value), versions: Some(found), error: None },
            Err(error) => (current.versions, current.error) = (None, Some(error)),
        }
        current.value.clone()
    }

    /// Like `reload`, for async code: runs on a thread that may block. If that takes too long, the last good value
    /// stays in use.
    pub(crate) async fn reload_async(self: &Arc<Self>) -> Arc<T> {
        let here = self.clone();
        if self.has_paths() {
            self.watcher.perform(move || drop(here.reload())).await;
        }
        self.last()
    }

    pub(crate) fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// The last good value, without checking the files.
    pub(crate) fn last(&self) -> Arc<T> {
        self.current().map_or_else(|| self.first.value.clone(), |current| current.value.clone())
    }

    /// Why the files could not be used at the last check.
    pub(crate) fn reload_error(&self) -> Option<Error> {
        self.current()?.error.clone()
    }

    fn current(&self) -> Option<MutexGuard<'_, Current<T>>> {
        let current = self.current.get_or_try_init(|| Ok(Mutex::new(self.first.clone()))).ok()?;
        Some(lock(current))
    }
}

fn versions(paths: &[PathBuf]) -> Versions {
    paths.iter().map(Version::of).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::status::Status;

    /// A value that is the text of a file and must not be `bad`, and a count of the reads.
    fn text_of(path: PathBuf) -> (Reloaded<String>, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let (counted, read) = (reads.clone(), path.clone());
        let make = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let unusable = |why: String| Error::new(Status::PG_ERR_INVALID_PEM, why);
            let text = fs::read_to_string(&read).map_err(|error| unusable(error.to_string()))?;
            if text == "bad" { Err(unusable("it is bad".into())) } else { Ok(text) }
        });
        (Reloaded::new(vec![path], make).unwrap(), reads)
    }

    fn replace(path: &std::path::Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, path).unwrap();
    }

    #[test]
    fn an_unchanged_file_is_read_once_and_a_replaced_one_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let (text, reads) = text_of(path.clone());
        assert_eq!((text.reload().as_str(), text.reload().as_str()), ("one", "one"));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        replace(&path, "two");
        assert_eq!(*text.last(), "one", "the file was not checked");
        assert_eq!((text.reload().as_str(), text.last().as_str()), ("two", "two"));
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_last_good_version_stays_until_there_is_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let (text, _) = text_of(path.clone());
        replace(&path, "bad");
        assert_eq!(*text.reload(), "one");
        assert!(text.reload_error().unwrap().text.contains("bad"));
        fs::remove_file(&path).unwrap();
        assert_eq!(*text.reload(), "one");
        assert!(text.reload_error().unwrap().text.contains("No such file"));
        fs::write(&path, "two").unwrap();
        assert_eq!(*text.reload(), "two");
        assert!(text.reload_error().is_none());
    }

    #[test]
    fn a_file_that_could_not_be_read_once_is_read_again_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let refuse = Arc::new(AtomicUsize::new(0));
        let (refusing, read) = (refuse.clone(), path.clone());
        let make = Box::new(move || match refusing.load(Ordering::SeqCst) {
            0 => Ok(fs::read_to_string(&read).unwrap()),
            _ => Err(Error::new(Status::PG_ERR_FILE_UNREADABLE, "too many open files")),
        });
        let text = Reloaded::new(vec![path.clone()], make).unwrap();
        replace(&path, "two");
        refuse.store(1, Ordering::SeqCst);
        assert_eq!(*text.reload(), "one");
        refuse.store(0, Ordering::SeqCst);
        assert_eq!(*text.reload(), "two");
    }

    /// As in Kubernetes: `file` is a link to `..data/file`, and `..data` is a link to a folder that is replaced by
    /// renaming.
    #[test]
    fn a_folder_that_is_replaced_behind_a_link_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("file"), version).unwrap();
        }
        symlink("one", at("..data")).unwrap();
        symlink("..data/file", at("file")).unwrap();
        let (text, _) = text_of(at("file"));
        symlink("two", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(*text.reload(), "two");
        fs::remove_dir_all(at("one")).unwrap();
        assert_eq!(*text.reload(), "two");
    }
}
