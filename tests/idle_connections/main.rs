//! Connections that the server closes while no thread drives the reactor: the next call notices that before it writes a request,
//! so no refresh becomes ambiguous by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the tests of sessions use the clock")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use pg_sandbox::{HowToEnd, Options, Sandbox};
use support::{config, eventually, turn};

const CALLS: usize = 40;

fn sandbox(http2: bool) -> (Sandbox, Config) {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.switches(|switches| switches.http2 = http2);
    let config = config(&sandbox);
    (sandbox, config)
}

/// Every way in which a connection ends, over both versions of HTTP.
fn each(call: impl Fn(&Arc<Client>, &Config, &Sandbox, &mut dyn FnMut())) {
    let _turn = turn();
    let ends = [HowToEnd::Close, HowToEnd::Reset, HowToEnd::Goaway];
    // HTTP/1.1 has no GOAWAY.
    for (http2, ends) in [(true, &ends[..]), (false, &ends[..2])] {
        for &how in ends {
            let (sandbox, config) = sandbox(http2);
            let client = Client::new(&config).unwrap();
            call(&client, &config, &sandbox, &mut || sandbox.end_connections(how));
            // A GOAWAY may arrive after the next request, which the server then still answers.
            let least = if how == HowToEnd::Goaway { CALLS / 10 } else { CALLS };
            let connections = sandbox.counters().tls_handshakes;
            assert!(connections >= least as u64, "{how:?}: {connections} connections");
        }
    }
}

#[test]
fn a_bare_refresh_after_the_connection_was_closed_is_not_lost() {
    each(|client, _, sandbox, end_connections| {
        let mut pair = client.issue(None, None).unwrap();
        for number in 0..CALLS {
            end_connections();
            let refresh = pair.refresh.take().unwrap();
            pair = client.refresh(None, refresh, None).unwrap_or_else(|error| {
                panic!("{number}: {error:?} {:?}", sandbox.counters().tls_handshakes)
            });
        }
        assert_eq!(sandbox.counters().pairs_refreshed, CALLS as u64);
    });
}

#[test]
fn a_request_that_must_not_be_repeated_is_sent_after_the_connection_was_closed() {
    each(|client, config, sandbox, end_connections| {
        let session = Session::open(client, config).unwrap();
        for number in 0..CALLS {
            let request = ApiRequest::new("POST", "/deals/payin", &[], Some(b"{}")).unwrap();
            session.request(request, None).unwrap_or_else(|error| {
                panic!("{number}: {error:?} {:?}", sandbox.counters().tls_handshakes)
            });
            end_connections();
        }
    });
}

/// One of them drives, and the others begin their requests meanwhile.
#[test]
fn requests_that_begin_together_are_sent_after_the_connections_were_closed() {
    each(|client, config, _, end_connections| {
        let session = Session::open(client, config).unwrap();
        let pay = || {
            let request = ApiRequest::new("POST", "/deals/payin", &[], Some(b"{}")).unwrap();
            session.request(request, None).map(drop)
        };
        for number in 0..CALLS {
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..3).map(|_| scope.spawn(pay)).collect();
                for caller in callers {
                    caller.join().unwrap().unwrap_or_else(|error| panic!("{number}: {error:?}"));
                }
            });
            end_connections();
        }
    });
}

#[test]
fn the_connections_of_a_client_end_with_it() {
    let _turn = turn();
    for http2 in [true, false] {
        let (sandbox, config) = sandbox(http2);
        let client = Client::new(&config).unwrap();
        client.issue(None, None).unwrap();
        assert_eq!(sandbox.open_connections(), 1);
        drop(client);
        // Before our thread looks at idle connections.
        let begun = Instant::now();
        eventually("the connection is closed", || sandbox.open_connections() == 0);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
