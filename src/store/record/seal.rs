//! The envelope of a record: its account, its generation and a checksum; docs/record-format.md describes the bytes.

use ring::digest;
use ring::error::Unspecified;

use super::format::Record;
use super::key::RecordKey;
use super::keyring::{self, Keyring};
use crate::secret::Wiped;

const MAGIC: &[u8; 8] = b"PGRECORD";
/// The payload is not sealed.
const PLAIN: u32 = 1;
/// The payload is sealed, so that it opens only behind this header.
const SEALED: u32 = 2;
/// Magic, version, hash of the key, generation, length of the payload.
const HEADER: usize = 8 + 4 + 32 + 8 + 4;
const CHECKSUM: usize = 16;

/// Why bytes are not a record that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Unreadable {
    /// Cut, torn, changed, or never a record: nothing in it can be trusted.
    Corrupt,
    /// Complete, in the format of this number, which another version of the library writes.
    Version(u32),
    /// Complete, of another account.
    Foreign,
    /// Complete, of this account, and sealed with an unknown key.
    Sealed,
    /// Complete, of this account, and not sealed although it should be: anybody may have written it.
    Plain,
}

/// Encodes a record with its generation. Fails if the system gives no random numbers to seal it with.
pub(in crate::store) fn wrap(
    key: &RecordKey,
    keyring: Option<&Keyring>,
    generation: u64,
    record: &Record,
) -> Result<Wiped<Vec<u8>>, Unspecified> {
    let payload = record.encode();
    let (version, growth) = if keyring.is_some() { (SEALED, keyring::GROWTH) } else { (PLAIN, 0) };
    let length = payload.len() + growth;
    let mut bytes = Wiped::new(Vec::with_capacity(HEADER + length + CHECKSUM));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(key.hash());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    match keyring {
        Some(keyring) => keyring.seal(&mut bytes, &payload)?,
        None => bytes.extend_from_slice(&payload),
    }
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    Ok(bytes)
}

/// Whether these bytes, which are a complete record, are sealed.
pub(in crate::store) fn is_sealed(bytes: &[u8]) -> bool {
    split_envelope(bytes).is_some_and(|(version, _)| version == SEALED)
}

/// Decodes a record and its generation.
pub(in crate::store) fn unwrap(
    key: &RecordKey,
    keyring: Option<&Keyring>,
    bytes: &[u8],
) -> Result<(u64, Record), Unreadable> {
    let (version, rest) = split_envelope(bytes).ok_or(Unreadable::Corrupt)?;
    if !matches!(version, PLAIN | SEALED) {
        return Err(Unreadable::Version(version));
    }
    let (hash, generation, payload) = split_payload(rest).ok_or(Unreadable::Corrupt)?;
    if hash != key.hash() {
        return Err(Unreadable::Foreign);
    }
    if version == PLAIN && keyring.is_some_and(|keyring| !keyring.accepts_plain()) {
        return Err(Unreadable::Plain);
    }
    // An accepted record is sealed when it is next written.
    let record = if version == PLAIN {
        Record::decode(payload)
    } else {
        let opened = keyring.and_then(|keyring| keyring.open(&bytes[..HEADER], payload));
        Record::decode(&opened.ok_or(Unreadable::Sealed)?)
    };
    Ok((generation, record.ok_or(Unreadable::Corrupt)?))
}

/// The generation of bytes that `wrap` has made.
pub(in crate::store) fn generation(wrapped: &[u8]) -> u64 {
    split_envelope(wrapped)
        .and_then(|(_, rest)| split_payload(rest))
        .map_or(0, |(_, generation, _)| generation)
}

/// The version, and the bytes between it and the checksum. Magic, version and checksum have the same position in all
/// versions, to distinguish a newer record from a broken one.
fn split_envelope(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    let (version, rest) = body.strip_prefix(MAGIC)?.split_first_chunk()?;
    (sum == checksum(body)).then_some((u32::from_be_bytes(*version), rest))
}

fn split_payload(rest: &[u8]) -> Option<(&[u8; 32], u64, &[u8])> {
    let (hash, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (length, payload) = rest.split_first_chunk()?;
    let is_all = u32::from_be_bytes(*length) as usize == payload.len();
    is_all.then_some((hash, u64::from_be_bytes(*generation), payload))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest::digest(&digest::SHA256, bytes).as_ref()[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::records;
    use super::super::keyring::tests::keyring;
    use super::*;

    fn key(account_id: &str) -> RecordKey {
        RecordKey::new(&"https://pay.example".parse().unwrap(), account_id, "key")
    }

    /// Plain and sealed.
    fn keyrings() -> [Option<Keyring>; 2] {
        [None, Some(keyring(&[1]))]
    }

    fn wrapped(keyring: Option<&Keyring>, record: &Record) -> Vec<u8> {
        wrap(&key("a"), keyring, 3, record).unwrap().to_vec()
    }

    fn unwrap_error(keyring: Option<&Keyring>, bytes: &[u8]) -> Unreadable {
        unwrap(&key("a"), keyring, bytes).unwrap_err()
    }

    /// The bytes after a change, with a correct checksum.
    fn with_new_checksum(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - CHECKSUM].to_vec();
        change(&mut body);
        let sum = checksum(&body);
        [body, sum.to_vec()].concat()
    }

    fn put(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
        with_new_checksum(bytes, |body| body[at..at + new.len()].copy_from_slice(new))
    }

    #[test]
    fn a_wrapped_record_is_unwrapped() {
        for keyring in keyrings() {
            for (generation, record) in (0..).zip(records()) {
                let bytes = wrap(&key("a"), keyring.as_ref(), generation, &record).unwrap();
                assert_eq!(
                    bytes.len(),
                    bytes.capacity(),
                    "written into one block, so that no copy is left behind"
                );
                let (read, again) = unwrap(&key("a"), keyring.as_ref(), &bytes).unwrap();
                assert_eq!((read, again.encode()), (generation, record.encode()));
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_detected() {
        for keyring in keyrings() {
            let unwrap_error = |bytes: &[u8]| unwrap_error(keyring.as_ref(), bytes);
            for record in records() {
                let bytes = wrapped(keyring.as_ref(), &record);
                for cut in 0..bytes.len() {
                    assert_eq!(unwrap_error(&bytes[..cut]), Unreadable::Corrupt, "cut at {cut}");
                }
                for bit in 0..bytes.len() * 8 {
                    let mut flipped = bytes.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(unwrap_error(&flipped), Unreadable::Corrupt, "bit {bit}");
                }
                assert_eq!(unwrap_error(&[&*bytes, b"\0"].concat()), Unreadable::Corrupt);
            }
        }
    }

    #[test]
    fn a_newer_version_and_another_account_are_distinguished_from_garbage() {
        for keyring in keyrings() {
            let keyring = keyring.as_ref();
            let bytes = wrapped(keyring, &records()[1]);
            assert_eq!(unwrap(&key("b"), keyring, &bytes).unwrap_err(), Unreadable::Foreign);
            assert_eq!(unwrap_error(keyring, &put(&bytes, 8, &3u32.to_be_bytes())), Unreadable::Version(3));
            assert_eq!(unwrap_error(keyring, &put(&bytes, 52, &[0, 0, 0, 1])), Unreadable::Corrupt);
        }
        let plain = wrapped(None, &records()[1]);
        assert_eq!(unwrap_error(None, &put(&plain, HEADER, &[9])), Unreadable::Corrupt);
    }

    #[test]
    fn a_changed_sealed_record_does_not_open_even_with_a_correct_checksum() {
        let keyring = keyring(&[1]);
        for record in records() {
            let bytes = wrapped(Some(&keyring), &record);
            for bit in 0..(bytes.len() - CHECKSUM) * 8 {
                let unwrap_error = unwrap_error(
                    Some(&keyring),
                    &with_new_checksum(&bytes, |body| body[bit / 8] ^= 1 << (bit % 8)),
                );
                match bit / 8 {
                    0..8 | 52..56 => assert_eq!(unwrap_error, Unreadable::Corrupt, "bit {bit}"),
                    8..12 => {
                        assert!(matches!(unwrap_error, Unreadable::Version(_)), "bit {bit}: {unwrap_error:?}")
                    }
                    12..44 => assert_eq!(unwrap_error, Unreadable::Foreign, "bit {bit}"),
                    _ => assert_eq!(unwrap_error, Unreadable::Sealed, "bit {bit}"),
                }
            }
        }
    }

    #[test]
    fn a_sealed_record_opens_for_its_account_and_generation_alone() {
        let keyring = keyring(&[1]);
        let bytes = wrapped(Some(&keyring), &records()[1]);
        let moved = put(&bytes, 12, key("b").hash());
        assert_eq!(unwrap(&key("b"), Some(&keyring), &moved).unwrap_err(), Unreadable::Sealed);
        assert_eq!(unwrap_error(Some(&keyring), &put(&bytes, 44, &4u64.to_be_bytes())), Unreadable::Sealed);
    }

    #[test]
    fn a_sealed_record_without_its_key_is_not_reported_as_broken() {
        let (one, other) = (keyring(&[1]), keyring(&[2]));
        let bytes = wrapped(Some(&one), &records()[1]);
        assert_eq!(unwrap_error(None, &bytes), Unreadable::Sealed);
        assert_eq!(unwrap_error(Some(&other), &bytes), Unreadable::Sealed);
        let plain = wrapped(None, &records()[1]);
        assert_eq!(unwrap_error(Some(&one), &plain), Unreadable::Plain);
        assert!(unwrap(&key("a"), Some(&one.accepting_plain(true)), &plain).is_ok());
    }
}
