//! `pg-sandbox`: the emulator as a program. It prints one line of JSON with all addresses and files, or runs a program against
//! itself.

mod arguments;
mod program;

use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pg_sandbox::{Error, Fault, Options, Sandbox, Switches};
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use program::Unstarted;

/// Why the emulator or the program did not run.
struct Trouble {
    code: u8,
    text: String,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble { code: 1, text: error.to_string() }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Unstarted> for Trouble {
    fn from(Unstarted { code, text }: Unstarted) -> Self {
        Trouble { code, text }
    }
}

fn main() -> ExitCode {
    let code = run(Arguments::parse()).unwrap_or_else(|Trouble { code, text }| {
        let _ = writeln!(io::stderr().lock(), "pg-sandbox: {text}");
        code
    });
    ExitCode::from(code)
}

fn run(arguments: Arguments) -> Result<u8, Trouble> {
    let parent = parent_id();
    let mut switches = Switches::default();
    for assignment in &arguments.switches {
        switches.set_text(assignment)?;
    }
    let faults = arguments.faults.iter().map(|text| fault(text)).collect::<Result<Vec<_>, _>>()?;
    let Arguments { address, port, dir, .. } = arguments;
    let sandbox = Sandbox::start(Options { address, port, directory: dir, switches })?;
    faults.into_iter().try_for_each(|fault| sandbox.inject(fault))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Ctrl-C in a terminal reaches the program, too, which decides when to end.
        let mut interrupt = signal(SignalKind::interrupt())?;
        if let [program, rest @ ..] = arguments.program.as_slice() {
            let program = program::start(program, rest, sandbox.address())?;
            return Ok(program::wait(program, &mut terminate).await?);
        }
        let address = serde_json::to_string(sandbox.address()).unwrap_or_default();
        writeln!(io::stdout().lock(), "{address}")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_is_gone(parent), if !arguments.keep => {}
        }
        Ok(0)
    })
}

fn fault(text: &str) -> Result<Fault, Error> {
    serde_json::from_str(text).map_err(|error| Error::BadFault(format!("--fault {text}: {error}")))
}

/// Returns when another process has inherited this one.
async fn parent_is_gone(parent: u32) {
    while parent_id() == parent {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
