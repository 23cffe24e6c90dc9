//! Calls the system's resolver (`getaddrinfo`) on separate threads, since it has no deadline and may hang for minutes.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

#[cfg(target_env = "musl")]
use super::name_servers;
use crate::error::Error;
use crate::runtime::workers::Workers;

/// At most 16 names are resolved at a time.
pub(super) static WORKERS: Workers = Workers::new("pg-names", 16);

/// Why a name did not resolve.
pub(crate) enum Unresolved {
    /// The resolver's error.
    Unknown(io::Error),
    /// The system refused a thread for the resolver.
    NoThread(Error),
}

/// Resolves the addresses of a host.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
    resolve_on(&WORKERS, host, port, ()).await
}

/// The same on the given threads. `asked` is dropped when the resolver has answered, even if the caller has gone by then.
pub(super) async fn resolve_on(
    workers: &Workers,
    host: &str,
    port: u16,
    asked: impl Send + 'static,
) -> Result<Vec<SocketAddr>, Unresolved> {
    let target = (host.to_owned(), port);
    let work = move || {
        let _asked = asked;
        #[cfg(target_env = "musl")]
        name_servers::check(&target.0)?;
        target.to_socket_addrs().map(Iterator::collect)
    };
    workers.perform(work).await.map_err(Unresolved::NoThread)?.map_err(Unresolved::Unknown)
}
