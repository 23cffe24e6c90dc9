//! Secret text: wiped when it is dropped, and not shown by Debug.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A secret text without NUL. A NUL is stored behind the text, so that C can borrow it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Copies `text`; `None` if it is empty or holds a NUL.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains('\0') {
            return None;
        }
        // One allocation of the final size: a buffer that grows leaves a copy in freed memory.
        let mut buffer = String::with_capacity(text.len() + 1);
        buffer.push_str(text);
        buffer.push('\0');
        Some(Secret(Zeroizing::new(buffer.into_boxed_str())))
    }

    /// The text itself. The caller is responsible for what happens to it.
    pub fn expose(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }

    /// The text with its final NUL.
    pub fn expose_with_nul(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Removes every occurrence of the secrets from `text`: a server may echo what it received.
pub fn redact(mut text: String, secrets: &[&Secret]) -> String {
    for secret in secrets {
        if text.contains(secret.expose()) {
            let clean = text.replace(secret.expose(), "[redacted]");
            text.zeroize();
            text = clean;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(secret.expose_with_nul(), b"hunter2\0");
    }

    #[test]
    fn empty_and_nul_are_refused() {
        assert!(Secret::new("").is_none());
        assert!(Secret::new("a\0b").is_none());
    }

    #[test]
    fn an_echo_is_taken_out() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(redact("bad token hunter2!".into(), &[&secret]), "bad token [redacted]!");
    }
}
