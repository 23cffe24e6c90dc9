//! Child processes with one session each, which ask for a token on command.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use pg_sandbox::Sandbox;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{AHEAD_MS, NOW, PATIENCE, client};

/// The environment of a child process: the store, the emulator's address and files, and the clock.
const VARIABLES: [&str; 5] =
    ["PG_TEST_STORE", "PG_TEST_URL", "PG_TEST_CA", "PG_TEST_LOGIN", "PG_TEST_AHEAD_MS"];

pub(crate) struct Asking {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Asking {
    /// Another process on this store. Its clock stays at the current time of the test.
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

    /// The rest of the first line with this word.
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
        self.say("go");
    }

    /// `go`: asks for a token. `renew`: reports its token, and asks. `fork`: a forked child does that.
    pub(crate) fn say(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    /// Its fingerprint.
    pub(crate) fn token(&mut self) -> String {
        self.told().0
    }

    /// Its fingerprint, the time it arrived (microseconds on the boot clock), and the process.
    pub(crate) fn told(&mut self) -> (String, u64, i32) {
        let line = self.line("token");
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap();
        (next().to_owned(), next().parse().unwrap(), next().parse().unwrap())
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

/// The program of a child: for each line of its input it asks for a token, and prints the fingerprint and the time. `false`:
/// this process is not a child.
pub(crate) fn serve() -> bool {
    let values = VARIABLES.map(|name| std::env::var(name).ok());
    let [Some(store), Some(url), Some(ca), Some(login), Some(ahead)] = values else { return false };
    AHEAD_MS.store(ahead.parse().unwrap(), Ordering::SeqCst);
    let mut config = Config::default();
    let settings =
        [("base_url", &url), ("tls.ca_file", &ca), ("credentials_file", &login), ("store", &store)];
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let session = Session::open(&client(&config, &url), &config).unwrap();
    println!("ready");
    for line in std::io::stdin().lines() {
        match &*line.unwrap() {
            "go" => tell(&session),
            "renew" => renew(&session),
            _ => fork(&session),
        }
    }
    true
}

fn tell(session: &Session) {
    let token = session.token(PATIENCE, NOW).unwrap();
    let now = SystemClock.now().boot.as_micros();
    println!("token {} {now} {}", token.token.fingerprint(), std::process::id());
}

fn renew(session: &Session) {
    session.reject(*session.token(PATIENCE, NOW).unwrap().token.fingerprint()).unwrap();
    tell(session);
}

/// A forked child renews the token and stays until it is killed.
#[allow(unsafe_code, reason = "fork has no safe wrapper")]
fn fork(session: &Session) {
    // SAFETY: glibc keeps its allocator usable in the child, which keeps using the library and never returns.
    if unsafe { libc::fork() } == 0 {
        renew(session);
        loop {
            std::thread::park();
        }
    }
}

/// Not a test, but the program of a child.
#[test]
fn as_a_child() {
    serve();
}
