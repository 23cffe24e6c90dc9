//! Where a session's pair lives. The store owns the refresh token: a flight gets it, and with it the right to
//! present it, only by writing an intent under the lock.

mod memory;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::token::{Grant, Pair, RefreshToken, Token};

pub use memory::MemoryStore;

/// A committed pair, as everyone sees it who shares the store.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What callers get. Its generation grows by one with each commit.
    pub grant: Arc<Grant>,
    /// Whether a refresh token came with it.
    pub has_refresh: bool,
}

impl Committed {
    /// The access token.
    pub fn token(&self) -> &Token {
        &self.grant.token
    }

    /// The number it was committed under.
    pub fn generation(&self) -> u64 {
        self.grant.generation
    }
}

/// A future of a store.
pub type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// One session's place in a store. The order of a flight is: lock, load, intend, (present the token), commit or
/// retract, unlock. Load, intend, retract and commit are only called with the lock held.
pub trait Store: Send + Sync {
    /// Waits for the lock.
    fn lock(&self) -> Storing<'_, ()>;

    /// The newest committed token, if any.
    fn load(&self) -> Storing<'_, Option<Committed>>;

    /// Writes down, durably, that the refresh token is about to be presented, and hands it out. `None`: there is
    /// none that may be presented.
    fn intend(&self) -> Storing<'_, Option<RefreshToken>>;

    /// The refresh token was not used up: puts it back and strikes the intent.
    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()>;

    /// Makes a pair the newest, under the generation after `base`, and strikes the intent.
    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed>;

    /// Frees the lock.
    fn unlock(&self) -> Storing<'_, ()>;
}
