//! Keeps the library's descriptors away from the numbers of the standard streams (0, 1 and 2), in a host that has closed
//! them.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};

use crate::error::Error;
use crate::status::Status;

/// The greatest number of a standard stream.
const HIGHEST: RawFd = 2;

/// Makes sure that the next descriptor of the library is none of 0, 1 and 2, where the host would read from it or print
/// into it. Call it before each descriptor that is kept.
///
/// Closed standard streams are opened as `/dev/null`, as programs in Rust and Go do at their start. The library cannot move
/// its own descriptors instead, because the HTTP library makes some. The host may still put its own streams there (`dup2`)
/// at any time, and a program that it executes finds them closed as before.
pub(crate) fn ensure_open() -> Result<(), Error> {
    if (0..=HIGHEST).all(is_open) {
        return Ok(());
    }
    fill_with(null_device).map_err(|error| {
        let text = format!(
            "the standard streams are closed, and /dev/null could not be put in their place: {error}; check the limit of \
             open files"
        );
        Error::new(Status::PG_ERR_SYSTEM, text)
    })
}

fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: only reads the flags of a descriptor, open or not.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Opens descriptors until one is above the standard streams: the system gives the least free number.
fn fill_with(open: impl Fn() -> io::Result<OwnedFd>) -> io::Result<()> {
    loop {
        let number = open()?.into_raw_fd();
        if number > HIGHEST {
            // SAFETY: opened above, and owned by nothing else.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            return Ok(());
        }
    }
}

fn null_device() -> io::Result<OwnedFd> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    // Without devices (in a `chroot`, for example) a directory, which supports neither read nor write.
    Ok(null.or_else(|_| open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?)
}
