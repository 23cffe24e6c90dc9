//! The directory of files that clients need: certificates, keys and credentials.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;

/// The emulator's directory; a temporary one is removed with it.
pub(crate) struct Folder {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Opens the given directory, or makes a temporary one.
    pub(crate) fn open(asked: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = asked else {
            let temporary = tempfile::Builder::new().prefix("pg-sandbox-").tempdir()?;
            return Ok(Self { path: temporary.path().into(), _temporary: Some(temporary) });
        };
        fs::create_dir_all(path).map_err(|source| Error::File { path: path.into(), source })?;
        Ok(Self { path: path.into(), _temporary: None })
    }

    /// Writes a file that only its owner may read, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        match file.and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::File { path, source }),
        }
    }
}
