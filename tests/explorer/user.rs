//! A process of a history from outside: it gets commands as lines, and reports the results of its calls as lines.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program;

/// How a call waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// On its own thread.
    Waits,
    /// By an event of a queue.
    OnQueue,
    /// The same, for a token alone.
    TokenOnQueue,
}

impl How {
    pub(crate) fn drawn() -> Self {
        [How::Waits, How::Waits, How::Waits, How::OnQueue, How::OnQueue, How::TokenOnQueue]
            [fastrand::usize(0..6)]
    }

    fn of(name: &str) -> Option<Self> {
        [How::Waits, How::OnQueue, How::TokenOnQueue].into_iter().find(|how| format!("{how:?}") == name)
    }
}

/// A business call, by the boot clock of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) agent: String,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) deadline: Duration,
    pub(crate) how: How,
    /// An HTTP status, or the library's status and its text.
    pub(crate) outcome: String,
}

impl Call {
    pub(crate) fn is_good(&self) -> bool {
        self.outcome == "200"
    }
}

/// The reports of a process.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) calls: Vec<Call>,
    /// When the machine did not run it.
    pub(crate) late: Vec<(Duration, Duration)>,
    /// Calls that have not ended: their process and start.
    pub(crate) open: BTreeSet<(String, Duration)>,
    /// Its last line before an unexpected end.
    pub(crate) complaint: Option<String>,
    pub(crate) is_ready: bool,
}

pub(crate) struct User {
    child: Child,
    pub(crate) agent: String,
    is_expected_to_end: Arc<Mutex<bool>>,
}

impl User {
    /// Starts a process with these settings. Its reports are added to `told`.
    pub(crate) fn start(
        agent: &str,
        settings: &[(String, String)],
        clock: &str,
        told: &Arc<Mutex<Told>>,
    ) -> Self {
        let lines: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program::as_a_program", "--nocapture", "--test-threads=1"])
            .env(program::SETTINGS, lines.join("\n"))
            .env(program::CLOCK, clock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        told.lock().unwrap().is_ready = false;
        let is_expected_to_end = Arc::new(Mutex::new(false));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (name, told, expected) = (agent.to_owned(), told.clone(), is_expected_to_end.clone());
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                told.lock().unwrap().note(&name, &line);
            }
            let last = std::io::read_to_string(err).unwrap_or_default();
            if !*expected.lock().unwrap() {
                told.lock().unwrap().complaint = Some(format!("{name} has ended: {}", last.trim()));
            }
        });
        User { child, agent: agent.into(), is_expected_to_end }
    }

    pub(crate) fn say(&mut self, what: &str) {
        // The end of a process is noticed elsewhere.
        let _ = writeln!(self.child.stdin.as_mut().unwrap(), "{what}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        *self.is_expected_to_end.lock().unwrap() = true;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Told {
    fn note(&mut self, agent: &str, line: &str) {
        let mut words = line.splitn(6, ' ');
        let word = words.next().unwrap_or_default();
        let mut micros = || words.next().and_then(|word| word.parse().ok()).map(Duration::from_micros);
        match word {
            _ if line.contains(program::READY) => self.is_ready = true,
            "begin" => {
                if let Some(from) = micros() {
                    self.open.insert((agent.into(), from));
                }
            }
            "call" => {
                let (Some(from), Some(to), Some(deadline)) = (micros(), micros(), micros()) else { return };
                self.open.remove(&(agent.into(), from));
                let Some(how) = words.next().and_then(How::of) else { return };
                let outcome = words.next().unwrap_or_default().to_owned();
                self.calls.push(Call { agent: agent.into(), from, to, deadline, how, outcome });
            }
            "late" => {
                let (Some(from), Some(to)) = (micros(), micros()) else { return };
                self.late.push((from, to));
            }
            _ => {}
        }
    }
}
