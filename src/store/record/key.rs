//! The key of a record: which account it belongs to.

use reqwest::Url;
use ring::digest;

/// Identifies one account at one service, so that two accounts never share a record.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordKey {
    hash: [u8; 32],
}

impl RecordKey {
    /// The key of an account. Only the origin of the URL counts.
    pub fn new(base_url: &Url, account_id: &str, public_key: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&*base_url.origin().ascii_serialization(), account_id, public_key] {
            // The length comes first, so that two different triples never give the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        RecordKey { hash }
    }

    /// The whole hash, which the record contains.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The first 16 hexadecimal digits of the hash, for file names and keys.
    pub fn name(&self) -> String {
        self.hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str, account_id: &str, public_key: &str) -> RecordKey {
        RecordKey::new(&url.parse().unwrap(), account_id, public_key)
    }

    #[test]
    fn each_part_counts_and_the_parts_are_separated() {
        let one = key("https://pay.example", "ab", "c");
        assert!(one == key("https://pay.example:443/api/?x", "ab", "c"), "only the origin of the URL counts");
        for other in [
            key("https://pay.example:444", "ab", "c"),
            key("http://pay.example", "ab", "c"),
            key("https://pay.example", "a", "bc"),
            key("https://pay.example", "abc", ""),
        ] {
            assert!(one != other && one.name() != other.name());
        }
        assert_eq!(one.name().len(), 16);
    }
}
