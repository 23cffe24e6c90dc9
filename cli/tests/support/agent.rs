//! A running agent and a client of it that sends exactly the bytes that a test gives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Bench;

/// Far more than any step takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Agent {
    child: Child,
    /// The lines of its log so far.
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut rows = self.head.lines().filter_map(|line| line.split_once(": "));
        rows.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// The runtime folder of these tests.
pub(crate) fn runtime_folder(bench: &Bench) -> PathBuf {
    let folder = bench.path("run");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn command(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = bench.command(&[&["agent"], arguments].concat());
    command.env("XDG_RUNTIME_DIR", runtime_folder(bench));
    command
}

impl Agent {
    /// Starts an agent, and waits until it listens on as many sockets.
    pub(crate) fn start(bench: &Bench, arguments: &[&str], sockets: usize) -> Self {
        Agent::run(command(bench, arguments), sockets)
    }

    pub(crate) fn run(mut command: Command, sockets: usize) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = follow(child.stderr.take().unwrap(), log.clone());
        let mut agent = Agent { child, log, reader: Some(reader) };
        wait_until("the agent listens", || {
            assert!(agent.child.try_wait().unwrap().is_none(), "the agent ended: {:?}", agent.log());
            agent
                .log()
                .iter()
                .filter(|line| line.contains(" on http://") || line.contains(" on unix:"))
                .count()
                >= sockets
        });
        agent
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The address of a service on TCP.
    pub(crate) fn address(&self, service: &str) -> String {
        let mark = format!("{service} on http://");
        let line = self.log().into_iter().find(|line| line.contains(&mark)).unwrap();
        let address = line.split(&mark).nth(1).unwrap();
        address.trim_end_matches(|last: char| !last.is_ascii_digit()).to_owned()
    }

    pub(crate) fn connect(&self, service: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address(service)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Asks a service on TCP, with further header lines.
    pub(crate) fn get(&self, service: &str, path: &str, headers: &str) -> Answer {
        ask(self.connect(service), &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"), "")
    }

    pub(crate) fn post(&self, service: &str, path: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        ask(self.connect(service), &head, body)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and returns its whole log.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let mut status = None;
        wait_until("the agent ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reader.take().unwrap().join().unwrap();
        (status.unwrap(), self.log())
    }

    #[track_caller]
    pub(crate) fn stop(self) -> Vec<String> {
        self.signal(Signal::TERM);
        let (status, log) = self.ended();
        assert!(status.success(), "{status}: {log:?}");
        log
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            log.lock().unwrap().push(line.unwrap());
        }
    })
}

/// Asks for a token on a unix socket.
pub(crate) fn token(socket: &Path) -> Answer {
    ask_unix(socket, "GET /v1/token HTTP/1.1\r\nHost: localhost\r\n", "")
}

pub(crate) fn ask_unix(socket: &Path, head: &str, body: &str) -> Answer {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    ask(stream, head, body)
}

/// Sends a request of one connection, and reads to the end. A chunked body is returned as it came.
pub(crate) fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> Answer {
    write!(stream, "{head}Connection: close\r\n\r\n{body}").unwrap();
    read(stream)
}

pub(crate) fn read(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
