//! `pg-sandbox`: the emulator as a program. It prints one line of JSON with all addresses and files.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pg_sandbox::{Error, Options, Sandbox, Switches};
use tokio::signal::unix::{SignalKind, signal};

/// An emulator of the PaymentsGate API on loopback
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The address of all ports
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    address: Ipv4Addr,
    /// Port of the main HTTPS listener; any free one by default
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where to write certificates and credentials; a temporary directory by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Sets a switch, as in `rotation=window=30`; may be repeated
    #[arg(long = "switch", value_name = "NAME=VALUE")]
    switches: Vec<String>,
    /// Keeps running after the parent process has ended
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "pg-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Error> {
    let parent = parent_id();
    let mut switches = Switches::default();
    for assignment in &arguments.switches {
        switches.set_text(assignment)?;
    }
    let Arguments { address, port, dir, .. } = arguments;
    let sandbox = Sandbox::start(Options { address, port, directory: dir, switches })?;
    let address = serde_json::to_string(sandbox.address()).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        writeln!(io::stdout().lock(), "{address}")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_is_gone(parent), if !arguments.keep => {}
        }
        Ok(())
    })
}

/// Returns when another process has inherited this one.
async fn parent_is_gone(parent: u32) {
    while parent_id() == parent {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
