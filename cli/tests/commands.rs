//! `login`, `token`, `refresh` and `logout`: their results, outputs and exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;

use pg_sandbox::{Action, Fault, Point, Route};
use support::{ACCESS, Bench, ONES, ZEROS, contents};

/// The first characters of every access token of the emulator.
const JWT: &str = "eyJ";

#[test]
fn a_login_is_saved_and_issued_once() {
    let bench = Bench::new();
    let record = bench.path("sessions/pg-");
    bench.run(&["login"]).ends(0).says(&["Logged in: token ", "generation 1, ", record.to_str().unwrap()]);
    bench.run(&["login"]).ends(0).says(&["Logged in already", "generation 1, 59 min", "--force"]);
    assert_eq!(bench.calls(), (1, 0));
    bench.run(&["login", "--force"]).ends(0).says(&["Logged in: token ", "generation 2, "]);
    assert_eq!(bench.calls(), (2, 0));
}

#[test]
fn an_expired_session_is_issued_again() {
    let bench = Bench::new();
    drop(bench.seed(100, 0));
    bench.run(&["login"]).ends(0).says(&["generation 2"]);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_memory_store_is_refused() {
    let bench = Bench::new();
    for command in ["login", "refresh", "logout"] {
        let ran =
            bench.run(&[command, "--store", "memory:"]).ends(3).says(&["memory:", "nothing would be saved"]);
        assert!(ran.out.is_empty());
    }
    let ran = bench.run(&["token", "--store", "memory:"]).ends(0);
    assert!(ran.out.starts_with(JWT) && ran.err.contains("memory:"), "{}", ran.err);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_token_is_printed_and_nothing_else() {
    let bench = Bench::new();
    let first = bench.run(&["token"]).ends(0);
    assert!(first.out.starts_with(JWT) && first.out.ends_with('\n') && first.out.lines().count() == 1);
    assert_eq!(first.err, "");
    assert_eq!(bench.run(&["token", "--color", "always"]).ends(0).out, first.out);
    let header = bench.run(&["token", "--header"]).ends(0).out;
    assert_eq!(header, format!("Authorization: Bearer {}", first.out));
    assert_eq!(bench.calls(), (1, 0), "all are the one in the store");
}

#[test]
fn a_token_can_be_printed_as_json() {
    let bench = Bench::new();
    let found = bench.run(&["token", "--json"]).ends(0).json();
    let status = bench.run(&["status", "--json"]).ends(0).json();
    for key in ["fingerprint", "generation"] {
        assert_eq!(found[key], status[key], "{key}");
    }
    let token = bench.run(&["token"]).ends(0).out;
    assert_eq!(found["access_token"].as_str(), Some(token.trim_end()));
    assert!((3500..=3600).contains(&found["seconds_left"].as_u64().unwrap()), "{found}");
    assert_eq!(found.as_object().unwrap().len(), 4);
    bench.run(&["token", "--json", "--header"]).ends(2);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_token_is_refreshed_when_it_is_due_or_too_short() {
    let bench = Bench::new();
    drop(bench.seed(3600, 3000));
    let stored = format!("{ACCESS}\n");
    assert_eq!(bench.run(&["token", "--min-remaining", "2900"]).ends(0).out, stored);
    // No token lives that long, and a token is not renewed every second: there is no refresh.
    assert_eq!(bench.run(&["token", "--min-remaining", "4000"]).ends(0).out, stored);
    assert_eq!(bench.calls(), (0, 0));
    // The service does not know the refresh token of the prepared record.
    let long = bench.run(&["token", "--min-remaining", "3100"]).ends(0).out;
    assert_eq!(bench.calls(), (1, 1));
    assert_eq!(bench.run(&["token", "--min-remaining", "3600"]).ends(0).out, long);
    assert_eq!(bench.calls(), (1, 1));
    let bench = Bench::new();
    drop(bench.seed(3600, 100));
    assert_ne!(bench.run(&["token"]).ends(0).out, stored, "in the last two minutes it is renewed");
    assert_eq!(bench.calls(), (1, 1));
}

#[test]
fn two_commands_at_once_make_one_call() {
    let bench = Bench::new();
    let delay = Action::Delay { ms: 500 };
    bench.sandbox.inject(Fault::new(Route::Issue, delay).at(Point::Before)).unwrap();
    let both = [bench.start(&["token"]), bench.start(&["token"])];
    let [one, two] = both.map(|child| child.wait_with_output().unwrap());
    assert!(one.status.success() && two.status.success());
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn a_refresh_obtains_a_new_token_now() {
    let bench = Bench::new();
    bench.run(&["login"]).ends(0);
    for generation in ["2", "3"] {
        let ran = bench.run(&["refresh"]).ends(0).says(&["source        the refresh token"]);
        let row = |label: &str| {
            let line = ran.out.lines().find_map(|line| line.strip_prefix(label)).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(row("generation"), generation);
        assert_eq!(row("fingerprint").len(), 16);
        let left: u64 = row("seconds left").parse().unwrap();
        assert!((3500..=3600).contains(&left), "{left}");
    }
    assert_eq!(bench.calls(), (1, 2));
}

#[test]
fn a_refresh_whose_answer_is_lost_costs_a_login() {
    let bench = Bench::new();
    bench.run(&["refresh"]).ends(0).says(&["generation    1", "no refresh token could be used"]);
    bench.sandbox.inject(Fault::new(Route::Refresh, Action::Reset).at(Point::After)).unwrap();
    bench.run(&["refresh"]).ends(0).says(&["generation    2", "the answer to the refresh was lost"]);
    assert_eq!(bench.calls(), (2, 1));
}

#[test]
fn a_logout_removes_the_accounts_files_and_no_others() {
    let bench = Bench::new();
    let other = bench.sandbox.add_account().unwrap();
    let other = bench.file("other.json", &serde_json::to_string(&other).unwrap());
    bench.run(&["login", "--credentials-file", &other]).ends(0);
    let of_other = contents(&bench.path("sessions"));
    bench.run(&["login"]).ends(0);
    let record = bench.record();
    for suffix in [".corrupt-1", ".tmp-1-2"] {
        std::fs::write(format!("{}{suffix}", record.path().display()), "tokens").unwrap();
    }
    bench.run(&["logout"]).ends(0).says(&[
        "Logged out",
        record.path().to_str().unwrap(),
        "until they expire",
    ]);
    let mut left = contents(&bench.path("sessions"));
    let lock = format!("{}.lock", record.path().display());
    left.retain(|(name, _)| *name != lock);
    assert_eq!(left, of_other);
    bench.run(&["status"]).ends(7);
    bench.run(&["logout"]).ends(0).says(&["There was no session"]);
    bench.run(&["status", "--credentials-file", &other]).ends(0);
    assert_eq!(bench.calls(), (2, 0));
}

#[test]
fn only_its_key_opens_a_sealed_session() {
    let bench = Bench::new();
    let (one, two) = (bench.file("one", ZEROS), bench.file("two", ONES));
    let with = |command: &[&str], key: &str| {
        let mut command = bench.command(command);
        command.env("PAYMENTSGATE_STORE_KEY_FILE", key);
        bench.run_command(command)
    };
    with(&["login"], &one).ends(0);
    let token = with(&["token"], &one).ends(0).out;
    let before = contents(&bench.path("sessions"));
    for command in ["login", "refresh", "status"] {
        with(&[command], &two).ends(6).says(&["store_key", "nothing was changed"]);
    }
    bench.run(&["status"]).ends(6).says(&["no store_key is set"]);
    with(&["token", "--set", "on_store_down=fail"], &two).ends(6).says(&["store_key"]);
    assert_eq!((contents(&bench.path("sessions")), bench.calls()), (before, (1, 0)));
    let alone = with(&["token"], &two).ends(0).says(&["saved nowhere"]);
    assert!(alone.out.starts_with(JWT) && alone.out != token, "a token of its own, as on_store_down says");
    assert_eq!(bench.calls(), (2, 0));
    with(&["logout"], &two).ends(0).says(&["Logged out"]);
    assert!(bench.names().iter().all(|name| name.ends_with(".lock")));
}

#[test]
fn refused_credentials_are_presented_again_only_with_force() {
    let bench = Bench::new();
    let account = bench.sandbox.add_account().unwrap();
    let key = bench.sandbox.credentials().public_key.clone();
    let login = serde_json::json!({"account_id": account.account_id, "public_key": key});
    let login = bench.file("login.json", &login.to_string());
    let run = |arguments: &[&str]| bench.run(&[arguments, &["--credentials-file", &login]].concat());
    run(&["login"]).ends(4).says(&["ERROR_CREDENTIALS_NOT_FOUND"]);
    assert_eq!(bench.calls(), (1, 0));
    for command in ["login", "token", "refresh"] {
        run(&[command]).ends(4).says(&["refused", "try again in "]);
    }
    assert_eq!(bench.calls(), (1, 0), "the store remembers");
    run(&["status"]).ends(4).says(&["refused once (ERROR_CREDENTIALS_NOT_FOUND, HTTP 40"]);
    run(&["login", "--force"]).ends(4);
    run(&["login", "--force"]).ends(4);
    assert_eq!(bench.calls(), (3, 0));
    run(&["status"]).ends(4).says(&["rejected 3 times", "14 min"]);
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("https://{}", closed.local_addr().unwrap());
    drop(closed);
    bench.run(&["login", "--base-url", &nobody]).ends(5).says(&["issue", "127.0.0.1"]);
    bench.run(&["login", "--base-url", &bench.sandbox.urls().self_signed]).ends(1).says(&["tls.ca_file"]);
    bench.run(&["login", "--base-url", &bench.sandbox.urls().expired]).ends(1);
    let blocked = Action::Status { status: 404, body: None, headers: [].into() };
    bench.sandbox.inject(Fault::new(Route::Issue, blocked)).unwrap();
    bench.run(&["login"]).ends(1);
    let limited =
        Action::Status { status: 429, body: None, headers: [("Retry-After".into(), "90".into())].into() };
    bench.sandbox.inject(Fault::new(Route::Issue, limited)).unwrap();
    bench.run(&["login", "--force"]).ends(5).says(&["try again in 1 min"]);
    bench.run(&["login"]).ends(5).says(&["too many requests"]);
    bench.sandbox.inject(Fault::new(Route::Issue, Action::Hang)).unwrap();
    let elsewhere = format!("file:{}", bench.path("elsewhere").display());
    bench.run(&["token", "--timeout", "1", "--store", &elsewhere]).ends(5).says(&["deadline"]);
    std::fs::write(bench.path("in-the-way"), "").unwrap();
    let in_the_way = format!("file:{}", bench.path("in-the-way").display());
    bench.run(&["login", "--store", &in_the_way]).ends(6).says(&["in-the-way"]);
    for arguments in
        [&["token", "--min-remaining", "soon"][..], &["lgoin"], &[], &["--set", "store", "login"]]
    {
        bench.run(arguments).ends(2);
    }
}

#[test]
fn without_a_new_token_the_old_one_is_printed() {
    let bench = Bench::new();
    drop(bench.seed(3600, 100));
    bench.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Accept).forever()).unwrap();
    let ran = bench.run(&["token"]).ends(0).says(&["warning: no new token", "1 min "]);
    assert_eq!(ran.out, format!("{ACCESS}\n"));
    bench.run(&["refresh"]).ends(5);
    assert!(bench.run(&["token", "--header"]).ends(0).out.ends_with(&format!("Bearer {ACCESS}\n")));
}
