//! Takes a fuzzer's bytes apart. Where the bytes have ended, every value is zero or empty.

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_be_bytes(bytes)
    }

    pub fn choice<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A piece with its length in one byte before it.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    /// The text of a piece; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The template with a text in the place of each byte 1 to `texts.len()`, so that a fuzzer can place what it cannot guess.
pub fn expand(template: &[u8], texts: &[&[u8]]) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(template.len());
    for byte in template {
        match usize::from(*byte).checked_sub(1).and_then(|index| texts.get(index)) {
            Some(text) => expanded.extend_from_slice(text),
            None => expanded.push(*byte),
        }
    }
    expanded
}
