use std::sync::atomic::AtomicU64;
use std::thread;

use super::redis_server::RedisServer;
use super::*;
use crate::clock::{BootId, Moment, SystemClock};
use crate::runtime::run;
use crate::transport::TlsOptions;

const LONG: Duration = Duration::from_secs(3600);
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

fn server(url: &str) -> Arc<Server> {
    let tls = Arc::new(TlsSettings::load(&TlsOptions::default()).unwrap());
    let servers = RedisServers::new(tls, Arc::new(SystemClock));
    servers.at(&Address::parse(url).unwrap()).unwrap()
}

/// A proxy that does not support HELLO may answer like this.
#[test]
fn a_password_that_the_server_echoes_is_in_no_error() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let password = "hunter2-and-so-on-for-a-while";
    let url = format!("redis://shop:{password}@{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            // A server may cut what it repeats.
            let answer = format!("-ERR not understood: HELLO 3 AUTH shop {}\r\n", &password[..20]).repeat(3);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let server = server(&url);
    let asked = run(async move { server.query::<String>(redis::cmd("PING")).await }, TEST_TIMEOUT);
    let error = asked.unwrap().unwrap().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

/// The client's error if the server answers with `says` to the first command, or to the first one after HELLO.
fn error_from_server(says: &'static [u8], greets: bool) -> Error {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                if greets {
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = stream.write_all(b"%1\r\n+proto\r\n:3\r\n");
                }
                let _ = stream.read(&mut [0; 4096]);
                // Blocks until the client closes the connection.
                let _ = stream.write_all(says);
                let _ = stream.read(&mut [0; 4096]);
            });
        }
    });
    let server = server(&url);
    let asked = run(async move { server.query::<String>(redis::cmd("PING")).await }, TEST_TIMEOUT);
    asked.unwrap().unwrap().unwrap_err()
}

#[test]
fn a_server_with_invalid_replies_counts_as_down() {
    for greets in [false, true] {
        for says in [
            &b"$4000000000\r\n"[..],
            b"*4000000000\r\n",
            b"%9223372036854775807\r\n",
            b"=-1\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b">4000000000\r\n",
        ] {
            let error = error_from_server(says, greets);
            let text = String::from_utf8_lossy(says);
            assert!(error.status == Status::PG_ERR_STORE && error.is_retryable(), "{text}: {error}");
            assert!(error.text.contains("127.0.0.1") && error.text.contains("repl"), "{text}: {error}");
        }
    }
}

#[test]
fn the_text_of_an_error_of_the_server_is_one_line_that_is_not_too_long() {
    let text = error_from_server(b"-ERR a\nb\x1b[31mc\r\n", true).text;
    assert!(text.contains("a b [31mc"), "{text:?}");
    static LONG: [u8; 40_000] = {
        let mut reply = [b'x'; 40_000];
        [reply[0], reply[39_998], reply[39_999]] = [b'-', b'\r', b'\n'];
        reply
    };
    let text = error_from_server(&LONG, true).text;
    assert!(text.contains('…') && text.len() < 1000, "{text:?}");
}

/// One that has asked something that was never answered, and one whose sessions are gone, so that nobody drives it.
#[test]
fn a_connection_that_is_given_up_is_closed_at_once() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = server(&format!("redis://{}", listener.local_addr().unwrap()));
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let (closed, is_closed) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let greeted = || {
            let mut stream = listener.accept().unwrap().0;
            for answer in [&b"%1\r\n+proto\r\n:3\r\n"[..], b""] {
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(answer).unwrap();
            }
            stream
        };
        let first = greeted();
        asked.send(()).unwrap();
        let mut second = greeted();
        second.write_all(b"+PONG\r\n").unwrap();
        for mut stream in [first, second] {
            closed.send(stream.read(&mut [0; 1]).unwrap()).unwrap();
        }
    });
    let asking = async move {
        assert!(race(server.query::<String>(redis::cmd("PING")), is_asked).await.is_none());
        server.link.lock().await.iter().for_each(|link| link.mark_broken());
        let answer = server.query::<String>(redis::cmd("PING")).await;
        (server, answer)
    };
    let (server, answer) = run(asking, TEST_TIMEOUT).unwrap().unwrap();
    assert_eq!(answer.unwrap(), "PONG");
    // Not when they have been idle for long.
    assert_eq!(is_closed.recv_timeout(IDLE / 2).unwrap(), 0);
    drop(server);
    assert_eq!(is_closed.recv_timeout(IDLE / 2).unwrap(), 0);
}

#[test]
fn a_new_connection_may_help_if_the_old_one_broke_or_made_no_sense() {
    let server = server("redis://127.0.0.1:1");
    let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
    for (error, may_reconnect) in [
        (RedisError::from((redis::ErrorKind::Parse, "half a reply")), true),
        (io(io::ErrorKind::ConnectionReset), true),
        (io(io::ErrorKind::HostUnreachable), true),
        (RedisError::from((redis::ErrorKind::UnexpectedReturnType, "a number")), false),
    ] {
        assert_eq!(server.classify(&error).may_reconnect, may_reconnect, "{error}");
    }
}

#[test]
fn each_failure_of_tls_has_its_advice() {
    for (what, advice) in [
        ("invalid peer certificate: UnknownIssuer", Some("tls.ca_file")),
        ("received fatal alert: CertificateRequired", Some("set tls.client_cert_file")),
        ("received fatal alert: HandshakeFailure", Some("does not accept our side")),
        ("received corrupt message of type InvalidContentType", Some("write redis://")),
        ("tls handshake eof", Some("write redis://")),
        ("Connection refused (os error 111)", None),
    ] {
        let found = advice_on_tls(what);
        let is_right = advice.map_or(found.is_none(), |part| found.is_some_and(|text| text.contains(part)));
        assert!(is_right, "{what}: {found:?}");
    }
}

#[test]
fn a_connection_is_not_used_on_another_reactor() {
    let redis = RedisServer::start(&[]);
    let server = server(&redis.url());
    // The first one stays, and nobody drives it any more.
    let reactors = [(), ()].map(|()| {
        let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pong: Result<String, _> = reactor.block_on(server.query(redis::cmd("PING")));
        assert_eq!(pong.unwrap(), "PONG");
        reactor
    });
    assert_eq!(reactors.len(), 2);
}

#[test]
fn a_message_ends_the_wait_of_its_listeners() {
    let redis = RedisServer::start(&[]);
    let server = server(&redis.url());
    let here = server.clone();
    let pong: String =
        run(async move { here.query(redis::cmd("PING")).await }, TEST_TIMEOUT).unwrap().unwrap().unwrap();
    assert_eq!(pong, "PONG");
    let listeners = ["one", "other"].map(|channel| {
        let server = server.clone();
        thread::spawn(move || {
            run(async move { server.listen(channel, LONG).await }, TEST_TIMEOUT).unwrap().is_some()
        })
    });
    let begun = std::time::Instant::now();
    while redis.cli(&["pubsub", "numsub", "one", "other"]) != "one\n1\nother\n1" {
        assert!(begun.elapsed() < TEST_TIMEOUT, "nobody listens");
    }
    assert_eq!(redis.clients().len(), 1, "on one connection");
    for (channel, listener) in ["other", "one"].into_iter().zip(listeners.into_iter().rev()) {
        assert!(!listener.is_finished(), "{channel}");
        redis.cli(&["publish", channel, ""]);
        assert!(listener.join().unwrap(), "{channel}");
    }
}

#[test]
fn without_a_connection_listening_waits_for_the_limit() {
    let server = server("redis://127.0.0.1:1");
    assert!(
        run(async move { server.listen("one", Duration::from_millis(1)).await }, TEST_TIMEOUT)
            .unwrap()
            .is_some()
    );
}

/// Returns a time, and then one two milliseconds later.
struct SteppingClock(AtomicU64);

impl Clock for SteppingClock {
    fn now(&self) -> Moment {
        let boot = Duration::from_millis(self.0.fetch_add(2, Ordering::SeqCst));
        Moment { boot, wall: boot }
    }

    fn boot_id(&self) -> Option<BootId> {
        None
    }
}

#[test]
fn an_unused_connection_becomes_idle() {
    // The first time is just before the limit, and at the limit, where a command may still use the connection.
    for first in [29_999, 30_000] {
        let used = Arc::new(Mutex::new(Duration::ZERO));
        let clock = Arc::new(SteppingClock(AtomicU64::new(first)));
        let seen = clock.clone();
        assert!(run(async move { until_idle(clock, used).await }, TEST_TIMEOUT).unwrap().is_some());
        assert_eq!(seen.0.load(Ordering::SeqCst), first + 4, "the clock was read twice");
    }
}
