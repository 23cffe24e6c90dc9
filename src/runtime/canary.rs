//! A descriptor by which the library notices that the host has closed its descriptors.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{Dev, fstat};
use rustix::io::Errno;

/// A socket that is never used. It dies where a host closes all descriptors that it does not know. The host may then open files
/// of its own under their numbers, and tokio would write to these.
pub(crate) struct Canary {
    socket: UnixDatagram,
    identity: Identity,
}

/// The device and the number of a file: other than a descriptor's number, no open file has those of another one.
type Identity = (Dev, u64);

impl Canary {
    pub(super) fn new() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        let identity = identity(&socket)?;
        Ok(Canary { socket, identity })
    }

    /// Costs one system call.
    pub(crate) fn is_alive(&self) -> bool {
        match identity(&self.socket) {
            Ok(identity) => identity == self.identity,
            // A system that refuses the call says nothing of the descriptor.
            Err(error) => error != Errno::BADF,
        }
    }
}

fn identity(socket: impl AsFd) -> Result<Identity, Errno> {
    let stat = fstat(socket)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_canary_is_dead_when_another_file_has_its_number() {
        let (canary, other) = (Canary::new().unwrap(), Canary::new().unwrap());
        assert!(canary.is_alive() && other.is_alive());
        for file in [File::open("/dev/null").unwrap().as_fd(), other.socket.as_fd()] {
            let kept = canary.socket.try_clone().unwrap();
            // SAFETY: the number stays open, and this test gives it back before it is closed.
            assert!(unsafe { libc::dup2(file.as_raw_fd(), canary.socket.as_raw_fd()) } != -1);
            assert!(!canary.is_alive() && other.is_alive());
            // SAFETY: as above.
            assert!(unsafe { libc::dup2(kept.as_raw_fd(), canary.socket.as_raw_fd()) } != -1);
            assert!(canary.is_alive());
        }
    }
}
