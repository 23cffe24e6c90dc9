//! `exec`: what the program receives, and what passes through: its exit code, signals, its place in the process table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Bench, Ran, with_default_signals};

const BINARY: &str = env!("CARGO_BIN_EXE_paymentsgate-auth");

/// Waits for a signal, but ends if none comes.
const LOOP: &str = "i=0; while [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.02; done";

/// Runs a shell script as the program.
fn run(bench: &Bench, options: &[&str], script: &str) -> Ran {
    bench.run(&[&["exec"], options, &["--", "/bin/sh", "-c", script]].concat())
}

/// The token in the store.
fn token(bench: &Bench) -> String {
    bench.run(&["token"]).ends(0).out.trim_end().to_owned()
}

/// The files with tokens that are left. The folder is also where `exec` puts them in these tests.
fn left(bench: &Bench) -> Vec<String> {
    let names = fs::read_dir(bench.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Starts a script with `--file`, and waits until it has printed its first line.
fn start(bench: &Bench, script: &str) -> (Child, String) {
    let exec = bench.command(&["exec", "--file", "--", "/bin/sh", "-c", script]);
    let mut command = with_default_signals(&exec);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("XDG_RUNTIME_DIR", bench.path("run")).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim_end().to_owned())
}

fn with_runtime_folder() -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.path("run")).unwrap();
    bench
}

#[test]
fn a_program_has_the_token_in_its_environment() {
    let bench = Bench::new();
    let ran = run(&bench, &[], r#"printf %s "$PAYMENTSGATE_ACCESS_TOKEN""#).ends(0);
    assert_eq!((ran.out, ran.err), (token(&bench), String::new()));
    let mut command = bench.command(&["exec", "--", "/usr/bin/env"]);
    command.env("PAYMENTSGATE_ACCESS_TOKEN", "stale").env("PAYMENTSGATE_ACCESS_TOKEN_FILE", "/stale");
    command.env("OTHER", "kept");
    let ran = bench.run_command(command).ends(0).says(&["OTHER=kept"]);
    assert!(!ran.out.contains("stale"), "{}", ran.out);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn the_program_replaces_the_command() {
    let bench = Bench::new();
    let child = bench.start(&["exec", "--", "/bin/sh", "-c", "echo $$; kill -TERM $$"]);
    let pid = child.id();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(ended.stdout).unwrap().trim(), pid.to_string());
    assert_eq!(ended.status.signal(), Some(15));
    run(&bench, &[], "exit 42").ends(42);
}

#[test]
fn a_file_holds_the_token_until_the_program_ends() {
    let bench = with_runtime_folder();
    let script = r#"stat -c %a "$PAYMENTSGATE_ACCESS_TOKEN_FILE"; cat "$PAYMENTSGATE_ACCESS_TOKEN_FILE"; echo
        echo "${PAYMENTSGATE_ACCESS_TOKEN-none} $PAYMENTSGATE_ACCESS_TOKEN_FILE"; exit 42"#;
    let mut command = bench.command(&["exec", "--file", "--", "/bin/sh", "-c", script]);
    command.env("XDG_RUNTIME_DIR", bench.path("run")).env("PAYMENTSGATE_ACCESS_TOKEN", "stale");
    let ran = bench.run_command(command).ends(42);
    let lines: Vec<_> = ran.out.lines().collect();
    let path = lines[2].strip_prefix("none ").unwrap();
    assert_eq!(lines[..2], ["600", &token(&bench)]);
    assert!(Path::new(path).starts_with(bench.path("run")), "{path}");
    assert_eq!(left(&bench), [""; 0]);
    // Without a runtime folder it is in the folder for temporary files.
    let mut command = bench.command(&["exec", "--file", "--", "/bin/sh", "-c", "ls run; kill -KILL $$"]);
    command.env("TMPDIR", bench.path("run")).env("XDG_RUNTIME_DIR", bench.path("nowhere"));
    let ran = bench.run_command({
        command.current_dir(bench.folder.path());
        command
    });
    assert!(ran.ends(128 + 9).out.starts_with("paymentsgate-auth-"));
    assert_eq!(left(&bench), [""; 0]);
}

#[test]
fn with_a_file_no_argument_and_no_environment_has_a_secret() {
    let bench = with_runtime_folder();
    let script = "cat /proc/$$/environ /proc/$$/cmdline /proc/$PPID/environ /proc/$PPID/cmdline";
    let mut command = bench.command(&["exec", "--file", "--", "/bin/sh", "-c", script]);
    command.env("XDG_RUNTIME_DIR", bench.path("run"));
    let ran = bench.run_command(command).ends(0).says(&["PAYMENTSGATE_ACCESS_TOKEN_FILE=", "--file"]);
    assert!(!ran.out.contains(&token(&bench)), "{}", ran.out);
}

#[test]
fn with_a_file_signals_reach_the_program() {
    let bench = with_runtime_folder();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
    ] {
        let script = format!("trap 'exit 7' {name}; echo ready; {LOOP}");
        let (mut child, line) = start(&bench, &script);
        assert_eq!((line.as_str(), left(&bench).len()), ("ready", 1));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "{name}");
        assert_eq!(left(&bench), [""; 0]);
    }
    let (mut child, _) = start(&bench, &format!("echo ready; {LOOP}"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "a program without a trap");
    assert_eq!(left(&bench), [""; 0]);
}

#[test]
fn an_ignored_signal_stays_ignored_in_the_program() {
    let bench = Bench::new();
    let inner = "kill -HUP $$; echo survived";
    for options in [&[][..], &["--file"]] {
        // The outer program ignores the signal, as nohup does.
        let outer = format!("trap '' HUP; exec \"$0\" exec {} -- /bin/sh -c '{inner}'", options.concat());
        run(&bench, &[], &outer.replace("$0", BINARY)).ends(0).says(&["survived"]);
    }
}

#[test]
fn without_a_token_no_program_is_started() {
    let bench = Bench::new();
    let marker = bench.path("marker");
    let script = format!("touch {}", marker.display());
    for options in [&[][..], &["--file"]] {
        run(&bench, &[options, &["--credentials-file", "/nowhere.json"]].concat(), &script).ends(3);
        run(&bench, &[options, &["--min-remaining", "soon"]].concat(), &script).ends(2);
    }
    assert!(!marker.exists());
    bench.run(&["exec"]).ends(2);
    bench.run(&["exec", "/bin/sh"]).ends(2);
    assert_eq!(bench.calls(), (0, 0));
}

#[test]
fn a_program_that_cannot_be_run_has_the_exit_codes_of_shells() {
    let bench = with_runtime_folder();
    let text = bench.file("text", "no program");
    for options in [&["exec"][..], &["exec", "--file"]] {
        let with = |program: &str, code| {
            let mut command = bench.command(&[options, &["--", program]].concat());
            command.env("XDG_RUNTIME_DIR", bench.path("run"));
            bench.run_command(command).ends(code).says(&["error: cannot run", program]);
        };
        with("/nowhere/program", 127);
        with(&text, 126);
        assert_eq!(left(&bench), [""; 0]);
    }
}

#[test]
fn commands_work_inside_of_a_program() {
    let bench = Bench::new();
    for options in [&[][..], &["--file"]] {
        run(&bench, options, &format!("{BINARY} status && {BINARY} doctor"))
            .ends(0)
            .says(&["fresh", "0 warnings, 0 failed"]);
    }
    assert_eq!(bench.calls(), (1, 0));
}
