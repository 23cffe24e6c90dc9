//! Ports of servers that go away and come back at the same place.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to outgoing connections, so that none of those takes the port of a server that is away.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A listener at a port that no other listener of this process gets, even while this one is away.
pub(crate) fn listener() -> TcpListener {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(RANGE)));
    let next = |port| Some(if port + 1 == RANGE.end { RANGE.start } else { port + 1 });
    loop {
        let port = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}
