//! The lock file, while others do something to it in the middle of a lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Disk, RecordFile, SystemDisk};

use crate::fixture::{folder, key, record, seeded};

type Open = Box<dyn FnMut(&Path) -> io::Result<File> + Send>;

/// A disk that opens lock files in another way.
struct Opens(Mutex<Open>);

impl Disk for Opens {
    fn open_lock(&self, path: &Path, _makes: bool) -> io::Result<File> {
        (self.0.lock().unwrap())(path)
    }
}

fn record_on(folder: &Path, open: impl FnMut(&Path) -> io::Result<File> + Send + 'static) -> RecordFile {
    let disk = Arc::new(Opens(Mutex::new(Box::new(open))));
    RecordFile::new(folder, key("account"), None, Arc::new(SystemClock), disk)
}

#[test]
fn a_lock_file_that_is_replaced_in_the_middle_is_locked_in_its_new_form() {
    let (folder, _) = seeded();
    let replaced = record_on(folder.path(), |path| {
        // Not before there is another file, which so gets another inode.
        let new = PathBuf::from(format!("{}.new", path.display()));
        let made = SystemDisk.open_lock(&new, true)?;
        fs::rename(&new, path)?;
        Ok(made)
    });
    assert!(replaced.try_lock().unwrap());
    assert!(!record(folder.path()).try_lock().unwrap());
    replaced.unlock();
    assert!(record(folder.path()).try_lock().unwrap());
}

#[test]
fn of_two_threads_that_make_the_lock_file_one_has_the_lock() {
    let folder = folder();
    let faster = Arc::new(record(folder.path()));
    let other = faster.clone();
    let slower = record_on(folder.path(), move |path| {
        assert!(other.try_lock().unwrap());
        SystemDisk.open_lock(path, true)
    });
    assert!(!slower.try_lock().unwrap(), "the other thread was faster");
    faster.unlock();
    assert!(record(folder.path()).try_lock().unwrap());
}

#[test]
fn a_lock_that_the_system_refuses_is_an_error_and_not_a_lock_of_somebody_else() {
    let (folder, _) = seeded();
    // A file that is open for reading cannot be locked for writing.
    let refused = record_on(folder.path(), |path| File::open(path));
    assert_eq!(refused.try_lock().unwrap_err().status, Status::PG_ERR_STORE);
}
