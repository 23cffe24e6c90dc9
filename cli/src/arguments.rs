//! The arguments of the command line.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Parser, Subcommand, value_parser};

use crate::exit::Exit;
use crate::page::Color;
use crate::place::{self, Place};

const ABOUT: &str =
    "Keeps a PaymentsGate session: log in, print a token for curl, show the store, find problems.";

const SETTINGS_HELP: &str = "\
Where settings come from:
  All settings of the library are available (docs/settings.md). The sources, in order of precedence:
    1. --set NAME=VALUE, and --base-url, --credentials-file, --store
    2. the profile that --profile names
    3. the environment: PAYMENTSGATE_ and the name in capitals, for example PAYMENTSGATE_TLS_CA_FILE
    4. the profile that PAYMENTSGATE_PROFILE names; without a profile a settings file, a JSON object such as
       {\"base_url\": \"https://…\", \"store\": \"file:/folder\"}: the one that --settings names, else
       paymentsgate-auth/settings.json in $XDG_CONFIG_HOME or ~/.config, if it exists
  If no source sets store, sessions are saved in paymentsgate-auth in $XDG_STATE_HOME or ~/.local/state.
  Everybody on this machine can see a secret on the command line (ps): use files instead, credentials_file and
  store_key_file.

Example:
  curl -H \"$(paymentsgate-auth token --header)\" https://secure.sandbox.paymentsgate.io/wallet
";

#[derive(Parser)]
#[command(name = "paymentsgate-auth", version, about = ABOUT, after_help = format!("{SETTINGS_HELP}\n{}", Exit::table()))]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to use colours: auto (in a terminal, unless NO_COLOR is set), always or never.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, global = true)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) settings: SettingsArguments,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Obtain a session for the account and save it in the store, unless the store has one that works.
    Login(LoginArguments),
    /// Print a working token, and nothing else. A token that is due is refreshed first.
    Token(TokenArguments),
    /// Run a program with a working token in its environment. The token is not renewed: for programs that end soon.
    Exec(ExecArguments),
    /// Obtain a new token now, and print its fingerprint.
    Refresh(RefreshArguments),
    /// Show what the store holds, without a call to the service. The exit code shows the state, too.
    Status(StatusArguments),
    /// Print what the store holds as metrics for Prometheus, without a call to the service.
    Metrics(MetricsArguments),
    /// Check settings, files, clock, network, service and store, one by one.
    Doctor(DoctorArguments),
    /// Keep one session for all programs of this machine or pod: tokens on a socket, and a proxy.
    Agent(AgentArguments),
    /// Remove the account's session from the store.
    Logout,
    /// Run pg-sandbox, the emulator of the service, for tests. All arguments are its own: sandbox --help shows them.
    #[command(disable_help_flag = true)]
    Sandbox {
        /// The arguments of pg-sandbox.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

#[derive(Args)]
pub(crate) struct LoginArguments {
    /// Obtain a new session even if there is one that works, or the credentials have just been refused.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args)]
pub(crate) struct TokenArguments {
    /// Print a whole header line, `Authorization: Bearer …`.
    #[arg(long)]
    pub(crate) header: bool,
    /// Print a JSON object with the token, its fingerprint, its generation and the seconds left.
    #[arg(long, conflicts_with = "header")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) need: Need,
}

/// Which token is good enough, and how long to wait for one.
#[derive(Args)]
pub(crate) struct Need {
    /// The token is valid for at least this time, if the service's tokens are.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(..=86_400))]
    pub(crate) min_remaining: u64,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args)]
pub(crate) struct ExecArguments {
    /// Put the token into a private file, which is removed when the program ends; PAYMENTSGATE_ACCESS_TOKEN_FILE is its
    /// path. Otherwise PAYMENTSGATE_ACCESS_TOKEN is the token.
    #[arg(long)]
    pub(crate) file: bool,
    #[command(flatten)]
    pub(crate) need: Need,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct RefreshArguments {
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// One JSON object instead; docs/command-line.md gives its keys.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct MetricsArguments {
    /// Write them to a file, which is replaced atomically, for the textfile collector of node_exporter.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Also obtain a session, to check whether the service accepts the credentials. It is saved.
    #[arg(long)]
    pub(crate) issue: bool,
    /// One JSON object instead; docs/command-line.md gives its keys.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct AgentArguments {
    /// The unix socket for tokens. Without any socket: agent.sock in $RUNTIME_DIRECTORY, or in paymentsgate-auth in
    /// $XDG_RUNTIME_DIR.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// A loopback address for tokens, for callers that send the secret.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = place::loopback)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the agent writes the secret, which is new at each start [default: agent.secret beside the default socket].
    #[arg(long, value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,
    /// A loopback address, or unix:PATH: what is sent there goes to base_url with the session's token.
    #[arg(long, value_name = "PLACE")]
    pub(crate) proxy: Option<Place>,
    /// An address, which may be reachable from outside, for /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// The file mode of unix sockets and of the secret. 660 lets the group in.
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = place::mode)]
    pub(crate) mode: u32,
    /// The limit of open connections. Further ones wait.
    #[arg(long, value_name = "NUMBER", default_value_t = 1024, value_parser = value_parser!(u32).range(1..=65_536))]
    pub(crate) max_connections: u32,
    /// How long requests may take to end after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = value_parser!(u64).range(..=3600))]
    pub(crate) drain_seconds: u64,
    /// Write the log as JSON, an object on each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The time limit of a command.
#[derive(Args)]
pub(crate) struct Patience {
    /// Give up after this time. Giving up during a refresh may cost a login.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl Patience {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// The sources of settings.
#[derive(Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArguments {
    /// A setting by its name, repeatable. Others can see it in `ps`: for a secret, name a file.
    #[arg(long, value_name = "NAME=VALUE", value_parser = Assignment, global = true)]
    pub(crate) set: Vec<(String, String)>,
    /// A JSON object of settings.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) settings: Option<PathBuf>,
    /// The settings in profiles/NAME.toml, in the folder of the default settings file.
    #[arg(long, value_name = "NAME", global = true, conflicts_with = "settings")]
    pub(crate) profile: Option<String>,
    /// The URL of the service.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) base_url: Option<String>,
    /// The vendor's credentials.json.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) credentials_file: Option<String>,
    /// Where the session is saved: file:/folder, or redis:// or rediss:// and a host.
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) store: Option<String>,
}

/// Reads NAME=VALUE. Clap's own error would show the text, which may be a secret.
#[derive(Clone)]
struct Assignment;

impl TypedValueParser for Assignment {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&Arg>,
        text: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        match text.to_str().and_then(|text| text.split_once('=')) {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                let text = "--set: give NAME=VALUE, for example store=file:/folder\n";
                Err(clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_valid() {
        Arguments::command().debug_assert();
    }
}
