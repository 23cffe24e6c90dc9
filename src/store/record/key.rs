//! Whose record it is.

use reqwest::Url;
use ring::digest;

/// Names one account at one service, so that two never mix.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordKey {
    hash: [u8; 32],
}

impl RecordKey {
    /// The key of an account. Only the origin of the URL counts.
    pub fn new(base_url: &Url, account_id: &str, public_key: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&*base_url.origin().ascii_serialization(), account_id, public_key] {
            // The length in front: no two triples run together into the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        RecordKey { hash }
    }

    /// All of it: a record carries it inside.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Its first 16 hexadecimal digits: all that a file name shows.
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
    fn each_part_counts_and_none_runs_into_the_next() {
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
