//! The exit codes. docs/command-line.md repeats the table, and a test compares them.

use paymentsgate_auth::Status;

/// The exit codes. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Settings = 3,
    Refused = 4,
    Unreachable = 5,
    Store = 6,
    NoSession = 7,
    Expired = 8,
    NotRun = 126,
    NotFound = 127,
}

impl Exit {
    const ALL: [Exit; 11] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Settings,
        Exit::Refused,
        Exit::Unreachable,
        Exit::Store,
        Exit::NoSession,
        Exit::Expired,
        Exit::NotRun,
        Exit::NotFound,
    ];

    /// When it is used.
    fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "success; status: the store holds a token that works",
            Exit::Failed => "any failure that is not listed below",
            Exit::Usage => "the command line is invalid",
            Exit::Settings => "a setting, or a file that it names, is invalid or missing",
            Exit::Refused => "the service refused the credentials",
            Exit::Unreachable => {
                "the service cannot be reached or does not answer as it should; a retry may help"
            }
            Exit::Store => "the store cannot be used, or cannot be read with this key",
            Exit::NoSession => "status: the store holds no session",
            Exit::Expired => "status: the token in the store has expired",
            Exit::NotRun => "exec, sandbox: the program cannot be run",
            Exit::NotFound => "exec, sandbox: there is no such program",
        }
    }

    /// The exit code for a status of the library.
    pub(crate) fn of(status: Status) -> Self {
        use Status::*;
        match status {
            PG_OK => Exit::Done,
            PG_ERR_STORE | PG_ERR_STORE_REFUSED | PG_ERR_STORE_KEY => Exit::Store,
            PG_ERR_REFUSED | PG_ERR_REJECTED_FRESH => Exit::Refused,
            PG_ERR_SYSTEM => Exit::Failed,
            _ if (100..200).contains(&(status as i32)) => Exit::Settings,
            PG_ERR_INVALID_UTF8 | PG_ERR_INVALID_ARGUMENT => Exit::Settings,
            _ if status.is_transient() => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }

    /// The table, for the help.
    pub(crate) fn table() -> String {
        let rows = Exit::ALL.map(|exit| format!("  {:<3}  {}", exit as u8, exit.meaning()));
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command-line.md")).unwrap();
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit as u8, exit.meaning());
            assert!(page.contains(&row), "docs/command-line.md lacks: {row}");
        }
    }

    #[test]
    fn only_transient_failures_have_the_exit_code_for_a_retry() {
        for status in Status::ALL {
            if Exit::of(*status) == Exit::Unreachable {
                assert!(status.is_transient(), "{status:?}");
            }
        }
        assert_eq!(Exit::of(Status::PG_ERR_CERTIFICATE_UNTRUSTED), Exit::Failed);
        assert_eq!(Exit::of(Status::PG_ERR_STORE), Exit::Store);
    }
}
