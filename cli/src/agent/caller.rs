//! Decides whether a caller may ask. A unix socket is protected by its file mode; on TCP any user of the machine, and any page
//! in its browser, can connect.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use paymentsgate_auth::Secret;
use subtle::ConstantTimeEq;

use super::listen::Role;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A secret that a caller over TCP presents for a token: 256 random bits.
pub(super) fn random_secret() -> Option<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Secret::new(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request was sent for another host name.
    Host,
    /// A browser sent the request on behalf of a web page.
    WebPage,
    /// The secret is missing or wrong.
    Secret,
}

impl Refusal {
    pub(super) fn http_status(self) -> u16 {
        match self {
            Refusal::Secret => 401,
            Refusal::Host | Refusal::WebPage => 403,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Host => {
                "the header Host is not localhost or a loopback address; call the agent by one of them"
            }
            Refusal::WebPage => "the request comes from a web page (header Origin or Sec-Fetch-Site)",
            Refusal::Secret => {
                "send Authorization: Bearer and the content of the agent's secret file (--secret-file)"
            }
        }
    }
}

/// Checks a request over TCP to a service.
pub(super) fn check(role: Role, headers: &HeaderMap, secret: Option<&Secret>) -> Result<(), Refusal> {
    // Nothing that the health service says is secret, and probes call it by the address of their choice.
    if role == Role::Health {
        return Ok(());
    }
    let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().is_ok_and(is_loopback));
    if (hosts.next(), hosts.next()) != (Some(true), None) {
        return Err(Refusal::Host);
    }
    let is_of_a_page = headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none");
    if headers.contains_key(ORIGIN) || is_of_a_page {
        return Err(Refusal::WebPage);
    }
    match (role, secret) {
        (Role::Tokens, Some(secret)) => {
            let presented = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
            let presented = presented.and_then(|value| value.strip_prefix(b"Bearer "));
            if presented.is_some_and(|presented| secret.expose().as_bytes().ct_eq(presented).into()) {
                Ok(())
            } else {
                Err(Refusal::Secret)
            }
        }
        (Role::Tokens, None) => Err(Refusal::Secret),
        _ => Ok(()),
    }
}

/// A web page can give a host name of its own the address 127.0.0.1 (DNS rebinding). Its requests then have that name.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = Authority::from_str(host) else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    !host.contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || address.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_host_is_localhost_or_a_loopback_address() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "127.8.9.1", "[::1]:9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.example",
            "127.0.0.1.example:80",
            "example",
            "10.0.0.1",
            "[::2]",
            "evil@",
            "127.0.0.1@evil",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_web_page_is_refused_and_another_name_too() {
        let local = ("host", "127.0.0.1:8080");
        for (rows, expected) in [
            (vec![local], Ok(())),
            (vec![], Err(Refusal::Host)),
            (vec![("host", "rebound.example:8080")], Err(Refusal::Host)),
            (vec![local, ("host", "rebound.example")], Err(Refusal::Host)),
            (
                vec![local, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
                Err(Refusal::WebPage),
            ),
            (vec![local, ("origin", "http://127.0.0.1:8080")], Err(Refusal::WebPage)),
            (vec![local, ("sec-fetch-site", "cross-site")], Err(Refusal::WebPage)),
            (vec![local, ("sec-fetch-site", "none")], Ok(())),
        ] {
            assert_eq!(check(Role::Proxy, &headers(&rows), None), expected, "{rows:?}");
        }
        assert_eq!(check(Role::Health, &headers(&[]), None), Ok(()));
    }

    #[test]
    fn a_token_needs_the_secret() {
        let secret = random_secret().unwrap();
        let with = |value: &str| headers(&[("host", "localhost"), ("authorization", value)]);
        let right = format!("Bearer {}", secret.expose());
        assert_eq!(check(Role::Tokens, &with(&right), Some(&secret)), Ok(()));
        let longer = format!("{right}0");
        for wrong in [&right[..right.len() - 1], &longer, secret.expose(), "Bearer ", ""] {
            assert_eq!(check(Role::Tokens, &with(wrong), Some(&secret)), Err(Refusal::Secret));
        }
        assert_eq!(check(Role::Tokens, &with(&right), None), Err(Refusal::Secret));
        assert_eq!(secret.expose().len(), 64);
    }
}
