//! Profiles: where they are, what they hold, and which source wins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use pg_sandbox::Route;
use support::{Bench, ZEROS};

/// Writes a profile with these lines to the default folder.
fn profile(bench: &Bench, name: &str, text: &str) -> String {
    fs::create_dir_all(bench.path(".config/paymentsgate-auth/profiles")).unwrap();
    bench.file(&format!(".config/paymentsgate-auth/profiles/{name}.toml"), text)
}

/// The lines of a profile for the emulator, with this `User-Agent`.
fn lines(bench: &Bench, user_agent: &str) -> String {
    let address = bench.sandbox.address();
    format!(
        "# A comment\nbase_url = {:?}\ncredentials_file = {:?}\nstore = {:?}\nuser_agent = {user_agent:?}\nkeep_warm = true\n\
         connect_timeout_ms = 4000\n[tls]\nca_file = {:?}\n",
        bench.sandbox.urls().https,
        address.credentials_file,
        bench.store(),
        address.ca_file,
    )
}

fn with_variable(mut command: Command, name: &str, value: &str) -> Command {
    command.env(name, value);
    command
}

#[test]
fn a_profile_has_all_that_a_login_needs() {
    let bench = Bench::new();
    let path = profile(&bench, "shop", &lines(&bench, "shop/1"));
    bench.run_command(bench.bare(&["login", "--profile", "shop"])).ends(0).says(&["sessions/pg-"]);
    let by_variable = with_variable(bench.bare(&["status"]), "PAYMENTSGATE_PROFILE", "shop");
    bench.run_command(by_variable).ends(0).says(&["sessions/pg-"]);
    let doctor = with_variable(bench.bare(&["doctor"]), "PAYMENTSGATE_PROFILE", "shop");
    bench.run_command(doctor).ends(0).says(&[&format!("base_url ({path})"), "0 warnings, 0 failed"]);
    let elsewhere = bench.path("elsewhere");
    fs::rename(bench.path(".config"), &elsewhere).unwrap();
    let moved = bench.bare(&["status", "--profile", "shop"]);
    bench.run_command(with_variable(moved, "XDG_CONFIG_HOME", elsewhere.to_str().unwrap())).ends(0);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_chosen_profile_wins_over_the_environment_and_a_preset_one_does_not() {
    let bench = Bench::new();
    profile(&bench, "one", &lines(&bench, "profile-one"));
    profile(&bench, "two", &lines(&bench, "profile-two"));
    let usual = r#"{"user_agent": "settings-file"}"#;
    bench.file(".config/paymentsgate-auth/settings.json", usual);
    let sent_by = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = bench.command(&[&["login", "--force"], arguments].concat());
        command.envs(variables.iter().copied());
        bench.run_command(command).ends(0);
        bench.sandbox.counters().route(Route::Issue).last.unwrap().headers["user-agent"].clone()
    };
    let (one, agent) = (("PAYMENTSGATE_PROFILE", "one"), ("PAYMENTSGATE_USER_AGENT", "variable"));
    assert_eq!(sent_by(&[], &[]), "settings-file");
    assert_eq!(sent_by(&[], &[one]), "profile-one");
    assert_eq!(sent_by(&[], &[one, agent]), "variable");
    assert_eq!(sent_by(&["--profile", "two"], &[one, agent]), "profile-two");
    assert_eq!(sent_by(&["--profile", "two", "--set", "user_agent=flag"], &[agent]), "flag");
    let other = bench.file("other.json", r#"{"user_agent": "other-file"}"#);
    assert_eq!(sent_by(&["--settings", &other], &[one]), "other-file");
    assert_eq!(sent_by(&[], &[("PAYMENTSGATE_PROFILE", "")]), "settings-file", "empty: not set");
    bench.run(&["status", "--profile", "one", "--settings", &other]).ends(2);
}

#[test]
fn a_secret_in_a_profile_is_refused_and_not_shown() {
    let bench = Bench::new();
    for (text, name) in [
        (format!("store_key = {ZEROS:?}"), "store_key"),
        ("public_key = \"hunter2\"".into(), "public_key"),
        ("store = \"redis://shop:hunter2@host\"".into(), "store"),
        ("proxy = \"http://shop:hunter2@host:3128\"".into(), "proxy"),
        ("store_key = \"hunter2".into(), "line 1"),
        ("keep_warm = true\nbase_url = hunter2".into(), "line 2"),
    ] {
        profile(&bench, "shop", &text);
        for command in ["status", "doctor"] {
            let ran = bench.run(&[command, "--profile", "shop"]).ends(3).says(&["profiles/shop.toml", name]);
            assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{} {}", ran.out, ran.err);
        }
    }
    // A file of the same secrets may be named.
    let key = bench.file("key", ZEROS);
    profile(
        &bench,
        "shop",
        &format!("{}store_key_file = {key:?}\n", lines(&bench, "a").replace("[tls]\n", "tls.")),
    );
    bench.run_command(bench.bare(&["login", "--profile", "shop"])).ends(0);
}

#[test]
fn a_wrong_profile_is_reported() {
    let bench = Bench::new();
    let run = |name: &str, pieces: &[&str]| bench.run(&["status", "--profile", name]).ends(3).says(pieces);
    run(
        "shop",
        &["profile shop: ", ".config/paymentsgate-auth/profiles/shop.toml does not exist", "no profiles"],
    );
    for (text, piece) in [
        ("basurl = \"x\"", "basurl"),
        ("keep_warm = \"maybe\"", "true or false"),
        ("keep_warm = [true]", "\"keep_warm\": give a text"),
        ("[tls]\nca = 1", "tls.ca"),
    ] {
        profile(&bench, "shop", text);
        run("shop", &["profiles/shop.toml", piece]);
    }
    profile(&bench, "sandbox", "");
    run("shpo", &["does not exist; there are: sandbox, shop"]);
    for name in ["../settings", "a/b", "", "."] {
        run(name, &["give a name of letters"]);
    }
    let mut homeless = bench.command(&["status", "--profile", "shop"]);
    homeless.env_remove("HOME");
    bench.run_command(homeless).ends(3).says(&["neither HOME nor XDG_CONFIG_HOME"]);
}

#[test]
fn a_tilde_in_the_path_of_a_file_is_the_home_folder() {
    let bench = Bench::new();
    let login = fs::read_to_string(&bench.sandbox.address().credentials_file).unwrap();
    bench.file("login.json", &login);
    let path = format!("{:?}", bench.sandbox.address().credentials_file);
    profile(&bench, "shop", &lines(&bench, "a").replace(&path, "\"~/login.json\""));
    bench.run_command(bench.bare(&["login", "--profile", "shop"])).ends(0);
}
