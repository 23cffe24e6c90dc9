//! The system's resolver (`getaddrinfo`), on threads of its own: it knows no deadline, and may hang for minutes.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::error::Error;
use crate::runtime::workers::Workers;

/// So many names at a time.
pub(super) static WORKERS: Workers = Workers::new("pg-names", 16);

/// Why there is no address.
pub(crate) enum Unresolved {
    /// What the resolver says.
    Unknown(io::Error),
    /// The system gave no thread to ask it on.
    NoThread(Error),
}

/// The addresses of a host.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
    resolve_on(&WORKERS, host, port).await
}

pub(super) async fn resolve_on(
    workers: &Workers,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Unresolved> {
    let target = (host.to_owned(), port);
    let asked = workers.perform(move || target.to_socket_addrs().map(Iterator::collect)).await;
    asked.map_err(Unresolved::NoThread)?.map_err(Unresolved::Unknown)
}
