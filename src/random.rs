//! Random numbers of the system.

use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;
use crate::status::Status;

/// An array of random bytes. An error: the system refuses them.
pub(crate) fn bytes<const COUNT: usize>() -> Result<[u8; COUNT], Error> {
    let mut bytes = [0; COUNT];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let text = "the system gives no random numbers; check that getrandom is allowed";
        Error::new(Status::PG_ERR_SYSTEM, text)
    })?;
    Ok(bytes)
}
