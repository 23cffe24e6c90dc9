//! Processes with a session each, which ask when they are told to.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;

use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use pg_sandbox::Sandbox;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{AHEAD_MS, NOW, PATIENCE, client};

/// What makes a child of this program: the store, the emulator's address and files, the clock.
const VARIABLES: [&str; 5] =
    ["PG_TEST_STORE", "PG_TEST_URL", "PG_TEST_CA", "PG_TEST_LOGIN", "PG_TEST_AHEAD_MS"];

pub(crate) struct Asking {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Asking {
    /// Another process on that store; it lives at the time of now.
    pub(crate) fn start(sandbox: &Sandbox, store: &str) -> Self {
        let address = sandbox.address();
        let values = [
            store.to_owned(),
            sandbox.urls().https.clone(),
            address.ca_file.display().to_string(),
            address.credentials_file.display().to_string(),
            AHEAD_MS.load(Ordering::SeqCst).to_string(),
        ];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::as_a_child", "--nocapture", "--test-threads=1"])
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

    /// The rest of the first line that has that word.
    fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child has ended without {word}");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Its fingerprint.
    pub(crate) fn token(&mut self) -> String {
        self.line("token")
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test, but what a child does: for each line of its input it asks for a token and tells its fingerprint.
#[test]
fn as_a_child() {
    let values = VARIABLES.map(|name| std::env::var(name).ok());
    let [Some(store), Some(url), Some(ca), Some(login), Some(ahead)] = values else { return };
    AHEAD_MS.store(ahead.parse().unwrap(), Ordering::SeqCst);
    let mut config = Config::default();
    let settings =
        [("base_url", &url), ("tls.ca_file", &ca), ("credentials_file", &login), ("store", &store)];
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let session = Session::open(&client(&config, &url), &config).unwrap();
    println!("ready");
    for _ in std::io::stdin().lines() {
        println!("token {}", session.token(PATIENCE, NOW).unwrap().token.fingerprint());
    }
}
