//! Chooses the proxy for the service, once, when the client is made.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::error::Error;
use crate::secret::Wiped;
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

/// The proxy for the service, and what chose it.
pub struct ProxyRoute {
    /// The proxy, if there is one. The URL may hold a password.
    pub proxy: Option<Url>,
    /// What chose it.
    pub reason: ProxyReason,
}

/// Why a proxy is used, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyReason {
    /// A plain http URL never uses a proxy.
    PlainHttp,
    /// The setting `proxy`.
    Setting,
    /// This environment variable.
    Variable(&'static str),
    /// An entry in this environment variable matches the host.
    Excepted {
        /// `NO_PROXY` or `no_proxy`.
        variable: &'static str,
        /// The entry.
        entry: String,
    },
    /// No environment variable names a proxy.
    NoVariable,
}

impl ProxyRoute {
    /// The value of the header `Proxy-Authorization`, if the URL of the proxy has a user or a password.
    pub fn authorization(&self) -> Option<Wiped<String>> {
        let url = self.proxy.as_ref()?;
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        if user.is_empty() && password.is_empty() {
            return None;
        }
        let decoded = |text: &str| Wiped::new(percent_decode_str(text).collect::<Vec<u8>>());
        let pair = Wiped::new([&*decoded(user), &b":"[..], &*decoded(password)].concat());
        Some(Wiped::new(format!("Basic {}", *Wiped::new(STANDARD.encode(&*pair)))))
    }
}

/// The proxy for `base_url`. Plain http is allowed to this machine only, and would leave it through a proxy.
pub(crate) fn proxy_for(
    base_url: &Url,
    choice: &ProxyChoice,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<ProxyRoute, Error> {
    let (proxy, reason) = match choice {
        _ if base_url.scheme() == "http" => (None, ProxyReason::PlainHttp),
        ProxyChoice::Direct => (None, ProxyReason::Setting),
        ProxyChoice::Through(url) => (Some(url.clone()), ProxyReason::Setting),
        ProxyChoice::Environment => return from_environment(base_url, variable),
    };
    Ok(ProxyRoute { proxy, reason })
}

fn from_environment(
    base_url: &Url,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<ProxyRoute, Error> {
    let direct = |reason| Ok(ProxyRoute { proxy: None, reason });
    // An empty variable counts as not set.
    let first = |names: &[&'static str]| {
        let set = |name: &&'static str| Some((*name, variable(name)?)).filter(|(_, value)| !value.is_empty());
        names.iter().find_map(set)
    };
    if let Some((name, value)) = first(&EXCEPTION_VARIABLES) {
        let list = value.into_string().map_err(|_| unusable(name, "it is not UTF-8"))?;
        if let Some(entry) = exception(base_url, &list) {
            return direct(ProxyReason::Excepted { variable: name, entry: entry.to_owned() });
        }
    }
    let Some((name, value)) = first(&PROXY_VARIABLES) else { return direct(ProxyReason::NoVariable) };
    let value = value.into_string().map_err(|_| unusable(name, "it is not UTF-8"))?;
    match parse(value.trim()) {
        Some(url) => Ok(ProxyRoute { proxy: Some(url), reason: ProxyReason::Variable(name) }),
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

/// The entry of `NO_PROXY` that matches the host. `*` matches all hosts; a domain also its subdomains, with or
/// without a dot in front; an address itself; a block (`10.0.0.0/8`) its addresses. An entry with `:port` matches that
/// port only.
fn exception<'a>(url: &Url, list: &'a str) -> Option<&'a str> {
    let host = url.host_str()?.trim_end_matches('.');
    let port = url.port_or_known_default();
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.into_iter().find(|entry| {
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
        Ok(proxy.proxy.map(String::from))
    }

    #[test]
    fn the_reason_names_what_chose_the_proxy() {
        let reason = |base_url: &str, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
            };
            let choice = ProxyChoice::Environment;
            proxy_for(&Url::parse(base_url).unwrap(), &choice, variable).unwrap().reason
        };
        let (host, proxy) = ("https://api.example/", ("all_proxy", "http://one:1"));
        assert_eq!(reason(host, &[]), ProxyReason::NoVariable);
        assert_eq!(reason(host, &[proxy]), ProxyReason::Variable("all_proxy"));
        assert_eq!(reason("http://127.0.0.1/", &[proxy]), ProxyReason::PlainHttp);
        let excepted = ProxyReason::Excepted { variable: "no_proxy", entry: ".example".into() };
        assert_eq!(reason(host, &[proxy, ("no_proxy", "localhost, .example, *")]), excepted);
    }

    #[test]
    fn user_and_password_are_decoded_for_the_header() {
        let header = |url: &str| {
            let route = ProxyRoute { proxy: Url::parse(url).ok(), reason: ProxyReason::Setting };
            route.authorization().map(|value| value.to_string())
        };
        assert_eq!(header("http://proxy:1"), None);
        assert_eq!(header("http://user:pass@proxy:1").unwrap(), "Basic dXNlcjpwYXNz");
        assert_eq!(header("http://us%40er:p%3Ass@proxy:1").unwrap(), "Basic dXNAZXI6cDpzcw==");
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
