//! Sessions that share a folder, in one process and in many, against the emulator over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a child process reports to its parent")]

mod credentials;
mod obstacles;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Fault, Options, Point, Route, Sandbox};
use support::{AHEAD_MS, NOW, PATIENCE, client, config, eventually, turn};
use tempfile::TempDir;

/// The environment of a child process: the folder, the emulator's files and address, and the clock.
const VARIABLES: [&str; 5] =
    ["PG_TEST_FOLDER", "PG_TEST_URL", "PG_TEST_CA", "PG_TEST_LOGIN", "PG_TEST_AHEAD_MS"];

struct Fixture {
    sandbox: Sandbox,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new() -> Self {
        let _turn = turn();
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        Fixture { sandbox: Sandbox::start(Options::default()).unwrap(), folder, _turn }
    }

    fn config(&self) -> Config {
        let mut config = config(&self.sandbox);
        config.set("store", &format!("file:{}", self.folder.path().join("sessions").display())).unwrap();
        config
    }

    /// A session with its own client, as in another process.
    fn session_with(&self, settings: &[(&str, &str)]) -> Session {
        let mut config = self.config();
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    fn session(&self) -> Session {
        self.session_with(&[])
    }

    /// A session of another login.
    fn session_of(&self, account_id: &str, public_key: &str) -> Session {
        let mut config = Config::default();
        for (name, value) in [
            ("base_url", self.sandbox.urls().https.as_str()),
            ("tls.ca_file", self.sandbox.address().ca_file.to_str().unwrap()),
            ("account_id", account_id),
            ("public_key", public_key),
            ("store", &format!("file:{}", self.folder.path().join("sessions").display())),
        ] {
            config.set(name, value).unwrap();
        }
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    /// The bytes of the one record.
    fn record(&self) -> Vec<u8> {
        let entries = fs::read_dir(self.folder.path().join("sessions")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        fs::read(paths.into_iter().find(|path| path.extension().is_none()).unwrap()).unwrap()
    }

    fn pass(&self, seconds: u64) {
        support::pass(&self.sandbox, seconds);
    }

    fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }

    fn child(&self, ahead_ms: u64) -> Asking {
        let address = self.sandbox.address();
        let values = [
            self.folder.path().join("sessions").display().to_string(),
            self.sandbox.urls().https.clone(),
            address.ca_file.display().to_string(),
            address.credentials_file.display().to_string(),
            ahead_ms.to_string(),
        ];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_child", "--nocapture", "--test-threads=1"])
            .envs(VARIABLES.into_iter().zip(values))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut asking = Asking { child, lines };
        asking.line("ready");
        asking
    }
}

/// A child process with a session, which asks for a token on command.
struct Asking {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Asking {
    /// The rest of the first line with this word.
    fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child has ended without {word}");
            // The test runner writes text of its own in front of the first line.
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn token(&mut self) -> String {
        self.line("token")
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test, but the program of a child: for each line of its input it asks for a token and prints the fingerprint.
#[test]
fn as_a_child() {
    let values = VARIABLES.map(|name| std::env::var(name).ok());
    let [Some(folder), Some(url), Some(ca), Some(login), Some(ahead)] = values else { return };
    AHEAD_MS.store(ahead.parse().unwrap(), Ordering::SeqCst);
    let mut config = Config::default();
    let settings = [
        ("base_url", &url),
        ("tls.ca_file", &ca),
        ("credentials_file", &login),
        ("store", &format!("file:{folder}")),
    ];
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let session = Session::open(&client(&config, &url), &config).unwrap();
    println!("ready");
    for _ in std::io::stdin().lines() {
        println!("token {}", session.token(PATIENCE, NOW).unwrap().token.fingerprint());
    }
}

#[test]
fn two_sessions_share_one_pair_and_a_later_one_finds_it() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.session(), fixture.session());
    let first = one.token(PATIENCE, NOW).unwrap();
    assert_eq!(two.token(PATIENCE, NOW).unwrap().token.fingerprint(), first.token.fingerprint());
    drop((one, two));
    fixture.pass(60);
    let third = fixture.session().token(PATIENCE, NOW).unwrap();
    assert_eq!((third.token.fingerprint(), third.generation), (first.token.fingerprint(), 1));
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn twenty_processes_at_expiry_make_one_call() {
    let fixture = Fixture::new();
    fixture.session().token(PATIENCE, NOW).unwrap();
    let now = AHEAD_MS.load(Ordering::SeqCst);
    for round in 1..=2 {
        fixture.sandbox.advance(Duration::from_secs(3600));
        // The clock of a child does not move; the children of the next round start with a later one.
        let mut children: Vec<_> = (0..20).map(|_| fixture.child(now + round * 3_600_000)).collect();
        children.iter_mut().for_each(Asking::go);
        let tokens: Vec<_> = children.iter_mut().map(Asking::token).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
        assert_eq!(fixture.calls(), (1, round));
    }
}

#[test]
fn a_process_killed_in_its_flight_costs_one_issue() {
    let fixture = Fixture::new();
    fixture.session().token(PATIENCE, NOW).unwrap();
    fixture.pass(3600);
    fixture.sandbox.inject(Fault::new(Route::Refresh, Action::Hang).at(Point::After)).unwrap();
    let mut child = fixture.child(AHEAD_MS.load(Ordering::SeqCst));
    child.go();
    eventually("a refresh that hangs", || fixture.sandbox.faults().is_empty());
    drop(child);
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(fixture.calls(), (2, 1), "the token that the dead process presented is not presented again");
}

/// No process has a token yet, and the one that calls dies: how long until another one has a token.
#[test]
fn a_process_killed_in_its_first_flight_delays_others_only_briefly() {
    let fixture = Fixture::new();
    fixture.sandbox.inject(Fault::new(Route::Issue, Action::Hang).at(Point::Before)).unwrap();
    let mut holder = fixture.child(AHEAD_MS.load(Ordering::SeqCst));
    holder.go();
    eventually("an issue that hangs", || fixture.sandbox.faults().is_empty());
    let session = fixture.session();
    let error = session.token(Duration::from_millis(200), NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT, "it waits for the lock: {error}");
    drop(holder);
    let died = Instant::now();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    let took = died.elapsed();
    println!("file: a token {} ms after kill -9 of the holder", took.as_millis());
    // It takes a tenth of a second on an idle machine.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_lost_answer_costs_one_issue_for_all_sessions() {
    let fixture = Fixture::new();
    let sessions = [fixture.session(), fixture.session(), fixture.session()];
    for session in &sessions {
        session.token(PATIENCE, NOW).unwrap();
    }
    fixture.pass(3600);
    fixture.sandbox.inject(Fault::new(Route::Refresh, Action::Reset).at(Point::After)).unwrap();
    for session in &sessions {
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    }
    assert_eq!(fixture.calls(), (2, 1));
}

#[test]
fn a_reported_token_is_renewed_once_for_all_sessions() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.session(), fixture.session());
    let old = one.token(PATIENCE, NOW).unwrap();
    two.token(PATIENCE, NOW).unwrap();
    fixture.pass(60);
    for session in [&one, &two] {
        session.reject(*old.token.fingerprint()).unwrap();
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    }
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn refused_credentials_are_presented_once_for_all_sessions() {
    let fixture = Fixture::new();
    let account = fixture.sandbox.add_account().unwrap();
    for _ in 0..5 {
        let session = fixture.session_of(&account.account_id, &fixture.sandbox.credentials().public_key);
        let error = session.token(PATIENCE, NOW).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED);
        assert!(error.retry_after.is_some());
    }
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn accounts_in_one_folder_do_not_mix() {
    let fixture = Fixture::new();
    let other = fixture.sandbox.add_account().unwrap();
    let one = fixture.session();
    let first = one.token(PATIENCE, NOW).unwrap();
    let two = fixture.session_of(&other.account_id, &other.public_key);
    assert_ne!(two.token(PATIENCE, NOW).unwrap().token.fingerprint(), first.token.fingerprint());
    assert_eq!(fixture.calls(), (2, 0));
}

#[test]
fn without_the_folder_sessions_still_get_tokens_and_recover() {
    let fixture = Fixture::new();
    let session = fixture.session();
    session.token(PATIENCE, NOW).unwrap();
    let (here, gone) = (fixture.folder.path().join("sessions"), fixture.folder.path().join("gone"));
    fs::rename(&here, &gone).unwrap();
    fs::write(&here, "in the way").unwrap();
    fixture.pass(3600);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2, "a private pair");
    assert_eq!(fixture.calls(), (2, 0), "the shared refresh token is not presented");
    fs::remove_file(&here).unwrap();
    fs::rename(&gone, &here).unwrap();
    fixture.pass(3600);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 3);
    assert_eq!(fixture.calls(), (2, 1), "the shared refresh token is presented once the folder is back");
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 3);
}

#[test]
fn a_pair_obtained_without_the_folder_is_shared_once_the_folder_is_back() {
    let fixture = Fixture::new();
    let session = fixture.session();
    session.token(PATIENCE, NOW).unwrap();
    let before = fixture.record();
    let (here, gone) = (fixture.folder.path().join("sessions"), fixture.folder.path().join("gone"));
    fs::rename(&here, &gone).unwrap();
    fs::write(&here, "in the way").unwrap();
    fixture.pass(3600);
    let private = session.token(PATIENCE, NOW).unwrap();
    let try_to_publish = || {
        fixture.pass(301);
        // More life than is left, so that the answer does not come from memory.
        session.token(PATIENCE, Duration::from_secs(3600)).unwrap()
    };
    try_to_publish();
    eventually("it fails", || !session.health().unwrap().refreshing);
    fs::remove_file(&here).unwrap();
    fs::rename(&gone, &here).unwrap();
    try_to_publish();
    eventually("it is published", || fixture.record() != before);
    let other = fixture.session();
    let adopted = other.token(PATIENCE, NOW).unwrap();
    assert_eq!(adopted.token.fingerprint(), private.token.fingerprint());
    assert_eq!(fixture.calls(), (2, 0));
    fixture.pass(3600);
    let next = other.token(PATIENCE, NOW).unwrap();
    assert_eq!(
        (fixture.calls(), next.generation),
        ((2, 1), adopted.generation + 1),
        "with its refresh token"
    );
}

#[test]
fn a_session_that_allows_no_private_pair_gets_the_store_error() {
    let fixture = Fixture::new();
    let session = fixture.session_with(&[("on_store_down", "fail")]);
    let here = fixture.folder.path().join("sessions");
    fs::write(&here, "in the way").unwrap();
    let error = session.token(PATIENCE, NOW).unwrap_err();
    assert!(matches!(error.status, Status::PG_ERR_STORE | Status::PG_ERR_STORE_REFUSED), "{error}");
    assert!(error.text.contains("sessions"), "{error}");
    assert_eq!(fixture.calls(), (0, 0));
}

/// Keys of 32 bytes: all zeros, all ones.
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ONES: &str = "//////////////////////////////////////////8=";

#[test]
fn sessions_with_one_key_share_a_sealed_pair() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("key");
    fs::write(&file, format!("{ZEROS}\n")).unwrap();
    let one = fixture.session_with(&[("store_key", ZEROS)]);
    let two = fixture.session_with(&[("store_key_file", file.to_str().unwrap())]);
    let first = one.token(PATIENCE, NOW).unwrap();
    assert_eq!(two.token(PATIENCE, NOW).unwrap().token.fingerprint(), first.token.fingerprint());
    fixture.pass(3600);
    for session in [&two, &one] {
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    }
    assert_eq!(fixture.calls(), (1, 1));
    let sealed = fixture.record();
    for token in [&first.token, &two.token(PATIENCE, NOW).unwrap().token] {
        let access = token.access.expose().as_bytes();
        assert!(!sealed.windows(access.len()).any(|window| window == access));
    }
}

#[test]
fn a_session_with_another_key_works_alone_and_does_not_change_the_record() {
    let fixture = Fixture::new();
    fixture.session_with(&[("store_key", ZEROS)]).token(PATIENCE, NOW).unwrap();
    let sealed = fixture.record();
    let told = fixture.session_with(&[("store_key", ONES), ("on_store_down", "fail")]);
    let error = told.token(PATIENCE, NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_STORE_KEY, "{error}");
    assert!(error.text.contains("sessions/pg-") && error.text.contains("store_key"), "{error}");
    assert!(!error.is_retryable() && !error.text.contains(ONES), "{error}");
    let alone = fixture.session_with(&[("store_key", ONES)]);
    alone.token(PATIENCE, NOW).unwrap();
    fixture.pass(3600);
    alone.token(PATIENCE, NOW).unwrap();
    assert_eq!(fixture.calls(), (3, 0));
    assert_eq!(fixture.record(), sealed);
    fixture.session_with(&[("store_key", &format!("{ONES},{ZEROS}"))]).token(PATIENCE, NOW).unwrap();
    assert_eq!(fixture.calls(), (3, 1), "both keys open a record, the first one seals it");
    assert_eq!(fixture.session_with(&[("store_key", ONES)]).token(PATIENCE, NOW).unwrap().generation, 2);
}

#[test]
fn contradictory_store_keys_are_an_error_at_open() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("key");
    fs::write(&path, [7; 32]).unwrap();
    let file = path.to_str().unwrap();
    for (settings, status, pieces) in [
        (
            vec![("store_key", ZEROS), ("store_key_file", file)],
            Status::PG_ERR_CONFLICTING_SETTINGS,
            ["store_key", "store_key_file"],
        ),
        (
            vec![("store", "memory:"), ("store_key", ZEROS)],
            Status::PG_ERR_CONFLICTING_SETTINGS,
            ["store_key", "memory:"],
        ),
        (vec![("store_key_file", file)], Status::PG_ERR_INVALID_SETTING, ["store_key_file", file]),
        (
            vec![("store_key_file", "/nowhere")],
            Status::PG_ERR_FILE_UNREADABLE,
            ["store_key_file", "/nowhere"],
        ),
    ] {
        let mut config = fixture.config();
        settings.iter().for_each(|(name, value)| config.set(name, value).unwrap());
        let error = Session::open(&client(&config, &fixture.sandbox.urls().https), &config).err().unwrap();
        assert_eq!(error.status, status, "{error}");
        assert!(pieces.iter().all(|piece| error.text.contains(piece)), "{error}");
        assert!(!error.text.contains(ZEROS), "{error}");
    }
}

/// A person must repair this, and can do so while the session runs.
#[test]
fn a_store_that_is_unusable_at_open_is_treated_as_down() {
    let fixture = Fixture::new();
    let here = fixture.folder.path().join("sessions");
    fs::write(&here, "a file").unwrap();
    let told = fixture.session_with(&[("on_store_down", "fail")]);
    let error = told.token(PATIENCE, NOW).unwrap_err();
    assert!(error.status == Status::PG_ERR_STORE_REFUSED && error.text.contains("not a folder"), "{error}");
    assert!(told.health().unwrap().last_error.unwrap().contains("not a folder"));
    let alone = fixture.session();
    assert_eq!(alone.token(PATIENCE, NOW).unwrap().generation, 1);
    assert!(alone.health().unwrap().store_error.unwrap().contains("not a folder"));
    fs::remove_file(&here).unwrap();
    fixture.pass(3600);
    assert_eq!(alone.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(alone.health().unwrap().store_error, None);
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 2, "all sessions share it");
    assert_eq!(fixture.calls(), (2, 0));
}

/// Kubernetes sets these modes on a folder and its files for `fsGroup`, at each start.
#[test]
fn file_modes_that_a_mount_changed_are_corrected() {
    let fixture = Fixture::new();
    fixture.session().token(PATIENCE, NOW).unwrap();
    let here = fixture.folder.path().join("sessions");
    for entry in fs::read_dir(&here).unwrap() {
        fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o660)).unwrap();
    }
    fs::set_permissions(&here, Permissions::from_mode(0o2770)).unwrap();
    assert_eq!(fixture.session().token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), (1, 0));
}
