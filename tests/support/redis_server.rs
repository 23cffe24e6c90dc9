//! A Redis server for one test: a process on a local port, with a temporary folder.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "ports.rs"]
pub(crate) mod ports;

pub(crate) struct RedisServer {
    process: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server with these options besides the port, the folder and a log file.
    pub(crate) fn start(options: &[&str]) -> Self {
        RedisServer::start_in(tempfile::tempdir().unwrap(), options)
    }

    /// Starts a server in an existing folder, with the files in it.
    pub(crate) fn start_in(folder: TempDir, options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        // Another process can take the port between its choice and its use.
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(port, folder.path(), &options);
            if is_up(&mut process, port, folder.path()) {
                return RedisServer { process, port, folder, options };
            }
        }
        panic!("redis-server does not start: {}", log(folder.path()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The output of the command line client.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.cli_bytes(arguments)).trim().to_owned()
    }

    pub(crate) fn cli_bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let port = self.port.to_string();
        let client = first_of(["valkey-cli", "redis-cli"]);
        Command::new(client).args(["-p", &port]).args(arguments).output().unwrap().stdout
    }

    /// The one key whose name ends with this text.
    pub(crate) fn key(&self, end: &str) -> String {
        self.cli(&["keys", &format!("pg:*:{end}")])
    }

    /// A field of the record of the one account.
    pub(crate) fn field(&self, name: &str) -> String {
        self.cli(&["hget", &self.key("session"), name])
    }

    /// Ends the lease, as if its time had passed.
    pub(crate) fn end_lease(&self) {
        self.cli(&["del", &self.key("lock")]);
    }

    /// How often a command was called.
    pub(crate) fn count(&self, command: &str) -> u64 {
        let stats = self.cli(&["info", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// The connections of sessions, without those of the command line client and of replicas.
    pub(crate) fn clients(&self) -> Vec<String> {
        let list = self.cli(&["client", "list"]);
        let ours = list.lines().filter(|line| line.contains(" resp=3") || line.contains("cmd=eval"));
        ours.map(str::to_owned).collect()
    }

    /// Kills the server, as a loss of power does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at the same port with the data on its disk, and waits until the data is loaded.
    pub(crate) fn start_again(&mut self) {
        self.begin_again();
        let begun = Instant::now();
        while self.cli(&["ping"]) != "PONG" {
            assert!(begun.elapsed() < Duration::from_secs(30), "its data is not loaded");
        }
    }

    /// Starts it again without waiting for the data.
    pub(crate) fn begin_again(&mut self) {
        self.process = spawn(self.port, self.folder.path(), &self.options);
        assert!(
            is_up(&mut self.process, self.port, self.folder.path()),
            "it does not start again: {}",
            log(self.folder.path())
        );
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, folder: &Path, options: &[String]) -> Child {
    let _ = fs::remove_file(folder.join("log"));
    Command::new(first_of(["valkey-server", "redis-server"]))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--logfile", "log", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is not installed: scripts/setup does that")
}

/// Waits until the server accepts connections; `false` if it has ended. Its log distinguishes it from another process on the port.
fn is_up(process: &mut Child, port: u16, folder: &Path) -> bool {
    let begun = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if log(folder).contains("Server initialized") && TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "a server does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    false
}

/// The first of these programs that PATH contains.
fn first_of(programs: [&str; 2]) -> &str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|folder| programs.into_iter().find(|program| folder.join(program).exists()));
    found.unwrap_or(programs[1])
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

pub(crate) fn free_port() -> u16 {
    ports::listener().local_addr().unwrap().port()
}
