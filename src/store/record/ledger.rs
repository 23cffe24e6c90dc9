//! How each step of a flight changes an account's record: pure functions, for every store that keeps records as bytes.

use std::process;
use std::sync::Arc;
use std::time::Duration;

use super::format::{Access, BackOff, Intent, Record, Refresh};
use super::key::RecordKey;
use super::keyring::Keyring;
use super::seal::{self, Unreadable};
use super::stamp::Stamp;
use crate::clock::{Clock, FOREVER, Moment};
use crate::error::{Error, ServerError};
use crate::expiry::Lifetime;
use crate::redaction::Redactor;
use crate::runtime::sharded_arc::ShardedArc;
use crate::secret::{Secret, Wiped};
use crate::status::Status;
use crate::store::{Claimant, Committed, Form, Inspection, Loaded, Refusal};
use crate::token::{Fingerprint, Grant, Pair, RefreshToken, Token};

const LONGEST_BACK_OFF: Duration = Duration::from_secs(3600);

pub(in crate::store) type Bytes = Wiped<Vec<u8>>;

/// One account's record, as this process reads and writes it.
pub(in crate::store) struct Ledger {
    key: RecordKey,
    keyring: Option<Keyring>,
    clock: Arc<dyn Clock>,
    /// The name of the store in errors.
    store_name: String,
    /// How far the store's wall clock is ahead of ours, in milliseconds. Stamps in the store use the store's clock.
    clock_offset_ms: i64,
    /// The newest pair that this process has seen in the store. An older record there comes from a backup.
    newest: Option<Committed>,
    /// The generation and the refresh token of the last pair that was to be written. The write may have arrived even if
    /// it failed.
    offered: Option<(u64, Fingerprint)>,
}

/// A record that was read, with its generation.
pub(in crate::store) struct Entry {
    generation: u64,
    record: Record,
}

/// What the bytes of a record are.
pub(in crate::store) enum Found {
    Nothing,
    /// A record of this account.
    Entry(Box<Entry>),
    /// Cut, torn or never a record: counts as missing, and is to be moved away.
    Broken,
}

impl Found {
    /// The record, if it can be read.
    pub(in crate::store) fn entry(self) -> Option<Entry> {
        if let Found::Entry(entry) = self { Some(*entry) } else { None }
    }
}

/// The right to present a refresh token. It is valid once the intent is written.
pub(in crate::store) struct Claim {
    pub(in crate::store) secret: Secret,
    /// The record with the intent instead of the token.
    pub(in crate::store) intent: Bytes,
    /// The unchanged record, in case writing the intent fails.
    pub(in crate::store) undo: Bytes,
}

impl Ledger {
    /// For the record of an account; with a keyring it is sealed. `store_name` appears in errors, so it must hold no
    /// password.
    pub(in crate::store) fn new(
        key: RecordKey,
        keyring: Option<Keyring>,
        clock: Arc<dyn Clock>,
        store_name: String,
    ) -> Self {
        Ledger { key, keyring, clock, store_name, clock_offset_ms: 0, newest: None, offered: None }
    }

    /// Decodes the bytes. On an error the bytes are left unchanged.
    pub(in crate::store) fn read(&self, bytes: Option<&[u8]>) -> Result<Found, Error> {
        let Some(bytes) = bytes else { return Ok(Found::Nothing) };
        match seal::unwrap(&self.key, self.keyring.as_ref(), bytes) {
            Ok((generation, record)) => Ok(Found::Entry(Box::new(Entry { generation, record }))),
            Err(Unreadable::Corrupt) => Ok(Found::Broken),
            Err(Unreadable::Version(version)) => Err(self.refused_error(&format!(
                "a record of format {version}, which this version of paymentsgate-auth does not know; the record is not \
                 changed. Use the version that wrote it, or another store"
            ))),
            Err(Unreadable::Foreign) => {
                Err(self.refused_error("the record belongs to another account; move it away"))
            }
            Err(Unreadable::Sealed) => Err(self.sealed_error()),
            Err(Unreadable::Plain) => Err(self.plain_error()),
        }
    }

    /// Whether the record has a pair that is newer than `base` and than the last one that was loaded here.
    pub(in crate::store) fn is_newer(&self, entry: &Entry, base: u64) -> bool {
        entry.record.access.is_some() && entry.generation > base.max(self.generation())
    }

    /// Whether the record has an intent: its owner has not finished the flight.
    pub(in crate::store) fn is_claimed(entry: &Entry) -> bool {
        matches!(entry.record.refresh, Refresh::Claimed(_))
    }

    /// Reads the content. A record that is older than one seen before is ignored.
    pub(in crate::store) fn load(&mut self, found: Option<Entry>) -> Loaded {
        let Some(entry) = found else { return Loaded::default() };
        if entry.generation < self.generation() {
            let newest = self.newest.clone().map(|newest| Committed { has_refresh: false, ..newest });
            return Loaded { committed: newest, back_off: None, has_worked: true };
        }
        let loaded = self.loaded(&entry);
        if let Some(committed) = &loaded.committed {
            self.newest = Some(committed.clone());
        }
        loaded
    }

    /// Describes the bytes for operators.
    pub(in crate::store) fn inspect(&self, bytes: Option<&Bytes>) -> Result<Inspection, Error> {
        let nothing = Inspection { store_name: self.store_name.clone(), ..Inspection::default() };
        let bytes = bytes.map(|bytes| bytes.as_slice());
        let entry = match self.read(bytes)? {
            Found::Nothing => return Ok(nothing),
            Found::Broken => return Ok(Inspection { form: Some(Form::Broken), ..nothing }),
            Found::Entry(entry) => entry,
        };
        let form = if bytes.is_some_and(seal::is_sealed) { Form::Sealed } else { Form::Plain };
        let intent = match &entry.record.refresh {
            Refresh::Claimed(intent) => {
                Some(Claimant { pid: intent.pid, age: self.to_local_clock(intent.since).age(&*self.clock) })
            }
            Refresh::None | Refresh::Available(_) => None,
        };
        Ok(Inspection { loaded: self.loaded(&entry), intent, form: Some(form), ..nothing })
    }

    /// Called after the record was removed.
    pub(in crate::store) fn forget(&mut self) {
        self.newest = None;
    }

    /// Claims the refresh token, if there is one that may be presented.
    pub(in crate::store) fn claim(&self, found: Option<Entry>) -> Result<Option<Claim>, Error> {
        let Some(Entry { generation, record }) = found else { return Ok(None) };
        let Record { access, refresh: Refresh::Available(secret), back_off } = record else {
            return Ok(None);
        };
        if generation < self.generation() {
            return Ok(None);
        }
        let intent = Intent {
            refresh: fingerprint(&Fingerprint::of(&secret)),
            pid: process::id(),
            since: self.stamp(self.clock.now()),
        };
        let record = Record { access, refresh: Refresh::Claimed(intent), back_off };
        let intent = self.wrap(generation, &record)?;
        let undo =
            self.wrap(generation, &Record { refresh: Refresh::Available(secret.clone()), ..record })?;
        Ok(Some(Claim { secret, intent, undo }))
    }

    /// The record with the refresh token instead of the intent.
    pub(in crate::store) fn retract(
        &self,
        found: Option<Entry>,
        refresh: &RefreshToken,
    ) -> Result<Bytes, Error> {
        let claimed = fingerprint(&Fingerprint::of(refresh.secret()));
        match found {
            Some(Entry {
                generation,
                record: Record { access, refresh: Refresh::Claimed(intent), back_off },
            }) if intent.refresh == claimed => {
                let refresh = Refresh::Available(refresh.secret().clone());
                self.wrap(generation, &Record { access, refresh, back_off })
            }
            _ => Err(self.store_error("another session has replaced the intent of this flight")),
        }
    }

    /// The record of a new pair, unless another session has committed one since the last `load`. Call `remember` once
    /// the record is written.
    pub(in crate::store) fn next_record(
        &mut self,
        found: Option<Entry>,
        base: u64,
        pair: &Pair,
    ) -> Result<(Bytes, Committed), Error> {
        let (found, record) = match found {
            Some(Entry { generation, record }) => (generation, Some(record)),
            None => (0, None),
        };
        let newest = self.generation();
        let ours = record.filter(|record| record.access.as_ref().is_some_and(|access| is_of(access, pair)));
        let generation = if found <= newest {
            base.max(newest).saturating_add(1)
        } else if ours.is_some() {
            // An earlier attempt wrote the record and then failed.
            found
        } else {
            return Err(self.store_error("another session has committed a pair during this flight"));
        };
        let access = Access {
            secret: pair.token.access.clone(),
            length: pair.token.lifetime.length,
            anchor: self.stamp(pair.token.anchor),
            refused_young: pair.token.refused_young,
        };
        let is_untouched = ours.is_some_and(|record| matches!(record.refresh, Refresh::Available(_)));
        let refresh = match &pair.refresh {
            Some(refresh) if is_untouched || !self.may_be_taken(refresh, found) => {
                Refresh::Available(refresh.secret().clone())
            }
            _ => Refresh::None,
        };
        if let Refresh::Available(secret) = &refresh {
            let offer = Fingerprint::of(secret);
            let first = self.offered.filter(|(_, offered)| *offered == offer);
            self.offered = first.or(Some((generation, offer)));
        }
        let committed = Committed {
            has_refresh: matches!(refresh, Refresh::Available(_)),
            ..committed(pair, generation)
        };
        // A new pair ends the back-off, for all sessions that share the record.
        let bytes = self.wrap(generation, &Record { access: Some(access), refresh, back_off: None })?;
        Ok((bytes, committed))
    }

    /// Whether another session may have taken this refresh token from the record: an earlier write of the pair may have
    /// arrived although it failed, and the record is at least as new.
    fn may_be_taken(&self, refresh: &RefreshToken, found: u64) -> bool {
        let refresh = Fingerprint::of(refresh.secret());
        self.offered.is_some_and(|(generation, offered)| offered == refresh && found >= generation)
    }

    /// The committed pair, if the record already holds it because an earlier attempt wrote it.
    pub(in crate::store) fn find_committed(&self, found: &Entry, pair: &Pair) -> Option<Committed> {
        let access = found.record.access.as_ref()?;
        (found.generation > self.generation() && is_of(access, pair))
            .then(|| committed(pair, found.generation))
    }

    /// Remembers a pair that has been written.
    pub(in crate::store) fn remember(&mut self, committed: &Committed) {
        self.newest = Some(committed.clone());
        self.offered = None;
    }

    /// The record with a refusal, for all sessions that share it.
    pub(in crate::store) fn with_refusal(
        &self,
        found: Option<Entry>,
        refusal: &Refusal,
    ) -> Result<Bytes, Error> {
        let (generation, record) = match found {
            Some(Entry { generation, record }) => (generation, record),
            None => (self.generation(), Record { access: None, refresh: Refresh::None, back_off: None }),
        };
        let now = self.clock.now();
        let wait = refusal.until.saturating_sub(now.boot);
        let until = Moment { boot: refusal.until, wall: now.wall.saturating_add(wait) };
        let Refusal { strikes, error, .. } = refusal;
        let back_off = BackOff {
            strikes: u32::try_from(*strikes).unwrap_or(u32::MAX),
            until: self.stamp(until),
            status: error.status,
            http_status: error.http_status,
            code: error.server.as_ref().and_then(|server| server.code.clone()),
        };
        self.wrap(generation, &Record { back_off: Some(back_off), ..record })
    }

    /// Sets the time of the store's own clock.
    pub(in crate::store) fn set_store_clock(&mut self, wall: Duration, now: Moment) {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.clock_offset_ms = millis(wall).saturating_sub(millis(now.wall));
    }

    /// The error for a store that failed, perhaps temporarily.
    pub(in crate::store) fn store_error(&self, what: &str) -> Error {
        let text = format!("store {}: {what}; the session goes on and tries again", self.store_name);
        Error::new(Status::PG_ERR_STORE, text)
    }

    /// The generation of the newest pair that was loaded or committed here; 0: none.
    pub(in crate::store) fn generation(&self) -> u64 {
        self.newest.as_ref().map_or(0, Committed::generation)
    }

    fn wrap(&self, generation: u64, record: &Record) -> Result<Bytes, Error> {
        seal::wrap(&self.key, self.keyring.as_ref(), generation, record)
            .map_err(|_| self.store_error("the system gives no random numbers to seal the record with"))
    }

    fn refused_error(&self, what: &str) -> Error {
        Error::new(Status::PG_ERR_STORE_REFUSED, format!("store {}: {what}", self.store_name))
    }

    fn sealed_error(&self) -> Error {
        let why = match self.keyring {
            Some(_) => "the record is sealed with another key than store_key has, or was tampered with",
            None => "the record is sealed, and no store_key is set",
        };
        let text = format!(
            "store {}: {why}; nothing was changed. Set store_key or store_key_file to the key that sealed it; if that is \
             lost, move the record away",
            self.store_name
        );
        Error::new(Status::PG_ERR_STORE_KEY, text)
    }

    fn plain_error(&self) -> Error {
        let text = format!(
            "store {}: the record is not sealed, though store_key is set, so anybody may have written it; nothing was \
             changed. If it comes from before store_key was set, set store_accept_plain to true until it has been written \
             again; otherwise move the record away",
            self.store_name
        );
        Error::new(Status::PG_ERR_STORE_KEY, text)
    }

    fn stamp(&self, at: Moment) -> Stamp {
        Stamp::new(Moment { wall: shifted(at.wall, self.clock_offset_ms), ..at }, &*self.clock)
    }

    /// Converts a stamp from the store's clock to ours.
    fn to_local_clock(&self, stamp: Stamp) -> Stamp {
        let wall = shifted(stamp.at.wall, self.clock_offset_ms.saturating_neg());
        Stamp { at: Moment { wall, ..stamp.at }, ..stamp }
    }

    fn loaded(&self, Entry { generation, record }: &Entry) -> Loaded {
        let committed = record.access.as_ref().map(|access| {
            let has_refresh = matches!(record.refresh, Refresh::Available(_));
            self.committed(access, *generation, has_refresh)
        });
        let back_off = record.back_off.as_ref().map(|back_off| self.refusal(back_off, record));
        Loaded { committed, back_off, has_worked: record.access.is_some() }
    }

    fn committed(&self, access: &Access, generation: u64, has_refresh: bool) -> Committed {
        let now = self.clock.now();
        let stamp = self.to_local_clock(access.anchor);
        let said = Lifetime::of(access.length);
        let (length, anchor, has_uncertain_age) = match stamp.age(&*self.clock) {
            Some(_) if stamp.is_of_this_boot(&*self.clock) => {
                (said.length, stamp.at, stamp.clocks_differ(&*self.clock))
            }
            Some(age) => {
                // An anchor cannot be earlier than this boot, so the age before it is subtracted from the lifetime.
                let here = age.min(now.boot);
                let anchor = Moment { boot: now.boot - here, wall: now.wall.saturating_sub(here) };
                (said.length.saturating_sub(age - here), anchor, false)
            }
            None => (said.length, now, true),
        };
        let lifetime = Lifetime { length, ..said };
        let mut token = Token::new(access.secret.clone(), lifetime, anchor);
        token.refused_young = access.refused_young;
        Committed {
            grant: ShardedArc::new(Grant { token, generation, refresh: None }),
            has_refresh,
            has_uncertain_age,
        }
    }

    fn refusal(&self, back_off: &BackOff, record: &Record) -> Refusal {
        let longest = if Refusal::is_withheld(back_off.status) { FOREVER } else { LONGEST_BACK_OFF };
        let left = self.to_local_clock(back_off.until).wait(longest, &*self.clock);
        let until = self.clock.now().boot.saturating_add(left);
        // Anybody who can write to the store may have chosen this text, and may know the tokens.
        let access = record.access.as_ref().map(|access| &access.secret);
        let secrets: Vec<_> = access.into_iter().chain(record.refresh.available()).collect();
        // To redact a token of megabytes would take seconds.
        let is_short = secrets.iter().map(|secret| secret.expose().len()).sum::<usize>() <= 64 << 10;
        let code = back_off.code.clone().filter(|code| is_short && ServerError::is_code(code));
        let code = code.map(|code| Redactor::new(secrets).text(code));
        let shown_code = code.as_deref().unwrap_or("no code");
        let what = match back_off.status {
            Status::PG_ERR_REFUSED => {
                format!("the service refused the credentials ({shown_code}); check account_id and public_key")
            }
            Status::PG_ERR_RATE_LIMITED => "the service had too many requests; wait and try again".into(),
            Status::PG_ERR_BLOCKED | Status::PG_ERR_REDIRECT => {
                "something refused Issue, but not in the API's own way; check base_url, proxies and firewalls"
                    .into()
            }
            _ => "the answer to a refresh was lost, and on_ambiguous is fail; set credentials".into(),
        };
        let text = format!("{what} (stored by another session of this account)");
        let server = code.map(|code| Box::new(ServerError { code: Some(code), ..ServerError::default() }));
        let error = Error { http_status: back_off.http_status, server, ..Error::new(back_off.status, text) };
        Refusal { strikes: back_off.strikes as usize, until, error }
    }
}

fn is_of(access: &Access, pair: &Pair) -> bool {
    access.secret.expose() == pair.token.access.expose()
}

fn committed(pair: &Pair, generation: u64) -> Committed {
    let grant = ShardedArc::new(Grant { token: pair.token.clone(), generation, refresh: None });
    Committed { grant, has_refresh: pair.refresh.is_some(), has_uncertain_age: false }
}

/// A wall clock time, as shown by a clock that is ahead by this many milliseconds.
fn shifted(wall: Duration, clock_offset_ms: i64) -> Duration {
    let by = Duration::from_millis(clock_offset_ms.unsigned_abs());
    if clock_offset_ms < 0 { wall.saturating_sub(by) } else { wall.saturating_add(by) }
}

/// The fingerprint without its final NUL.
fn fingerprint(of: &Fingerprint) -> [u8; 16] {
    let mut digits = [0; 16];
    digits.copy_from_slice(&of.with_nul()[..16]);
    digits
}
