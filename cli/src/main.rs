//! The command line of paymentsgate-auth: log in, print a token for curl, run a program with one, show the
//! store, find problems.
//!
//! In reading order: `arguments`, `settings` and `profile` (the sources and their precedence), `exit` (the exit codes), `page` (the
//! format of output); then a file for each command. The library's [`Operator`] does the work on the store and the
//! service.

mod agent;
mod arguments;
mod doctor;
mod exec;
mod exit;
mod login;
mod logout;
mod metrics;
mod page;
mod place;
mod profile;
mod refresh;
mod sandbox;
mod settings;
mod status;
mod token;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use paymentsgate_auth::{Client, Error, Operator, Status};

use arguments::{Arguments, Command};
use exit::Exit;
use page::{Color, Page};
use settings::Settings;

/// Why a command failed.
enum Trouble {
    /// The library says why.
    Failed(Error),
    /// `exec` could not start the program, or `sandbox` the emulator.
    Unstarted(Exit, Error),
    /// The output could not be written.
    Unwritten(io::Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Failed(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Unwritten(error)
    }
}

fn main() -> ExitCode {
    let Arguments { command, settings, color } = Arguments::parse();
    let settings = Settings::gather(&settings);
    let code = run(&command, &settings, color).unwrap_or_else(|trouble| {
        let exit = match trouble {
            Trouble::Failed(error) => {
                page::complain(color, &error);
                Exit::of(error.status)
            }
            Trouble::Unstarted(exit, error) => {
                page::complain(color, &error);
                exit
            }
            // The reader has closed the pipe.
            Trouble::Unwritten(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Trouble::Unwritten(error) => {
                page::complain(color, &Error::new(Status::PG_ERR_SYSTEM, format!("cannot write: {error}")));
                Exit::Failed
            }
        };
        exit as u8
    });
    ExitCode::from(code)
}

fn run(command: &Command, settings: &Settings, color: Color) -> Result<u8, Trouble> {
    let mut page = Page::new(color);
    let exit = match command {
        Command::Login(arguments) => login::run(arguments, settings, &mut page),
        Command::Token(arguments) => token::run(arguments, settings, color),
        Command::Exec(arguments) => return exec::run(arguments, settings, color),
        Command::Refresh(arguments) => refresh::run(arguments, settings, &mut page),
        Command::Status(arguments) => status::run(arguments, settings, &mut page),
        Command::Metrics(arguments) => metrics::run(arguments, settings, &mut page),
        Command::Doctor(arguments) => doctor::run(arguments, settings, &mut page),
        Command::Agent(arguments) => agent::run(arguments, settings, color),
        Command::Logout => logout::run(settings, &mut page),
        Command::Sandbox { arguments } => return Err(sandbox::run(arguments)),
    }?;
    Ok(exit as u8)
}

/// The account's place in the store that the settings name.
fn operator(settings: &Settings) -> Result<Operator, Error> {
    let config = settings.config()?;
    let client = Client::new(&config)?;
    settings.make_default_store()?;
    Operator::open(&client, &config)
}

/// The same for a command that is useless if nothing is saved.
fn keeping_operator(settings: &Settings) -> Result<Operator, Error> {
    let operator = operator(settings)?;
    if settings.keeps_nothing() {
        let why = match settings.value("store") {
            Some(_) => "store is memory:, which ends with this command",
            None => "store is not set, nor is HOME or XDG_STATE_HOME",
        };
        let text = format!(
            "{why}, so nothing would be saved; set store to file:/folder, for example --store file:/var/lib/shop/pg-session"
        );
        return Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text));
    }
    Ok(operator)
}
