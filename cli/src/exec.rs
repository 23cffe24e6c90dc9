//! `exec`: runs a program with a token in its environment, or in a file that ends with the program.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use paymentsgate_auth::{Error, Status};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use tempfile::NamedTempFile;

use crate::arguments::ExecArguments;
use crate::exit::Exit;
use crate::page::Color;
use crate::settings::{Settings, TOKEN, TOKEN_FILE, absolute};
use crate::{Trouble, token};

/// The signals that reach the program even if they are sent to this command.
const FORWARDED: [i32; 7] = [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Returns only if there is no program to replace this command: with `--file`, or after a failure.
pub(crate) fn run(arguments: &ExecArguments, settings: &Settings, color: Color) -> Result<u8, Trouble> {
    let [program, rest @ ..] = arguments.program.as_slice() else {
        return Ok(Exit::Usage as u8);
    };
    let committed = token::obtain(settings, &arguments.need, color)?;
    let access = committed.token().access.expose();
    let mut command = Command::new(program);
    command.args(rest).env_remove(TOKEN).env_remove(TOKEN_FILE);
    if !arguments.file {
        return Err(unstarted(program, &command.env(TOKEN, access).exec()));
    }
    // A signal from here on reaches the program, so that the file does not stay.
    let mut signals = received_signals().map_err(|error| system("receive signals", &error))?;
    let file = private_file(access).map_err(|error| system("write a file with the token", &error))?;
    let mut child =
        command.env(TOKEN_FILE, file.path()).spawn().map_err(|error| unstarted(program, &error))?;
    let status = wait(&mut child, &mut signals).map_err(|error| system("wait for the program", &error))?;
    file.close().map_err(|error| system("remove the file with the token", &error))?;
    Ok(code(status))
}

/// The end of a child, and the signals that are forwarded. A signal that is ignored here stays ignored in the program.
fn received_signals() -> io::Result<Signals> {
    let forwarded = FORWARDED.iter().filter(|signal| !is_ignored(**signal));
    Signals::new([SIGCHLD].iter().chain(forwarded))
}

/// Whether this process was started with the signal ignored: `nohup` makes a program ignore SIGHUP.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal - 1) & 1 == 1
}

/// A file that only this user can access. It is removed when it is dropped.
fn private_file(access: &str) -> io::Result<NamedTempFile> {
    let runtime: Option<PathBuf> = absolute("XDG_RUNTIME_DIR").filter(|folder| folder.is_dir());
    let folder = runtime.unwrap_or_else(std::env::temp_dir);
    let mut file = tempfile::Builder::new().prefix("paymentsgate-auth-").tempfile_in(folder)?;
    file.write_all(access.as_bytes())?;
    Ok(file)
}

/// Forwards signals until the program has ended.
fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    for signal in signals.forever() {
        if signal == SIGCHLD {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
        } else if let Some(signal) = Signal::from_named_raw(signal)
            && !comes_from_the_terminal(signal)
        {
            // The program may have ended.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
    child.wait()
}

/// Ctrl-C and Ctrl-\ in a terminal: the program receives the signal itself.
fn comes_from_the_terminal(signal: Signal) -> bool {
    let foreground = || tcgetpgrp(File::open("/dev/tty").ok()?).ok();
    [Signal::INT, Signal::QUIT].contains(&signal) && foreground() == Some(getpgrp())
}

/// The exit code of the program. If a signal ended it, the code that shells use.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed as u8)
}

fn unstarted(program: &OsStr, error: &io::Error) -> Trouble {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::NotRun };
    let text = format!("cannot run {}: {error}", program.display());
    Trouble::Unstarted(exit, Error::new(Status::PG_ERR_SYSTEM, text))
}

fn system(what: &str, error: &io::Error) -> Error {
    Error::new(Status::PG_ERR_SYSTEM, format!("cannot {what}: {error}"))
}
