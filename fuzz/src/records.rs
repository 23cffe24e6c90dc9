//! Records of the file store: any bytes, any payload in a sound envelope, sealed or not, read at any time on any clock.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use paymentsgate_auth::clock::{BootId, Clock, FOREVER, Moment};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Disk, Form, Keyring, Loaded, RecordFile, RecordKey, SystemDisk};
use paymentsgate_auth::token::{Pair, RefreshToken, Token};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest;

use super::input::Input;
use super::scripted::{DAY, check_error, check_text, secret};

/// base64 of 32 times `k`.
const STORE_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const BOOT: BootId = BootId([7; 16]);
const HOUR: Duration = Duration::from_secs(3600);

struct Set {
    now: Moment,
    boot_id: Option<BootId>,
}

impl Clock for Set {
    fn now(&self) -> Moment {
        self.now
    }

    fn boot_id(&self) -> Option<BootId> {
        self.boot_id
    }
}

/// The machine's disk, which does not wait for the hardware.
struct Hasty;

impl Disk for Hasty {
    fn open(&self, path: &Path) -> io::Result<File> {
        SystemDisk.open(path)
    }

    fn read(&self, file: &File, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
        SystemDisk.read(file, limit, into)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        SystemDisk.create(path)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        SystemDisk.write(file, bytes)
    }

    fn sync(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
}

pub fn key() -> RecordKey {
    RecordKey::new(&"https://pay.example".parse().unwrap(), "account-1", "key")
}

/// The payload in a sound envelope of this account (docs/record-format.md).
pub fn envelope(key: &RecordKey, generation: u64, payload: &[u8], is_sealed: bool) -> Vec<u8> {
    let length = payload.len() + if is_sealed { 12 + 16 } else { 0 };
    let mut bytes = b"PGRECORD".to_vec();
    bytes.extend_from_slice(&(1 + u32::from(is_sealed)).to_be_bytes());
    bytes.extend_from_slice(key.hash());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    if is_sealed {
        let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[b'k'; 32]).unwrap());
        let (nonce, mut sealed) = ([9; 12], payload.to_vec());
        let aad = Aad::from(bytes.clone());
        cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).unwrap();
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
    } else {
        bytes.extend_from_slice(payload);
    }
    let sum = digest::digest(&digest::SHA256, &bytes);
    bytes.extend_from_slice(&sum.as_ref()[..16]);
    bytes
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (form, has_key, accepts_plain) = (input.byte() % 4, input.flag(), input.flag());
    let boot_id = [Some(BOOT), None, Some(BootId([8; 16]))][usize::from(input.byte() % 3)];
    let time = |input: &mut Input<'_>| Duration::from_nanos(input.u64() >> (input.byte() % 64));
    let now = Moment { boot: time(&mut input).min(FOREVER), wall: time(&mut input) };
    let generation = input.u64() >> (input.byte() % 64);
    let is_tampered = form == 3;
    let content = match form {
        0 => input.rest().to_vec(),
        3 => {
            let (at, change) = (input.u16(), input.byte().max(1));
            tampered(envelope(&key(), generation, input.rest(), true), at.into(), change)
        }
        form => envelope(&key(), generation, input.rest(), form == 2),
    };
    let clock = Set { now, boot_id };
    let keyring = has_key.then(|| Keyring::parse(STORE_KEY).unwrap().accepting_plain(accepts_plain));
    play(&content, is_tampered, clock, keyring);
}

/// A sealed record with one change behind its magic and version, and a checksum that fits.
fn tampered(mut record: Vec<u8>, at: usize, change: u8) -> Vec<u8> {
    record.truncate(record.len() - 16);
    let at = 12 + at % (record.len() - 12);
    record[at] ^= change;
    let sum = digest::digest(&digest::SHA256, &record);
    record.extend_from_slice(&sum.as_ref()[..16]);
    record
}

fn play(content: &[u8], is_tampered: bool, clock: Set, keyring: Option<Keyring>) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let (now, is_sealing) = (clock.now, keyring.is_some());
    let file = RecordFile::new(folder.path(), key(), keyring, Arc::new(clock), Arc::new(Hasty));
    fs::write(file.path(), content).unwrap();
    let found = file.inspect();
    assert_eq!(fs::read(file.path()).unwrap(), content, "a look changes nothing");
    let found = match found {
        Ok(found) => found,
        Err(error) => return refused(&file, content, &error),
    };
    assert!(
        !is_tampered || found.form == Some(Form::Broken),
        "a sealed record that was changed is not opened"
    );
    check_loaded(&found.loaded, now);
    let claim_before = found.intent.is_some();

    assert!(file.try_lock().unwrap());
    let loaded = file.load().unwrap();
    check_loaded(&loaded, now);
    let generation = |loaded: &Loaded| loaded.committed.as_ref().map(|committed| committed.generation());
    assert_eq!(generation(&loaded), generation(&found.loaded));
    if found.form == Some(Form::Broken) {
        assert!(!file.path().exists(), "a broken record is moved away");
    }

    // The refresh token is given once, and again only after it was put back.
    let has_refresh = loaded.committed.as_ref().is_some_and(|committed| committed.has_refresh);
    let taken = file.intend().unwrap();
    assert!(taken.is_some() || !has_refresh);
    assert!(taken.is_none() || !claim_before, "a claimed token is not given");
    assert!(file.intend().unwrap().is_none());
    if let Some(taken) = taken {
        let text = taken.secret().clone();
        file.retract(&taken).unwrap();
        let once = fs::read(file.path()).unwrap();
        let again = file.intend().unwrap().unwrap();
        assert!(*again.secret() == text);
        file.retract(&again).unwrap();
        assert!(is_sealing || fs::read(file.path()).unwrap() == once, "the form of a record is final");
        assert!(file.intend().unwrap().is_some());
    }

    // Whatever was there, the next pair can be kept.
    let base = generation(&loaded).unwrap_or_default();
    let token = Token::new(secret("next-access"), Lifetime::of(HOUR), now);
    let pair = Pair { token, refresh: Some(RefreshToken::new(secret("next-refresh"))) };
    let committed = match file.commit(base, &pair) {
        Ok(committed) => committed,
        // A record may have a number and no pair: a session that begins anew does not know its number.
        Err(error) => {
            return assert!(loaded.committed.is_none() && error.status == Status::PG_ERR_STORE, "{error}");
        }
    };
    assert!(committed.generation() > base || base == u64::MAX);
    let read = file.load().unwrap();
    check_loaded(&read, now);
    let read = read.committed.unwrap();
    assert_eq!(read.token().access.expose(), "next-access");
    assert_eq!(read.generation(), committed.generation());
    assert!(read.has_refresh && !fs::read(file.path()).unwrap().is_empty());
    let form = file.inspect().unwrap().form;
    assert_eq!(form, Some(if is_sealing { Form::Sealed } else { Form::Plain }));
}

/// A record that is refused stays as it is, also when it is to be written.
fn refused(file: &RecordFile, content: &[u8], error: &Error) {
    check_error(error, &[STORE_KEY]);
    assert!(matches!(error.status, Status::PG_ERR_STORE_REFUSED | Status::PG_ERR_STORE_KEY), "{error}");
    assert!(file.try_lock().unwrap());
    assert_eq!(file.load().unwrap_err().status, error.status);
    assert_eq!(file.intend().unwrap_err().status, error.status);
    let pair = Pair {
        token: Token::new(secret("a"), Lifetime::of(HOUR), Moment { boot: HOUR, wall: HOUR }),
        refresh: None,
    };
    assert_eq!(file.commit(0, &pair).unwrap_err().status, error.status);
    assert_eq!(fs::read(file.path()).unwrap(), content);
}

fn check_loaded(loaded: &Loaded, now: Moment) {
    if let Some(committed) = &loaded.committed {
        let token = committed.token();
        assert!(token.lifetime.length <= DAY && token.remaining(now) <= token.lifetime.length, "{token:?}");
        assert!(token.anchor.boot <= now.boot || committed.has_uncertain_age, "{token:?} at {now:?}");
    }
    if let Some(refusal) = &loaded.back_off {
        assert!(refusal.until.saturating_sub(now.boot) <= FOREVER);
        assert!(!refusal.blocks_refresh() || refusal.until.saturating_sub(now.boot) <= HOUR);
        // What another process wrote may be shown, but on one line.
        check_text(&refusal.error.text);
        assert!(refusal.error.status != Status::PG_OK);
    }
}
