//! `metrics`: prints what the store holds as numbers for Prometheus, without a lock and without a call to the service.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use paymentsgate_auth::{Error, Status};

use crate::arguments::MetricsArguments;
use crate::exit::Exit;
use crate::page::Page;
use crate::settings::Settings;
use crate::{Trouble, keeping_operator};

pub(crate) fn run(
    arguments: &MetricsArguments,
    settings: &Settings,
    page: &mut Page,
) -> Result<Exit, Trouble> {
    let operator = keeping_operator(settings)?;
    // A store that cannot be read is reported as well, and the command fails anyway.
    let (found, failure) = match operator.look() {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error)),
    };
    let text = operator.metrics(found)?;
    match &arguments.output {
        Some(path) => replace(path, &text).map_err(|error| unwritable(path, &error))?,
        None => page.say(text.trim_end())?,
    }
    failure.map_or(Ok(Exit::Done), |error| Err(error.into()))
}

/// Replaces the file atomically: a reader sees the old text or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The collector reads only files that end in .prom.
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = File::create(&new).and_then(|mut file| {
        // The collector's user must be able to read it.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    });
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let text = format!("cannot write {}: {error}; give --output a file in a writable folder", path.display());
    Error::new(Status::PG_ERR_SYSTEM, text)
}
