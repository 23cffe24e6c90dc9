//! The address of a Redis or Valkey server, with the login.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::secret::Secret;

const DEFAULT_PORT: u16 = 6379;

/// A server, a login and a database.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) has_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
    /// How many replicas must have a write before it counts.
    pub(super) replicas: u32,
}

impl Address {
    /// `redis://user:password@host:port/database?replicas=1`, or `rediss://` for TLS; all but the host may be left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let has_tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let mut replicas = 0;
        for (name, value) in url.query_pairs() {
            match &*name {
                "replicas" => replicas = value.parse().ok()?,
                _ => return None,
            }
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse::<u16>().ok()?.into(),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
        let password = match url.password() {
            Some(password) => Some(Secret::new(&decoded(password)?)?),
            None => None,
        };
        let has_rest = url.fragment().is_some() || (user.is_some() && password.is_none());
        // The brackets of an IPv6 address belong to the URL.
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty() && !has_rest).then_some(Address {
            has_tls,
            host,
            port: url.port().unwrap_or(DEFAULT_PORT),
            user,
            password,
            database,
            replicas,
        })
    }
}

/// Shows the address without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.has_tls { "rediss" } else { "redis" };
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{user}{host}:{}/{}", self.port, self.database)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_host_may_be_left_out() {
        let short = Address::parse("redis://cache.example").unwrap();
        assert_eq!(short.to_string(), "redis://cache.example:6379/0");
        assert!(!short.has_tls && short.user.is_none() && short.password.is_none() && short.replicas == 0);
        let long = Address::parse("rediss://shop:p%40ss@[::1]:7000/3?replicas=2").unwrap();
        assert_eq!(long.to_string(), "rediss://shop@[::1]:7000/3");
        assert_eq!((long.host.as_str(), long.replicas, long.has_tls), ("::1", 2, true));
        assert_eq!(long.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert!(Address::parse("redis://:alone@h").unwrap().user.is_none(), "a password for everybody");
    }

    #[test]
    fn an_address_with_an_unknown_part_is_refused() {
        for text in [
            "redis:",
            "redis://",
            "http://h",
            "redis://h/x",
            "redis://h/-1",
            "redis://h?replica=1",
            "redis://h?replicas=x",
            "redis://h#x",
            "redis://user@h",
            "redis://h:99999",
        ] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let address = Address::parse("redis://u:hunter2@h").unwrap();
        assert!(!format!("{address} {address:?}").contains("hunter2"));
    }
}
