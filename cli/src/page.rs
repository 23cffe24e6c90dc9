//! Formats output: aligned, coloured for a terminal, plain for a pipe.

use std::io::{self, StdoutLock, Write};
use std::time::Duration;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use paymentsgate_auth::{Error, Status};

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub(crate) fn stream<S: anstream::stream::RawStream>(self, stream: S) -> AutoStream<S> {
        match self {
            Color::Auto => AutoStream::auto(stream),
            Color::Always => AutoStream::always(stream),
            Color::Never => AutoStream::never(stream),
        }
    }
}

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const QUIET: Style = Style::new().dimmed();

/// Standard output of a command.
pub(crate) struct Page(AutoStream<StdoutLock<'static>>);

impl Page {
    pub(crate) fn new(color: Color) -> Self {
        Page(color.stream(io::stdout().lock()))
    }

    /// A sentence.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.0, "{text}")
    }

    /// A label in a column of this width, and a text.
    pub(crate) fn row(&mut self, label: &str, width: usize, style: Style, text: &str) -> io::Result<()> {
        writeln!(self.0, "{QUIET}{label:<width$}{QUIET:#}  {style}{text}{style:#}")
    }

    /// A result in its colour, a label in a column of this width, and a text.
    pub(crate) fn verdict(
        &mut self,
        (result, style): (&str, Style),
        label: &str,
        width: usize,
        text: &str,
    ) -> io::Result<()> {
        writeln!(self.0, "{style}{result:<7}{style:#}  {label:<width$}  {text}")?;
        self.0.flush()
    }

    /// An object for a program.
    pub(crate) fn json(&mut self, object: &impl serde::Serialize) -> io::Result<()> {
        writeln!(self.0, "{}", serde_json::to_string_pretty(object)?)
    }
}

/// The text of an error. Where a setting is missing, it also names the options of the command line, which the library does not
/// know.
pub(crate) fn with_options(error: &Error) -> String {
    let options = match error.status {
        Status::PG_ERR_MISSING_SETTING | Status::PG_ERR_NO_CREDENTIALS => {
            " (on the command line: --base-url, --credentials-file, or --set NAME=VALUE)"
        }
        _ => "",
    };
    format!("{}{options}", error.text)
}

/// Writes an error to standard error.
pub(crate) fn complain(color: Color, error: &Error) {
    let again =
        error.retry_after.filter(|wait| !wait.is_zero()).map(|wait| format!("; try again in {}", span(wait)));
    let _ = writeln!(
        color.stream(io::stderr().lock()),
        "{BAD}error:{BAD:#} {}{}",
        with_options(error),
        again.unwrap_or_default()
    );
}

/// Writes a warning to standard error.
pub(crate) fn warn(color: Color, text: &str) {
    let _ = writeln!(color.stream(io::stderr().lock()), "{DOUBTFUL}warning:{DOUBTFUL:#} {text}");
}

/// A duration for people: its two largest units.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
