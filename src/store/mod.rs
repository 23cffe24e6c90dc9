//! Where a session's pair lives. The store owns the refresh token: a flight gets it, and with it the right to
//! present it, only by writing an intent under the lock.

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
use crate::status::Status;
use crate::token::{Grant, Pair, RefreshToken, Token};

use self::leased::{CustomBackend, LeasedStore};
use self::record::Ledger;
pub use self::redis::Address;
use self::redis::RedisBackend;
pub(crate) use self::redis::RedisServers;
pub use file::{Disk, FileStore, RecordFile, SystemDisk};
pub use leased::{Host, HostRecord, HostStore, check};
pub use memory::MemoryStore;
pub use record::{Keyring, RecordKey};

/// Where the records of sessions are kept: the setting `store`, or a store of the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this process.
    Memory,
    /// In a folder.
    Folder(PathBuf),
    /// On a Redis or Valkey server.
    Redis(Address),
    /// In the host's own store.
    Custom(HostStore),
}

impl Location {
    /// `memory:`, `file:/folder`, `redis://…` or `rediss://…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "memory:" {
            return Some(Location::Memory);
        }
        if text.starts_with("redis") {
            return Address::parse(text).map(Location::Redis);
        }
        let path = PathBuf::from(text.strip_prefix("file:")?);
        path.is_absolute().then_some(Location::Folder(path))
    }
}

/// What a session gives its store.
pub(crate) struct Owner {
    /// Names the account's record.
    pub(crate) key: RecordKey,
    /// With keys a record is sealed.
    pub(crate) keyring: Option<Keyring>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long to wait for the lock of another session.
    pub(crate) lock_timeout: Duration,
}

/// Opens the store of one account. Connects nowhere.
pub(crate) fn open(
    location: &Location,
    servers: &RedisServers,
    owner: Owner,
) -> Result<Arc<dyn Store>, Error> {
    let Owner { key, keyring, clock, lock_timeout } = owner;
    match location {
        Location::Memory => Ok(Arc::new(MemoryStore::default())),
        Location::Folder(folder) => Ok(Arc::new(FileStore::new(folder, key, keyring, clock, lock_timeout)?)),
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

/// A committed pair, as everyone sees it who shares the store.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What callers get. Its generation grows by one with each commit.
    pub grant: Arc<Grant>,
    /// Whether a refresh token came with it.
    pub has_refresh: bool,
    /// How much of its life is over is not known for certain: it is renewed before it is used, if that can be done.
    pub has_uncertain_age: bool,
}

impl Committed {
    /// A token of one process's own.
    pub fn private(token: Token, generation: u64) -> Self {
        let grant = Grant { token, generation, refresh: None };
        Committed { grant: Arc::new(grant), has_refresh: false, has_uncertain_age: false }
    }

    /// The access token.
    pub fn token(&self) -> &Token {
        &self.grant.token
    }

    /// The number it was committed under.
    pub fn generation(&self) -> u64 {
        self.grant.generation
    }
}

/// What the service answered that keeps all who share the store from calling it before `until`: the credentials refused,
/// too many requests, or a refusal that is not the API's. It never keeps them from looking into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How often in a row the credentials were refused.
    pub strikes: usize,
    /// On the boot clock.
    pub until: Duration,
    /// What the service said.
    pub error: Error,
}

impl Refusal {
    /// Whether no call may be made, not even a Refresh.
    pub fn blocks_refresh(&self) -> bool {
        self.error.status == Status::PG_ERR_RATE_LIMITED
    }

    /// Whether it stands for a lost answer with `on_ambiguous = fail`: that ends with new credentials or a new pair, not
    /// with time.
    pub fn is_withheld(status: Status) -> bool {
        use Status::*;
        !matches!(status, PG_ERR_REFUSED | PG_ERR_RATE_LIMITED | PG_ERR_BLOCKED | PG_ERR_REDIRECT)
    }
}

/// What came of asking for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is ours until we free it.
    Held,
    /// Not ours: somebody has committed a newer pair meanwhile, so it is not wanted any more.
    Moved,
}

/// What a store has.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest committed token, if any.
    pub committed: Option<Committed>,
    /// Somebody was refused, and the service is to be left alone for a while.
    pub back_off: Option<Refusal>,
    /// The credentials have worked before: there was a pair.
    pub has_worked: bool,
}

/// What lies in a store, for whoever looks into it. It holds no more than may be shown, save the token.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Where: the path of the record, or the name of the place.
    pub store_name: String,
    /// What sessions find there.
    pub loaded: Loaded,
    /// Somebody has taken the refresh token to present it, and has not written down what became of it.
    pub intent: Option<Claimant>,
    /// In which form it lies there; `None`: there is nothing, or nothing that outlives the process.
    pub form: Option<Form>,
}

/// Whoever has taken a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its process.
    pub pid: u32,
    /// How long ago; `None`: the clocks know nothing of it.
    pub age: Option<Duration>,
}

/// The form of a record at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// Sealed with a key of the host's.
    Sealed,
    /// Cut, torn or flipped: it counts as none, and the next pair takes its place.
    Broken,
}

/// A pair that could not be made the newest.
#[derive(Debug)]
pub struct Uncommitted {
    /// Why.
    pub error: Error,
    /// To try again with, or to live on.
    pub pair: Pair,
}

/// Does what takes long and is no operation on the store, while the lock is kept from ending by itself.
pub async fn while_keeping_lease<T>(store: &dyn Store, work: impl Future<Output = T>) -> T {
    let (mut work, mut renewal) = (pin!(work), pin!(store.keep_lease()));
    let mut is_renewed = true;
    poll_fn(|context| {
        is_renewed = is_renewed && renewal.as_mut().poll(context).is_pending();
        work.as_mut().poll(context)
    })
    .await
}

/// A future of a store.
pub type Storing<'a, T, E = Error> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// One session's place in a store. The order of a flight is: lock, load, intend, (present the token), commit or
/// retract, unlock. Intend, retract, commit, back_off and forget are only called with the lock held.
pub trait Store: Send + Sync {
    /// Waits for the lock, unless a pair newer than `base` comes first. Freed by the system when its holder dies.
    fn lock(&self, base: u64) -> Storing<'_, Lock>;

    /// What there is.
    fn load(&self) -> Storing<'_, Loaded>;

    /// Writes down, durably, that the refresh token is about to be presented, and hands it out. `None`: there is
    /// none that may be presented.
    fn intend(&self) -> Storing<'_, Option<RefreshToken>>;

    /// The refresh token was not used up: puts it back and strikes the intent.
    fn retract(&self, refresh: RefreshToken) -> Storing<'_, ()>;

    /// Makes a pair the newest, durably, under the generation after `base`, and strikes the intent.
    fn commit(&self, base: u64, pair: Pair) -> Storing<'_, Committed, Uncommitted>;

    /// The credentials were refused: nobody is to present them before then.
    fn back_off(&self, refusal: Refusal) -> Storing<'_, ()>;

    /// Frees the lock, if it is held.
    fn unlock(&self) -> Storing<'_, ()>;

    /// Before a call to the service: an error where the lock was held and others have it now.
    fn ensure_lease(&self) -> Storing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Keeps the lock from ending by itself, as long as this is awaited: see [`while_keeping_lease`].
    fn keep_lease(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    /// Sees to it that the place can be used, as far as that is known without its lock.
    fn prepare(&self) -> Storing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What lies there. Takes no lock and changes no record.
    fn inspect(&self) -> Storing<'_, Inspection>;

    /// Removes all that is kept of the account, durably.
    fn forget(&self) -> Storing<'_, ()>;

    /// What the host should know of the place that it chose.
    fn warning(&self) -> Option<String> {
        None
    }

    /// What it should know since this was last asked.
    fn new_warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
