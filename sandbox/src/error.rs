//! Errors of the emulator itself, in contrast to the faults that it injects.

use std::io;
use std::path::PathBuf;

/// Why the emulator did not start, or refused a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A switch that does not exist.
    #[error("there is no switch `{name}`; the switches are: {known}")]
    UnknownSwitch {
        /// The given name.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// A value that does not fit its switch.
    #[error("switch `{name}` cannot be {value}: {reason}")]
    BadSwitch {
        /// The switch.
        name: String,
        /// The value as JSON.
        value: String,
        /// Which values are valid.
        reason: String,
    },
    /// An invalid fault.
    #[error("bad fault: {0}")]
    BadFault(String),
    /// No account has this id.
    #[error("there is no account {0:?}; POST /accounts adds one")]
    UnknownAccount(String),
    /// A file of the emulator's directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A port could not be opened, or a thread could not be started.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The check of client certificates could not be set up.
    #[error("cannot check client certificates: {0}")]
    ClientCertificates(#[from] rustls::server::VerifierBuilderError),
    /// The emulator's thread ended before it was ready.
    #[error("the emulator's thread ended before it was ready")]
    Ended,
}
