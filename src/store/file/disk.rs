//! The file system operations of the file store, one step at a time, so that tests can make each step fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, RawMode};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::Error;
use crate::status::Status;

/// Access for the owner only.
const PRIVATE: u32 = 0o600;
/// Does not follow a symbolic link, and does not block on a named pipe.
const SAFE_FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// The operations, as this machine's file system performs them. Paths are always complete.
pub trait Disk: Send + Sync {
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(SAFE_FLAGS).open(path)
    }

    /// Reads the following bytes, at most `limit`.
    fn read(&self, file: &File, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
        file.take(limit).read_to_end(into).map(|_| ())
    }

    /// Makes a new file that only its owner can access. The file must not exist.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(PRIVATE).custom_flags(SAFE_FLAGS).open(path)
    }

    /// Writes all bytes.
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Makes the content durable, even through a loss of power.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Renames a file, replacing an existing one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Makes the names in a folder durable, even through a loss of power.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Opens a lock file; `makes` says whether it is made if there is none. Nothing is ever written to it.
    fn open_lock(&self, path: &Path, makes: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(makes).truncate(false).mode(PRIVATE).custom_flags(SAFE_FLAGS);
        options.open(path)
    }

    /// Gives a new file to a group, with this mode.
    fn share(&self, file: &File, gid: u32, mode: u32) -> io::Result<()> {
        if file.metadata()?.gid() != gid {
            rustix::fs::fchown(file, None, Some(Gid::from_raw(gid)))?;
        }
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode as _))?)
    }

    /// Gives a file another name, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }
}

/// The machine's own file system.
#[derive(Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {}

/// Opens a folder, to check and correct its mode.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

/// Refuses a file of another user. If others have access to our own file, corrects its mode, which a mount may have
/// changed (Kubernetes does so for `fsGroup`). Returns a description of the change.
pub(super) fn make_private(path: &Path, file: &File) -> Result<Option<String>, Error> {
    let metadata = || file.metadata().map_err(|error| file_error("inspect", path, &error));
    let (found, our_uid, path_text) = (metadata()?, geteuid().as_raw(), path.display());
    if !found.is_file() {
        return Err(refused_error(format!("store {path_text}: not a regular file; move it away")));
    }
    if found.uid() != our_uid {
        let owner = found.uid();
        return Err(refused_error(format!(
            "store {path_text}: it belongs to user {owner}, while this program runs as user {our_uid}; \
             run it as user {owner}, give each user a folder of its own, share it (store_mode = group), or let \
             root `chown {our_uid} {path_text}`"
        )));
    }
    let is_open = |mode: u32| mode & 0o077 != 0;
    if !is_open(found.mode()) {
        return Ok(None);
    }
    let changed = rustix::fs::fchmod(file, Mode::from_raw_mode(PRIVATE as RawMode));
    if changed.is_err() || is_open(metadata()?.mode()) {
        let mode = found.mode() & 0o777;
        return Err(refused_error(format!(
            "store {path_text}: others may use it (mode {mode:03o}), and it holds tokens; {}",
            unchangeable(changed)
        )));
    }
    Ok(Some(format!(
        "store {path_text}: others could use it (mode {:03o}); its mode is 600 again",
        found.mode() & 0o777
    )))
}

/// Refuses a folder in which others can replace files, after an attempt to correct the mode of our own. Returns a
/// description of the change.
pub(super) fn make_folder_private(path: &Path, folder: &File) -> Result<Option<String>, Error> {
    let metadata = || folder.metadata().map_err(|error| file_error("inspect", path, &error));
    let (found, our_uid, path_text) = (metadata()?, geteuid().as_raw(), path.display());
    // Root has access to every folder.
    if ![our_uid, 0].contains(&found.uid()) {
        let owner = found.uid();
        return Err(refused_error(format!(
            "store {path_text}: this folder belongs to user {owner}, who can replace files in it, while this program runs as \
             user {our_uid}; name a folder in it that does not exist yet, or let root `chown {our_uid} {path_text}`"
        )));
    }
    let is_shared = |mode: u32| mode & 0o022 != 0 && mode & 0o1000 == 0;
    let mode = found.mode() & 0o7777;
    if !is_shared(mode) {
        return Ok(None);
    }
    let is_own = found.uid() == our_uid;
    let changed = if is_own {
        rustix::fs::fchmod(folder, Mode::from_raw_mode((mode & !0o022) as RawMode))
    } else {
        Ok(())
    };
    if changed.is_err() || is_shared(metadata()?.mode()) {
        let remedy = match is_own {
            true => unchangeable(changed),
            false => format!(
                "name a folder in it that does not exist yet, or let its owner, user {}, `chmod go-w {path_text}`",
                found.uid()
            ),
        };
        return Err(refused_error(format!(
            "store {path_text}: others can replace files in this folder (mode {mode:03o}); {remedy}"
        )));
    }
    Ok(Some(format!(
        "store {path_text}: others could replace files in this folder (mode {mode:03o}); its mode is {:03o} now",
        mode & !0o022
    )))
}

/// What to do if the owner cannot change a mode: nobody can.
pub(super) fn unchangeable(changed: Result<(), Errno>) -> String {
    match changed {
        Err(Errno::ROFS) => "the mount is read-only, so name a folder on another one".into(),
        Err(error) => {
            format!("its mode cannot be changed ({error}), so name a folder on another file system")
        }
        Ok(()) => "the file system does not keep modes, so name a folder on another one".into(),
    }
}

/// Whether the file system cannot sync a folder (CIFS, 9p), so that names are as durable as it makes them.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

pub(super) fn file_error(verb: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            return refused_error(format!("store {path}: a symbolic link, which is not followed; remove it"));
        }
        Some(libc::ENOTDIR) => {
            return refused_error(format!("store {path}: not a folder; name a folder, or one to be made"));
        }
        Some(libc::EROFS) => {
            let text =
                format!("store: cannot {verb} {path}: the mount is read-only; name a folder on another one");
            return Error::new(Status::PG_ERR_STORE, text);
        }
        _ => {}
    }
    let text = format!(
        "store: cannot {verb} {path}: {error}; check that the folder exists, its permissions, and the free space"
    );
    Error::new(Status::PG_ERR_STORE, text)
}

pub(super) fn refused_error(text: String) -> Error {
    Error::new(Status::PG_ERR_STORE_REFUSED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_about_a_read_only_mount_can_be_followed() {
        let error = io::Error::from_raw_os_error(libc::EROFS);
        let error = file_error("make or open", Path::new("/data/sessions"), &error);
        assert_eq!(error.status, Status::PG_ERR_STORE);
        for text in
            [error.text, unchangeable(Err(Errno::ROFS)), unchangeable(Err(Errno::PERM)), unchangeable(Ok(()))]
        {
            assert!(text.contains("name a folder on another") && !text.contains("chmod"), "{text}");
        }
    }

    /// The files of a process in /proc are its user's, and nobody can change their modes.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_whose_mode_cannot_be_changed_is_refused_with_its_mode() {
        let path = Path::new("/proc/self/comm");
        let error = make_private(path, &File::open(path).unwrap()).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED);
        for part in ["/proc/self/comm", "(mode 644)", "its mode cannot be changed", "another file system"] {
            assert!(error.text.contains(part), "{part}: {error}");
        }
    }
}
