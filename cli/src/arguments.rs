//! What may be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::exit::Exit;
use crate::page::Color;

const ABOUT: &str = "Keeps a PaymentsGate session at hand: log in, hand a token to curl, look into the store, find what \
                     is wrong.";

const SETTINGS_HELP: &str = "\
Where settings come from:
  Every setting of the library goes by its name (docs/settings.md). The first of these that names one wins:
    1. --set NAME=VALUE, and --base-url, --credentials-file, --store
    2. the environment: PAYMENTSGATE_ and the name in capitals, as in PAYMENTSGATE_TLS_CA_FILE
    3. a file of settings, a JSON object such as {\"base_url\": \"https://…\", \"store\": \"file:/folder\"}: the one
       that --settings names, else paymentsgate-auth/settings.json in $XDG_CONFIG_HOME or ~/.config, if it is there
  A secret on the command line is seen by everybody on this machine (ps): prefer files, credentials_file and
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
    /// Get a session for the account and keep it in the store, unless there is one that works.
    Login(LoginArguments),
    /// Print a token that works, and nothing else; it is refreshed when that is due.
    Token(TokenArguments),
    /// Make a new token now, and print its fingerprint.
    Refresh(RefreshArguments),
    /// Say what the store holds, without a call to the service. The exit code tells, too.
    Status(StatusArguments),
    /// Say what the store holds as metrics for Prometheus, without a call to the service.
    Metrics(MetricsArguments),
    /// Check settings, files, clock, network, service and store, one by one.
    Doctor(DoctorArguments),
    /// Remove the account's session from the store.
    Logout,
}

#[derive(Args)]
pub(crate) struct LoginArguments {
    /// Buy a new session though there is one that works, or the credentials have just been refused.
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
    /// A token with at least so much of its life left, if that can be had.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(..=86_400))]
    pub(crate) min_remaining: u64,
    #[command(flatten)]
    pub(crate) patience: Patience,
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
    /// Write them to a file, which is replaced as a whole, for the textfile collector of node_exporter.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Buy a session too, to see whether the service takes the credentials. It is kept.
    #[arg(long)]
    pub(crate) issue: bool,
    /// One JSON object instead; docs/command-line.md gives its keys.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long to wait.
#[derive(Args)]
pub(crate) struct Patience {
    /// Give up after so long. A refresh that is given up may cost a login.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl Patience {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Where settings come from.
#[derive(Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArguments {
    /// A setting by its name, repeatable. Others see it in `ps`: for a secret, name a file.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, global = true)]
    pub(crate) set: Vec<(String, String)>,
    /// A JSON object of settings.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) settings: Option<PathBuf>,
    /// Where the service is.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) base_url: Option<String>,
    /// The vendor's credentials.json.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) credentials_file: Option<String>,
    /// Where the session is kept: file:/folder, or redis:// or rediss:// and a host.
    #[arg(long, value_name = "PLACE", global = true)]
    pub(crate) store: Option<String>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE, for example store=file:/folder")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
