//! Checks the proxy: which one applies and why, whether it can be reached, and whether it opens a tunnel to the service.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use paymentsgate_auth::{Client, Config, ProxyReason, ProxyRoute};

use super::check::Check;
use super::network::{PATIENCE, resolve};
use crate::exit::Exit;
use crate::settings::Settings;

pub(super) const PROXY: &str = "proxy";

/// The time limit of the answer to CONNECT: the proxy resolves the name of the service and connects.
const CONNECT: Duration = Duration::from_secs(10);
const LONGEST_HEAD: usize = 16 * 1024;

/// How the service is reached.
pub(super) enum Way {
    Direct,
    ThroughProxy,
    /// A check failed, or could not run.
    Closed,
}

pub(super) fn examine(settings: &Settings, client: &Client) -> (Check, Way) {
    let (config, troubles) = settings.examine(|name| name == "proxy");
    let Some(base_url) = client.base_url().filter(|_| troubles.is_empty()) else {
        return (Check::not_run(PROXY, "the setting proxy is not valid, see above"), Way::Closed);
    };
    let route = match config.proxy_route(base_url) {
        Ok(route) => route,
        Err(error) => return (Check::failed_by(PROXY, &error), Way::Closed),
    };
    let Some(check) = open_tunnel(&route, client) else {
        return (Check::ok(PROXY, format!("not used: {}", why_direct(&route.reason, client))), Way::Direct);
    };
    match check {
        Ok(text) => (Check::ok(PROXY, text), Way::ThroughProxy),
        Err(text) => (Check::failed(PROXY, Exit::Unreachable, text), Way::Closed),
    }
}

fn why_direct(reason: &ProxyReason, client: &Client) -> String {
    match reason {
        ProxyReason::PlainHttp => "base_url is plain http to this machine".into(),
        ProxyReason::Excepted { variable, entry } => {
            format!("the environment variable {variable} excepts the host of base_url (entry {entry:?})")
        }
        ProxyReason::NoVariable => "proxy is env, and neither HTTPS_PROXY nor ALL_PROXY is set".into(),
        ProxyReason::Setting | ProxyReason::Variable(_) => {
            let mut config = Config::default();
            let with_env = config
                .set("proxy", "env")
                .ok()
                .and_then(|()| config.proxy_route(client.base_url()?).ok())
                .map(|route| route.reason);
            match with_env {
                Some(ProxyReason::Variable(name)) => format!(
                    "proxy is none. {name} is set: if the service can only be reached through it, set proxy to env"
                ),
                _ => "proxy is none".into(),
            }
        }
    }
}

/// `None`: there is no proxy. Otherwise what was found, or what is wrong.
fn open_tunnel(route: &ProxyRoute, client: &Client) -> Option<Result<String, String>> {
    let (url, base_url) = (route.proxy.as_ref()?, client.base_url()?);
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let source = match route.reason {
        ProxyReason::Variable(name) => format!("the environment variable {name}"),
        _ => "the setting proxy".into(),
    };
    let service = Service {
        proxy: format!("{}://{host}:{port} (from {source})", url.scheme()),
        target: format!("{}:{}", base_url.host_str()?, base_url.port_or_known_default()?),
        way_around: match route.reason {
            ProxyReason::Variable(_) => format!("put {} into NO_PROXY", base_url.host_str()?),
            _ => "set proxy to none".into(),
        },
        source,
        has_credentials: route.authorization().is_some(),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = match reach(bare, port) {
        Ok(stream) => stream,
        Err(error) => {
            let Service { proxy, source, way_around, .. } = &service;
            return Some(Err(format!(
                "{proxy}: cannot be reached: {error}; check its host and port in {source}; if the service can be reached \
                 without it, {way_around}"
            )));
        }
    };
    if url.scheme() == "https" {
        let text = format!("{}: accepts connections; its TLS and tunnel are checked below", service.proxy);
        return Some(Ok(text));
    }
    let begun = Instant::now();
    let answer = connect(stream, &service.target, route.authorization().as_ref().map(|value| value.as_str()));
    Some(judge(&service, answer, begun.elapsed()))
}

fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it has no address");
    for address in resolve(host, port)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks the proxy for a tunnel. Returns the status of its answer; `None`: the answer is not HTTP.
fn connect(mut stream: TcpStream, target: &str, authorization: Option<&str>) -> io::Result<Option<u16>> {
    let credentials = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let credentials = credentials.unwrap_or_default();
    stream.set_write_timeout(Some(CONNECT))?;
    stream
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n").as_bytes())?;
    let deadline = Instant::now() + CONNECT;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut byte = [0];
        match stream.read(&mut byte)? {
            0 if head.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break,
            _ => head.push(byte[0]),
        }
    }
    Ok(status(&head))
}

/// `HTTP/1.1 200 Connection established`
fn status(head: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(head).ok()?.lines().next()?.split(' ');
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

/// What a text about the proxy needs.
struct Service {
    /// The proxy and what chose it, without a password.
    proxy: String,
    /// What chose it.
    source: String,
    /// Host and port of the service.
    target: String,
    /// How to do without the proxy.
    way_around: String,
    has_credentials: bool,
}

fn judge(service: &Service, answer: io::Result<Option<u16>>, took: Duration) -> Result<String, String> {
    let Service { proxy, source, target, way_around, has_credentials } = service;
    let code = match answer {
        Ok(Some(code)) => code,
        Ok(None) => {
            return Err(format!("{proxy}: does not answer as an HTTP proxy; check its port in {source}"));
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(format!(
                "{proxy}: closed the connection without an answer; check its port in {source}, and whether this machine \
                 may use it"
            ));
        }
        Err(error) if [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock].contains(&error.kind()) => {
            return Err(format!(
                "{proxy}: no answer to CONNECT {target} within 10 s; check whether the proxy can reach {target}"
            ));
        }
        Err(error) => {
            return Err(format!("{proxy}: the connection failed: {error}; check its port in {source}"));
        }
    };
    let said = format!("{proxy}: HTTP {code}");
    match code {
        200..300 => Ok(format!("{said}: opens a tunnel to {target}, in {} ms", took.as_millis())),
        407 if *has_credentials => {
            Err(format!("{said}: refuses the user and password; correct them in the URL in {source}"))
        }
        407 => Err(format!(
            "{said}: requires a user and password; put them into the URL in {source} (http://user:password@host:port)"
        )),
        400..500 => Err(format!(
            "{said}: does not open a tunnel to {target}; its operator must allow it; if the service can be reached without \
             the proxy, {way_around}"
        )),
        500..600 => Err(format!(
            "{said}: cannot connect to {target}; check the host and port in base_url, and the name resolution and network \
             of the proxy"
        )),
        _ => Err(format!("{said}: not the answer of a proxy; check its host and port in {source}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: io::Result<Option<u16>>, has_credentials: bool) -> Result<String, String> {
        let service = Service {
            proxy: "http://proxy:3128 (from the setting proxy)".into(),
            source: "the setting proxy".into(),
            target: "pay.example:443".into(),
            way_around: "set proxy to none".into(),
            has_credentials,
        };
        judge(&service, answer, Duration::from_millis(7))
    }

    #[test]
    fn each_answer_of_a_proxy_says_what_to_do() {
        assert!(judged(Ok(Some(200)), false).is_ok_and(|text| text.contains("to pay.example:443, in 7 ms")));
        let failure = |kind: io::ErrorKind| Err(kind.into());
        for (answer, has_credentials, words) in [
            (Ok(Some(407)), false, "put them into the URL in the setting proxy"),
            (Ok(Some(407)), true, "refuses the user and password"),
            (Ok(Some(403)), false, "its operator must allow it"),
            (Ok(Some(403)), false, "set proxy to none"),
            (Ok(Some(502)), false, "cannot connect to pay.example:443"),
            (Ok(Some(301)), false, "not the answer of a proxy"),
            (Ok(None), false, "does not answer as an HTTP proxy"),
            (failure(io::ErrorKind::UnexpectedEof), false, "closed the connection"),
            (failure(io::ErrorKind::WouldBlock), false, "no answer to CONNECT pay.example:443 within 10 s"),
            (failure(io::ErrorKind::ConnectionReset), false, "the connection failed"),
        ] {
            let text = judged(answer, has_credentials).unwrap_err();
            assert!(text.starts_with("http://proxy:3128 (from ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn only_a_status_line_of_http_1_counts() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for wrong in [&b""[..], b"\x15\x03\x01\0\x02", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 x y\r\n\r\n"] {
            assert_eq!(status(wrong), None);
        }
    }
}
