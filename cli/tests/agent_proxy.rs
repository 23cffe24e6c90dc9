//! `agent --proxy`: what reaches the service, what comes back, and what is repeated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use pg_sandbox::{Revoke, Route};
use rustix::process::Signal;
use support::Bench;
use support::agent::{Agent, ask, command, read, wait_until};
use support::upstream::{Upstream, write_answer};

const LARGE: usize = 3 * 1024 * 1024;
/// Enough for what is answered at once, also on a busy machine.
const REQUEST_TIMEOUT_MS: &str = "3000";

fn start(bench: &Bench) -> Agent {
    Agent::start(bench, &["--proxy", "127.0.0.1:0"], 1)
}

/// An agent whose service is this one.
fn command_for(bench: &Bench, upstream: &Upstream) -> Command {
    let mut command = command(bench, &["--proxy", "127.0.0.1:0"]);
    command.env("PAYMENTSGATE_BASE_URL", &upstream.url);
    command
}

fn with(bench: &Bench, upstream: &Upstream) -> Agent {
    Agent::run(command_for(bench, upstream), 1)
}

#[test]
fn a_program_needs_no_code_for_the_token() {
    let bench = Bench::new();
    let agent = start(&bench);
    let wallet = agent.get("proxy", "/wallet", "Authorization: Bearer the-callers-own\r\n");
    assert_eq!(wallet.status, 200, "{}", wallet.body);
    assert!(wallet.json()["assets"].is_array());
    assert_eq!(bench.calls(), (1, 0));
    agent.stop();
}

#[test]
fn a_revoked_token_costs_the_caller_nothing() {
    let bench = Bench::new();
    let agent = start(&bench);
    assert_eq!(agent.get("proxy", "/wallet", "").status, 200);
    bench.sandbox.revoke(&Revoke::All(true));
    let body = r#"{"amount": 10, "currency": "EUR", "invoiceId": "7", "clientId": "1", "type": "p2p"}"#;
    let answer = agent.post("proxy", "/deals/payin", body);
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.body);
    assert_eq!(bench.sandbox.counters().calls(Route::Payin), 2);
    agent.stop();
}

#[test]
fn the_service_sees_the_request_without_what_concerns_the_connection() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| {
        let head =
            "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(head.as_bytes()).unwrap();
    });
    let agent = with(&bench, &upstream);
    let headers =
        "Connection: X-Mine\r\nX-Mine: 1\r\nX-Other: 2\r\nAuthorization: Basic eA==\r\nTE: trailers\r\n";
    let answer = agent.get("proxy", "/a/b?c=%20d", headers);
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!((answer.header("x-hop"), answer.header("x-kept").as_deref()), (None, Some("yes")));
    let head = upstream.seen()[0].head.to_ascii_lowercase();
    assert!(head.starts_with("get /a/b?c=%20d http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer token-1\r\n") && head.contains("x-other: 2"), "{head}");
    for absent in ["x-mine", "basic", "te:", "localhost"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    agent.stop();
}

#[test]
fn only_a_path_below_the_base_url_is_forwarded() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| write_answer(stream, 200, "{}"));
    let agent = with(&bench, &upstream);
    for line in [
        "GET http://127.0.0.1:1/wallet",
        "GET /a/../../b",
        "GET /%2e%2e/b",
        "CONNECT example:443",
        "TRACE /wallet",
    ] {
        let answer = ask(agent.connect("proxy"), &format!("{line} HTTP/1.1\r\nHost: localhost\r\n"), "");
        assert_eq!(answer.status, 400, "{line}: {}", answer.body);
        assert!(answer.header("paymentsgate-agent-error").is_some(), "{line}");
    }
    assert_eq!(upstream.seen().len(), 0);
    agent.stop();
}

#[test]
fn a_held_body_is_repeated_after_a_401_and_a_stream_is_not() {
    let bench = Bench::new();
    // Refuses the first request with each token.
    let refused = Mutex::new(Vec::new());
    let upstream = Upstream::start(move |seen, stream| {
        let token = seen.head.lines().find(|line| line.contains("token-")).unwrap().to_owned();
        let mut refused = refused.lock().unwrap();
        let is_new = token.ends_with("token-1") && !refused.contains(&seen.body.len());
        refused.push(seen.body.len());
        write_answer(stream, if is_new { 401 } else { 200 }, "{}");
    });
    let agent = with(&bench, &upstream);
    let large = "x".repeat(LARGE);
    let answer = agent.post("proxy", "/upload", &large);
    assert_eq!(answer.status, 401, "a stream was repeated");
    assert_eq!(upstream.seen().iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [LARGE]);
    // The refused token was replaced.
    assert_eq!(agent.post("proxy", "/upload", &large).status, 200);
    assert_eq!(upstream.issued(), 2);
    agent.stop();

    let bench = Bench::new();
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, stream| {
        let status = if count.fetch_add(1, Ordering::SeqCst) == 0 { 401 } else { 200 };
        write_answer(stream, status, "{}");
    });
    let agent = with(&bench, &upstream);
    assert_eq!(agent.post("proxy", "/deals/payin", "{\"amount\": 1}").status, 200);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert!(seen[0].head.contains("token-1") && seen[1].head.contains("token-2"));
    agent.stop();
}

#[test]
fn both_bodies_are_streams() {
    let bench = Bench::new();
    let (go_on, wait) = sync_channel::<()>(0);
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |seen, stream| {
        assert_eq!(seen.body, b"one-two");
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
        // The rest only when the caller has the first piece.
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
    });
    let agent = with(&bench, &upstream);
    let mut stream = agent.connect("proxy");
    let head =
        "PUT /file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{head}4\r\none-\r\n").as_bytes()).unwrap();
    // The rest only when the service has the first piece.
    wait_until("the service has the first piece", || upstream.arrived() == b"one-");
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    let mut arrived = String::new();
    while !arrived.contains("first") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "{arrived}");
        arrived += std::str::from_utf8(&piece[..length]).unwrap();
    }
    assert!(!arrived.contains("second"));
    go_on.send(()).unwrap();
    assert!(read(stream).head.contains("second"));
    agent.stop();
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").unwrap();
        let _ = stream.shutdown(Shutdown::Both);
    });
    let agent = with(&bench, &upstream);
    let answer = agent.get("proxy", "/wallet", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "short"));
    assert_eq!(answer.header("content-length").as_deref(), Some("100"));
    agent.stop();
}

#[test]
fn a_service_that_does_not_answer_is_told_from_one_that_refuses() {
    let bench = Bench::new();
    let upstream = Upstream::start(|seen, stream| {
        if seen.head.starts_with("POST") {
            // Read and never answered: it may have acted.
            let _ = stream.shutdown(Shutdown::Both);
        } else {
            std::thread::park();
        }
    });
    let mut command = command_for(&bench, &upstream);
    command.env("PAYMENTSGATE_REQUEST_TIMEOUT_MS", REQUEST_TIMEOUT_MS);
    let agent = Agent::run(command, 1);
    let lost = agent.post("proxy", "/deals/payin", "{}");
    assert_eq!((lost.status, &lost.json()["may_have_acted"]), (502, &true.into()), "{}", lost.body);
    assert_eq!(lost.header("paymentsgate-agent-error").as_deref(), Some("PG_ERR_CONNECTION_LOST"));
    let slow = agent.get("proxy", "/wallet?card=4111", "");
    assert_eq!((slow.status, slow.json()["error"].as_str()), (504, Some("PG_ERR_TIMEOUT")), "{}", slow.body);
    assert!(!slow.body.contains("4111"), "{}", slow.body);
    let log = agent.stop().join("\n");
    assert!(!log.contains("4111") && !log.contains("token-1"), "{log}");
}

#[test]
fn a_body_that_stops_arriving_ends_its_request() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthen nothing").unwrap();
        std::thread::park();
    });
    let mut command = command_for(&bench, &upstream);
    command.env("PAYMENTSGATE_REQUEST_TIMEOUT_MS", REQUEST_TIMEOUT_MS);
    let agent = Agent::run(command, 1);
    assert_eq!(agent.get("proxy", "/wallet", "").body, "then nothing");
    let head = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nthen nothing";
    let mut stream = agent.connect("proxy");
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 400");
    agent.stop();
}

#[test]
fn a_caller_that_leaves_ends_its_request() {
    let bench = Bench::new();
    let (left, gone) = sync_channel::<()>(1);
    let upstream = Upstream::start(move |_, stream| {
        // Returns when the agent closes the connection.
        let _ = stream.read(&mut [0]);
        let _ = left.try_send(());
    });
    let agent = Agent::run(
        {
            let mut command = command_for(&bench, &upstream);
            command.args(["--health", "127.0.0.1:0"]);
            command
        },
        2,
    );
    let mut stream = agent.connect("proxy");
    stream.write_all(b"GET /wallet HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_until("the service has the request", || upstream.seen().len() == 1);
    drop(stream);
    gone.recv().unwrap();
    // This question's own connection is the one that is left.
    wait_until("the connection is closed", || {
        agent.get("health", "/metrics", "").body.contains("paymentsgate_auth_agent_connections 1\n")
    });
    agent.stop();
}

#[test]
fn a_request_under_way_ends_before_the_agent_does() {
    let bench = Bench::new();
    let (go_on, wait) = sync_channel::<()>(0);
    let wait = Mutex::new(wait);
    let upstream = Arc::new(Upstream::start(move |_, stream| {
        wait.lock().unwrap().recv().unwrap();
        write_answer(stream, 200, "late");
    }));
    let agent = with(&bench, &upstream);
    let idle = agent.connect("proxy");
    let mut stream = agent.connect("proxy");
    stream.write_all(b"GET /wallet HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_until("the service has the request", || upstream.seen().len() == 1);
    let address = agent.address("proxy");
    agent.signal(Signal::TERM);
    wait_until("the agent accepts no more", || {
        agent.log().iter().any(|line| line.contains("stopping"))
            && std::net::TcpStream::connect(&address).is_err()
    });
    go_on.send(()).unwrap();
    let answer = read(stream);
    assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
    // A connection that was never used does not hold the agent.
    assert!(agent.ended().0.success());
    drop(idle);
}

#[test]
fn a_proxy_on_a_unix_socket_is_for_those_who_may_open_it() {
    let bench = Bench::new();
    let socket = bench.path("proxy.sock");
    let place = format!("unix:{}", socket.display());
    let agent = Agent::start(&bench, &["--proxy", &place, "--mode", "660"], 1);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    // The file mode decides, so the host name does not matter.
    let answer = support::agent::ask_unix(&socket, "GET /wallet HTTP/1.1\r\nHost: anything\r\n", "");
    assert_eq!(answer.status, 200);
    agent.stop();
}

#[test]
fn an_upload_that_stops_is_the_callers_failure() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| write_answer(stream, 200, "{}"));
    let mut command = command_for(&bench, &upstream);
    command.env("PAYMENTSGATE_REQUEST_TIMEOUT_MS", REQUEST_TIMEOUT_MS);
    let agent = Agent::run(command, 1);
    let mut stream = agent.connect("proxy");
    let head = "PUT /file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}4\r\nthen\r\n").as_bytes()).unwrap();
    let answer = read(stream);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("AGENT_INCOMPLETE")));
    agent.stop();
}

#[test]
fn answers_that_are_read_slowly_delay_no_other_request() {
    let bench = Bench::new();
    let upstream = Upstream::start(|seen, stream| {
        let body = if seen.head.starts_with("GET /large") { "x".repeat(8 * LARGE) } else { "{}".into() };
        write_answer(stream, 200, &body);
    });
    let mut command = command_for(&bench, &upstream);
    // A request that waited for a place would fail before.
    command.env("PAYMENTSGATE_CONNECT_TIMEOUT_MS", "60000");
    let agent = Agent::run(command, 1);
    let slow: Vec<_> = (0..70)
        .map(|_| {
            let mut stream = agent.connect("proxy");
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            stream
        })
        .collect();
    assert_eq!(agent.get("proxy", "/wallet", "").status, 200);
    drop(slow);
    agent.stop();
}

#[test]
fn an_agent_that_stops_answers_or_refuses_and_ends_also_under_load() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, stream| write_answer(stream, 200, "{}"));
    let agent = with(&bench, &upstream);
    let address = agent.address("proxy");
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut answered = 0;
                while let Ok(stream) = std::net::TcpStream::connect(&address) {
                    let answer = ask(stream, "GET /wallet HTTP/1.1\r\nHost: localhost\r\n", "");
                    assert_eq!(answer.status, 200, "after {answered} answers");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    wait_until("the callers are at work", || upstream.seen().len() > 100);
    agent.signal(Signal::TERM);
    let (status, log) = agent.ended();
    assert!(status.success());
    assert!(!log.iter().any(|line| line.contains("cut off")), "{log:?}");
    callers.into_iter().for_each(|caller| assert!(caller.join().unwrap() > 0));
}

#[test]
fn a_request_with_a_body_has_the_same_time_as_one_without() {
    let bench = Bench::new();
    let upstream = Upstream::start(|_, _| std::thread::park());
    let mut command = command_for(&bench, &upstream);
    command.env("PAYMENTSGATE_REQUEST_TIMEOUT_MS", REQUEST_TIMEOUT_MS);
    let agent = Agent::run(command, 1);
    let began = std::time::Instant::now();
    let answer = agent.post("proxy", "/deals/payin", "{}");
    assert_eq!((answer.status, &answer.json()["may_have_acted"]), (504, &true.into()));
    assert!(began.elapsed() < std::time::Duration::from_millis(5500), "{:?}", began.elapsed());
    agent.stop();
}
