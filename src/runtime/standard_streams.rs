//! The standard streams of a host that has closed them.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};

use crate::error::Error;
use crate::status::Status;

/// The greatest of the standard streams' numbers.
const HIGHEST: RawFd = 2;

/// Sees to it that the next descriptor of ours is none of 0, 1 and 2, where a host would read from it or print into it.
/// Where they are closed they become `/dev/null`, as they do in programs in Rust and Go. Ours cannot be moved out of the
/// way instead: the HTTP library makes its own. A host may put streams of its own there (`dup2`) at any time, and a
/// program that it executes finds them closed as before. To be called before each descriptor that is made to stay.
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
    // SAFETY: asks for the flags of a descriptor, whatever it is.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// The system gives the least number that is free.
fn fill_with(open: impl Fn() -> io::Result<OwnedFd>) -> io::Result<()> {
    loop {
        let number = open()?.into_raw_fd();
        if number > HIGHEST {
            // SAFETY: opened above, and nobody else knows of it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            return Ok(());
        }
    }
}

fn null_device() -> io::Result<OwnedFd> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    // Without devices, say in a `chroot`, a folder, which can neither be read nor written.
    Ok(null.or_else(|_| open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?)
}
