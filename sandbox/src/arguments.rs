//! The arguments of the program.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Parser;

const AFTER_HELP: &str = "\
Without PROGRAM it prints one line of JSON with its URLs and files, and runs until SIGTERM, SIGINT or the end of its parent.

With PROGRAM it prints nothing. The program gets PAYMENTSGATE_BASE_URL, PAYMENTSGATE_TLS_CA_FILE,
PAYMENTSGATE_CREDENTIALS_FILE, PG_SANDBOX_ADMIN, PG_SANDBOX_FIXED and PG_SANDBOX_FIXED_HTTP1 in its environment. SIGTERM is
passed on to it. The exit code is the program's; 128 and the number of the signal that ended it; 126 if it cannot be run,
127 if there is no such program.

Example:
  pg-sandbox --switch access_lifetime_s=60 -- ctest --test-dir build
";

/// An emulator of the PaymentsGate API on this machine, for tests of programs.
#[derive(Parser)]
#[command(name = "pg-sandbox", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The address of all ports
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    pub(crate) address: Ipv4Addr,
    /// Port of the main HTTPS listener; any free one by default
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Where to write certificates and credentials; a temporary directory by default
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Sets a switch, as in `rotation=window=30`; may be repeated
    #[arg(long = "switch", value_name = "NAME=VALUE")]
    pub(crate) switches: Vec<String>,
    /// Adds a fault, a JSON object such as {"route": "wallet", "action": {"kind": "reset"}}; may be repeated
    #[arg(long = "fault", value_name = "JSON")]
    pub(crate) faults: Vec<String>,
    /// Keeps running after the parent process has ended
    #[arg(long, conflicts_with = "program")]
    pub(crate) keep: bool,
    /// A program and its arguments, to run against the emulator, which ends with it
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}
