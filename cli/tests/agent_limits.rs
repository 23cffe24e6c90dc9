//! `agent`: its limits of connections, descriptors and heads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use support::Bench;
use support::agent::{Agent, command, read};

const GET: &str = "GET /wallet HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_caller_beyond_the_limit_waits_until_a_connection_ends() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &["--proxy", "127.0.0.1:0", "--max-connections", "1"], 1);
    let mut first = BufReader::new(agent.connect("proxy"));
    let mut ask = || {
        first.get_mut().write_all(GET.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(first.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        first.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    };
    ask();
    let mut second = agent.connect("proxy");
    second.write_all(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    // Far more answers than an agent without the limit gives before it has answered the second one.
    (0..50).for_each(|_| ask());
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    second.set_nonblocking(false).unwrap();
    drop(first);
    assert_eq!(read(second).status, 200);
    agent.stop();
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &["--health", "127.0.0.1:0", "--proxy", "127.0.0.1:0"], 2);
    // The limit is 64 KiB, and is checked between two reads of at most as much.
    for (length, status) in [(60 * 1024, 200), (129 * 1024, 431)] {
        let mut stream = agent.connect("health");
        let large = "x".repeat(length);
        let head =
            format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Large: {large}\r\nConnection: close\r\n\r\n");
        // The agent may close the connection before it has read all.
        let _ = stream.write_all(head.as_bytes());
        let answer = read(stream);
        assert_eq!(answer.status, status, "{length}: {}", answer.head);
    }
    agent.stop();
}

/// An agent that is started with limits of a shell, and then the limits of its descriptors, soft and hard.
fn with_limit(bench: &Bench, limit: &str) -> (Agent, Vec<String>) {
    let agent = command(bench, &["--proxy", "127.0.0.1:0"]);
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
    limited.arg(agent.get_program()).args(agent.get_args());
    limited.env_clear().envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let agent = Agent::run(limited, 1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid().as_raw_nonzero())).unwrap();
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let found = row.split_whitespace().take(2).map(str::to_owned).collect();
    (agent, found)
}

#[test]
fn the_limit_of_descriptors_is_raised_to_what_the_connections_need() {
    let bench = Bench::new();
    let (agent, limits) = with_limit(&bench, "-S -n 256");
    // Two for each of the 1024 connections, and 128.
    assert_eq!(limits[0], "2176");
    assert!(agent.stop().iter().all(|line| !line.contains("descriptors")));
}

#[test]
fn a_limit_of_descriptors_that_cannot_be_raised_is_told() {
    let bench = Bench::new();
    let (agent, limits) = with_limit(&bench, "-n 256");
    assert_eq!(limits, ["256", "256"]);
    let told =
        "1024 connections may need 2176 descriptors, and the limit is 256; raise it (ulimit -n, LimitNOFILE)";
    let log = agent.stop();
    assert!(log.iter().any(|line| line.contains(told)), "{log:?}");
}
