//! A notifier: a descriptor that a host waits for with `poll`, and that the library makes readable and unreadable.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use self::system::Signal;
use crate::error::Error;
use crate::runtime::standard_streams;
use crate::status::Status;

/// How often a refused call is tried at once.
const ATTEMPTS: usize = 16;

/// The descriptor and its state.
pub(crate) struct Notifier {
    signal: Signal,
    /// The last state that the system accepted. A refused change is tried again at the next event or poll.
    readable: bool,
}

impl Notifier {
    pub(crate) fn new() -> Result<Self, Error> {
        standard_streams::ensure_open()?;
        let signal = Signal::new().map_err(|error| {
            let text = format!(
                "the system gave no descriptor for the queue: {error}; check the limit of open files"
            );
            Error::new(Status::PG_ERR_SYSTEM, text)
        })?;
        Ok(Notifier { signal, readable: false })
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.signal.waiting().as_raw_fd()
    }

    pub(crate) fn set_readable(&mut self, readable: bool) {
        let Notifier { signal, .. } = self;
        if self.readable != readable && retried(|| if readable { signal.raise() } else { signal.clear() }) {
            self.readable = readable;
        }
    }

    #[cfg(test)]
    pub(crate) fn is_readable(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let waiting = self.signal.waiting();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(waiting, PollFlags::IN)], Some(&now)).unwrap() == 1
    }
}

/// Whether one of several attempts succeeds. The system may refuse memory for a moment, and there may be no later call
/// that tries again.
fn retried(work: impl Fn() -> io::Result<()>) -> bool {
    (0..ATTEMPTS).any(|_| work().is_ok())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{Errno, read, write};

    /// An `eventfd`: to raise it takes no memory, which the system could refuse.
    pub(super) struct Signal(OwnedFd);

    impl Signal {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Signal(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        pub(super) fn waiting(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        pub(super) fn raise(&self) -> io::Result<()> {
            match write(&self.0, &1_u64.to_ne_bytes()) {
                // The counter is full, so it is readable already.
                Err(Errno::AGAIN) => Ok(()),
                done => Ok(done.map(drop)?),
            }
        }

        pub(super) fn clear(&self) -> io::Result<()> {
            match read(&self.0, &mut [0; 8]) {
                // The host has read it, so it is clear already.
                Err(Errno::AGAIN) => Ok(()),
                done => Ok(done.map(drop)?),
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io::{self, ErrorKind, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    /// A pair of sockets, which every Unix system has.
    pub(super) struct Signal {
        waiting: UnixStream,
        peer: UnixStream,
    }

    impl Signal {
        pub(super) fn new() -> io::Result<Self> {
            let (waiting, peer) = UnixStream::pair()?;
            waiting.set_nonblocking(true)?;
            peer.set_nonblocking(true)?;
            Ok(Signal { waiting, peer })
        }

        pub(super) fn waiting(&self) -> BorrowedFd<'_> {
            self.waiting.as_fd()
        }

        pub(super) fn raise(&self) -> io::Result<()> {
            match (&self.peer).write(&[1]) {
                // The counter is full, so it is readable already.
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                done => done.map(drop),
            }
        }

        pub(super) fn clear(&self) -> io::Result<()> {
            let mut rest = [0; 16];
            loop {
                match (&self.waiting).read(&mut rest) {
                    Ok(count) if count == rest.len() => {}
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    _ => return Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_call_that_the_system_refuses_for_a_moment_is_tried_again() {
        let left = Cell::new(3);
        let refused_thrice = || match left.replace(left.get() - 1) {
            ..=0 => Ok(()),
            _ => Err(ErrorKind::OutOfMemory.into()),
        };
        assert!(retried(refused_thrice));
        assert!(!retried(|| Err(ErrorKind::OutOfMemory.into())));
    }
}
