//! Chooses the proxy for the service, once, when the client is made.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::error::Error;
use crate::status::Status;

/// Upper case has precedence, as in most clients.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTION_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// How the service is reached.
#[derive(Clone)]
pub enum ProxyChoice {
    /// Without a proxy.
    Direct,
    /// As the standard environment variables say.
    Environment,
    /// Through this proxy. The URL may hold a password.
    Through(Url),
}

impl ProxyChoice {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(ProxyChoice::Direct),
            "env" => Some(ProxyChoice::Environment),
            _ => {
                let url = Url::parse(text).ok()?;
                (matches!(url.scheme(), "http" | "https") && url.has_host())
                    .then_some(ProxyChoice::Through(url))
            }
        }
    }
}

impl fmt::Debug for ProxyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyChoice::Direct => f.write_str("Direct"),
            ProxyChoice::Environment => f.write_str("Environment"),
            ProxyChoice::Through(url) => write!(f, "Through({})", url.host_str().unwrap_or_default()),
        }
    }
}

/// The proxy for `base_url`. Plain http is allowed to this machine only, and would leave it through a proxy.
pub(super) fn proxy_for(
    base_url: &Url,
    choice: &ProxyChoice,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Url>, Error> {
    match choice {
        _ if base_url.scheme() == "http" => Ok(None),
        ProxyChoice::Direct => Ok(None),
        ProxyChoice::Through(url) => Ok(Some(url.clone())),
        ProxyChoice::Environment => from_environment(base_url, variable),
    }
}

fn from_environment(
    base_url: &Url,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Url>, Error> {
    // An empty variable counts as not set.
    let first = |names: &[&'static str]| {
        let set = |name: &&'static str| Some((*name, variable(name)?)).filter(|(_, value)| !value.is_empty());
        names.iter().find_map(set)
    };
    if let Some((name, value)) = first(&EXCEPTION_VARIABLES) {
        let list = value.into_string().map_err(|_| unusable(name, "it is not UTF-8"))?;
        if is_excepted(base_url, &list) {
            return Ok(None);
        }
    }
    let Some((name, value)) = first(&PROXY_VARIABLES) else { return Ok(None) };
    let value = value.into_string().map_err(|_| unusable(name, "it is not UTF-8"))?;
    match parse(value.trim()) {
        Some(url) => Ok(Some(url)),
        None => Err(unusable(name, "it must be an http or https URL, or a host and a port")),
    }
}

/// The value is not shown, since it may hold a password.
fn unusable(name: &str, why: &str) -> Error {
    let text = format!(
        "proxy = env: the environment variable {name} cannot be used: {why}; correct it, put the host of base_url into \
         NO_PROXY, or set proxy to none or to the proxy's URL"
    );
    Error::new(Status::PG_ERR_INVALID_SETTING, text)
}

/// Parses a URL, or a short form such as `proxy.example:3128`.
fn parse(text: &str) -> Option<Url> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match ProxyChoice::parse(&text) {
        Some(ProxyChoice::Through(url)) => Some(url),
        _ => None,
    }
}

/// Whether an entry of `NO_PROXY` matches the host. `*` matches all hosts; a domain also its subdomains, with or
/// without a dot in front; an address itself; a block (`10.0.0.0/8`) its addresses. An entry with `:port` matches that
/// port only.
fn is_excepted(url: &Url, list: &str) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_end_matches('.');
    let port = url.port_or_known_default();
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| {
        let (name, only) = split_port(entry);
        only.is_none_or(|only| Some(only) == port) && matches_host(name, host)
    })
}

/// Splits off the port: `[::1]:443` and `host:443` have one, `::1` has none.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    match entry.rsplit_once(':') {
        Some((name, port)) => port.parse().map_or((entry, None), |port| (name, Some(port))),
        None => (entry, None),
    }
}

fn matches_host(name: &str, host: &str) -> bool {
    if name == "*" {
        return true;
    }
    if let Ok(host) = without_brackets(host).parse::<IpAddr>() {
        return match name.split_once('/') {
            Some((block, bits)) => is_in_block(host, block, bits),
            None => without_brackets(name).parse() == Ok(host),
        };
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.');
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    host == name || (!name.is_empty() && host.strip_suffix(&name).is_some_and(|sub| sub.ends_with('.')))
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn is_in_block(host: IpAddr, block: &str, bits: &str) -> bool {
    let (Ok(block), Ok(bits)) = (without_brackets(block).parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (host, block, length) = match (host, block) {
        (IpAddr::V4(host), IpAddr::V4(block)) => {
            (u128::from(host.to_bits()), u128::from(block.to_bits()), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(block)) => (host.to_bits(), block.to_bits(), 128),
        _ => return false,
    };
    // A shift by the whole width is undefined, and means that no bit is compared.
    bits <= length && (host ^ block).checked_shr(length - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(base_url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
        };
        let proxy = proxy_for(&Url::parse(base_url).unwrap(), &ProxyChoice::Environment, variable)?;
        Ok(proxy.map(String::from))
    }

    fn is_direct(base_url: &str, exceptions: &str) -> bool {
        let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", exceptions)];
        found(base_url, &variables).unwrap().is_none()
    }

    #[test]
    fn the_variables_name_the_proxy() {
        let host = "https://api.example/";
        for (variables, proxy) in [
            (&[][..], None),
            (&[("HTTPS_PROXY", "http://one:1")], Some("http://one:1/")),
            (&[("https_proxy", "https://one:1")], Some("https://one:1/")),
            (&[("ALL_PROXY", "one:1"), ("HTTPS_PROXY", "")], Some("http://one:1/")),
            (&[("HTTPS_PROXY", "http://one:1"), ("https_proxy", "http://two:2")], Some("http://one:1/")),
            (
                &[("https_proxy", "http://user:word@one:1"), ("all_proxy", "two")],
                Some("http://user:word@one:1/"),
            ),
            (&[("HTTPS_PROXY", " localhost:3128 ")], Some("http://localhost:3128/")),
            // Variables for plain http, which is allowed to this machine only.
            (&[("HTTP_PROXY", "http://one:1"), ("http_proxy", "http://two:2")], None),
        ] {
            assert_eq!(found(host, variables).unwrap().as_deref(), proxy, "{variables:?}");
        }
        assert_eq!(found("http://127.0.0.1:80/", &[("HTTPS_PROXY", "http://one:1")]).unwrap(), None);
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_an_error_that_names_it() {
        for (name, value) in [
            ("HTTPS_PROXY", "socks5://user:hunter2@one:1"),
            ("https_proxy", "http://"),
            ("ALL_PROXY", "http://one:hunter2"),
            ("all_proxy", "one two hunter2"),
            ("HTTPS_PROXY", " "),
        ] {
            let error = found("https://api.example/", &[(name, value)]).unwrap_err();
            assert_eq!(error.status, Status::PG_ERR_INVALID_SETTING);
            assert!(error.text.contains(name) && !error.text.contains("hunter2"), "{}", error.text);
            // A variable that is not needed is not checked.
            assert!(found("https://api.example/", &[(name, value), ("NO_PROXY", "*")]).unwrap().is_none());
        }
    }

    #[test]
    fn exceptions_are_domains_addresses_blocks_and_ports() {
        let host = "https://api.shop.example/";
        for list in [
            "*",
            "a, *",
            "api.shop.example",
            "shop.example",
            ".shop.example",
            "*.shop.example",
            "SHOP.Example.",
            "api.shop.example:443",
            "shop.example:443",
            "*:443",
            "other  shop.example",
            "other,shop.example",
        ] {
            assert!(is_direct(host, list), "{list}");
        }
        for list in [
            "",
            ",",
            ".",
            "hop.example",
            "op.example",
            "v2.api.shop.example",
            "api.shop.example:8443",
            "*:80",
        ] {
            assert!(!is_direct(host, list), "{list}");
        }
        assert!(is_direct("https://api.shop.example:8443/", "api.shop.example:8443"));
        assert!(is_direct("https://api.shop.example./", "api.shop.example"));
        for list in
            ["10.1.2.3", "10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "*", "10.1.2.3:443", "10.0.0.0/8:443"]
        {
            assert!(is_direct("https://10.1.2.3/", list), "{list}");
        }
        for list in ["10.1.2.4", "10.1.2.2/32", "11.0.0.0/8", "10.0.0.0/33", "::/0", "2.3", "10.1.2.3:80"] {
            assert!(!is_direct("https://10.1.2.3/", list), "{list}");
        }
        for list in ["::1", "[::1]", "[::1]:8443", "::/0", "::1/128", "[::]/64"] {
            assert!(is_direct("https://[::1]:8443/", list), "{list}");
        }
        for list in ["::2", "[::1]:443", "::2/128", "0.0.0.0/0"] {
            assert!(!is_direct("https://[::1]:8443/", list), "{list}");
        }
    }
}
