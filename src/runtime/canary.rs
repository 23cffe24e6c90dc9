//! A descriptor by which the library notices that the host has closed its descriptors.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{Dev, fstat};
use rustix::io::Errno;

/// A socket that is never used. It dies where a host closes all descriptors that it does not know. The host may then open files
/// of its own under their numbers, and tokio would write to these. Where the system gives no such socket it counts as alive.
pub(crate) struct Canary(Option<(UnixDatagram, Identity)>);

/// The device and the number of a file: other than a descriptor's number, no open file has those of another one.
type Identity = (Dev, u64);

impl Canary {
    pub(super) fn new() -> Self {
        let socket = UnixDatagram::unbound().ok();
        Canary(socket.and_then(|socket| identity(&socket).ok().map(|identity| (socket, identity))))
    }

    /// Costs one system call.
    pub(crate) fn is_alive(&self) -> bool {
        let Some((socket, own)) = &self.0 else { return true };
        match identity(socket) {
            Ok(found) => found == *own,
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
        let (canary, other) = (Canary::new(), Canary::new());
        assert!(canary.is_alive() && other.is_alive());
        let [socket, another] = [&canary, &other].map(|canary| &canary.0.as_ref().unwrap().0);
        let null = File::open("/dev/null").unwrap();
        for file in [null.as_fd(), another.as_fd()] {
            let kept = socket.try_clone().unwrap();
            // SAFETY: the number stays open, and this test gives it back before it is closed.
            assert!(unsafe { libc::dup2(file.as_raw_fd(), socket.as_raw_fd()) } != -1);
            assert!(!canary.is_alive() && other.is_alive());
            // SAFETY: as above.
            assert!(unsafe { libc::dup2(kept.as_raw_fd(), socket.as_raw_fd()) } != -1);
            assert!(canary.is_alive());
        }
    }
}
