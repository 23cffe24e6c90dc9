//! Ports of servers that go away and come back at the same place.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the kernel gives to outgoing connections, so that none of those takes the port of a server that is away.
const RANGE: std::ops::Range<u32> = 10_000..32_000;

/// A listener at a port that no other listener of this process gets, even while this one is away.
pub(crate) fn listener() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin at different ports.
    let first = std::process::id().wrapping_mul(64);
    loop {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = RANGE.start + number % RANGE.len() as u32;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port as u16)) {
            return listener;
        }
    }
}
