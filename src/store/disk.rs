//! What a store asks of the file system, one step at a time, so that each step can be made to fail in a test.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::process::geteuid;

use crate::error::Error;
use crate::runtime::streams;
use crate::status::Status;

/// Nobody but the owner.
const PRIVATE: u32 = 0o600;
/// Never through a symbolic link, never stuck on a named pipe.
const CAREFUL: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// The steps. The path of a folder or a file is always given in full.
pub trait Disk: Send + Sync {
    /// Opens a file to be read.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// The bytes that follow, up to so many.
    fn read(&self, file: &File, most: u64, into: &mut Vec<u8>) -> io::Result<()>;
    /// Makes a new file for its owner alone; there must be none.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all the bytes.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()>;
    /// Makes what is written last through a loss of power.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Puts a file in another's place.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder last through a loss of power.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path) -> io::Result<File> {
        streams::occupy().map_err(io::Error::other)?;
        OpenOptions::new().read(true).custom_flags(CAREFUL).open(path)
    }

    fn read(&self, file: &File, most: u64, into: &mut Vec<u8>) -> io::Result<()> {
        file.take(most).read_to_end(into).map(|_| ())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        streams::occupy().map_err(io::Error::other)?;
        OpenOptions::new().write(true).create_new(true).mode(PRIVATE).custom_flags(CAREFUL).open(path)
    }

    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Opens a lock file, made if there is none. It is never written to.
pub(super) fn open_lock_file(path: &Path) -> io::Result<File> {
    streams::occupy().map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(PRIVATE).custom_flags(CAREFUL);
    options.open(path)
}

/// Refuses a file that others could have written or can read.
pub(super) fn check_private(path: &Path, file: &File) -> Result<(), Error> {
    let about = file.metadata().map_err(|error| unusable("look at", path, &error))?;
    let (us, path) = (geteuid().as_raw(), path.display());
    if !about.is_file() {
        return Err(refused(format!("store {path}: not a regular file; move it away")));
    }
    if about.uid() != us {
        let owner = about.uid();
        return Err(refused(format!(
            "store {path}: it belongs to user {owner}, while this program runs as user {us}; \
             run it as user {owner}, give each user a folder of its own, or `chown {us} {path}`"
        )));
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(refused(format!(
            "store {path}: others may use it (mode {mode:03o}), and it holds tokens; `chmod 600 {path}`"
        )));
    }
    Ok(())
}

/// Refuses a folder in which others can replace files.
pub(super) fn check_folder(path: &Path) -> Result<(), Error> {
    let about = fs::metadata(path).map_err(|error| unusable("look at", path, &error))?;
    let path = path.display();
    if !about.is_dir() {
        return Err(refused(format!("store {path}: not a folder; name a folder, or one to be made")));
    }
    let is_shared = about.mode() & 0o022 != 0 && about.mode() & 0o1000 == 0;
    if is_shared {
        let mode = about.mode() & 0o777;
        return Err(refused(format!(
            "store {path}: others can replace files in this folder (mode {mode:03o}); `chmod go-w {path}`, or name \
             a folder in it that does not exist yet"
        )));
    }
    Ok(())
}

/// A file operation failed: what, on what, and why.
pub(super) fn unusable(verb: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    if error.raw_os_error() == Some(libc::ELOOP) {
        return refused(format!("store {path}: a symbolic link, which is not followed; remove it"));
    }
    let text = format!(
        "store: cannot {verb} {path}: {error}; check that the folder exists, its permissions, and the free space"
    );
    Error::new(Status::PG_ERR_STORE, text)
}

pub(super) fn refused(text: String) -> Error {
    Error::new(Status::PG_ERR_STORE_REFUSED, text)
}
