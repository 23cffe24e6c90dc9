//! The keys of the host, with which records are sealed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{self, SystemRandom};

use crate::credentials::{TOLERANT_BASE64, read_file};
use crate::error::Error;
use crate::secret::Wiped;
use crate::status::Status;

/// How much longer a sealed payload is: the nonce in front, the tag behind.
pub(in crate::store) const GROWTH: usize = NONCE_LEN + 16;
/// The key to seal with, and the previous or next one.
const MAX_KEYS: usize = 2;

/// One or two keys: the first seals, and both open.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[Wiped<Vec<u8>>]>,
    accepts_plain: bool,
}

impl Keyring {
    /// The valid texts, in words.
    pub(crate) const WANTED: &str = "a key of 32 bytes in base64, or two with a comma between them";

    /// Parses the text of a keyring.
    pub fn parse(text: &str) -> Option<Self> {
        let keys: Option<Arc<[_]>> = text.split(',').map(key).collect();
        keys.filter(|keys| keys.len() <= MAX_KEYS).map(|keys| Keyring { keys, accepts_plain: false })
    }

    /// Whether a record that is not sealed is still accepted, while a store changes from no key to a key.
    pub fn accepting_plain(self, accepts_plain: bool) -> Self {
        Keyring { accepts_plain, ..self }
    }

    pub(in crate::store) fn accepts_plain(&self) -> bool {
        self.accepts_plain
    }

    /// Reads the file that store_key_file names.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = read_file("store_key_file", path)?;
        std::str::from_utf8(&bytes).ok().and_then(Keyring::parse).ok_or_else(|| {
            let text = format!("store_key_file {}: it must hold {}", path.display(), Keyring::WANTED);
            Error::new(Status::PG_ERR_INVALID_SETTING, text)
        })
    }

    /// Appends the sealed payload. It opens only behind the bytes that are already there.
    ///
    /// The nonce is random. Among 2^32 nonces (a thousand accounts for a hundred years) two are equal with a
    /// probability of 2^-33.
    pub(in crate::store) fn seal(&self, bytes: &mut Vec<u8>, payload: &[u8]) -> Result<(), Unspecified> {
        let nonce: [u8; NONCE_LEN] = rand::generate(&SystemRandom::new())?.expose();
        let header = bytes.len();
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(payload);
        let (front, payload) = bytes.split_at_mut(header + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag =
            cipher(&self.keys[0])?.seal_in_place_separate_tag(nonce, Aad::from(&front[..header]), payload)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what `seal` has appended to the header. `None`: the key or the header is another one.
    pub(in crate::store) fn open(&self, header: &[u8], sealed: &[u8]) -> Option<Wiped<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut payload = Wiped::new(sealed.to_vec());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = cipher(key).ok()?.open_in_place(nonce, Aad::from(header), &mut payload).ok()?.len();
            payload.truncate(length);
            Some(payload)
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn key(text: &str) -> Option<Wiped<Vec<u8>>> {
    let key = TOLERANT_BASE64.decode(text.trim()).map(Wiped::new).ok()?;
    cipher(&key).is_ok().then_some(key)
}

/// Fails if the key is not 32 bytes long.
fn cipher(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A keyring of keys that each repeat one byte.
    pub(in crate::store) fn keyring(bytes: &[u8]) -> Keyring {
        let keys: Vec<_> = bytes.iter().map(|byte| TOLERANT_BASE64.encode([*byte; 32])).collect();
        Keyring::parse(&keys.join(",")).unwrap()
    }

    #[test]
    fn a_keyring_has_one_or_two_keys_of_32_bytes() {
        let [short, good, long] = [31, 32, 33].map(|length| TOLERANT_BASE64.encode(vec![7; length]));
        for text in [good.clone(), format!("{good},{good}"), format!("{good}, {good}\n")] {
            assert!(Keyring::parse(&text).is_some(), "{text}");
        }
        assert!(Keyring::parse(good.trim_end_matches('=')).is_some(), "padding or none");
        let empty = String::new();
        let wrong = [short, long, empty, format!("{good},"), format!("{good},{good},{good}"), "?".repeat(43)];
        for text in wrong {
            assert!(Keyring::parse(&text).is_none(), "{text}");
        }
        assert!(!format!("{:?}", keyring(&[7])).contains('7'));
    }

    #[test]
    fn the_first_key_seals_and_both_open() {
        let sealed_with = |keyring: &Keyring| {
            let mut bytes = b"header".to_vec();
            keyring.seal(&mut bytes, b"payload").unwrap();
            assert_eq!(bytes.len(), b"header".len() + b"payload".len() + GROWTH);
            bytes.split_off(b"header".len())
        };
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        for (sealed, readers, stranger) in
            [(sealed_with(&old), [&old, &both], &new), (sealed_with(&both), [&new, &both], &old)]
        {
            for reader in readers {
                assert_eq!(&**reader.open(b"header", &sealed).unwrap(), b"payload");
                assert!(reader.open(b"Header", &sealed).is_none());
            }
            assert!(stranger.open(b"header", &sealed).is_none());
        }
        assert_ne!(sealed_with(&new), sealed_with(&new), "no nonce is used twice");
    }
}
