//! One account's life: a token that works, at any moment, from any thread.
//!
//! In reading order: [`phase`] (when), [`machine`] (what is decided), [`flight`] (the one call under way),
//! [`login`] and [`rejection`] (what is held against credentials and tokens), `core` (performs it),
//! `published` and `served` (the lock-free read), `timers`.

mod core;
pub mod flight;
#[cfg_attr(not(test), expect(dead_code, reason = "the table of callers is about to use it"))]
mod handoff;
pub mod health;
pub mod login;
pub mod machine;
pub mod phase;
mod published;
pub mod rejection;
mod served;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use self::core::Core;
use self::health::Health;
use self::machine::{Policy, closed};
use self::published::Published;
use self::rejection::Verdict;
use crate::client::Client;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::runtime::pin::Pinned;
use crate::runtime::process::PerProcess;
use crate::status::Status;
use crate::token::{Fingerprint, Grant};

/// A session. Usable from any thread at once, and in a forked child, where it goes on with the token it inherited
/// and issues a pair of its own when that is due.
pub struct Session {
    client: Arc<Client>,
    policy: Policy,
    published: Arc<Published>,
    credentials: Pinned<Credentials>,
    closed: AtomicBool,
    core: PerProcess<Arc<Core>>,
}

impl Session {
    /// Opens a session for the account that the configuration names. Reads its files; connects nowhere.
    pub fn open(client: &Arc<Client>, config: &Config) -> Result<Self, Error> {
        let credentials = config.credentials()?.or_else(|| client.credentials.clone()).ok_or_else(|| {
            let text = "a session needs credentials; set credentials_file, or account_id and public_key";
            Error::new(Status::PG_ERR_NO_CREDENTIALS, text)
        })?;
        Ok(Session {
            client: client.clone(),
            policy: Policy { keep_warm: config.keep_warm },
            published: Arc::new(Published::new(&client.clock)),
            credentials: Pinned::new(Some(credentials)),
            closed: AtomicBool::new(false),
            core: PerProcess::new(),
        })
    }

    /// What `take` makes of the token there is, if it is fresh. From memory: no lock, no allocation, and no panic, as long
    /// as `take` has none.
    #[inline]
    pub fn fresh<T>(&self, take: impl FnOnce(&Arc<Grant>) -> Option<T>) -> Option<T> {
        self.published.read(Duration::ZERO, take)
    }

    /// A token that works now, with at least `min_remaining` of its life left if that can be had. From memory
    /// while it is fresh; otherwise waits until the deadline. Zero never blocks.
    pub fn token(&self, timeout: Duration, min_remaining: Duration) -> Result<Arc<Grant>, Error> {
        match self.published.read(min_remaining, |grant| Some(grant.clone())) {
            Some(grant) => Ok(grant),
            None => Ok(self.core()?.ask(timeout, min_remaining)?.grant),
        }
    }

    /// The word that says which token readers are served from. 0: ask.
    pub fn generation_word(&self) -> *const u64 {
        let word = self.published.word();
        if let Ok(core) = self.core() {
            core.watch();
        }
        word.address()
    }

    /// The service answered 401 to that token. Compare-and-invalidate: an old one costs nothing.
    pub fn reject(&self, refused: Fingerprint) -> Result<(), Error> {
        match self.core()?.reject(refused) {
            Verdict::Newer | Verdict::Renewing => Ok(()),
            Verdict::RejectedFresh => {
                let text = "the service refuses tokens that it has only just issued; another one would not help: look \
                            at the account's rights";
                Err(Error::new(Status::PG_ERR_REJECTED_FRESH, text))
            }
        }
    }

    /// Replaces the credentials, and forgets what was held against the old ones.
    pub fn set_credentials(&self, credentials: Credentials) -> Result<(), Error> {
        self.credentials.replace(Some(credentials.clone()));
        self.core()?.set_credentials(credentials);
        Ok(())
    }

    /// How the session is.
    pub fn health(&self) -> Result<Health, Error> {
        Ok(self.core()?.health())
    }

    /// Ends all work: whoever waits is told, nothing is begun any more. Waits for a call under way until the
    /// deadline; a second close only waits.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.core.get() {
            Some(core) if !core.close(timeout) => {}
            // Nothing was ever begun in this process; what a parent published ends here too.
            None => {
                self.published.set(None);
                return Ok(());
            }
            Some(_) => return Ok(()),
        }
        let text = "a call to the service is still under way; its answer will be dropped";
        Err(Error::new(Status::PG_ERR_TIMEOUT, text))
    }

    fn core(&self) -> Result<&Arc<Core>, Error> {
        if self.is_closed() {
            return Err(closed());
        }
        let core = self.core.get_or_try_init(|| self.new_core())?;
        // A close at this very moment either found the core, or is seen here.
        if self.is_closed() {
            core.close(Duration::ZERO);
            return Err(closed());
        }
        Ok(core)
    }

    fn is_closed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.closed.load(Ordering::SeqCst)
    }

    fn new_core(&self) -> Result<Arc<Core>, Error> {
        let credentials = self.credentials.read(|credentials| credentials.cloned());
        Core::new(self.client.clone(), self.published.clone(), self.policy, credentials)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends timers and answers waiters; a flight under way ends by itself.
        if !self.is_closed() {
            let _ = self.close(Duration::ZERO);
        }
    }
}
