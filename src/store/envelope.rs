//! What a record travels in: whose it is, which, and whether it is whole. docs/record-format.md gives the bytes.

use ring::digest;
use zeroize::Zeroizing;

use super::key::RecordKey;
use super::record::Record;

const MAGIC: &[u8; 8] = b"PGRECORD";
const VERSION: u32 = 1;
/// Magic, version, hash of the key, generation, length of the payload.
const HEADER: usize = 8 + 4 + 32 + 8 + 4;
const CHECKSUM: usize = 16;

/// Why bytes are no record of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Cut, torn or flipped, or never a record: nothing in it can be relied on.
    Corrupt,
    /// Whole, in a format of this number, which another version of the library writes.
    Version(u32),
    /// Whole, of another account.
    Foreign,
}

/// A record under its generation, as bytes.
pub(super) fn wrap(key: &RecordKey, generation: u64, record: &Record) -> Zeroizing<Vec<u8>> {
    let payload = record.encode();
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER + payload.len() + CHECKSUM));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(key.hash());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&payload);
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// The record in these bytes, and its generation.
pub(super) fn unwrap(key: &RecordKey, bytes: &[u8]) -> Result<(u64, Record), Unreadable> {
    let (version, rest) = whole(bytes).ok_or(Unreadable::Corrupt)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let (hash, generation, payload) = parts(rest).ok_or(Unreadable::Corrupt)?;
    if hash != key.hash() {
        return Err(Unreadable::Foreign);
    }
    let record = Record::decode(payload).ok_or(Unreadable::Corrupt)?;
    Ok((generation, record))
}

/// Magic, version and checksum stay where they are in all versions, so that a newer record can be told from a broken
/// one: the version, and what lies between it and the checksum.
fn whole(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    let (version, rest) = body.strip_prefix(MAGIC)?.split_first_chunk()?;
    (sum == checksum(body)).then_some((u32::from_be_bytes(*version), rest))
}

fn parts(rest: &[u8]) -> Option<(&[u8; 32], u64, &[u8])> {
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
    use super::super::record::tests::records;
    use super::*;

    fn key(account_id: &str) -> RecordKey {
        RecordKey::new(&"https://pay.example".parse().unwrap(), account_id, "key")
    }

    fn trouble(bytes: &[u8]) -> Unreadable {
        unwrap(&key("a"), bytes).unwrap_err()
    }

    fn summed_anew(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes[at..at + new.len()].copy_from_slice(new);
        let sum = checksum(&bytes);
        [bytes, sum.to_vec()].concat()
    }

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        for (generation, record) in (0..).zip(records()) {
            let bytes = wrap(&key("a"), generation, &record);
            assert_eq!(
                bytes.len(),
                bytes.capacity(),
                "written into one block, so that no copy is left behind"
            );
            let (read, again) = unwrap(&key("a"), &bytes).unwrap();
            assert_eq!((read, again.encode()), (generation, record.encode()));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_seen() {
        for record in records() {
            let bytes = wrap(&key("a"), 3, &record);
            for cut in 0..bytes.len() {
                assert_eq!(trouble(&bytes[..cut]), Unreadable::Corrupt, "cut at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(trouble(&flipped), Unreadable::Corrupt, "bit {bit}");
            }
            assert_eq!(trouble(&[&**bytes, b"\0"].concat()), Unreadable::Corrupt);
        }
    }

    #[test]
    fn a_newer_version_and_another_account_are_told_from_garbage() {
        let bytes = wrap(&key("a"), 3, &records()[1]).to_vec();
        assert_eq!(unwrap(&key("b"), &bytes).unwrap_err(), Unreadable::Foreign);
        let newer = summed_anew(bytes.clone(), 8, &2u32.to_be_bytes());
        assert_eq!(trouble(&newer), Unreadable::Version(2));
        for (at, new) in [(52, [0, 0, 0, 1]), (56, [9, 0, 0, 0])] {
            assert_eq!(trouble(&summed_anew(bytes.clone(), at, &new)), Unreadable::Corrupt);
        }
    }
}
