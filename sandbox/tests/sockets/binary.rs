//! The program: its start, the line it prints, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pg_sandbox::{Address, Credentials};
use reqwest::blocking::Response;

use crate::fixture::{eventually, plain_builder};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pg-sandbox");

fn start(command: &mut Command) -> (Child, Address) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

fn get(url: &str) -> Response {
    plain_builder().build().unwrap().get(url).send().unwrap()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Uses the shell's built-in `kill`, since a small system has no such program.
fn terminate(pid: u32) {
    assert!(Command::new("sh").args(["-c", &format!("kill {pid}")]).status().unwrap().success());
}

#[test]
fn the_program_prints_its_addresses_and_cleans_up_on_sigterm() {
    let began = Instant::now();
    let (mut child, address) = start(&mut Command::new(PROGRAM));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(address.pid, child.id());
    let credentials = std::fs::read(&address.credentials_file).unwrap();
    let credentials: Credentials = serde_json::from_slice(&credentials).unwrap();
    assert_eq!(
        (&credentials.account_id, &credentials.public_key),
        (&address.account_id, &address.public_key)
    );
    assert_eq!(get(&format!("{}/wallet", address.urls.http)).status(), 401);
    terminate(child.id());
    assert!(child.wait().unwrap().success());
    assert!(!address.ca_file.exists());
}

#[test]
fn the_program_ends_with_its_parent() {
    let mut shell = Command::new("sh");
    let (mut shell, address) = start(shell.args(["-c", &format!("{PROGRAM} & wait")]));
    assert!(is_alive(address.pid));
    shell.kill().unwrap();
    shell.wait().unwrap();
    eventually(|| !is_alive(address.pid));
    assert!(!address.ca_file.exists());
}

#[test]
fn the_program_can_outlive_its_parent() {
    let mut shell = Command::new("sh");
    let (mut shell, address) = start(shell.args(["-c", &format!("{PROGRAM} --keep & wait")]));
    shell.kill().unwrap();
    shell.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_alive(address.pid));
    terminate(address.pid);
    eventually(|| !is_alive(address.pid));
}

#[test]
fn switches_and_places_are_taken_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("inner");
    let mut command = Command::new(PROGRAM);
    command.args(["--switch", "rotation=window=30", "--switch", "refused_status=400", "--dir"]).arg(&folder);
    let (mut child, address) = start(&mut command);
    assert_eq!(address.ca_file, folder.join("ca.pem"));
    let switches = get(&format!("{}/switches", address.urls.admin));
    let switches: serde_json::Value = switches.json().unwrap();
    assert_eq!(switches["rotation"]["window"], 30);
    assert_eq!(switches["refused_status"], 400);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.join("credentials.json").exists(), "a given directory stays");
}

#[test]
fn an_unknown_switch_is_named() {
    let mut child =
        Command::new(PROGRAM).args(["--switch", "rotatoin=static"]).stderr(Stdio::piped()).spawn().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("`rotatoin`"), "{text}");
}
