//! `status`: every state of a store, as text, as JSON and as an exit code, without a call to the service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::error::{Error, ServerError};
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{RecordFile, Refusal};
use paymentsgate_auth::token::Fingerprint;
use serde_json::json;
use support::{ACCESS, Bench, ZEROS, contents};

/// The text output, with placeholders for the values that differ between runs.
fn shown(bench: &Bench, record: &RecordFile, code: i32) -> String {
    let ran = bench.run(&["status"]).ends(code);
    assert_eq!(ran.err, "");
    let fingerprint = Fingerprint::of(&Secret::new(ACCESS).unwrap()).to_string();
    let text = ran
        .out
        .replace(record.path().to_str().unwrap(), "RECORD")
        .replace(&fingerprint, "FINGERPRINT")
        .replace(&format!("process {}", std::process::id()), "process PID");
    let is_seconds = |words: &[&str]| words[1].trim_end_matches([',', ';']) == "s";
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').chain([""]).collect();
        let masked = words.windows(2).map(|pair| {
            let is_number = pair[0].parse::<u64>().is_ok();
            if is_number && is_seconds(pair) { "N" } else { pair[0] }
        });
        masked.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

/// Half a minute away from the next window, so that a slow machine has the same result.
#[test]
fn the_text_shows_each_state() {
    let bench = Bench::new();
    let record = bench.record();
    assert_eq!(
        shown(&bench, &record, 7),
        "session        none; `paymentsgate-auth login` obtains one\n\
         place          RECORD (no record)\n"
    );
    for (left, code, session) in [
        (3570, 0, "fresh, 59 min N s left"),
        (330, 0, "advisory, 5 min N s left; the next `token` may refresh it"),
        (90, 0, "mandatory, 1 min N s left; the next `token` may refresh it"),
        (0, 8, "expired; the next `token` refreshes it"),
    ] {
        let bench = Bench::new();
        let record = bench.seed(3600, left);
        assert_eq!(
            shown(&bench, &record, code),
            format!(
                "session        {session}\n\
                 token          FINGERPRINT, generation 1\n\
                 refresh token  saved\n\
                 place          RECORD (plain)\n"
            )
        );
    }
}

#[test]
fn the_text_shows_the_intent_and_refused_credentials() {
    let bench = Bench::new();
    let record = bench.seed(3600, 0);
    assert!(record.intend().unwrap().is_some());
    assert_eq!(
        shown(&bench, &record, 8),
        "session        expired; the next `token` logs in again\n\
         token          FINGERPRINT, generation 1\n\
         refresh token  taken by process PID N s ago, which has not recorded the result; it is not presented again\n\
         place          RECORD (plain)\n"
    );
    refuse(&record, 2);
    assert_eq!(
        shown(&bench, &record, 4),
        "session        no token works, and the credentials were refused\n\
         token          FINGERPRINT, generation 1\n\
         refresh token  taken by process PID N s ago, which has not recorded the result; it is not presented again\n\
         credentials    refused 2 times (NO, HTTP 401); not tried again for 9 min N s; `login --force` tries them now\n\
         place          RECORD (plain)\n"
    );
}

/// A back-off of about nine and a half minutes.
fn refuse(record: &RecordFile, strikes: usize) {
    let server = Some(Box::new(ServerError { code: Some("NO".into()), ..ServerError::default() }));
    let error = Error { server, http_status: Some(401), ..Error::new(Status::PG_ERR_REFUSED, "no") };
    let until = SystemClock.now().boot + Duration::from_secs(570);
    record.back_off(&Refusal { strikes, until, error }).unwrap();
}

#[test]
fn a_working_token_counts_more_than_refused_credentials() {
    let bench = Bench::new();
    let record = bench.seed(3600, 3000);
    refuse(&record, 3);
    bench.run(&["status"]).ends(0).says(&["fresh", "rejected 3 times"]);
}

#[test]
fn json_output_is_one_object() {
    let bench = Bench::new();
    let record = bench.record();
    let place = record.path().to_str().unwrap();
    let mut expected = json!({
        "state": "none", "phase": null, "generation": null, "fingerprint": null, "seconds_left": null,
        "has_refresh_token": false, "intent": null, "cooling": null, "place": place, "form": null, "warning": null,
    });
    assert_eq!(bench.run(&["status", "--json"]).ends(7).json(), expected);
    let record = bench.seed(3600, 3000);
    let found = bench.run(&["status", "--json", "--color", "always"]).ends(0).json();
    let left = found["seconds_left"].as_u64().unwrap();
    assert!((2900..=3000).contains(&left), "{left}");
    expected["state"] = json!("usable");
    expected["phase"] = json!("fresh");
    expected["generation"] = json!(1);
    expected["fingerprint"] = json!(Fingerprint::of(&Secret::new(ACCESS).unwrap()).to_string());
    expected["seconds_left"] = json!(left);
    expected["has_refresh_token"] = json!(true);
    expected["form"] = json!("plain");
    assert_eq!(found, expected);
    assert!(record.intend().unwrap().is_some());
    refuse(&record, 3);
    let found = bench.run(&["status", "--json"]).ends(0).json();
    assert_eq!(found["intent"]["pid"], json!(std::process::id()));
    assert!(found["intent"]["seconds_ago"].as_u64().unwrap() < 100);
    let cooling = &found["cooling"];
    let given = ["strikes", "is_rejected", "code", "http_status"].map(|key| cooling[key].clone());
    assert_eq!(given, [json!(3), json!(true), json!("NO"), json!(401)]);
    assert!((470..=570).contains(&cooling["seconds_left"].as_u64().unwrap()));
}

#[test]
fn json_output_of_a_failure_is_one_object() {
    let bench = Bench::new();
    let key = bench.file("key", ZEROS);
    bench.run(&["login", "--set", &format!("store_key_file={key}")]).ends(0);
    bench.run(&["status", "--set", &format!("store_key_file={key}")]).ends(0).says(&["(sealed)"]);
    let found = bench.run(&["status", "--json"]).ends(6).says(&["error: "]).json();
    assert_eq!((&found["state"], &found["error"]["status"]), (&json!("unknown"), &json!("PG_ERR_STORE_KEY")));
    assert!(found["error"]["text"].as_str().unwrap().contains("store_key"));
}

#[test]
fn a_broken_record_is_reported_and_not_changed() {
    let bench = Bench::new();
    let path = bench.seed(3600, 3000).path().to_owned();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let before = contents(&bench.path("sessions"));
    bench.run(&["status"]).ends(7).says(&["broken; the next login replaces it"]);
    assert_eq!(contents(&bench.path("sessions")), before);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn status_needs_neither_the_service_nor_the_lock() {
    let bench = Bench::new();
    let _held = bench.seed(3600, 3000);
    bench.run(&["status"]).ends(0);
    bench.run(&["status", "--store", "memory:"]).ends(7);
    assert!(bench.sandbox.counters().connections.is_empty());
}

#[test]
fn colours_are_used_in_a_terminal_or_on_request() {
    let bench = Bench::new();
    let _held = bench.seed(3600, 3000);
    let escape = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("NO_COLOR", "1");
        let plain = bench.run_command(command).out;
        (bench.run(arguments).out.contains('\u{1b}'), plain.contains('\u{1b}'))
    };
    assert_eq!(escape(&["status"]), (false, false), "a pipe");
    assert_eq!(escape(&["status", "--color", "never"]), (false, false));
    assert_eq!(escape(&["status", "--color", "always"]), (true, true), "colours were requested");
    let red = bench.run(&["status", "--color", "always", "--set", "no=no"]).ends(3).err;
    assert!(red.contains("\u{1b}["), "{red}");
    // script(1) provides a terminal.
    let terminal = |variable: &[(&str, &str)]| {
        let mut command = bench.command(&["status"]);
        let program = command.get_program().to_str().unwrap().to_owned();
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        let mut inner = std::process::Command::new("script");
        inner.args(["-qec", &format!("{program} status"), "/dev/null"]);
        inner.env_clear().envs(environment).env("PATH", std::env::var_os("PATH").unwrap());
        inner.envs(variable.iter().copied()).stdin(std::process::Stdio::null());
        command = inner;
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let coloured = terminal(&[]);
    assert!(coloured.contains("session") && coloured.contains("\u{1b}["), "{coloured}");
    let plain = terminal(&[("NO_COLOR", "1")]);
    assert!(plain.contains("session") && !plain.contains("\u{1b}["), "{plain}");
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
    let bench = Bench::new();
    let _held = bench.seed(3600, 3000);
    let mut child = bench.start(&["status"]);
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let mut command = bench.command(&["status"]);
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().starts_with("error: cannot write: "));
}

/// The lines without a comment.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn metrics_show_what_the_store_holds() {
    let bench = Bench::new();
    let login =
        bench.record().path().file_name().unwrap().to_str().unwrap().trim_start_matches("pg-").to_owned();
    let empty = bench.run(&["metrics"]).ends(0).out;
    assert_eq!(
        samples(&empty),
        ["up", "refresh_token_held", "refresh_token_taken", "credentials_strikes"].map(|name| {
            let value = u8::from(name == "up");
            format!("paymentsgate_auth_store_{name}{{login=\"{login}\"}} {value}")
        })
    );

    let record = bench.seed(3600, 3000);
    let text = bench.run(&["metrics"]).ends(0).out;
    assert!(
        text.contains("# TYPE paymentsgate_auth_store_generation gauge\npaymentsgate_auth_store_generation{")
    );
    let value = |name: &str| -> f64 {
        let line = samples(&text).into_iter().find(|line| line.contains(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let left = value("expiry_timestamp_seconds") - SystemClock.now().wall.as_secs_f64();
    assert!((2900.0..=3001.0).contains(&left), "{left}");
    assert_eq!((value("_generation"), value("_held"), value("_taken")), (1.0, 1.0, 0.0));

    assert!(record.intend().unwrap().is_some());
    let text = bench.run(&["metrics"]).ends(0).out;
    assert!(text.contains(&format!("refresh_token_taken{{login=\"{login}\"}} 1\n")), "{text}");
    assert_eq!(bench.calls(), (0, 0));
}

#[test]
fn metrics_replace_their_file_atomically_also_if_the_store_cannot_be_read() {
    let bench = Bench::new();
    drop(bench.seed(3600, 3000));
    let (file, path) = (bench.file("pg.prom", "old\n"), bench.path("pg.prom"));
    assert_eq!(bench.run(&["metrics", "--output", &file]).ends(0).out, "");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("paymentsgate_auth_store_up{") && text.contains("} 1\n") && !text.starts_with("old")
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let in_the_way = bench.file("in-the-way", "");
    let store = format!("file:{in_the_way}/sessions");
    bench.run(&["metrics", "--store", &store, "--output", &file]).ends(6);
    bench
        .run(&["metrics", "--output", "/no/such/folder/pg.prom"])
        .ends(1)
        .says(&["/no/such/folder", "--output"]);
    bench.run(&["metrics", "--store", "memory:"]).ends(3);
    let names = std::fs::read_dir(bench.folder.path()).unwrap();
    let left: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.ends_with(".new")), "{left:?}");
}
