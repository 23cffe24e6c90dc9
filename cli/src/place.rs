//! Where the agent listens, as its arguments name it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A place to listen: `127.0.0.1:8080`, `localhost:8080`, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("give a path behind unix:, for example unix:/run/shop/proxy.sock".into()),
            Some(path) => Ok(Place::Unix(path.into())),
            None => loopback(text).map(Place::Tcp),
        }
    }
}

/// An address that only programs on this machine, or in this pod, can reach.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr =
        numeric.parse().map_err(|_| "give an address and a port, for example 127.0.0.1:8080")?;
    if !address.ip().is_loopback() {
        return Err("not a loopback address: everyone who can reach it would act for the account".into());
    }
    Ok(address)
}

/// A file mode in octal digits.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "give octal digits, for example 660")?;
    if mode & !0o770 != 0 || mode & 0o600 != 0o600 {
        return Err("the owner must have access (6..) and others must not (..0)".into());
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_loopback_address_or_a_path() {
        assert_eq!("localhost:80".parse(), Ok(Place::Tcp(([127, 0, 0, 1], 80).into())));
        assert!(matches!("[::1]:80".parse(), Ok(Place::Tcp(_))));
        assert_eq!("unix:/run/a b".parse(), Ok(Place::Unix("/run/a b".into())));
        for wrong in
            ["", "8080", "0.0.0.0:80", "10.0.0.1:80", "[::]:80", "unix:", "localhost", "localhost:http"]
        {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mode_lets_the_owner_in_and_no_others() {
        assert_eq!((mode("600"), mode("0660")), (Ok(0o600), Ok(0o660)));
        for wrong in ["", "666", "0400", "rw", "1600", "60"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
