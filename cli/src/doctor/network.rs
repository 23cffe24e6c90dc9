//! Checks the path to the service, layer by layer. No check consumes anything.

use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, SystemTime};

use paymentsgate_auth::{Client, Error, RawResponse, Status};

use super::check::Check;
use super::families;
use super::proxy::{self, PROXY, Way};
use crate::exit::Exit;
use crate::settings::Settings;

const NAME: &str = "name";
const TLS: &str = "tls";
const SERVICE: &str = "service";
const SKEW: &str = "clock skew";
/// The checks that a proxy makes unnecessary.
const BELOW: &[&str] = &[NAME, families::NAMES[0], families::NAMES[1]];
/// The checks that need a connection.
const ABOVE: &[&str] = &[TLS, SERVICE, SKEW];

/// The time limit of each layer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The time limit of an answer, with all layers below it.
const ANSWER: Duration = Duration::from_secs(15);
/// A smaller clock skew is not reported.
const MOST_SKEW: i64 = 60;

pub(super) fn examine(settings: &Settings) -> Vec<Check> {
    let (bare, _) = settings.examine(|name| name == "base_url");
    let found = Client::new(&bare).ok().and_then(|client| {
        let url = client.base_url()?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let place = (host, url.port_or_known_default()?, url.scheme() == "https");
        Some((client, place))
    });
    let Some((client, (host, port, is_tls))) = found else {
        let why = "base_url is not set, see above";
        return none_of(&[&[PROXY], BELOW, ABOVE].concat(), why);
    };
    let (proxy, way) = proxy::examine(settings, &client);
    let mut checks = vec![proxy];
    let is_connected = match way {
        Way::Direct => {
            let (found, is_connected) = reach(&host, port);
            checks.extend(found);
            is_connected
        }
        Way::ThroughProxy => {
            checks.extend(none_of(BELOW, "the proxy does this"));
            true
        }
        Way::Closed => {
            checks.extend(none_of(BELOW, "the check of the proxy failed, see above"));
            false
        }
    };
    if is_connected {
        checks.extend(ask(settings, is_tls));
    } else {
        checks.extend(none_of(ABOVE, "there is no connection"));
    }
    checks
}

fn none_of(names: &[&'static str], why: &str) -> Vec<Check> {
    names.iter().map(|name| Check::not_run(name, why)).collect()
}

/// Checks the name and the connections. The second value says whether there is a connection.
fn reach(host: &str, port: u16) -> (Vec<Check>, bool) {
    let addresses = match resolve(host, port) {
        Ok(addresses) => addresses,
        Err(error) => {
            let text = format!(
                "{host} cannot be resolved: {error}; check the host in base_url and this machine's name resolution"
            );
            let mut checks = vec![Check::failed(NAME, Exit::Unreachable, text)];
            checks.extend(none_of(&families::NAMES, "there is no address"));
            return (checks, false);
        }
    };
    let name = match (host.parse::<IpAddr>(), addresses.as_slice()) {
        (Ok(_), _) => format!("{host} is an address"),
        (Err(_), [one]) => format!("{host} is {}", one.ip()),
        (Err(_), [first, rest @ ..]) => format!("{host} is {} and {} more", first.ip(), rest.len()),
        (Err(_), []) => format!("{host} has no address"),
    };
    let (connections, is_connected) = families::examine(host, &addresses);
    (iter::once(Check::ok(NAME, name)).chain(connections).collect(), is_connected)
}

/// Uses the system's resolver, which has no deadline.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let target = (host.to_owned(), port);
    let (found, finding) = sync_channel(1);
    thread::spawn(move || {
        // The receiver may have stopped waiting.
        let _ = found.send(target.to_socket_addrs().map(Iterator::collect));
    });
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s");
    finding.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(late()))
}

/// Checks the answer of the base URL to a request without a token.
fn ask(settings: &Settings, is_tls: bool) -> Vec<Check> {
    let is_wanted = |name: &str| {
        matches!(name, "base_url" | "proxy" | "user_agent" | "connect_timeout_ms") || name.starts_with("tls.")
    };
    let client = match Client::new(&settings.examine(is_wanted).0) {
        Ok(client) => client,
        Err(error) => {
            let why = "TLS is not set up";
            return vec![
                Check::failed_by(TLS, &error),
                Check::not_run(SERVICE, why),
                Check::not_run(SKEW, why),
            ];
        }
    };
    let (answer, asked, answered) = timed(&client);
    let secured = |text: &str| {
        let text = if is_tls { text } else { "not used: plain http to this machine" };
        Check::ok(TLS, text)
    };
    match answer {
        Ok(answer) => vec![
            secured("the certificate is valid now and for this host, and comes from a trusted authority"),
            judge(&answer, answered.duration_since(asked).unwrap_or_default()),
            skew(answer.header("date"), asked, answered),
        ],
        Err(error) => {
            let why = Check::not_run(SKEW, "there is no answer");
            if is_tls_error(error.status) {
                let service = Check::not_run(SERVICE, "there is no TLS connection");
                return vec![Check::failed_by(TLS, &error), service, why];
            }
            let tls = Check::not_run(TLS, "the request failed before TLS could be checked");
            vec![tls, Check::failed_by(SERVICE, &error), why]
        }
    }
}

fn timed(client: &Arc<Client>) -> (Result<RawResponse, Error>, SystemTime, SystemTime) {
    let asked = SystemTime::now();
    let answer = client.probe(ANSWER);
    (answer, asked, SystemTime::now())
}

fn is_tls_error(status: Status) -> bool {
    use Status::*;
    matches!(
        status,
        PG_ERR_TLS | PG_ERR_CERTIFICATE_EXPIRED | PG_ERR_CERTIFICATE_UNTRUSTED | PG_ERR_CERTIFICATE_NAME
    )
}

/// Any answer is good, but some statuses show a problem.
fn judge(answer: &RawResponse, took: Duration) -> Check {
    let said = format!("it answers, with HTTP {} in {} ms", answer.status, took.as_millis());
    match answer.status {
        300..400 => {
            Check::warning(SERVICE, format!("{said}: a redirect, which is not followed; check base_url"))
        }
        407 => Check::failed(
            SERVICE,
            Exit::Unreachable,
            format!("{said}: the proxy requires a password; set proxy"),
        ),
        500.. => Check::warning(SERVICE, format!("{said}: the service has a problem; try again later")),
        _ => Check::ok(SERVICE, said),
    }
}

/// Compares the service's clock with this machine's. The date counts as the middle of its second and of the request.
fn skew(date: Option<&str>, asked: SystemTime, answered: SystemTime) -> Check {
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return Check::not_run(SKEW, "the answer has no Date header");
    };
    let middle = asked + answered.duration_since(asked).unwrap_or_default() / 2;
    let date = date + Duration::from_millis(500);
    let seconds = match date.duration_since(middle) {
        Ok(ahead) => ahead.as_secs() as i64,
        Err(behind) => -(behind.duration().as_secs() as i64),
    };
    let text = match seconds {
        0 => "the service's clock agrees with this machine's to the second".to_owned(),
        1.. => format!("the service's clock is {seconds} s ahead of this machine's"),
        _ => format!("the service's clock is {} s behind this machine's", -seconds),
    };
    if seconds.abs() <= MOST_SKEW {
        Check::ok(SKEW, text)
    } else {
        Check::warning(
            SKEW,
            format!(
                "{text}; correct the wrong one (the age of tokens does not depend on it, but the validity of certificates does)"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_large_clock_skew_is_a_warning() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let check =
            |date: u64| skew(Some(&httpdate::fmt_http_date(at(date))), at(1_800_000_000), at(1_800_000_001));
        for (date, verdict, text) in [
            (1_800_000_000, Verdict::Ok, "agrees"),
            (1_800_000_030, Verdict::Ok, "30 s ahead"),
            (1_800_000_090, Verdict::Warning, "90 s ahead"),
            (1_799_999_910, Verdict::Warning, "90 s behind"),
        ] {
            let check = check(date);
            assert!(check.result == verdict && check.text.contains(text), "{}", check.text);
        }
        assert_eq!(skew(None, at(1), at(1)).result, Verdict::NotRun);
    }

    #[test]
    fn an_answer_that_shows_a_problem_is_a_warning() {
        let verdict =
            |status| judge(&RawResponse { status, ..RawResponse::default() }, Duration::ZERO).result;
        assert_eq!([200, 404, 401].map(verdict), [Verdict::Ok; 3]);
        assert_eq!([302, 500, 503].map(verdict), [Verdict::Warning; 3]);
        assert_eq!(verdict(407), Verdict::Failed);
    }
}
