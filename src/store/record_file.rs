//! One account's record in a folder: each step of a flight as one operation that blocks.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::disk::{Disk, check_folder, check_private, refused, unusable};
use super::envelope::{self, Unreadable};
use super::key::RecordKey;
use super::keyring::Keyring;
use super::lock::Held;
use super::record::{Access, Cooling, Intent, Record, Refresh};
use super::stamp::Stamp;
use super::{Claim, Committed, Form, Inspection, Loaded, Refusal};
use crate::clock::{Clock, Moment};
use crate::error::{Error, ServerError};
use crate::expiry::Lifetime;
use crate::status::Status;
use crate::token::{Fingerprint, Grant, Pair, RefreshToken, Token};

/// A record is two tokens long; what is larger than any answer of the service is none.
const MOST_BYTES: u64 = 64 << 20;
/// The longest that a refusal can last.
const LONGEST_COOLING: Duration = Duration::from_secs(3600);

/// The record and its lock. It belongs to the process that made it: a forked child makes its own.
pub struct RecordFile {
    key: RecordKey,
    keyring: Option<Keyring>,
    folder: PathBuf,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lock: Option<Held>,
    /// The newest pair that this process has seen in the file: an older one has been put back by somebody.
    seen: Option<Committed>,
}

impl State {
    fn generation(&self) -> u64 {
        self.seen.as_ref().map_or(0, Committed::generation)
    }
}

impl RecordFile {
    /// The record of that account in a folder, which is made if its parent is there. With a keyring it is sealed.
    pub fn open(
        folder: &Path,
        key: RecordKey,
        keyring: Option<Keyring>,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| unusable("make or find", folder, &error);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let folder = fs::canonicalize(folder).map_err(failed)?;
        check_folder(&folder)?;
        let path = folder.join(format!("pg-{}", key.name()));
        Ok(RecordFile { key, keyring, folder, path, clock, disk, state: Mutex::default() })
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock, if nobody else has it. A lock that is held already, because its flight broke off, is kept.
    pub fn try_lock(&self) -> Result<bool, Error> {
        let mut state = self.state();
        if state.lock.is_none() {
            state.lock = Held::try_new(&self.beside(".lock"))?;
        }
        Ok(state.lock.is_some())
    }

    /// Frees the lock, if it is held.
    pub fn unlock(&self) {
        self.state().lock = None;
    }

    /// Whether somebody has committed a pair that is newer than `base` and than the last one that was loaded here.
    pub fn has_newer(&self, base: u64) -> Result<bool, Error> {
        let state = self.state();
        let found = self.read(&state)?;
        Ok(found.is_some_and(|(generation, _)| generation > base.max(state.generation())))
    }

    /// What there is.
    pub fn load(&self) -> Result<Loaded, Error> {
        let mut state = self.state();
        let Some((generation, record)) = self.read(&state)? else { return Ok(Loaded::default()) };
        if generation < state.generation() {
            let seen = state.seen.clone().map(|seen| Committed { has_refresh: false, ..seen });
            return Ok(Loaded { committed: seen, cooling: None });
        }
        if state.lock.is_some() && matches!(record.refresh, Refresh::Claimed(_)) {
            // Somebody died in a flight, perhaps while writing.
            let _ = self.remove_others(".tmp-", None);
        }
        let loaded = self.loaded(generation, record);
        if let Some(committed) = &loaded.committed {
            state.seen = Some(committed.clone());
        }
        Ok(loaded)
    }

    /// What lies there, as it is. Needs no lock and changes nothing.
    pub fn inspect(&self) -> Result<Inspection, Error> {
        let nothing = Inspection { place: self.path.display().to_string(), ..Inspection::default() };
        let Some(bytes) = self.read_bytes()? else { return Ok(nothing) };
        let Some((generation, record)) = self.unwrap(&bytes)? else {
            return Ok(Inspection { form: Some(Form::Broken), ..nothing });
        };
        let form = if envelope::is_sealed(&bytes) { Form::Sealed } else { Form::Plain };
        let intent = match &record.refresh {
            Refresh::Claimed(intent) => Some(Claim { pid: intent.pid, age: intent.since.age(&*self.clock) }),
            Refresh::None | Refresh::Kept(_) => None,
        };
        let loaded = self.loaded(generation, record);
        Ok(Inspection { loaded, intent, form: Some(form), ..nothing })
    }

    /// Removes the record and what lies beside it, durably. The lock file stays, or two could hold it.
    pub fn forget(&self) -> Result<(), Error> {
        let mut state = self.locked()?;
        let removed = match self.disk.remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.remove_others(".corrupt-", None))
            .and_then(|()| self.remove_others(".tmp-", None))
            .and_then(|()| self.disk.sync_folder(&self.folder))
            .map_err(|error| unusable("remove", &self.path, &error))?;
        state.seen = None;
        Ok(())
    }

    /// Puts an intent in the refresh token's place, durably, and hands it out.
    pub fn intend(&self) -> Result<Option<RefreshToken>, Error> {
        let state = self.locked()?;
        let Some((generation, record)) = self.read(&state)? else { return Ok(None) };
        let Record { access, refresh: Refresh::Kept(secret), cooling } = record else { return Ok(None) };
        if generation < state.generation() {
            return Ok(None);
        }
        let intent = Intent {
            refresh: fingerprint(&Fingerprint::of(&secret)),
            pid: process::id(),
            since: self.stamp(self.clock.now()),
        };
        let record = Record { access, refresh: Refresh::Claimed(intent), cooling };
        if let Err(error) = self.write(generation, &record) {
            // It was not handed out, so it may stay, should the disk take that back.
            let _ = self.write(generation, &Record { refresh: Refresh::Kept(secret), ..record });
            return Err(error);
        }
        Ok(Some(RefreshToken::new(secret)))
    }

    /// Puts the refresh token back in the intent's place.
    pub fn retract(&self, refresh: &RefreshToken) -> Result<(), Error> {
        let state = self.locked()?;
        let claimed = fingerprint(&Fingerprint::of(refresh.secret()));
        match self.read(&state)? {
            Some((generation, Record { access, refresh: Refresh::Claimed(intent), cooling }))
                if intent.refresh == claimed =>
            {
                let refresh = Refresh::Kept(refresh.secret().clone());
                self.write(generation, &Record { access, refresh, cooling })
            }
            _ => Err(self.trouble("somebody else has replaced the intent of this flight")),
        }
    }

    /// Makes a pair the newest, durably, unless somebody else has committed one since the last `load`.
    pub fn commit(&self, base: u64, pair: &Pair) -> Result<Committed, Error> {
        let mut state = self.locked()?;
        let (found, access, cooling) = match self.read(&state)? {
            Some((generation, record)) => (generation, record.access, record.cooling),
            None => (0, None, None),
        };
        let seen = state.generation();
        let is_ours = access.is_some_and(|access| access.secret.expose() == pair.token.access.expose());
        let generation = if found <= seen {
            base.max(seen).saturating_add(1)
        } else if is_ours {
            // An earlier try put it in place and failed after that.
            found
        } else {
            return Err(self.trouble("somebody else has committed a pair during this flight"));
        };
        let access = Access {
            secret: pair.token.access.clone(),
            length: pair.token.lifetime.length,
            anchor: self.stamp(pair.token.anchor),
        };
        let refresh = match &pair.refresh {
            Some(refresh) => Refresh::Kept(refresh.secret().clone()),
            None => Refresh::None,
        };
        // A refusal of Issue that is not over outlives a Refresh; who was let in again was let in after it.
        let cooling = cooling.filter(|cooling| !self.remaining(cooling).is_zero());
        self.write(generation, &Record { access: Some(access), refresh, cooling })?;
        let grant = Arc::new(Grant { token: pair.token.clone(), generation, refresh: None });
        let committed = Committed { grant, has_refresh: pair.refresh.is_some(), is_doubted: false };
        state.seen = Some(committed.clone());
        Ok(committed)
    }

    /// Lets all who share the record know of a refusal.
    pub fn cool(&self, refusal: &Refusal) -> Result<(), Error> {
        let state = self.locked()?;
        let (generation, record) = self.read(&state)?.unwrap_or_else(|| {
            (state.generation(), Record { access: None, refresh: Refresh::None, cooling: None })
        });
        let now = self.clock.now();
        let wait = refusal.until.saturating_sub(now.boot);
        let until = Moment { boot: refusal.until, wall: now.wall.saturating_add(wait) };
        let Refusal { strikes, error, .. } = refusal;
        let cooling = Cooling {
            strikes: u32::try_from(*strikes).unwrap_or(u32::MAX),
            until: self.stamp(until),
            status: error.status,
            http_status: error.http_status,
            code: error.server.as_ref().and_then(|server| server.code.clone()),
        };
        self.write(generation, &Record { cooling: Some(cooling), ..record })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a record whose lock is held.
    fn locked(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.lock.is_none() {
            return Err(self.trouble("its lock is not held, so nothing is written"));
        }
        Ok(state)
    }

    /// The record, checked. A broken one counts as none and, by who holds the lock, is set aside.
    fn read(&self, state: &State) -> Result<Option<(u64, Record)>, Error> {
        let Some(bytes) = self.read_bytes()? else { return Ok(None) };
        let found = self.unwrap(&bytes)?;
        if found.is_none() && state.lock.is_some() {
            self.set_aside();
        }
        Ok(found)
    }

    fn read_bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let failed = |error: io::Error| unusable("read", &self.path, &error);
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        check_private(&self.path, &file)?;
        let length = file.metadata().map_err(failed)?.len().min(MOST_BYTES);
        // Room for all of it and a byte more: growing would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
        self.disk.read(&file, length, &mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// `None`: it is broken.
    fn unwrap(&self, bytes: &[u8]) -> Result<Option<(u64, Record)>, Error> {
        match envelope::unwrap(&self.key, self.keyring.as_ref(), bytes) {
            Ok(found) => Ok(Some(found)),
            Err(Unreadable::Corrupt) => Ok(None),
            Err(Unreadable::Version(version)) => Err(refused(format!(
                "store {}: a record of format {version}, which this version of paymentsgate-auth does not know; it \
                 is left alone. Use the version that wrote it, or another folder",
                self.path.display()
            ))),
            Err(Unreadable::Foreign) => Err(refused(format!(
                "store {}: the record of another account in the place of this one's; move it away",
                self.path.display()
            ))),
            Err(Unreadable::Sealed) => Err(self.sealed()),
        }
    }

    /// Readers see the old record or the new one; so does whoever comes after a loss of power.
    fn write(&self, generation: u64, record: &Record) -> Result<(), Error> {
        // Chance, since in a container every process has the same number as the dead one before it.
        let temporary = self.beside(&format!(".tmp-{}-{:016x}", process::id(), fastrand::u64(..)));
        let bytes = envelope::wrap(&self.key, self.keyring.as_ref(), generation, record)
            .map_err(|_| self.trouble("the system gives no random numbers to seal the record with"))?;
        let disk = &self.disk;
        disk.create(&temporary)
            .and_then(|file| disk.write(&file, &bytes).and_then(|()| disk.sync(&file)))
            .and_then(|()| disk.rename(&temporary, &self.path))
            .inspect_err(|_| drop(disk.remove(&temporary)))
            .and_then(|()| disk.sync_folder(&self.folder))
            .map_err(|error| unusable("write", &self.path, &error))
    }

    /// Keeps the newest broken record, for whoever wants to know what broke it. If that fails, the next commit
    /// replaces it all the same.
    fn set_aside(&self) {
        let aside = self.beside(&format!(".corrupt-{}", self.clock.now().wall.as_secs()));
        if self.disk.rename(&self.path, &aside).is_ok() {
            let _ = self.remove_others(".corrupt-", Some(&aside));
        }
        let _ = self.remove_others(".tmp-", None);
    }

    /// Removes what lies beside the record under such names. With the lock held nobody else is writing there.
    fn remove_others(&self, suffix: &str, except: Option<&Path>) -> io::Result<()> {
        let prefix = self.beside(suffix);
        let is_such = |name: &OsStr| {
            let start = prefix.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(start.as_encoded_bytes())
        };
        let mut result = Ok(());
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if is_such(&entry.file_name()) && Some(&*entry.path()) != except {
                result = result.and(self.disk.remove(&entry.path()));
            }
        }
        result
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn trouble(&self, what: &str) -> Error {
        let text = format!("store {}: {what}; the session goes on and tries again", self.path.display());
        Error::new(Status::PG_ERR_STORE, text)
    }

    fn sealed(&self) -> Error {
        let why = match self.keyring {
            Some(_) => "the record is sealed with another key than store_key has, or was tampered with",
            None => "the record is sealed, and no store_key is set",
        };
        let text = format!(
            "store {}: {why}; nothing was changed. Set store_key or store_key_file to the key that sealed it; if that is \
             lost, move the file away",
            self.path.display()
        );
        Error::new(Status::PG_ERR_STORE_KEY, text)
    }

    fn stamp(&self, at: Moment) -> Stamp {
        Stamp::new(at, &*self.clock)
    }

    fn loaded(&self, generation: u64, record: Record) -> Loaded {
        let has_refresh = matches!(record.refresh, Refresh::Kept(_));
        let committed = record.access.map(|access| self.committed(&access, generation, has_refresh));
        Loaded { committed, cooling: record.cooling.map(|cooling| self.refusal(cooling)) }
    }

    fn committed(&self, access: &Access, generation: u64, has_refresh: bool) -> Committed {
        let now = self.clock.now();
        let (length, anchor, is_doubted) = match access.anchor.age(&*self.clock) {
            Some(_) if access.anchor.is_of_this_boot(&*self.clock) => {
                (access.length, access.anchor.at, false)
            }
            Some(age) => {
                // What it lived before this run of the machine cannot be told by an anchor in it.
                let here = age.min(now.boot);
                let anchor = Moment { boot: now.boot - here, wall: now.wall.saturating_sub(here) };
                (access.length.saturating_sub(age - here), anchor, false)
            }
            None => (access.length, now, true),
        };
        let lifetime = Lifetime { length, disagreement: Duration::ZERO };
        let token = Token::new(access.secret.clone(), lifetime, anchor);
        Committed { grant: Arc::new(Grant { token, generation, refresh: None }), has_refresh, is_doubted }
    }

    fn remaining(&self, cooling: &Cooling) -> Duration {
        cooling.until.wait(LONGEST_COOLING, &*self.clock)
    }

    fn refusal(&self, cooling: Cooling) -> Refusal {
        let until = self.clock.now().boot.saturating_add(self.remaining(&cooling));
        let code = cooling.code.as_deref().unwrap_or("no code");
        let text = format!(
            "the service refused the credentials ({code}), as another session has left in the store; check \
             account_id and public_key"
        );
        let server =
            cooling.code.map(|code| Box::new(ServerError { code: Some(code), ..ServerError::default() }));
        let error = Error { http_status: cooling.http_status, server, ..Error::new(cooling.status, text) };
        Refusal { strikes: cooling.strikes as usize, until, error }
    }
}

/// Without its closing NUL.
fn fingerprint(of: &Fingerprint) -> [u8; 16] {
    let mut digits = [0; 16];
    digits.copy_from_slice(&of.with_nul()[..16]);
    digits
}
