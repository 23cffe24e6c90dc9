//! `doctor`: each fault is found and named, nothing else is blamed, and nothing is consumed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use pg_sandbox::{Action, DateHeader, ExpiresInForm, Fault, Point, Route};
use support::{Bench, ONES, ZEROS, skipped_without_root};

/// Every check of the emulator's world, in order.
const ALL: [&str; 18] = [
    "settings",
    "credentials_file",
    "tls.ca_file",
    "credentials",
    "boot clock",
    "wall clock",
    "proxy",
    "name",
    "ipv4",
    "ipv6",
    "tls",
    "service",
    "clock skew",
    "store",
    "lock",
    "record",
    "issue",
    "lifetime",
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

    /// The names of the checks that came to that. Whether this machine has IPv6 does not count.
    fn that_are(&self, result: &str) -> Vec<&str> {
        let is_no_ipv6 = |name: &str| (result, name) == ("not_run", "ipv6");
        let found = self.0.iter().filter(|(name, found, _)| found == result && !is_no_ipv6(name));
        found.map(|(name, ..)| name.as_str()).collect()
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
    assert_eq!(found.that_are("not_run"), [not_run, &["issue", "lifetime"]].concat(), "{settings:?}");
    assert!(found.0.len() >= ALL.len(), "all run, or say why not");
}

#[test]
fn without_faults_all_checks_are_ok_and_nothing_is_consumed() {
    let bench = Bench::new();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert_eq!(found.0.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ALL);
    assert_eq!(found.that_are("not_run"), ["issue", "lifetime"]);
    assert_eq!((found.that_are("warning"), found.that_are("failed")), (vec![], vec![]));
    assert!(found.text("settings").contains("base_url (PAYMENTSGATE_BASE_URL), "));
    let (account, file) =
        (&bench.sandbox.credentials().account_id, &bench.sandbox.address().credentials_file);
    let of = |source: &str| format!("account {account}, from {source}; complete and well-formed");
    assert_eq!(found.text("credentials"), of(file.to_str().unwrap()));
    assert!(found.text("record").contains("none yet; "));
    assert_eq!(bench.calls(), (0, 0));
    let seen = bench.sandbox.counters().route(Route::Other).last.unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body.as_str()), ("GET", "/", ""));
    assert!(!seen.headers.contains_key("authorization"));
    let mut command = bench.command(&["--set", &format!("account_id={account}")]);
    command.env_remove("PAYMENTSGATE_CREDENTIALS_FILE");
    command.env("PAYMENTSGATE_PUBLIC_KEY", &bench.sandbox.credentials().public_key);
    assert_eq!(Found::of(&bench, command, 0).text("credentials"), of("account_id (--set)"));
    bench.run(&["login"]).ends(0);
    let ran =
        bench.run(&["doctor"]).ends(0).says(&["0 warnings, 0 failed", "plain", "3600 s, as documented"]);
    let columns =
        ran.out.lines().take(ALL.len()).map(|line| line.chars().skip(9).take(20).collect::<String>());
    assert_eq!(columns.map(|name| name.trim_end().to_owned()).collect::<Vec<_>>(), ALL);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn an_issue_is_made_only_on_request_and_is_saved() {
    let bench = Bench::new();
    bench.run(&["doctor", "--issue"]).ends(0).says(&[
        "0 warnings, 0 failed",
        "the service accepts the credentials",
        "3600 s, as documented",
    ]);
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
    let why = found.text("settings");
    let words = ["base_url is not set", "PAYMENTSGATE_BASE_URL in the environment", "--base-url"];
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
    assert_eq!(found.text("tls"), "base_url is not set, see above");
    let network = ["proxy", "name", "ipv4", "tls", "service", "clock skew"];
    assert_eq!(found.that_are("not_run"), [&network[..], &["lock", "record", "issue", "lifetime"]].concat());
    let found = without(&format!("file:{}", bench.file("in-the-way", "")), 3);
    assert_eq!(found.that_are("failed"), ["settings", "store"], "the place of the store is checked anyway");
    let words =
        ["base_url is not set", "there are none", "PAYMENTSGATE_CREDENTIALS_FILE, --credentials-file"];
    bench.run_command(bench.bare(&["doctor"])).ends(3).says(&words);
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
    assert_eq!(found.that_are("not_run"), [&store[..], &["issue", "lifetime"]].concat());
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
    assert_fault(&bench, &[&nobody], 5, "ipv4", &["refused", "base_url"], &above);
    let unknown = ["ipv4", "tls", "service", "clock skew"];
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
    assert_eq!(found.that_are("not_run"), ["name", "ipv4", "issue", "lifetime"]);
    assert!(found.text("proxy").contains("from the setting proxy): HTTP 200: opens a tunnel to "));
    assert_eq!(bench.sandbox.counters().proxy_tunnels, 2, "one is for the check of the proxy alone");
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
    assert_eq!(
        Found::of(&bench, bench.command(&[]), 0).that_are("not_run"),
        ["clock skew", "issue", "lifetime"]
    );
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
    } else {
        skipped_without_root("a folder of another user");
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
fn a_lock_that_cannot_be_taken_fails_alone() {
    let bench = Bench::new();
    let record = bench.seed(3600, 3000);
    record.unlock();
    let lock = format!("{}.lock", record.path().display());
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    let found = Found::of(&bench, bench.command(&[]), 6);
    assert_eq!((found.that_are("failed"), found.that_are("warning")), (vec!["lock"], vec![]));
    assert!(found.text("lock").contains("a symbolic link, which is not followed"), "{}", found.text("lock"));
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

#[test]
fn what_chose_the_proxy_is_named() {
    let bench = Bench::new();
    let proxy = bench.sandbox.urls().proxy.clone();
    let with = |setting: &str, variables: &[(&str, &str)]| {
        let mut command = bench.command(&["--set", &format!("proxy={setting}")]);
        command.envs(variables.iter().copied());
        Found::of(&bench, command, 0).text("proxy").to_owned()
    };
    let host = "localhost,127.0.0.1";
    assert!(
        with("env", &[("HTTPS_PROXY", &proxy)])
            .contains("(from the environment variable HTTPS_PROXY): HTTP 200")
    );
    assert!(
        with("env", &[("https_proxy", &proxy), ("NO_PROXY", "x.example")]).contains("variable https_proxy)")
    );
    let text = with("env", &[("HTTPS_PROXY", &proxy), ("no_proxy", host)]);
    assert!(text.contains("not used: the environment variable no_proxy excepts the host"), "{text}");
    assert!(with("env", &[]).contains("neither HTTPS_PROXY nor ALL_PROXY is set"));
    assert!(with("none", &[]).ends_with("not used: proxy is none"));
    assert!(
        with("none", &[("ALL_PROXY", &proxy)])
            .contains("ALL_PROXY is set: if the service can only be reached")
    );
    let mut command = bench.command(&["--set", "proxy=env"]);
    command.env("HTTPS_PROXY", "socks5://user:hunter2@host");
    let found = Found::of(&bench, command, 3);
    assert_eq!(found.that_are("failed"), ["proxy"]);
    assert!(found.text("proxy").contains("HTTPS_PROXY") && !found.text("proxy").contains("hunter2"));
}

#[test]
fn a_fault_of_the_proxy_is_found() {
    let bench = Bench::new();
    let above = ["name", "ipv4", "tls", "service", "clock skew"];
    let proxy = bench.sandbox.urls().proxy.clone();
    let address = proxy.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let setting = format!("proxy={proxy}");
    let fault = |settings: &[&str], words: &[&str]| assert_fault(&bench, settings, 5, "proxy", words, &above);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    fault(&[&format!("proxy=http://{nobody}")], &["cannot be reached", "refused", "set proxy to none"]);
    fault(&["proxy=http://no.such.host.invalid:3128"], &["no.such.host.invalid:3128", "cannot be reached"]);
    fault(
        &[&setting, "base_url=https://pay.example"],
        &["HTTP 403", "pay.example:443", "its operator must allow it"],
    );
    fault(&[&setting, &format!("base_url=https://{nobody}")], &["HTTP 502", &nobody.to_string(), "base_url"]);
    bench.sandbox.switches(|switches| switches.proxy_credentials = Some("user:hunter2".into()));
    fault(&[&setting], &["HTTP 407", "requires a user and password", "URL in the setting proxy"]);
    let wrong = format!("proxy=http://user:hunter3@{address}");
    fault(&[&wrong], &["HTTP 407", "refuses the user and password"]);
    let found = Found::of(&bench, bench.command(&["--set", &wrong]), 5);
    assert!(found.0.iter().all(|(.., text)| !text.contains("hunter")), "no password is shown");
    let right = format!("proxy=http://user:hunter2@{address}");
    let found = Found::of(&bench, bench.command(&["--set", &right]), 0);
    assert!(found.text("proxy").contains("HTTP 200"), "{}", found.text("proxy"));
    // A port that speaks TLS is no HTTP proxy.
    let port = bench.sandbox.urls().https.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let found = Found::of(&bench, bench.command(&["--set", &format!("proxy=http://127.0.0.1:{port}")]), 5);
    assert_eq!(found.that_are("failed"), ["proxy"]);
    assert!(found.text("proxy").contains("check its port in the setting proxy"), "{}", found.text("proxy"));
}

#[test]
fn both_families_of_addresses_are_checked_apart() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("base_url=https://[::1]:{port}");
    let command = |url: &str| bench.command(&["--set", url]);
    let found = Found::of(&bench, command(&url), 5);
    assert_eq!(found.that_are("failed"), ["ipv6"]);
    assert!(
        found.text("ipv4").contains("has no IPv4 address")
            && found.text("ipv6").contains("[::1]") | found.text("ipv6").contains("::1:")
    );
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert!(found.text("ipv4").contains("accepts connections, after "), "{}", found.text("ipv4"));
}

#[test]
fn the_lifetime_of_the_stored_token_is_reported_and_nothing_is_spent() {
    for (length, result, words) in [
        (3600, "ok", "issued for 3600 s, as documented"),
        (1800, "ok", "not for 3600 s"),
        (600, "warning", "issued earlier"),
        (300, "warning", "gives no lifetime"),
        (86_400, "warning", "counts as a day"),
    ] {
        let bench = Bench::new();
        bench.seed(length, length - 10).unlock();
        let found = Found::of(&bench, bench.command(&[]), 0);
        assert!(found.that_are(result).contains(&"lifetime"), "{length}: {}", found.text("lifetime"));
        assert!(found.text("lifetime").contains(words), "{length}: {}", found.text("lifetime"));
        assert_eq!(bench.calls(), (0, 0));
    }
    let bench = Bench::new();
    let found = Found::of(&bench, bench.command(&[]), 0);
    assert!(found.text("lifetime").contains("no session yet; `paymentsgate-auth login` first"));
    bench.sandbox.switches(|switches| switches.access_lifetime_s = 200);
    bench.run(&["doctor", "--issue"]).ends(0).says(&["issued for 200 s, not for 3600 s", "1 warnings"]);
}

#[test]
fn what_the_service_says_wrongly_of_a_new_lifetime_is_reported() {
    let bench = Bench::new();
    let doctor = |store: &str| Found::of(&bench, bench.command(&["--store", store]), 0);
    let issue = |store: &str| bench.run(&["doctor", "--issue", "--json", "--store", store]).ends(0).json();
    let lifetime = |report: &serde_json::Value| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "lifetime").unwrap();
        (check["result"].as_str().unwrap().to_owned(), check["text"].as_str().unwrap().to_owned())
    };
    let longer = Action::Set { field: "expires_in".into(), value: 7200.into() };
    bench.sandbox.inject(Fault::new(Route::Issue, longer)).unwrap();
    let (result, text) = lifetime(&issue(&bench.store()));
    assert_eq!(result, "warning", "{text}");
    for words in ["3600 s, as documented", "differs by 3600 s", "report it to the service's support"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(doctor(&bench.store()).that_are("ok").contains(&"lifetime"), "the record does not have it");
    bench.sandbox.switches(|switches| switches.expires_in_form = ExpiresInForm::Text);
    let (result, text) = lifetime(&issue("memory:"));
    assert_eq!(result, "warning", "{text}");
    for words in ["expires_in is not a number and was ignored", "report it to the service's support"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    bench.sandbox.switches(|switches| switches.expires_in_form = ExpiresInForm::Number);
    assert_eq!(lifetime(&issue("memory:")).0, "ok");
}

/// The files as Kubernetes mounts a secret: behind a link that it replaces, readable by the group of the pod.
#[test]
fn a_secret_of_kubernetes_gets_no_advice_that_cannot_be_followed() {
    let bench = Bench::new();
    fs::create_dir(bench.path("..1")).unwrap();
    std::os::unix::fs::symlink("..1", bench.path("..data")).unwrap();
    let address = bench.sandbox.address();
    for (name, from) in [("login", &address.credentials_file), ("ca", &address.ca_file)] {
        fs::copy(from, bench.path("..1").join(name)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), bench.path(name)).unwrap();
        fs::set_permissions(bench.path(name), Permissions::from_mode(0o440)).unwrap();
    }
    if chown(bench.path("login"), None, Some(4300)).is_err() {
        return skipped_without_root("a secret of Kubernetes");
    }
    chown(bench.path("ca"), None, Some(4300)).unwrap();
    for folder in [bench.folder.path(), &bench.path("..1")] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(bench.path("sessions")).unwrap();
    chown(bench.path("sessions"), Some(4301), Some(4300)).unwrap();
    let doctor = |gid: u32, code: i32| {
        let mut command = bench.command(&["--credentials-file", bench.path("login").to_str().unwrap()]);
        command.env("PAYMENTSGATE_TLS_CA_FILE", bench.path("ca")).uid(4301).gid(gid);
        Found::of(&bench, command, code)
    };
    let found = doctor(4300, 0);
    assert_eq!((found.that_are("warning"), found.that_are("failed")), (vec![], vec![]));
    let found = doctor(4301, 3);
    let text = found.text("credentials_file");
    for words in ["user 0 and group 4300 (mode 440)", "runs as user 4301", "fsGroup", "defaultMode: 0440"] {
        assert!(text.contains(words) && !text.contains("chmod"), "{words}: {text}");
    }
    fs::set_permissions(bench.path("login"), Permissions::from_mode(0o444)).unwrap();
    let found = doctor(4300, 0);
    assert_eq!(found.that_are("warning"), ["credentials_file"]);
    assert!(found.text("credentials_file").contains("its owner, user 0, can `chmod o-rwx"));
}
