//! The program: its start, the line it prints, and its end.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
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

/// Runs a program of the shell against the emulator.
fn sandboxed(options: &[&str], script: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(options).args(["--", "sh", "-c", script]).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
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

#[test]
fn a_program_gets_the_emulator_and_its_exit_code_is_passed_on() {
    let variables = "$PAYMENTSGATE_BASE_URL $PAYMENTSGATE_TLS_CA_FILE $PAYMENTSGATE_CREDENTIALS_FILE $PG_SANDBOX_ADMIN \
                     $PG_SANDBOX_FIXED $PG_SANDBOX_FIXED_HTTP1";
    let output = sandboxed(&[], &format!("test -s $PAYMENTSGATE_TLS_CA_FILE && echo {variables}; exit 7"));
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let words: Vec<_> = text(&output.stdout).split(' ').collect();
    let [base, ca, credentials, admin, fixed, http1] = words[..] else { panic!("{words:?}") };
    assert!([base, fixed, http1].iter().all(|url| url.starts_with("https://127.0.0.1:")), "{words:?}");
    assert!(admin.starts_with("http://127.0.0.1:"), "{admin}");
    assert!(![ca, credentials].iter().any(|file| Path::new(file).exists()), "the files end with the program");
    assert!(
        plain_builder().build().unwrap().get(admin).send().is_err(),
        "the emulator ends with the program"
    );
}

#[test]
fn a_signal_that_ends_the_program_is_its_exit_code_as_in_a_shell() {
    assert_eq!(sandboxed(&[], "kill -KILL $$").status.code(), Some(137));
}

#[test]
fn sigterm_reaches_the_program_which_decides_when_to_end() {
    let script = "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child =
        Command::new(PROGRAM).args(["--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    terminate(child.id());
    output.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("ready\nended\n", Some(3)));
}

#[test]
fn a_program_that_cannot_be_run_has_the_exit_codes_of_a_shell() {
    for (program, code) in [("/no/such/program", 127), ("/", 126)] {
        let output = Command::new(PROGRAM).args(["--", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(&format!("cannot run {program}")), "{}", text(&output.stderr));
    }
}

#[test]
fn faults_are_taken_from_the_command_line() {
    let fault = r#"{"route": "wallet", "action": {"kind": "status", "status": 503}}"#;
    let (mut child, address) = start(Command::new(PROGRAM).args(["--fault", fault]));
    let statuses = [(); 2].map(|()| get(&format!("{}/wallet", address.urls.http)).status().as_u16());
    assert_eq!(statuses, [503, 401]);
    child.kill().unwrap();
    child.wait().unwrap();
    for fault in ["{", r#"{"action": {"kind": "nothing"}}"#] {
        let output = sandboxed(&["--fault", fault], "echo ran");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        assert!(text(&output.stderr).contains("bad fault: --fault {"), "{}", text(&output.stderr));
    }
}
