//! Runs the binary as a child process against the emulator over real TLS, and searches every output for secrets.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod agent;
pub(crate) mod upstream;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, Moment, SystemClock};
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::store::{Keyring, RecordFile, RecordKey, SystemDisk};
use paymentsgate_auth::token::{Pair, RefreshToken, Token};
use pg_sandbox::{Credentials, Options, Route, Sandbox};
use tempfile::TempDir;

/// Keys of 32 bytes: all zeros, all ones.
pub(crate) const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(crate) const ONES: &str = "//////////////////////////////////////////8=";

/// Says that a part was not tested. Not through the test harness, which hides the output of a passing test. In CI, where each
/// test runs as root, it is a failure.
pub(crate) fn skipped_without_root(what: &str) {
    let text = format!("SKIPPED, NOT TESTED: {what}. Run as root: only root becomes another user\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    assert!(std::env::var_os("CI").is_none(), "{text}");
}

/// The texts of a prepared record.
pub(crate) const ACCESS: &str = "an-access-token-made-by-hand";
pub(crate) const REFRESH: &str = "a-refresh-token-made-by-hand";

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
}

/// The result of a command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, pieces: &[&str]) -> Self {
        for piece in pieces {
            assert!(
                self.out.contains(piece) || self.err.contains(piece),
                "{piece}?\n{}\n{}",
                self.out,
                self.err
            );
        }
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// The command without its streams, with the default action of each signal, also if the tests run with some of them ignored, as
/// under nohup.
pub(crate) fn with_default_signals(command: &Command) -> Command {
    let mut with = Command::new("/usr/bin/env");
    with.arg("--default-signal").arg(command.get_program()).args(command.get_args());
    with.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with
}

impl Bench {
    pub(crate) fn new() -> Self {
        let private = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        Bench { sandbox: Sandbox::start(Options::default()).unwrap(), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that only its owner can access.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The setting `store`.
    pub(crate) fn store(&self) -> String {
        format!("file:{}", self.path("sessions").display())
    }

    /// A command with an empty environment.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paymentsgate-auth"));
        command.env_clear().env("HOME", self.folder.path()).env("TERM", "xterm-256color");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// With the emulator's address, authority and credentials, and the store in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let address = self.sandbox.address();
        let mut command = self.bare(arguments);
        command
            .env("PAYMENTSGATE_BASE_URL", &self.sandbox.urls().https)
            .env("PAYMENTSGATE_TLS_CA_FILE", &address.ca_file)
            .env("PAYMENTSGATE_CREDENTIALS_FILE", &address.credentials_file)
            .env("PAYMENTSGATE_STORE", self.store());
        command
    }

    /// Runs it; nothing secret may be in what it prints, save the access token where it is asked for.
    pub(crate) fn run_command(&self, mut command: Command) -> Ran {
        let is_token = command.get_args().any(|argument| argument == "token" || argument == "exec");
        let before = self.secrets();
        let Output { status, stdout, stderr } = command.output().unwrap();
        let out = String::from_utf8(stdout).unwrap();
        let err = String::from_utf8(stderr).unwrap();
        for (is_access, secret) in before.into_iter().chain(self.secrets()) {
            assert!(!err.contains(&secret), "a secret: {err}");
            assert!((is_access && is_token) || !out.contains(&secret), "a secret: {out}");
        }
        Ran { code: status.code().unwrap(), out, err }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_command(self.command(arguments))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Calls of Issue and Refresh.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }

    /// The names in the store's folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("sessions")).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn key(&self) -> RecordKey {
        let Credentials { account_id, public_key, .. } = self.sandbox.credentials();
        RecordKey::new(&self.sandbox.urls().https.parse().unwrap(), account_id, public_key)
    }

    /// The account's record, as a session of another process has it.
    pub(crate) fn record(&self) -> RecordFile {
        let folder = self.path("sessions");
        RecordFile::new(&folder, self.key(), None, Arc::new(SystemClock), Arc::new(SystemDisk))
    }

    /// A session of that lifetime and so much left of it, made by hand.
    pub(crate) fn seed(&self, length: u64, left: u64) -> RecordFile {
        let record = self.record();
        assert!(record.try_lock().unwrap());
        record.load().unwrap();
        let lived = Duration::from_secs(length - left);
        let now = SystemClock.now();
        let anchor = Moment { boot: now.boot - lived, wall: now.wall - lived };
        let lifetime = Lifetime::of(Duration::from_secs(length));
        let token = Token::new(Secret::new(ACCESS).unwrap(), lifetime, anchor);
        let refresh = Secret::new(REFRESH).map(RefreshToken::new);
        record.commit(0, &Pair { token, refresh }).unwrap();
        record
    }

    /// All that must not be seen, and whether it is an access token.
    fn secrets(&self) -> Vec<(bool, String)> {
        let Credentials { public_key, private_key, .. } = self.sandbox.credentials();
        let mut secrets: Vec<_> = [public_key, private_key, ACCESS, REFRESH, ZEROS, ONES]
            .map(|secret| (secret == ACCESS, secret.to_string()))
            .into();
        let presented = self.sandbox.counters().route(Route::Refresh).last;
        secrets
            .extend(presented.and_then(|call| text(&call.body, "refresh_token")).map(|token| (false, token)));
        for name in self.names().iter().filter(|name| !name.contains('.')) {
            let bytes = fs::read(self.path("sessions").join(name)).unwrap();
            secrets.extend(tokens(&bytes));
            let keys = Keyring::parse(&format!("{ZEROS},{ONES}"));
            let folder = self.path("sessions");
            let sealed =
                RecordFile::new(&folder, self.key(), keys, Arc::new(SystemClock), Arc::new(SystemDisk));
            let found = sealed.load().ok().and_then(|loaded| loaded.committed);
            secrets.extend(found.map(|found| (true, found.token().access.expose().to_owned())));
        }
        secrets
    }
}

fn text(json: &str, key: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(object.get(key)?.as_str()?.to_owned())
}

/// The tokens in a plain record: docs/record-format.md.
fn tokens(bytes: &[u8]) -> Vec<(bool, String)> {
    let length = bytes.get(52..56).map(|length| u32::from_be_bytes(length.try_into().unwrap()));
    if length.is_none_or(|length| bytes.len() != 56 + length as usize + 16) {
        // Broken.
        return Vec::new();
    }
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let text = |at: usize| String::from_utf8(bytes[at + 8..at + 8 + number(at)].to_vec()).unwrap();
    if bytes[11] != 1 || bytes[56] != 1 {
        return Vec::new();
    }
    let access = text(57);
    // The lifetime, and when and in which run of the machine it began.
    let refresh = 57 + 8 + access.len() + 8 + 32;
    let mut tokens = vec![(true, access)];
    if bytes[refresh] == 1 {
        tokens.push((false, text(refresh + 1)));
    }
    tokens
}

/// The bytes of all files of a folder, by their names.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut contents: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    contents.sort();
    contents
}
