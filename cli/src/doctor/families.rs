//! Connects to the service by IPv4 and by IPv6, each on its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::check::Check;
use super::network::PATIENCE;
use crate::exit::Exit;

pub(super) const NAMES: [&str; 2] = ["ipv4", "ipv6"];
/// The names in texts, in the same order.
const SHOWN: [&str; 2] = ["IPv4", "IPv6"];

/// What came of the addresses of one family.
enum Outcome {
    /// The host has none.
    Absent,
    Connected(SocketAddr, Duration),
    /// The machine has no route by this family, so that a connection fails at once.
    Unrouted(String),
    Failed {
        text: String,
        is_loopback: bool,
    },
}

/// Both checks, and whether there is a connection.
pub(super) fn examine(host: &str, addresses: &[SocketAddr]) -> (Vec<Check>, bool) {
    let prefers_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let outcomes = [false, true].map(|is_ipv6| {
        let family: Vec<_> = addresses.iter().filter(|address| address.is_ipv6() == is_ipv6).collect();
        try_all(&family)
    });
    judge(host, outcomes, usize::from(prefers_ipv6))
}

/// Tries one address after the other. As in a session, they share the time.
fn try_all(addresses: &[&SocketAddr]) -> Outcome {
    let mut errors = Vec::new();
    for address in addresses {
        let begun = Instant::now();
        match TcpStream::connect_timeout(address, PATIENCE / addresses.len() as u32) {
            Ok(_) => return Outcome::Connected(**address, begun.elapsed()),
            Err(error) => errors.push((address.ip(), error)),
        }
    }
    outcome(&errors)
}

fn outcome(errors: &[(IpAddr, io::Error)]) -> Outcome {
    let text: Vec<_> = errors.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    let text = text.join("; ");
    let unrouted = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::AddrNotAvailable];
    match errors {
        [] => Outcome::Absent,
        errors if errors.iter().all(|(_, error)| unrouted.contains(&error.kind())) => Outcome::Unrouted(text),
        errors => {
            let is_loopback = errors.iter().all(|(address, _)| address.is_loopback());
            Outcome::Failed { text, is_loopback }
        }
    }
}

/// `preferred` is the family of the first address, which connections try first.
fn judge(host: &str, outcomes: [Outcome; 2], preferred: usize) -> (Vec<Check>, bool) {
    let works = outcomes.each_ref().map(|outcome| matches!(outcome, Outcome::Connected(..)));
    let exists = outcomes.each_ref().map(|outcome| !matches!(outcome, Outcome::Absent));
    let check = |ours: usize| {
        let (name, family, other) = (NAMES[ours], SHOWN[ours], SHOWN[1 - ours]);
        match &outcomes[ours] {
            Outcome::Absent => Check::not_run(name, format!("{host} has no {family} address")),
            Outcome::Connected(address, took) => {
                Check::ok(name, format!("{address} accepts connections, after {} ms", took.as_millis()))
            }
            Outcome::Unrouted(text) if exists[1 - ours] => {
                let text = format!("this machine has no route by {family} ({text}); connections use {other}");
                Check::not_run(name, text)
            }
            Outcome::Failed { text, is_loopback: true } if works[1 - ours] => {
                Check::ok(name, format!("{text}; it does not matter on this machine, since {other} works"))
            }
            Outcome::Failed { text, .. } if works[1 - ours] => {
                let effect = if preferred == ours {
                    format!(
                        "connections try {family} first, and each new one waits up to 300 ms before it goes on to {other}"
                    )
                } else {
                    format!("connections use {other}; if it fails, {family} does not help")
                };
                let text = format!(
                    "{text}; {effect}; correct the route or the firewall for {family}, or have the {family} address of \
                     {host} removed"
                );
                Check::warning(name, text)
            }
            Outcome::Unrouted(text) | Outcome::Failed { text, .. } => {
                let text = format!(
                    "{text}; check the port in base_url, firewalls on the way, and whether the service is up"
                );
                Check::failed(name, Exit::Unreachable, text)
            }
        }
    };
    (vec![check(0), check(1)], works.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn connected(address: &str) -> Outcome {
        Outcome::Connected(address.parse().unwrap(), Duration::from_millis(12))
    }

    fn failed(address: &str, kind: io::ErrorKind) -> Outcome {
        outcome(&[(address.parse().unwrap(), kind.into())])
    }

    /// Results and texts, and whether there is a connection.
    fn judged(outcomes: [Outcome; 2], preferred: usize) -> (Vec<Verdict>, String, bool) {
        let (checks, is_connected) = judge("pay.example", outcomes, preferred);
        let texts: Vec<_> = checks.iter().map(|check| check.text.as_str()).collect();
        (checks.iter().map(|check| check.result).collect(), texts.join("\n"), is_connected)
    }

    #[test]
    fn one_broken_family_is_a_warning_that_says_what_happens() {
        use Verdict::*;
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
        let (v4, v6) = (|| connected("192.0.2.1:443"), || connected("[2001:db8::1]:443"));
        for (outcomes, preferred, verdicts, words) in [
            ([v4(), v6()], 1, [Ok, Ok], "[2001:db8::1]:443 accepts connections, after 12 ms"),
            ([v4(), Outcome::Absent], 0, [Ok, NotRun], "pay.example has no IPv6 address"),
            ([v4(), failed("2001:db8::1", TimedOut)], 1, [Ok, Warning], "waits up to 300 ms"),
            ([v4(), failed("2001:db8::1", TimedOut)], 0, [Ok, Warning], "connections use IPv4; if it fails"),
            ([failed("192.0.2.1", HostUnreachable), v6()], 0, [Warning, Ok], "goes on to IPv6"),
            ([v4(), failed("2001:db8::1", NetworkUnreachable)], 0, [Ok, NotRun], "no route by IPv6"),
            ([v4(), failed("::1", ConnectionRefused)], 1, [Ok, Ok], "does not matter"),
        ] {
            let (found, text, is_connected) = judged(outcomes, preferred);
            assert!(found == verdicts && text.contains(words) && is_connected, "{words}: {found:?} {text}");
        }
    }

    #[test]
    fn without_a_family_that_works_each_says_why() {
        use Verdict::*;
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        for (outcomes, verdicts) in [
            ([failed("192.0.2.1", ConnectionRefused), Outcome::Absent], [Failed, NotRun]),
            ([failed("192.0.2.1", TimedOut), failed("2001:db8::1", TimedOut)], [Failed, Failed]),
            ([failed("192.0.2.1", TimedOut), failed("2001:db8::1", NetworkUnreachable)], [Failed, NotRun]),
            ([Outcome::Absent, failed("2001:db8::1", NetworkUnreachable)], [NotRun, Failed]),
            ([failed("127.0.0.1", ConnectionRefused), failed("::1", ConnectionRefused)], [Failed, Failed]),
        ] {
            let (found, text, is_connected) = judged(outcomes, 0);
            assert!(
                found == verdicts && !is_connected && text.contains("check the port"),
                "{found:?} {text}"
            );
        }
    }
}
