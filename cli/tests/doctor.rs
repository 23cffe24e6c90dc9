//! `doctor`: each fault is found and named, nothing else is blamed, and nothing is consumed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use pg_sandbox::{Action, DateHeader, Fault, Point, Route};
use support::{Bench, ONES, ZEROS};

/// Every check of the emulator's world, in order.
const ALL: [&str; 15] = [
    "settings",
    "credentials_file",
    "tls.ca_file",
    "credentials",
    "boot clock",
    "wall clock",
    "name",
    "connection",
    "tls",
    "service",
    "clock skew",
    "store",
    "lock",
    "record",
    "issue",
];

/// What the checks came to: their names, results and texts. As a program sees them.
struct Found(Vec<(String, String, String)>);

impl Found {
    fn of(bench: &Bench, mut command: Command, code: i32) -> Self {
        command.args(["doctor", "--json"]);
        let found = bench.run_command(command).ends(code).json();
        let checks = found["checks"].as_array().unwrap();
        let text = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap().to_owned();
        let found =
            checks.iter().map(|check| (text(check, "name"), text(check, "result"), text(check, "text")));
        Found(found.collect())
    }

    /// The names of the checks that came to that.
    fn that_are(&self, result: &str) -> Vec<&str> {
        self.0.iter().filter(|(_, found, _)| found == result).map(|(name, ..)| name.as_str()).collect()
    }

    fn text(&self, name: &str) -> &str {
        &self.0.iter().find(|(found, ..)| found == name).unwrap().2
    }
}

/// One thing is wrong: which check fails with which words and exit code, and which cannot run for it.
#[track_caller]
fn assert_fault(bench: &Bench, settings: &[&str], code: i32, name: &str, words: &[&str], not_run: &[&str]) {
    let mut command = bench.command(&[]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let found = Found::of(bench, command, code);
    assert_eq!(found.that_are("failed"), [name], "{settings:?}");
    words.iter().for_each(|word| assert!(found.text(name).contains(word), "{word}: {}", found.text(name)));
    assert_eq!(found.that_are("not_run"), [not_run, &["issue"]].concat(), "{settings:?}");
    assert!(found.0.len() >= ALL.len(), "all run, or say why not");
}

#[test]
fn without_faults_all_checks_are_ok_and_nothing_is_consumed() {
    let bench = Bench::new();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.0.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ALL);
    assert_eq!(found.that_are("not_run"), ["issue"]);
    assert_eq!((found.that_are("warning"), found.that_are("failed")), (vec![], vec![]));
    assert!(found.text("settings").contains("base_url (PAYMENTSGATE_BASE_URL), "));
    assert!(found.text("record").contains("none yet; "));
    assert_eq!(bench.calls(), (0, 0));
    let seen = bench.sandbox.counters().route(Route::Other).last.unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body.as_str()), ("GET", "/", ""));
    assert!(!seen.headers.contains_key("authorization"));
    bench.run(&["login"]).ends(0);
    let ran = bench.run(&["doctor"]).ends(0).says(&["14 ok, 0 warnings, 0 failed, 1 not run", "plain"]);
    let columns =
        ran.out.lines().take(ALL.len()).map(|line| line.chars().skip(9).take(20).collect::<String>());
    assert_eq!(columns.map(|name| name.trim_end().to_owned()).collect::<Vec<_>>(), ALL);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn an_issue_is_made_only_on_request_and_is_saved() {
    let bench = Bench::new();
    bench.run(&["doctor", "--issue"]).ends(0).says(&["15 ok", "the service accepts the credentials"]);
    assert_eq!(bench.calls(), (1, 0));
    bench.run(&["status"]).ends(0);
    let other = bench.sandbox.add_account().unwrap();
    let wrong = serde_json::json!({
        "account_id": other.account_id, "public_key": bench.sandbox.credentials().public_key,
    });
    let wrong = bench.file("wrong.json", &wrong.to_string());
    bench
        .run(&["doctor", "--issue", "--credentials-file", &wrong])
        .ends(4)
        .says(&["ERROR_CREDENTIALS_NOT_FOUND"]);
    // It has been written down for all.
    let found = Found::of(&bench, bench.command(&["--credentials-file", &wrong]), 4);
    assert_eq!(found.that_are("failed"), ["record"]);
    assert_eq!(bench.calls(), (2, 0));
}

#[test]
fn a_fault_of_the_settings_is_found_and_other_checks_run() {
    let bench = Bench::new();
    let store = ["store", "lock", "record"];
    assert_fault(&bench, &["keep_warm=maybe"], 3, "settings", &["--set", "true or false"], &store);
    assert_fault(&bench, &["sotre=memory:"], 3, "settings", &["--set", "sotre"], &store);
    let found = Found::of(&bench, bench.bare(&[]), 3);
    assert_eq!(found.that_are("failed"), ["settings", "credentials"]);
    assert_eq!(found.that_are("ok"), ["boot clock", "wall clock"]);
    let mut command = bench.command(&[]);
    command.env("PAYMENTSGATE_BASEURL", "x").env("PAYMENTSGATE_AUTH_LIB", "x");
    let found = Found::of(&bench, command, 0);
    assert_eq!(found.that_are("warning"), ["environment"]);
    assert!(found.text("environment").contains("PAYMENTSGATE_BASEURL;"));
}

#[test]
fn a_missing_address_fails_as_it_does_in_a_program() {
    let bench = Bench::new();
    let without = |store: &str, code| {
        let mut command = bench.command(&["--store", store]);
        command.env_remove("PAYMENTSGATE_BASE_URL");
        Found::of(&bench, command, code)
    };
    let found = without(&bench.store(), 3);
    assert_eq!(found.that_are("failed"), ["settings"]);
    assert!(found.text("settings").contains("base_url is not set"));
    let network = ["name", "connection", "tls", "service", "clock skew"];
    assert_eq!(found.that_are("not_run"), [&network[..], &["lock", "record", "issue"]].concat());
    let found = without(&format!("file:{}", bench.file("in-the-way", "")), 3);
    assert_eq!(found.that_are("failed"), ["settings", "store"], "the place of the store is checked anyway");
    bench.run_command(bench.bare(&["doctor"])).ends(3).says(&["base_url is not set", "there are none"]);
}

#[test]
fn a_fault_of_a_file_is_found() {
    let bench = Bench::new();
    let store = ["store", "lock", "record"];
    let network = ["service", "clock skew", "store", "lock", "record"];
    let broken = format!("tls.ca_file={}", bench.file("ca", "no certificate"));
    assert_fault(&bench, &[&broken], 3, "tls", &["tls.ca_file", "BEGIN CERTIFICATE"], &network);
    let login = bench.file("login.json", r#"{"account_id": "a", "public_key": "aGVsbG8="}"#);
    let login = format!("credentials_file={login}");
    assert_fault(&bench, &[&login], 3, "credentials", &["public_key", "not of a PEM"], &store);
    let mut command = bench.command(&[]);
    command.args(["--credentials-file", "/nowhere.json"]);
    let found = Found::of(&bench, command, 3);
    assert_eq!(found.that_are("failed"), ["credentials_file", "credentials"]);
    assert!(found.text("credentials_file").contains("/nowhere.json"));
    assert_eq!(found.that_are("not_run"), [&store[..], &["issue"]].concat());
}

#[test]
fn a_secret_that_everybody_may_read_is_found() {
    let bench = Bench::new();
    let key = bench.file("key", ZEROS);
    let settings = bench.file("settings.json", &serde_json::json!({"store_key_file": key}).to_string());
    let with = |settings: &str| Found::of(&bench, bench.command(&["--settings", settings]), 0);
    assert!(with(&settings).that_are("warning").is_empty());
    let chmod = |path: &str, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let login = bench.sandbox.address().credentials_file.to_str().unwrap().to_owned();
    chmod(&login, 0o644);
    chmod(&key, 0o604);
    chmod(&settings, 0o644);
    let found = with(&settings);
    assert_eq!(
        found.that_are("warning"),
        ["credentials_file", "store_key_file"],
        "the settings are no secret"
    );
    assert!(
        found.text("credentials_file").contains(&format!("it is a secret (mode 644); `chmod 600 {login}`"))
    );
    let settings = bench.file("settings.json", &serde_json::json!({"store_key": ZEROS}).to_string());
    chmod(&settings, 0o644);
    assert_eq!(with(&settings).that_are("warning"), ["settings file", "credentials_file"]);
    chmod(&login, 0o662);
    assert!(with(&settings).text("credentials_file").contains("others may write it"));
}

#[test]
fn a_fault_of_the_network_is_found_in_its_layer() {
    let bench = Bench::new();
    let above = ["tls", "service", "clock skew"];
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("base_url=https://{}", closed.local_addr().unwrap());
    drop(closed);
    assert_fault(&bench, &[&nobody], 5, "connection", &["refused", "base_url"], &above);
    let unknown = ["connection", "tls", "service", "clock skew"];
    assert_fault(&bench, &["base_url=https://no.such.host.invalid"], 5, "name", &["no.such.host"], &unknown);
    let urls = bench.sandbox.urls();
    let tls = ["service", "clock skew"];
    for (url, words) in [
        (&urls.self_signed, ["tls.ca_file", "authority"]),
        (&urls.expired, ["date", "renew"]),
        (&urls.wrong_name, ["host name", "base_url"]),
        (&urls.client_certificate, ["client certificate", "https"]),
    ] {
        assert_fault(
            &bench,
            &[&format!("base_url={url}")],
            if url == &urls.client_certificate { 5 } else { 1 },
            "tls",
            &words,
            &tls,
        );
    }
    let own = Bench::new();
    let foreign = format!("tls.ca_file={}", own.sandbox.address().ca_file.display());
    assert_fault(&bench, &[&foreign], 1, "tls", &["tls.ca_file"], &tls);
    bench.sandbox.inject(Fault::new(Route::Other, Action::Reset).at(Point::Before).forever()).unwrap();
    assert_fault(&bench, &[], 5, "service", &["network"], &["tls", "clock skew"]);
}

#[test]
fn a_proxy_and_plain_http_are_reported() {
    let bench = Bench::new();
    let proxy = format!("proxy={}", bench.sandbox.urls().proxy);
    let found = Found::of(&bench, bench.command(&["--set", &proxy]), 0);
    assert_eq!(found.that_are("not_run"), ["name", "connection", "issue"]);
    assert_eq!(bench.sandbox.counters().proxy_tunnels, 1);
    let found = Found::of(&bench, bench.command(&["--base-url", &bench.sandbox.urls().http]), 0);
    assert!(found.text("tls").contains("plain http"));
}

#[test]
fn problems_of_the_service_are_reported() {
    let bench = Bench::new();
    bench.sandbox.switches(|switches| switches.date_header = DateHeader::SkewS(-600));
    let status = Action::Status { status: 503, body: None, headers: [].into() };
    bench.sandbox.inject(Fault::new(Route::Other, status)).unwrap();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.that_are("warning"), ["service", "clock skew"]);
    assert!(found.text("service").contains("HTTP 503"));
    assert!(found.text("clock skew").contains(" s behind this machine's"));
    bench.sandbox.switches(|switches| switches.date_header = DateHeader::Off);
    assert_eq!(Found::of(&bench, bench.command(&[]), 0).that_are("not_run"), ["clock skew", "issue"]);
}

#[test]
fn a_fault_of_the_store_is_found() {
    let bench = Bench::new();
    let inside = ["lock", "record"];
    let in_the_way = format!("store=file:{}", bench.file("in-the-way", ""));
    assert_fault(&bench, &[&in_the_way], 6, "store", &["in-the-way"], &inside);
    let shared = bench.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    let shared = format!("store=file:{}", shared.display());
    let found = Found::of(&bench, bench.command(&["--set", &shared]), 0);
    assert_eq!(found.that_are("warning"), ["store"]);
    assert!(found.text("store").contains("mode 777"), "{}", found.text("store"));
    let short = format!("store_key_file={}", bench.file("short", "short"));
    assert_fault(&bench, &[&short], 3, "store", &["store_key_file", "32 bytes"], &inside);
    bench.run(&["login", "--set", &format!("store_key_file={}", bench.file("key", ZEROS))]).ends(0);
    let other = format!("store_key_file={}", bench.file("other", ONES));
    assert_fault(&bench, &[&other], 6, "record", &["store_key", "nothing was changed"], &[]);
    bench
        .run(&["doctor", "--issue", "--set", &other])
        .ends(6)
        .says(&["the store could not save the session"]);
    assert_eq!(bench.calls(), (1, 0));
    let found = Found::of(&bench, bench.command(&["--store", "memory:"]), 0);
    assert_eq!(found.that_are("warning"), ["store"]);
}

#[test]
fn a_store_that_cannot_be_used_fails_as_it_does_in_a_program() {
    let bench = Bench::new();
    let inside = ["lock", "record"];
    let missing = format!("store=file:{}", bench.path("missing/sessions").display());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("store=redis://{}", closed.local_addr().unwrap());
    drop(closed);
    let memory = format!("store_key_file={}", bench.file("key", ZEROS));
    for (settings, code, check, words) in [
        (&[&*missing][..], 6, "store", "cannot make or open"),
        (&["store=file:/proc/sessions"], 6, "store", "/proc/sessions"),
        (&["store=memory:", &memory], 3, "store", "seals nothing"),
    ] {
        assert_fault(&bench, settings, code, check, &[words], &inside);
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let login: Vec<_> = ["login"].into_iter().chain(settings).collect();
        bench.run(&login).ends(code).says(&[words]);
    }
    let found = Found::of(&bench, bench.command(&["--set", &nobody]), 6);
    assert!(found.that_are("failed").iter().all(|name| ["store", "lock", "record"].contains(name)));
    fs::create_dir(bench.path("sessions")).unwrap();
    // Only root can give a folder away.
    if chown(bench.path("sessions"), Some(4321), None).is_ok() {
        assert_fault(&bench, &[], 6, "store", &["belongs to user 4321"], &inside);
        bench.run(&["login"]).ends(6).says(&["belongs to user 4321"]);
    }
    assert_eq!(bench.calls(), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_found_though_its_record_can_be_read() {
    let bench = Bench::new();
    let record = bench.seed(3600, 3000);
    record.unlock();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let login = bench.file("login.json", &read(&bench.sandbox.address().credentials_file));
    let authority = bench.file("ca.pem", &read(&bench.sandbox.address().ca_file));
    let mut command = bench.command(&["--credentials-file", &login]);
    command.env("PAYMENTSGATE_TLS_CA_FILE", &authority);
    let lock = format!("{}.lock", record.path().display());
    fs::set_permissions(bench.path("sessions"), Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere, so the command runs as another user then.
    if chown(bench.folder.path(), Some(4321), None).is_ok() {
        for path in
            [&*bench.path("sessions"), record.path(), lock.as_ref(), login.as_ref(), authority.as_ref()]
        {
            chown(path, Some(4321), None).unwrap();
        }
        command.uid(4321);
    }
    let found = Found::of(&bench, command, 6);
    fs::set_permissions(bench.path("sessions"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found.that_are("failed"), ["store"]);
    assert!(found.text("store").contains("cannot be written"), "{}", found.text("store"));
}

#[test]
fn a_lock_with_wrong_permissions_is_found_and_a_held_lock_is_no_fault() {
    let bench = Bench::new();
    let record = bench.seed(3600, 3000);
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.that_are("warning"), ["lock"]);
    record.unlock();
    assert!(record.intend().is_err());
    let lock = format!("{}.lock", record.path().display());
    fs::set_permissions(lock, Permissions::from_mode(0o666)).unwrap();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.that_are("warning"), ["store"]);
    assert!(found.text("store").contains("its mode is 600 again"), "{}", found.text("store"));
}

#[test]
fn the_content_of_the_store_is_reported() {
    let bench = Bench::new();
    let record = bench.seed(3600, 3000);
    assert!(record.intend().unwrap().is_some());
    record.unlock();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.that_are("warning"), ["record"]);
    assert!(found.text("record").contains(&format!("process {} took the refresh token", std::process::id())));
    fs::write(record.path(), "broken").unwrap();
    assert!(Found::of(&bench, bench.command(&[]), 0).text("record").contains("broken"));
}
