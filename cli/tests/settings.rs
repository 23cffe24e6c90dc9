//! Where settings come from, which source wins, and what is said of a wrong one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use pg_sandbox::Route;
use support::{Bench, ONES, ZEROS};

/// The `User-Agent` of the last Issue: a setting that the service sees.
fn user_agent(bench: &Bench) -> String {
    bench.sandbox.counters().route(Route::Issue).last.unwrap().headers["user-agent"].clone()
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let bench = Bench::new();
    let file = bench
        .file("settings.json", r#"{"user_agent": "file", "connect_timeout_ms": 4000, "keep_warm": true}"#);
    let sent_by = |arguments: &[&str], variable: Option<&str>| {
        let all = [&["login", "--force", "--settings", &file], arguments].concat();
        let mut command = bench.command(&all);
        command.envs(variable.map(|value| ("PAYMENTSGATE_USER_AGENT", value)));
        bench.run_command(command).ends(0);
        user_agent(&bench)
    };
    assert_eq!(sent_by(&[], None), "file");
    assert_eq!(sent_by(&[], Some("environment")), "environment");
    assert_eq!(sent_by(&["--set", "user_agent=line"], Some("environment")), "line");
    assert_eq!(sent_by(&["--set", "user_agent=a", "--set", "user_agent=b"], None), "b");
}

#[test]
fn the_default_settings_file_is_read() {
    let bench = Bench::new();
    let address = bench.sandbox.address();
    let settings = serde_json::json!({
        "base_url": bench.sandbox.urls().https,
        "tls.ca_file": address.ca_file,
        "credentials_file": address.credentials_file,
        "store": bench.store(),
    });
    for (folder, variable) in [(".config", "HOME"), ("elsewhere", "XDG_CONFIG_HOME")] {
        std::fs::create_dir_all(bench.path(folder).join("paymentsgate-auth")).unwrap();
        let file = bench.file(&format!("{folder}/paymentsgate-auth/settings.json"), &settings.to_string());
        let mut command = bench.bare(&["login"]);
        let place = if variable == "HOME" { bench.folder.path().into() } else { bench.path(folder) };
        command.env(variable, place);
        bench.run_command(command).ends(0).says(&["ogged in"]);
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(bench.calls(), (1, 0));
    bench.run_command(bench.bare(&["login"])).ends(3).says(&[
        "base_url is not set",
        "PAYMENTSGATE_BASE_URL in the environment",
        "--base-url",
    ]);
    let mut command = bench.command(&["login"]);
    command.env_remove("PAYMENTSGATE_CREDENTIALS_FILE");
    bench.run_command(command).ends(3).says(&[
        "there are no credentials",
        "PAYMENTSGATE_CREDENTIALS_FILE in the environment",
        "--credentials-file",
    ]);
}

#[test]
fn the_flags_set_their_settings() {
    let bench = Bench::new();
    let address = bench.sandbox.address();
    let authority = format!("tls.ca_file={}", address.ca_file.display());
    let arguments = [
        ["--base-url", &bench.sandbox.urls().https],
        ["--credentials-file", address.credentials_file.to_str().unwrap()],
        ["--store", &bench.store()],
        ["--set", &authority],
    ];
    let before = [&["login"][..], arguments.as_flattened()].concat();
    let after = [arguments.as_flattened(), &["status"]].concat();
    bench.run_command(bench.bare(&before)).ends(0);
    bench.run_command(bench.bare(&after)).ends(0);
}

#[test]
fn an_invalid_setting_is_reported_with_its_source() {
    let bench = Bench::new();
    let file = |text: &str| bench.file("settings.json", text);
    let run = |arguments: &[&str], pieces: &[&str]| {
        let ran = bench.run(arguments).ends(3).says(pieces);
        assert!(ran.out.is_empty() && ran.err.starts_with("error: "), "{}", ran.err);
    };
    run(&["status", "--set", "sotre=memory:"], &["--set", "sotre", "there are: base_url, "]);
    run(&["status", "--base-url", "ftp://host"], &["--base-url", "ftp://host", "https URL"]);
    run(&["status", "--store", "sessions"], &["--store", "absolute path"]);
    run(&["status", "--set", "store_key=short"], &["--set: store_key", "32 bytes"]);
    run(&["status", "--set", &format!("store_key={ONES},{ZEROS},{ONES}")], &["store_key"]);
    run(&["status", "--credentials-file", "/nowhere"], &["credentials_file", "/nowhere"]);
    run(&["status", "--settings", "/nowhere"], &["settings file", "/nowhere"]);
    for (text, pieces) in [
        (r#"{"basurl": "x"}"#, ["settings.json", "basurl"]),
        (r#"{"keep_warm": "maybe"}"#, ["settings.json", "true or false"]),
        (r#"{"keep_warm": null}"#, ["settings.json", "keep_warm"]),
        (r#"["keep_warm"]"#, ["settings.json", "not a JSON object"]),
        (r#"{"store_key": "hunter2", }"#, ["settings.json", "line 1"]),
    ] {
        run(&["status", "--settings", &file(text)], &pieces);
    }
    let mut command = bench.command(&["status"]);
    command.env("PAYMENTSGATE_CONNECT_TIMEOUT_MS", "soon");
    bench.run_command(command).ends(3).says(&["PAYMENTSGATE_CONNECT_TIMEOUT_MS", "milliseconds"]);
    run(&["status", "--set", "access_token=a", "--set", "refresh_token=b"], &["the host keeps this pair"]);
    assert_eq!(bench.sandbox.counters().connections.len(), 0);
}

#[test]
fn a_secret_in_an_invalid_setting_is_not_shown() {
    let bench = Bench::new();
    let file = bench.file("settings.json", r#"{"store_key": "hunter2"}"#);
    let broken = bench.file("broken.json", r#"{"store_key": "hunter2"#);
    let mut variable = bench.command(&["status"]);
    variable.env("PAYMENTSGATE_STORE_KEY", "hunter2");
    for command in [
        bench.command(&["status", "--set", "store_key=hunter2"]),
        bench.command(&["status", "--settings", &file]),
        bench.command(&["status", "--settings", &broken]),
        bench.command(&["doctor", "--settings", &file]),
        bench.command(&["status", "--set", "proxy=ftp://user:hunter2@host"]),
        bench.command(&["status", "--set", "proxy=http://proxy:3128:user:hunter2"]),
        bench.command(&["status", "--set", "store=name.example:6380,password=hunter2,ssl=True"]),
        bench.command(&["status", "--set", "base_url=https://host/?token=hunter2"]),
        bench.command(&["status", "--set", "Hunter2=", "--set", "hunter2=="]),
        bench.command(&["status", "--credentials-file", r#"{"public_key": "hunter2"}"#]),
        bench.command(&["doctor", "--credentials-file", r#"{"public_key": "hunter2"}"#]),
        variable,
    ] {
        let ran = bench.run_command(command).ends(3);
        assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{} {}", ran.out, ran.err);
    }
    let ran = bench.run(&["status", "--set", "static_token:hunter2"]).ends(2).says(&["--set", "NAME=VALUE"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn the_help_has_settings_commands_and_exit_codes() {
    let bench = Bench::new();
    let help = bench.run_command(bench.bare(&["--help"])).ends(0);
    let help = help.says(&["Exit codes:", "8    status: the token", "PAYMENTSGATE_", "settings.json", "ps"]);
    assert!(help.out.lines().all(|line| line.chars().count() <= 120), "{}", help.out);
    for command in ["login", "token", "exec", "refresh", "status", "doctor", "logout"] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}");
        bench.run_command(bench.bare(&[command, "--help"])).ends(0);
    }
    bench.run_command(bench.bare(&["--version"])).ends(0).says(&["paymentsgate-auth 0."]);
}
