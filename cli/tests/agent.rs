//! `agent`: tokens on its sockets, who may ask for them, health, and its start and end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Barrier;

use pg_sandbox::{Action, Fault, Route};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use support::agent::{Agent, ask, ask_unix, command, read, runtime_folder, token, wait_until};
use support::{ACCESS, Bench, with_default_signals};

#[test]
fn every_program_gets_the_same_token_and_the_service_gets_one_call() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &[], 1);
    let socket = runtime_folder(&bench).join("paymentsgate-auth/agent.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let together = Barrier::new(8);
    let answers = std::thread::scope(|scope| {
        let ask = || {
            together.wait();
            token(&socket)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let first = answers[0].json();
    assert!(first["access_token"].as_str().unwrap().starts_with("eyJ"));
    assert_eq!(first["generation"], 1);
    assert_eq!(first["fingerprint"].as_str().unwrap().len(), 16);
    assert!((3500..=3600).contains(&first["seconds_left"].as_u64().unwrap()));
    for answer in &answers {
        assert_eq!(
            (answer.status, answer.json()["access_token"].clone()),
            (200, first["access_token"].clone())
        );
        assert_eq!(answer.header("cache-control").unwrap(), "no-store");
    }
    assert_eq!(bench.calls(), (1, 0));
    let log = agent.stop().join("\n");
    assert!(!log.contains(first["access_token"].as_str().unwrap()), "a secret: {log}");
    assert!(!socket.exists());
}

#[test]
fn a_reported_token_is_replaced() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &[], 1);
    let socket = runtime_folder(&bench).join("paymentsgate-auth/agent.sock");
    let first = token(&socket).json();
    let report = format!("{{\"fingerprint\": {}}}", first["fingerprint"]);
    let head = format!("POST /v1/reject HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", report.len());
    assert_eq!(ask_unix(&socket, &head, &report).status, 204);
    let second = token(&socket).json();
    assert_eq!(second["generation"], 2);
    assert_ne!(second["fingerprint"], first["fingerprint"]);
    // The same report again is about an old token.
    assert_eq!(ask_unix(&socket, &head, &report).status, 204);
    assert_eq!(token(&socket).json()["generation"], 2);
    // A token that was refused so young is not replaced again at once.
    let report = format!("{{\"fingerprint\": {}}}", second["fingerprint"]);
    let refused = ask_unix(&socket, &head, &report);
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("PG_ERR_REJECTED_FRESH")));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(token(&socket).status, 200);
    agent.stop();
}

#[test]
fn a_caller_may_ask_for_a_token_that_lives_longer() {
    let bench = Bench::new();
    bench.seed(3600, 3000).unlock();
    let agent = Agent::start(&bench, &[], 1);
    let socket = runtime_folder(&bench).join("paymentsgate-auth/agent.sock");
    let ask = |seconds: u64| {
        let line = format!("GET /v1/token?min_remaining={seconds} HTTP/1.1\r\nHost: localhost\r\n");
        ask_unix(&socket, &line, "").json()
    };
    assert_eq!((&ask(2900)["access_token"], &ask(2900)["generation"]), (&ACCESS.into(), &1.into()));
    assert_eq!(bench.calls(), (0, 0));
    // Half a minute after its start the agent replaces a token.
    wait_until("a token that lives longer", || ask(3100)["generation"] == 2);
    // The service does not know the refresh token of the prepared record, so it is asked for a new pair.
    assert_eq!(bench.calls(), (1, 1));
    let longer = ask(3100);
    assert!(longer["seconds_left"].as_u64().unwrap() > 3100, "{longer}");
    assert_eq!((&longer["generation"], bench.calls()), (&2.into(), (1, 1)));
    agent.stop();
}

#[test]
fn an_agent_renews_its_token_also_after_a_lifetime_without_a_caller() {
    let bench = Bench::new();
    // The shortest lifetime with which a token is handed out. Without keep_warm there are refreshes for one lifetime after the
    // first token: two at most.
    bench.sandbox.switches(|switches| switches.access_lifetime_s = 6);
    let agent = Agent::start(&bench, &[], 1);
    wait_until("the third refresh", || bench.calls().1 == 3);
    assert_eq!(bench.calls().0, 1);
    agent.stop();
}

#[test]
fn what_the_token_service_does_not_understand_is_said() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &[], 1);
    let socket = runtime_folder(&bench).join("paymentsgate-auth/agent.sock");
    for (line, status, piece) in [
        ("GET /v1/token?min_remaining=60", 200, "access_token"),
        ("GET /v1/token?min_remaining=soon", 400, "0 to 86400 seconds"),
        ("POST /v1/token", 405, "use the method GET"),
        ("GET /v1/reject", 405, "use the method POST"),
        ("POST /v1/reject", 400, "fingerprint"),
        ("GET /wallet", 404, "/v1/token"),
    ] {
        let answer =
            ask_unix(&socket, &format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"), "");
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.body.contains(piece), "{line}: {}", answer.body);
    }
    for body in ["{\"fingerprint\": \"0123\"}", "[]", "{\"fingerprint\": 7}", "{\"x\": 1}", &" ".repeat(5000)]
    {
        let head =
            format!("POST /v1/reject HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        assert_eq!(ask_unix(&socket, &head, body).status, 400, "{body}");
    }
    agent.stop();
}

#[test]
fn a_token_over_tcp_needs_the_secret_and_a_local_program() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &["--listen", "127.0.0.1:0"], 1);
    let file = runtime_folder(&bench).join("paymentsgate-auth/agent.secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&file).unwrap();
    let right = format!("Authorization: Bearer {secret}\r\n");
    assert_eq!(agent.get("tokens", "/v1/token", &right).status, 200);
    for (headers, status) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {}\r\n", "0".repeat(64)), 401),
        (format!("Authorization: Basic {secret}\r\n"), 401),
        (format!("{right}Origin: https://shop.example\r\n"), 403),
        (format!("{right}Sec-Fetch-Site: cross-site\r\n"), 403),
    ] {
        let answer = agent.get("tokens", "/v1/token", &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert!(!answer.body.contains(&secret) && !answer.body.contains("eyJ"), "{}", answer.body);
    }
    let foreign = format!("GET /v1/token HTTP/1.1\r\nHost: rebound.example\r\n{right}");
    assert_eq!(ask(agent.connect("tokens"), &foreign, "").status, 403);
    let log = agent.stop().join("\n");
    assert!(!log.contains(&secret), "a secret: {log}");
    assert!(!file.exists());
}

#[test]
fn an_agent_that_starts_while_the_service_is_down_becomes_ready_by_itself() {
    let bench = Bench::new();
    bench
        .sandbox
        .inject(
            Fault::new(Route::Issue, Action::Status { status: 503, body: None, headers: Default::default() })
                .forever(),
        )
        .unwrap();
    let agent = Agent::start(&bench, &["--health", "127.0.0.1:0", "--json"], 2);
    assert_eq!(agent.get("health", "/healthz", "").body, "ok\n");
    let ready = agent.get("health", "/readyz", "");
    assert_eq!(ready.status, 503, "{}", ready.body);
    let metrics = agent.get("health", "/metrics", "").body;
    assert!(
        metrics.contains("paymentsgate_auth_agent_answers_total{service=\"health\",code=\"5xx\"} 1"),
        "{metrics}"
    );
    bench.sandbox.clear_faults();
    wait_until("the agent is ready", || agent.get("health", "/readyz", "").status == 200);
    // Tokens are not for the health service, which is reachable from outside.
    assert_eq!(agent.get("health", "/v1/token", "").status, 404);
    for line in agent.stop() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string());
    }
}

#[test]
fn the_socket_of_an_agent_is_not_taken_by_another_one() {
    let bench = Bench::new();
    let socket = bench.path("a.sock");
    let arguments = ["--socket", socket.to_str().unwrap()];
    let first = Agent::start(&bench, &arguments, 1);
    bench.run_command(command(&bench, &arguments)).ends(1).says(&["another program listens on", "a.sock"]);
    assert_eq!(token(&socket).status, 200);
    // Killed, it leaves its socket, which the next one replaces.
    first.signal(Signal::KILL);
    first.ended();
    assert!(socket.exists());
    let second = Agent::start(&bench, &arguments, 1);
    assert_eq!(token(&socket).status, 200);
    second.stop();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let bench = Bench::new();
    let path = bench.file("precious", "data");
    bench.run_command(command(&bench, &["--socket", &path])).ends(3).says(&["is not a socket"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn only_loopback_addresses_are_accepted_for_tokens_and_the_proxy() {
    let bench = Bench::new();
    for arguments in [["--listen", "0.0.0.0:0"], ["--proxy", "10.0.0.1:80"]] {
        bench.run_command(command(&bench, &arguments)).ends(2).says(&["not a loopback address"]);
    }
    let mut bare = command(&bench, &[]);
    bare.env_remove("XDG_RUNTIME_DIR");
    bench.run_command(bare).ends(3).says(&["XDG_RUNTIME_DIR is not set", "--socket"]);
}

#[test]
fn the_service_manager_is_told_of_start_and_end() {
    let bench = Bench::new();
    let path = bench.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut command = command(&bench, &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let agent = Agent::run(command, 1);
    let receive = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut told = vec![receive()];
    while told.iter().filter(|word| word.contains("WATCHDOG=1")).count() < 2 {
        told.push(receive());
    }
    assert!(told.iter().any(|word| word.contains("READY=1")), "{told:?}");
    agent.signal(Signal::TERM);
    while !told.last().unwrap().contains("STOPPING=1") {
        told.push(receive());
    }
    assert!(agent.ended().0.success());
}

#[test]
fn an_agent_leaves_no_core_dump() {
    let bench = Bench::new();
    let mut command = command(&bench, &[]);
    command.current_dir(bench.folder.path());
    let agent = Agent::run(command, 1);
    let highest = getrlimit(Resource::Core).maximum;
    prlimit(Some(agent.pid()), Resource::Core, Rlimit { current: highest, maximum: highest }).unwrap();
    agent.signal(Signal::ABORT);
    let (status, _) = agent.ended();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false), "{status}");
}

#[test]
fn a_second_signal_ends_an_agent_whose_caller_does_not() {
    let bench = Bench::new();
    let agent = Agent::start(&bench, &["--proxy", "127.0.0.1:0", "--drain-seconds", "3600"], 1);
    // A request whose body never comes.
    let mut open = agent.connect("proxy");
    open.write_all(b"POST /deals/payin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{").unwrap();
    agent.signal(Signal::TERM);
    wait_until("the agent stops", || agent.log().iter().any(|line| line.contains("stopping")));
    agent.signal(Signal::TERM);
    let (status, log) = agent.ended();
    assert!(status.success(), "{status}: {log:?}");
    assert!(log.iter().any(|line| line.contains("a second signal")), "{log:?}");
    assert_eq!(read(open).status, 0);
}

#[test]
fn a_program_of_another_kind_keeps_its_socket() {
    let bench = Bench::new();
    let path = bench.path("datagrams");
    let _listener = UnixDatagram::bind(&path).unwrap();
    bench
        .run_command(command(&bench, &["--socket", path.to_str().unwrap()]))
        .ends(1)
        .says(&["another program listens on"]);
    assert!(path.exists());
    let long = bench.path(&"x".repeat(120));
    bench.run_command(command(&bench, &["--socket", long.to_str().unwrap()])).ends(3).says(&["107 bytes"]);
}

#[test]
fn a_secret_replaces_no_other_file_and_is_not_shared_by_two_agents() {
    let bench = Bench::new();
    let precious = bench.file("precious", "data");
    fn with(path: &str) -> [&str; 4] {
        ["--listen", "127.0.0.1:0", "--secret-file", path]
    }
    bench.run_command(command(&bench, &with(&precious))).ends(3).says(&["is no secret of an agent"]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "data");

    let path = bench.path("secret");
    let first = Agent::start(&bench, &with(path.to_str().unwrap()), 1);
    let secret = fs::read_to_string(&path).unwrap();
    bench.run_command(command(&bench, &with(path.to_str().unwrap()))).ends(1).says(&["another agent uses"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
    // Killed, it leaves its secret, which the next one replaces.
    first.signal(Signal::KILL);
    first.ended();
    let second = Agent::start(&bench, &with(path.to_str().unwrap()), 1);
    assert_ne!(fs::read_to_string(&path).unwrap(), secret);
    second.stop();
}

#[test]
fn a_closed_terminal_ends_an_agent_as_sigterm_does() {
    let bench = Bench::new();
    let mut command = with_default_signals(&command(&bench, &[]));
    command.stderr(Stdio::piped());
    let agent = Agent::run(command, 1);
    agent.signal(Signal::HUP);
    let (status, log) = agent.ended();
    assert!(status.success(), "{status}: {log:?}");
    assert!(!runtime_folder(&bench).join("paymentsgate-auth/agent.sock").exists());
}

#[test]
fn an_agent_whose_log_nobody_reads_serves_and_ends() {
    let bench = Bench::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let socket = bench.path("a.sock");
    let mut command = command(&bench, &["--socket", socket.to_str().unwrap()]);
    let mut agent = command.stderr(writer).spawn().unwrap();
    wait_until("the agent listens", || socket.exists());
    assert_eq!(token(&socket).status, 200);
    rustix::process::kill_process(rustix::process::Pid::from_child(&agent), Signal::TERM).unwrap();
    assert!(agent.wait().unwrap().success());
    drop(reader);
}

#[test]
fn one_connection_is_enough_for_all_sockets() {
    let bench = Bench::new();
    let socket = bench.path("a.sock");
    let arguments =
        ["--socket", socket.to_str().unwrap(), "--proxy", "127.0.0.1:0", "--max-connections", "1"];
    let agent = Agent::start(&bench, &arguments, 2);
    for _ in 0..3 {
        assert_eq!(token(&socket).status, 200);
        assert_eq!(agent.get("proxy", "/wallet", "").status, 200);
    }
    agent.stop();
}

#[test]
fn a_caller_that_does_not_read_holds_neither_the_others_nor_the_probes() {
    let bench = Bench::new();
    let socket = bench.path("a.sock");
    let arguments =
        ["--socket", socket.to_str().unwrap(), "--health", "127.0.0.1:0", "--max-connections", "1"];
    let mut command = command(&bench, &arguments);
    command.env("PAYMENTSGATE_REQUEST_TIMEOUT_MS", "2000");
    let agent = Agent::run(command, 2);
    // Until the agent can write no more, and so reads no more.
    let mut stalled = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stalled.set_nonblocking(true).unwrap();
    let requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100_000);
    let (mut sent, mut refused) = (0, 0);
    while refused < 20 {
        match stalled.write(&requests[sent..]) {
            Ok(length) => (sent, refused) = (sent + length, 0),
            Err(_) => {
                refused += 1;
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(agent.get("health", "/healthz", "").status, 200);
    assert_eq!(token(&socket).status, 200);
    agent.stop();
}
