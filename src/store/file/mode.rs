//! Who may use a folder of records: the setting `store_mode`, and the checks of folders and files in each mode.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use super::disk::{
    Disk, file_error, make_folder_private, make_private, open_folder, refused_error, unchangeable,
};
use crate::error::Error;
use crate::status::Status;

/// The mode of a group's folder. New files in it get its group.
const GROUP_FOLDER: u32 = 0o2770;
/// The mode of a group's files.
const GROUP_FILE: u32 = 0o660;
/// An empty file that marks a group's folder: modes alone do not tell it from a private folder on a mount with `fsGroup`.
const MARKER: &str = "pg-group";

/// Who may use the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// One user.
    #[default]
    Private,
    /// The users of the folder's group.
    Group,
}

impl StoreMode {
    /// The mode for a word of the setting. Any other word means `private`.
    pub(crate) fn named(word: String) -> Self {
        if word == "group" { StoreMode::Group } else { StoreMode::Private }
    }

    /// Refuses a folder in which somebody else can replace files. Returns a description of a mode that was corrected.
    pub(super) fn check_folder(self, path: &Path, folder: &File) -> Result<Option<String>, Error> {
        match self {
            StoreMode::Private => {
                refuse_marked(path)?;
                make_folder_private(path, folder)
            }
            StoreMode::Group => check_group_folder(path, folder),
        }
    }

    /// Refuses a file that somebody else could have written or can read. Returns a description of a mode that was
    /// corrected.
    pub(super) fn check_file(self, path: &Path, file: &File) -> Result<Option<String>, Error> {
        match self {
            StoreMode::Private => {
                refuse_marked(folder_of(path))?;
                make_private(path, file)
            }
            StoreMode::Group => check_group_file(path, file),
        }
    }

    /// Makes a new file in the folder, with the permissions of the mode.
    pub(super) fn create(self, disk: &dyn Disk, path: &Path) -> io::Result<File> {
        let file = disk.create(path)?;
        if self == StoreMode::Group {
            let folder = fs::metadata(folder_of(path))?;
            // The umask and a folder without the setgid bit do not count.
            disk.share(&file, folder.gid(), GROUP_FILE).inspect_err(|_| drop(disk.remove(path)))?;
        }
        Ok(file)
    }

    /// Opens a lock file, and makes it if there is none. `temporary` is a name that no other file has.
    pub(super) fn open_lock(self, disk: &dyn Disk, path: &Path, temporary: &Path) -> io::Result<File> {
        if self == StoreMode::Private {
            return disk.open_lock(path, true);
        }
        match disk.open_lock(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        // It appears with its permissions: a process that dies meanwhile leaves no lock file that others cannot open.
        let file = self.create(disk, temporary)?;
        let linked = disk.link(temporary, path);
        // A file that stays is removed after the next flight that died.
        let _ = disk.remove(temporary);
        match linked {
            Ok(()) => Ok(file),
            // Another process was faster, or has removed the temporary file.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                disk.open_lock(path, false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the folder, unless it exists.
    pub(super) fn make_folder(self, path: &Path) -> io::Result<()> {
        match self {
            StoreMode::Private => match make_own_folder(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            },
            StoreMode::Group => make_group_folder(path),
        }
    }

    /// Marks the folder of a group, so that a private process does not take it for its own.
    pub(super) fn mark_folder(self, disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
        if self == StoreMode::Private || is_marked(folder) {
            return Ok(());
        }
        let path = folder.join(MARKER);
        match disk.create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.file_error("make", &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// The error of an operation on a file or folder.
    pub(super) fn file_error(self, verb: &str, path: &Path, error: &io::Error) -> Error {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return file_error(verb, path, error);
        }
        let what_to_do = match self {
            StoreMode::Private => {
                "check its owner and mode; if users share the folder, set store_mode to group in each program"
            }
            StoreMode::Group => {
                "with store_mode = group, the user of each program must be in the group of the folder, and each program \
                 must set store_mode to group"
            }
        };
        let text = format!("store: cannot {verb} {}: {error}; {what_to_do}", path.display());
        Error::new(Status::PG_ERR_STORE, text)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn is_marked(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(MARKER)).is_ok()
}

fn refuse_marked(folder: &Path) -> Result<(), Error> {
    if !is_marked(folder) {
        return Ok(());
    }
    let text = folder.display();
    Err(refused_error(format!(
        "store {text}: a group shares this folder ({MARKER} is in it), while store_mode is private; set store_mode to \
         group, or name another folder"
    )))
}

fn make_own_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// It appears with its permissions and its marker. So another user can open it at once, and another process that makes it at
/// the same moment cannot replace it: only an empty folder can be replaced.
fn make_group_folder(path: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{:016x}", fastrand::u64(..)));
    let temporary = PathBuf::from(temporary);
    make_own_folder(&temporary)?;
    let marker = temporary.join(MARKER);
    let made = open_folder(&temporary)
        .and_then(|folder| Ok(rustix::fs::fchmod(&folder, Mode::from_raw_mode(GROUP_FOLDER as _))?))
        .and_then(|()| File::create_new(&marker))
        .and_then(|_| fs::rename(&temporary, path));
    match made {
        Err(error) => {
            let _ = fs::remove_file(&marker);
            let _ = fs::remove_dir(&temporary);
            let exists = [io::ErrorKind::AlreadyExists, io::ErrorKind::DirectoryNotEmpty];
            if exists.contains(&error.kind()) { Ok(()) } else { Err(error) }
        }
        Ok(()) => Ok(()),
    }
}

/// Whether this process has the rights of a group. Root has those of every group.
fn is_member(gid: u32) -> bool {
    geteuid().is_root()
        || getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// A command, with who can run it.
fn remedy(owner: u32, command: &str) -> String {
    let our_uid = geteuid().as_raw();
    if [owner, 0].contains(&our_uid) {
        format!("`{command}`")
    } else {
        format!("user {owner} or root can `{command}`")
    }
}

/// Changes the mode of a file or folder of this user. That of another user stays.
fn chmod_own(file: &File, owner: u32, mode: u32) -> Result<(), Errno> {
    let is_own = owner == geteuid().as_raw();
    if is_own { rustix::fs::fchmod(file, Mode::from_raw_mode(mode as _)) } else { Ok(()) }
}

fn check_group_folder(path: &Path, folder: &File) -> Result<Option<String>, Error> {
    let metadata = || folder.metadata().map_err(|error| file_error("inspect", path, &error));
    let (found, text) = (metadata()?, path.display());
    let (owner, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    let refused = |why: String| Err(refused_error(format!("store {text}: {why}")));
    if !is_member(gid) {
        let our_uid = geteuid().as_raw();
        return refused(format!(
            "this folder belongs to group {gid}, and this program, which runs as user {our_uid}, is not in that group, while \
             store_mode is group; run it with that group (Kubernetes: fsGroup), or give the folder another one: {}",
            remedy(owner, &format!("chgrp GROUP {text}"))
        ));
    }
    if mode & 0o070 != 0o070 {
        return refused(format!(
            "the group {gid} of this folder may not use it (mode {mode:03o}), while store_mode is group; {}, or set \
             store_mode to private",
            remedy(owner, &format!("chmod 2770 {text}"))
        ));
    }
    if mode & 0o1000 != 0 {
        return refused(format!(
            "this folder has the sticky bit (mode {mode:03o}), so no user can replace the record of another, while \
             store_mode is group; name a folder in it that does not exist yet, or {}",
            remedy(owner, &format!("chmod -t {text}"))
        ));
    }
    if mode & 0o002 == 0 {
        return Ok(None);
    }
    let corrected = mode & !0o002;
    let changed = chmod_own(folder, owner, corrected);
    if changed.is_err() || metadata()?.mode() & 0o002 != 0 {
        let what_to_do = match owner == geteuid().as_raw() {
            true => unchangeable(changed),
            false => format!(
                "name a folder in it that does not exist yet, or {}",
                remedy(owner, &format!("chmod o-w {text}"))
            ),
        };
        return refused(format!(
            "everybody can replace files in this folder (mode {mode:03o}); {what_to_do}"
        ));
    }
    Ok(Some(format!(
        "store {text}: everybody could replace files in this folder (mode {mode:03o}); its mode is {corrected:03o} now"
    )))
}

/// The owner may be any member of the group: nobody else can give a file to the group, or put one into the folder.
fn check_group_file(path: &Path, file: &File) -> Result<Option<String>, Error> {
    let metadata = |found: io::Result<Metadata>| found.map_err(|error| file_error("inspect", path, &error));
    let (found, text) = (metadata(file.metadata())?, path.display());
    let wanted = metadata(fs::metadata(folder_of(path)))?.gid();
    let (owner, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o777);
    let refused = |why: String| Err(refused_error(format!("store {text}: {why}")));
    if !found.is_file() {
        return refused("not a regular file; move it away".into());
    }
    if gid != wanted {
        return refused(format!(
            "it belongs to group {gid}, and its folder to group {wanted}, while store_mode is group; set store_mode to group \
             in each program that uses the folder, then {}",
            remedy(owner, &format!("chgrp {wanted} {text}; chmod 660 {text}"))
        ));
    }
    if mode & 0o060 != 0o060 {
        return refused(format!(
            "its group may not use it (mode {mode:03o}), while store_mode is group; set store_mode to group in each program \
             that uses the folder, then {}",
            remedy(owner, &format!("chmod 660 {text}"))
        ));
    }
    if mode & 0o007 == 0 {
        return Ok(None);
    }
    let changed = chmod_own(file, owner, GROUP_FILE);
    if changed.is_err() || metadata(file.metadata())?.mode() & 0o007 != 0 {
        let what_to_do = match owner == geteuid().as_raw() {
            true => unchangeable(changed),
            false => remedy(owner, &format!("chmod 660 {text}")),
        };
        return refused(format!("everybody may use it (mode {mode:03o}), and it holds tokens; {what_to_do}"));
    }
    Ok(Some(format!("store {text}: everybody could use it (mode {mode:03o}); its mode is 660 again")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::Location;

    #[test]
    fn a_folder_is_shared_with_a_group_only_if_the_setting_says_so() {
        for (word, expected) in [
            (None, StoreMode::Private),
            (Some("private"), StoreMode::Private),
            (Some("group"), StoreMode::Group),
        ] {
            let mut config = Config::default();
            config.set("store", "file:/data/sessions").unwrap();
            word.into_iter().for_each(|word| config.set("store_mode", word).unwrap());
            let location = config.location().unwrap();
            assert!(
                matches!(location, Location::Folder(_, mode) if mode == expected),
                "{word:?}: {location:?}"
            );
        }
    }

    /// Another process may make the folder after this one has looked for it.
    #[test]
    fn a_folder_that_is_there_already_is_taken_as_it_is_and_one_that_cannot_be_made_is_an_error() {
        for mode in [StoreMode::Private, StoreMode::Group] {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("sessions");
            mode.make_folder(&path).unwrap();
            fs::write(path.join("record"), "kept").unwrap();
            mode.make_folder(&path).unwrap();
            assert_eq!(fs::read(path.join("record")).unwrap(), b"kept", "{mode:?}");
            let error = mode.make_folder(&parent.path().join("missing").join("sessions")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{mode:?}");
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "{mode:?}: an attempt is left");
        }
    }
}
