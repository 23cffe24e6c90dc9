//! The stores of a session's pair. A store owns the refresh token: a flight gets it, with the right to present it, only
//! by writing an intent under the lock.

mod file;
mod leased;
mod limited;
mod memory;
mod record;
mod redis;
mod warnings;

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Error;
use crate::runtime::sharded_arc::ShardedArc;
use crate::status::Status;
use crate::token::{Grant, Pair, RefreshToken, Token};

use self::leased::{CustomBackend, LeasedStore};
use self::record::Ledger;
pub use self::redis::Address;
use self::redis::RedisBackend;
pub(crate) use self::redis::RedisServers;
pub use file::{Disk, FileStore, RecordFile, StoreMode, SystemDisk};
pub use leased::{Host, HostRecord, HostStore, check};
pub use memory::MemoryStore;
pub use record::{Keyring, RecordKey};

/// Where the records of sessions are stored: the setting `store`, or a store of the host.
#[derive(Clone, Debug)]
pub enum Location {
    /// In this process.
    Memory,
    /// In a folder, and who may use it.
    Folder(PathBuf, StoreMode),
    /// On a Redis or Valkey server.
    Redis(Address),
    /// In a store of the host.
    Custom(HostStore),
}

impl Location {
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Location::Memory)
    }

    /// `memory:`, `file:/folder`, `redis://…` or `rediss://…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "memory:" {
            return Some(Location::Memory);
        }
        if text.starts_with("redis") {
            return Address::parse(text).map(Location::Redis);
        }
        let path = PathBuf::from(text.strip_prefix("file:")?);
        path.is_absolute().then_some(Location::Folder(path, StoreMode::default()))
    }
}

pub(crate) struct Owner {
    pub(crate) key: RecordKey,
    /// Seals the record, if given.
    pub(crate) keyring: Option<Keyring>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long to wait for another session's lock.
    pub(crate) lock_timeout: Duration,
}

/// Opens the store of one account. Makes no connection.
pub(crate) fn open(
    location: &Location,
    servers: &RedisServers,
    owner: Owner,
) -> Result<Arc<dyn Store>, Error> {
    let Owner { key, keyring, clock, lock_timeout } = owner;
    match location {
        Location::Memory => Ok(Arc::new(MemoryStore::default())),
        Location::Folder(folder, mode) => {
            Ok(Arc::new(FileStore::new(folder, *mode, key, keyring, clock, lock_timeout)?))
        }
        Location::Redis(address) => {
            let backend = RedisBackend::new(servers.at(address)?, &key, keyring.is_some())?;
            let ledger = Ledger::new(key, keyring, clock.clone(), address.to_string());
            Ok(Arc::new(LeasedStore::new(backend, ledger, clock, lock_timeout)))
        }
        Location::Custom(host) => {
            let backend = CustomBackend::new(host, &key, clock.clone(), keyring.is_some())?;
            let ledger = Ledger::new(key, keyring, clock.clone(), leased::STORE_NAME.into());
            Ok(Arc::new(LeasedStore::new(backend, ledger, clock, lock_timeout)))
        }
    }
}

/// A committed pair, as all sessions that share the store see it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The grant for callers. The generation grows by one with each commit.
    pub grant: ShardedArc<Grant>,
    /// Whether the pair has a refresh token.
    pub has_refresh: bool,
    /// The token's age is uncertain, so it is renewed before it is used, if possible.
    pub has_uncertain_age: bool,
}

impl Committed {
    /// A token of this process only, which is not in the store.
    pub fn private(token: Token, generation: u64) -> Self {
        let grant = Grant { token, generation, refresh: None };
        Committed { grant: ShardedArc::new(grant), has_refresh: false, has_uncertain_age: false }
    }

    /// The access token.
    pub fn token(&self) -> &Token {
        &self.grant.token
    }

    /// The generation of the commit.
    pub fn generation(&self) -> u64 {
        self.grant.generation
    }
}

/// A refusal that keeps all sessions of the store from calling the service before `until`: refused credentials, too
/// many requests, or a refusal that is not an error of the API. They may still read the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many times in a row the credentials were refused.
    pub strikes: usize,
    /// The end of the back-off, on the boot clock.
    pub until: Duration,
    /// The service's error.
    pub error: Error,
}

impl Refusal {
    /// Whether the refusal blocks every call, even a Refresh.
    pub fn blocks_refresh(&self) -> bool {
        self.error.status == Status::PG_ERR_RATE_LIMITED
    }

    /// Whether the refusal stands for a lost answer with `on_ambiguous = fail`. Such a refusal ends with new
    /// credentials or a new pair, not with time.
    pub fn is_withheld(status: Status) -> bool {
        use Status::*;
        !matches!(status, PG_ERR_REFUSED | PG_ERR_RATE_LIMITED | PG_ERR_BLOCKED | PG_ERR_REDIRECT)
    }
}

/// The result of waiting for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This session holds the lock until it frees it.
    Held,
    /// Not held and not needed: another session has committed a newer pair.
    Moved,
}

/// The content of a store.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest committed token, if any.
    pub committed: Option<Committed>,
    /// A session was refused, so the service must not be called for a while.
    pub back_off: Option<Refusal>,
    /// The credentials have worked before, since there was a pair.
    pub has_worked: bool,
}

/// The content of a store, for operators. Apart from the token it holds nothing secret.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The path of the record, or the name of the store.
    pub store_name: String,
    /// The content that sessions load.
    pub loaded: Loaded,
    /// A session has taken the refresh token to present it, and has not yet recorded the result.
    pub intent: Option<Claimant>,
    /// The form of the record; `None`: there is no record, or none that outlives the process.
    pub form: Option<Form>,
}

/// The session that has taken a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its process id.
    pub pid: u32,
    /// How long ago it took the token; `None`: the clocks cannot tell.
    pub age: Option<Duration>,
}

/// The form of a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Not sealed.
    Plain,
    /// Sealed with a key of the host.
    Sealed,
    /// Cut, torn or changed: the record counts as missing, and the next pair replaces it.
    Broken,
}

/// A pair that could not be committed.
#[derive(Debug)]
pub struct Uncommitted {
    /// Why.
    pub error: Error,
    /// The pair, to commit it again or to use it without the store.
    pub pair: Pair,
}

/// Performs long work that is not an operation on the store, and keeps the lease alive meanwhile.
pub async fn while_keeping_lease<T>(store: &dyn Store, work: impl Future<Output = T>) -> T {
    let (mut work, mut renewal) = (pin!(work), pin!(store.keep_lease()));
    let mut is_renewed = true;
    poll_fn(|context| {
        is_renewed = is_renewed && renewal.as_mut().poll(context).is_pending();
        work.as_mut().poll(context)
    })
    .await
}

/// The future of a store operation.
pub type Storing<'a, T, E = Error> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// One session's access to its record in a store. The order of a flight is: lock, load, intend, (present the token),
/// commit or retract, unlock. Intend, retract, commit, back_off and forget are only called with the lock held.
pub trait Store: Send + Sync {
    /// Waits for the lock, or until there is a pair newer than `base`. The system frees the lock if its holder dies.
    fn lock(&self, base: u64) -> Storing<'_, Lock>;

    /// Reads the content.
    fn load(&self) -> Storing<'_, Loaded>;

    /// Writes an intent, durably: the refresh token is about to be presented. Then returns the token. `None`: there is
    /// no token that may be presented.
    fn intend(&self) -> Storing<'_, Option<RefreshToken>>;

    /// Puts a refresh token back that was not used up, and removes the intent.
    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()>;

    /// Commits a pair, durably, with the generation after `base`, and removes the intent.
    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted>;

    /// Stores a refusal: no session may present the credentials before it ends.
    fn back_off(&self, refusal: Refusal) -> Storing<'_, ()>;

    /// Frees the lock, if it is held.
    fn unlock(&self) -> Storing<'_, ()>;

    /// Called before a call to the service. An error if the lock was held and is lost.
    fn ensure_lease(&self) -> Storing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Renews the lease as long as this future is polled: see [`while_keeping_lease`].
    fn keep_lease(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    /// Prepares the store for use, as far as that is possible without the lock.
    fn prepare(&self) -> Storing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Reads the content for operators. Takes no lock and changes no record.
    fn inspect(&self) -> Storing<'_, Inspection>;

    /// Removes everything that is stored for the account, durably.
    fn forget(&self) -> Storing<'_, ()>;

    /// A warning about the chosen store, for the host.
    fn warning(&self) -> Option<String> {
        None
    }

    /// The warnings since the last call.
    fn new_warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_too_many_requests_block_a_refresh_and_only_a_lost_answer_waits_for_something_new() {
        for (status, blocks_refresh, is_withheld) in [
            (Status::PG_ERR_REFUSED, false, false),
            (Status::PG_ERR_RATE_LIMITED, true, false),
            (Status::PG_ERR_BLOCKED, false, false),
            (Status::PG_ERR_REDIRECT, false, false),
            (Status::PG_ERR_CONNECTION_LOST, false, true),
        ] {
            let refusal = Refusal { strikes: 1, until: Duration::ZERO, error: Error::new(status, "refused") };
            assert_eq!(refusal.blocks_refresh(), blocks_refresh, "{status:?}");
            assert_eq!(Refusal::is_withheld(status), is_withheld, "{status:?}");
        }
    }

    #[test]
    fn a_store_has_no_warnings_of_its_own() {
        let store = MemoryStore::default();
        assert_eq!((store.warning(), store.new_warnings()), (None, Vec::new()));
    }
}
