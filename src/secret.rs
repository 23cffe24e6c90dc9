//! Secret text and bytes: wiped when they are dropped, and not shown by Debug.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::Deserialize;
use zeroize::Zeroize;

/// The allocator wipes what is dropped.
#[cfg(feature = "wipe-on-free")]
type Inner<T> = T;
#[cfg(not(feature = "wipe-on-free"))]
type Inner<T> = zeroize::Zeroizing<T>;

/// Bytes or text on the heap that are wiped when they are dropped, and not shown by Debug.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Wiped<T: Zeroize>(Inner<T>);

impl<T: Zeroize> Wiped<T> {
    /// Takes bytes or text.
    #[cfg_attr(feature = "wipe-on-free", expect(clippy::useless_conversion, reason = "the same type here"))]
    pub fn new(value: T) -> Self {
        Wiped(value.into())
    }
}

impl<T: Zeroize> From<T> for Wiped<T> {
    fn from(value: T) -> Self {
        Wiped::new(value)
    }
}

impl<T: Zeroize> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<U: ?Sized, T: Zeroize + AsRef<U>> AsRef<U> for Wiped<T> {
    fn as_ref(&self) -> &U {
        (**self).as_ref()
    }
}

impl<T: Zeroize> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret text without NUL. A NUL is stored behind the text, so that C can borrow it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Wiped<Box<str>>);

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
        Some(Secret(Wiped::new(buffer.into_boxed_str())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_bytes() {
        assert_eq!(format!("{:?}", Wiped::new(b"hunter2".to_vec())), "[secret]");
    }

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
}
