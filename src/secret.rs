//! Text that must not be seen: zeroed when dropped, absent from every Debug.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A secret text without NUL inside. It is kept with a NUL behind it, so that C can borrow it as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Copies `text`; `None` if it is empty or holds a NUL.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains('\0') {
            return None;
        }
        // One allocation of the final size: growing would leave a copy behind in freed memory.
        let mut buffer = String::with_capacity(text.len() + 1);
        buffer.push_str(text);
        buffer.push('\0');
        Some(Secret(Zeroizing::new(buffer.into_boxed_str())))
    }

    /// The text itself. Whoever calls this takes care of where it goes.
    pub fn expose(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }

    /// The text with its closing NUL.
    pub fn expose_with_nul(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// `text` with every occurrence of a secret taken out: a server may echo what it was sent.
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
