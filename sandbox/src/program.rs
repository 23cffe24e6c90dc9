//! Runs a program against the emulator.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pg_sandbox::Address;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::Signal as Arrivals;

/// The exit codes of shells for a program that cannot be run, and for one that does not exist.
const NOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// A program that was not started.
pub(crate) struct Unstarted {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// Starts the program. Its environment says where the emulator is.
pub(crate) fn start(
    program: &OsString,
    arguments: &[OsString],
    address: &Address,
) -> Result<Child, Unstarted> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PAYMENTSGATE_BASE_URL", &address.urls.https)
        .env("PAYMENTSGATE_TLS_CA_FILE", &address.ca_file)
        .env("PAYMENTSGATE_CREDENTIALS_FILE", &address.credentials_file)
        .env("PG_SANDBOX_ADMIN", &address.urls.admin)
        .env("PG_SANDBOX_FIXED", &address.urls.fixed)
        .env("PG_SANDBOX_FIXED_HTTP1", &address.urls.fixed_http1);
    command.spawn().map_err(|error| Unstarted {
        code: if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN },
        text: format!("cannot run {}: {error}", program.display()),
    })
}

/// Waits until the program has ended, and passes each SIGTERM on to it. Returns its exit code.
pub(crate) async fn wait(mut program: Child, terminate: &mut Arrivals) -> io::Result<u8> {
    loop {
        tokio::select! {
            status = program.wait() => return Ok(code(status?)),
            _ = terminate.recv() => {
                let pid = program.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                // The program may have ended.
                let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            }
        }
    }
}

/// The exit code. If a signal ended the program, the code that shells use.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
