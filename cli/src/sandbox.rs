//! `sandbox`: becomes the emulator of the service, pg-sandbox.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use paymentsgate_auth::{Error, Status};

use crate::Trouble;
use crate::exit::Exit;

const PROGRAM: &str = "pg-sandbox";

/// Returns only if the emulator cannot be run.
pub(crate) fn run(arguments: &[OsString]) -> Trouble {
    let program = program(std::env::current_exe().ok());
    let given: Vec<_> = std::env::args_os().collect();
    let error = Command::new(&program).args(with_escape(&given, arguments)).exec();
    let (exit, text) = if error.kind() == io::ErrorKind::NotFound {
        let text = "the emulator pg-sandbox is missing, beside this command and on PATH; the archive and the Debian package of \
                    the command line have it, and `pip install paymentsgate-auth-sandbox` installs it";
        (Exit::NotFound, text.to_owned())
    } else {
        (Exit::NotRun, format!("cannot run {}: {error}", program.display()))
    };
    Trouble::Unstarted(exit, Error::new(Status::PG_ERR_SYSTEM, text))
}

/// The arguments of the emulator, which are the last ones of this command. A `--` in front of them is the emulator's, but the
/// parser takes it for its own.
fn with_escape<'a>(given: &'a [OsString], arguments: &'a [OsString]) -> &'a [OsString] {
    let begin = given.len().saturating_sub(arguments.len() + 1);
    match given.get(begin..) {
        Some(all @ [first, ..]) if first == "--" => all,
        _ => arguments,
    }
}

/// The emulator beside this command, else its name, which is looked up on PATH.
fn program(this: Option<PathBuf>) -> PathBuf {
    let beside = this.map(|this| this.with_file_name(PROGRAM));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PROGRAM.into())
}
