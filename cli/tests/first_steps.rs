//! The README's commands as printed, and the store that they use if none is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::Bench;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The folder of sessions, below the one for states.
const FOLDER: &str = "paymentsgate-auth";

/// The environment of a new user: an address and credentials, and the emulator's authority.
fn new_user(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    command.env_remove("PAYMENTSGATE_STORE");
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The indented lines of the README's section on the command line, up to the agent's, which tests/docs plays.
fn printed() -> Vec<String> {
    let readme = fs::read_to_string(README).unwrap();
    let (_, section) = readme.split_once("\n## On the command line\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    lines.take_while(|line| !line.starts_with("paymentsgate-auth agent")).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_readme_work_as_printed() {
    let bench = Bench::new();
    let programs = bench.path("bin");
    fs::create_dir(&programs).unwrap();
    let command = Path::new(env!("CARGO_BIN_EXE_paymentsgate-auth"));
    std::os::unix::fs::symlink(command, programs.join("paymentsgate-auth")).unwrap();
    let curl = bench.file("bin/curl", "#!/bin/sh\nprintf 'curl %s %s %s\\n' \"$@\"\n");
    fs::set_permissions(curl, fs::Permissions::from_mode(0o700)).unwrap();
    let login = fs::read_to_string(&bench.sandbox.address().credentials_file).unwrap();
    bench.file("credentials.json", &login);
    let lines = printed();
    for piece in
        ["PAYMENTSGATE_BASE_URL=", "PAYMENTSGATE_CREDENTIALS_FILE=", " login", " exec", " status", " doctor"]
    {
        assert!(lines.iter().any(|line| line.contains(piece)), "{piece}: {lines:?}");
    }
    let url = &bench.sandbox.urls().https;
    let script = lines.join("\n").replace("https://secure.sandbox.paymentsgate.io", url);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let ran = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(bench.folder.path())
        .env_clear()
        .env("HOME", bench.folder.path())
        .env("PATH", path)
        .env("PAYMENTSGATE_TLS_CA_FILE", &bench.sandbox.address().ca_file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success(), "{script}\n{out}\n{err}");
    let curl = out.lines().find(|line| line.starts_with("curl ")).unwrap();
    assert!(curl.starts_with("curl -H Authorization: Bearer eyJ"), "{curl}");
    assert!(curl.ends_with(&format!(" {url}/wallet")), "{curl}");
    assert!(out.contains(&format!("{}/.local/state/{FOLDER}/pg-", bench.folder.path().display())), "{out}");
    assert!(out.contains("0 warnings, 0 failed"), "{out}");
    assert_eq!(err, "");
    assert_eq!(bench.calls(), (1, 0), "one session for all commands");
}

#[test]
fn without_a_store_the_session_is_in_the_users_own_folder() {
    for (variable, state) in [("HOME", ".local/state"), ("XDG_STATE_HOME", "elsewhere/state")] {
        let bench = Bench::new();
        let run = |arguments: &[&str]| {
            let mut command = new_user(&bench, arguments);
            if variable == "XDG_STATE_HOME" {
                command.env(variable, bench.path(state));
            }
            bench.run_command(command)
        };
        let folder = bench.path(state).join(FOLDER);
        let place = folder.join("pg-");
        run(&["status"]).ends(7).says(&[place.to_str().unwrap(), "no record"]);
        run(&["login"]).ends(0).says(&["saved in", place.to_str().unwrap()]);
        let token = run(&["token"]).ends(0);
        assert!(token.out.starts_with("eyJ") && token.err.is_empty(), "{}", token.err);
        assert!(
            run(&["status", "--json"]).ends(0).json()["place"]
                .as_str()
                .unwrap()
                .starts_with(place.to_str().unwrap())
        );
        run(&["doctor"]).ends(0).says(&[&format!("store (default: file:{})", folder.display())]);
        run(&["logout"]).ends(0).says(&["Logged out", place.to_str().unwrap()]);
        run(&["status"]).ends(7);
        assert_eq!(bench.calls(), (1, 0));
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(folder.parent().unwrap()), 0o700, "it was made, too");
    }
}

#[test]
fn a_store_that_is_set_wins_and_no_folder_is_made() {
    let bench = Bench::new();
    bench.run(&["login"]).ends(0).says(&[bench.path("sessions/pg-").to_str().unwrap()]);
    let settings = serde_json::json!({"store": bench.store()}).to_string();
    let settings = bench.file("settings.json", &settings);
    bench.run_command(new_user(&bench, &["status", "--settings", &settings])).ends(0);
    bench.run_command(new_user(&bench, &["login", "--store", "memory:"])).ends(3).says(&["memory:"]);
    assert!(!bench.path(".local").exists());
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_tilde_in_a_store_is_the_home_folder() {
    let bench = Bench::new();
    let place = bench.path("sessions/pg-");
    let tilde = "file:~/sessions";
    bench
        .run_command(new_user(&bench, &["login", "--store", tilde]))
        .ends(0)
        .says(&[place.to_str().unwrap()]);
    let set = format!("store={tilde}");
    bench.run_command(new_user(&bench, &["status", "--set", &set])).ends(0);
    let mut variable = new_user(&bench, &["status"]);
    variable.env("PAYMENTSGATE_STORE", tilde);
    bench.run_command(variable).ends(0);
    let settings = bench.file("settings.json", &serde_json::json!({"store": tilde}).to_string());
    bench.run_command(new_user(&bench, &["status", "--settings", &settings])).ends(0);
    bench.run_command(new_user(&bench, &["doctor", "--store", tilde])).ends(0);
    let mut homeless = new_user(&bench, &["status", "--store", tilde]);
    homeless.env_remove("HOME");
    bench.run_command(homeless).ends(3).says(&["absolute path"]);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn without_a_place_for_the_default_store_the_command_says_what_to_set() {
    let bench = Bench::new();
    let mut homeless = new_user(&bench, &["login"]);
    homeless.env_remove("HOME").env("XDG_STATE_HOME", "relative");
    bench.run_command(homeless).ends(3).says(&["HOME or XDG_STATE_HOME", "set store to file:/folder"]);
    bench.file("in-the-way", "");
    for command in ["login", "doctor"] {
        let mut blocked = new_user(&bench, &[command]);
        blocked.env("XDG_STATE_HOME", bench.path("in-the-way"));
        bench.run_command(blocked).ends(6).says(&[
            "cannot make",
            "in-the-way/paymentsgate-auth",
            "set store to",
        ]);
    }
    assert_eq!(bench.calls(), (0, 0));
}
