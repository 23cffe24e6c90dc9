//! Checks the lengths in a server's replies before memory is allocated for them. A server with wrong replies costs only
//! its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use once_cell::race::OnceBox;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The limit for a reply, and for all push messages between two replies. A record holds two tokens from one answer of
/// the service (`max_response_bytes`: at most 16 MiB).
const MAX_BYTES: u64 = 20 << 20;
/// The longest line. An error may repeat the command it is about.
const MAX_LINE: u64 = 64 << 10;
/// The largest number of elements of a reply, in total.
const MAX_ELEMENTS: u64 = 1 << 12;
/// The deepest nesting of a reply.
const MAX_DEPTH: usize = 8;

/// The violation in a reply, if any. It is kept here because the Redis library loses the text of an error.
pub(super) type Violation = Arc<OnceBox<&'static str>>;

/// A connection with bounded replies.
pub(super) struct BoundedStream<S> {
    stream: S,
    parser: ReplyParser,
    violation: Violation,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, violation: Violation) -> Self {
        BoundedStream { stream, parser: ReplyParser::default(), violation }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.violation.get().is_none() {
            match self.parser.feed(&buffer.filled()[before..]) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(what) => drop(self.violation.set(Box::new(what))),
            }
        }
        // Neither this data nor any later data is passed on.
        buffer.set_filled(before);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The position of the next bytes within the replies (RESP, versions 2 and 3).
#[derive(Debug, Default)]
struct ReplyParser {
    /// The bytes since the last reply that was not a push message.
    bytes: u64,
    /// The elements of the current reply so far.
    elements: u64,
    /// How many elements are still to come, from the outermost reply to the innermost.
    open: Vec<u64>,
    /// The outermost reply is a push message.
    is_push: bool,
    state: ParseState,
}

#[derive(Debug, Default)]
enum ParseState {
    /// The byte that gives the kind of the element.
    #[default]
    Kind,
    /// A line up to its end.
    Line(Line),
    /// The remaining bytes of a text, with its line end.
    Text(u64),
}

/// The part of a line that has arrived.
#[derive(Debug, Default)]
struct Line {
    kind: u8,
    length: u64,
    /// The length or count that the line announces.
    number: u64,
    /// The element is absent, which differs from an empty one.
    is_absent: bool,
    /// The last byte was the first one of a line end.
    is_ending: bool,
}

impl Line {
    /// Whether the line announces the length of what follows.
    fn has_length(&self) -> bool {
        matches!(self.kind, b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|')
    }

    /// Takes one byte. Returns whether the line has ended.
    fn push(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.length += 1;
        if self.length > MAX_LINE {
            return Err("a line of its reply is too long");
        }
        let was_ending = std::mem::replace(&mut self.is_ending, byte == b'\r');
        match byte {
            b'\n' if was_ending => return Ok(true),
            b'\r' => {}
            _ if !self.has_length() => {}
            b'0'..=b'9' if !was_ending => {
                self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
            }
            b'-' if self.length == 1 => self.is_absent = true,
            _ => return Err("its reply is not one of Redis"),
        }
        Ok(false)
    }
}

type ParseResult = Result<(), &'static str>;

impl ReplyParser {
    fn feed(&mut self, mut bytes: &[u8]) -> ParseResult {
        while let [first, rest @ ..] = bytes {
            let taken = match &mut self.state {
                ParseState::Text(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    taken as usize
                }
                _ => 1,
            };
            self.bytes += taken as u64;
            if self.bytes > MAX_BYTES {
                return Err("its reply is too long");
            }
            match &mut self.state {
                ParseState::Text(0) => self.end()?,
                ParseState::Text(_) => {}
                ParseState::Kind => self.begin(*first)?,
                ParseState::Line(line) => {
                    if line.push(*first)? {
                        let line = std::mem::take(line);
                        self.open(&line)?;
                    }
                }
            }
            bytes = if taken == 1 { rest } else { &bytes[taken..] };
        }
        Ok(())
    }

    fn begin(&mut self, kind: u8) -> ParseResult {
        let line = Line { kind, ..Line::default() };
        if !line.has_length() && !matches!(kind, b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') {
            return Err("its reply is not one of Redis");
        }
        if self.open.is_empty() {
            self.is_push = kind == b'>';
        }
        self.state = ParseState::Line(line);
        Ok(())
    }

    /// Handles the end of a line, which announces what follows.
    fn open(&mut self, line: &Line) -> ParseResult {
        let number = line.number;
        let elements = match line.kind {
            b'$' | b'*' | b'~' | b'>' if line.is_absent => 0,
            _ if line.is_absent && line.has_length() => {
                return Err("its reply is not one of Redis");
            }
            b'$' | b'!' | b'=' => {
                if number > MAX_BYTES {
                    return Err("its reply announces a text that is too long");
                }
                // The line end is included.
                self.state = ParseState::Text(number + 2);
                return Ok(());
            }
            b'*' | b'~' | b'>' => number,
            b'%' => number.saturating_mul(2),
            // The element that the attributes describe follows them.
            b'|' => number.saturating_mul(2).saturating_add(1),
            _ => 0,
        };
        self.elements = self.elements.saturating_add(elements);
        if self.elements > MAX_ELEMENTS {
            return Err("its reply announces too many elements");
        }
        if elements == 0 {
            return self.end();
        }
        if self.open.len() == MAX_DEPTH {
            return Err("its reply is nested too deeply");
        }
        self.open.push(elements);
        self.state = ParseState::Kind;
        Ok(())
    }

    /// Handles the end of an element, and of all elements of which it is the last part.
    fn end(&mut self) -> ParseResult {
        self.state = ParseState::Kind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return Ok(());
            }
            self.open.pop();
        }
        self.elements = 0;
        if !self.is_push {
            self.bytes = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses bytes in pieces of the given length.
    fn parse(bytes: &[u8], piece: usize) -> Result<ReplyParser, &'static str> {
        let mut parser = ReplyParser::default();
        for piece in bytes.chunks(piece) {
            parser.feed(piece)?;
        }
        Ok(parser)
    }

    /// Notes what arrives, and whether it takes several parts at once.
    #[derive(Default)]
    struct Noting(Vec<String>, bool);

    impl AsyncWrite for Noting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(format!("{bytes:?}"));
            Poll::Ready(Ok(bytes.len() - 1))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(format!("{} parts", parts.len()));
            Poll::Ready(Ok(5))
        }

        fn is_write_vectored(&self) -> bool {
            self.1
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push("flush".into());
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push("shutdown".into());
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_written_and_its_end_are_passed_on() {
        let mut stream = BoundedStream::new(Noting(Vec::new(), true), Violation::default());
        let context = &mut Context::from_waker(std::task::Waker::noop());
        let written = Pin::new(&mut stream).poll_write(context, &[7, 8, 9]);
        assert!(matches!(written, Poll::Ready(Ok(2))), "{written:?}");
        let parts = [io::IoSlice::new(&[1, 2]), io::IoSlice::new(&[3, 4, 5, 6])];
        let written = Pin::new(&mut stream).poll_write_vectored(context, &parts);
        assert!(matches!(written, Poll::Ready(Ok(5))) && stream.is_write_vectored(), "{written:?}");
        assert!(Pin::new(&mut stream).poll_flush(context).is_ready());
        assert!(Pin::new(&mut stream).poll_shutdown(context).is_ready());
        assert_eq!(stream.stream.0, ["[7, 8, 9]", "2 parts", "flush", "shutdown"]);
        assert!(!BoundedStream::new(Noting::default(), Violation::default()).is_write_vectored());
    }

    fn long(kind: &str, length: u64) -> Vec<u8> {
        format!("{kind}{length}\r\n").into_bytes()
    }

    #[test]
    fn valid_replies_pass_in_pieces_of_any_length() {
        let said: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR a \n in it, and a \r too\r\n",
            b":-1234\r\n_\r\n#t\r\n,1.5\r\n(123456789012345678901234567890\r\n",
            b"$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n$5\r\n\r\n$9\n\r\n",
            b"*4\r\n$4\r\nheld\r\n$3\r\n123\r\n:7\r\n$2\r\n\x00\xff\r\n",
            b"%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n~1\r\n=5\r\ntxt:x\r\n",
            b"|1\r\n+ttl\r\n:3\r\n+OK\r\n!5\r\nERR x\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n",
        ];
        for piece in 1..=9 {
            let parser = parse(&said.concat(), piece).unwrap();
            assert!(parser.open.is_empty() && matches!(parser.state, ParseState::Kind), "{parser:?}");
            assert_eq!(parser.elements, 0);
        }
    }

    #[test]
    fn what_has_exactly_the_limit_passes() {
        let line = [b"+".to_vec(), vec![b'x'; MAX_LINE as usize - 2], b"\r\n".to_vec()].concat();
        let header = long("$", MAX_BYTES);
        // With a length of as many digits, so that the whole reply has the limit.
        let length = MAX_BYTES as usize - header.len() - 2;
        let reply = [long("$", length as u64), vec![b'r'; length], b"\r\n".to_vec()].concat();
        assert_eq!(reply.len() as u64, MAX_BYTES);
        for (what, bytes) in
            [("a line", line), ("a text", header), ("a reply", reply), ("an array", long("*", MAX_ELEMENTS))]
        {
            assert!(parse(&bytes, 1 << 16).is_ok(), "{what}");
        }
    }

    #[test]
    fn a_record_of_the_largest_size_passes() {
        let record = vec![b'r'; 17 << 20];
        let mut reply = [long("*", 1), long("$", record.len() as u64), record].concat();
        reply.extend_from_slice(b"\r\n");
        for _ in 0..3 {
            assert!(parse(&reply, 1 << 16).unwrap().open.is_empty());
        }
    }

    #[test]
    fn invalid_replies_are_refused_before_their_end() {
        let nested = b"*1\r\n".repeat(MAX_DEPTH + 1);
        let lines = [b"+".to_vec(), vec![b'x'; MAX_LINE as usize + 1]].concat();
        let short = [long("*", 4000), b"*4000\r\n".to_vec()].concat();
        let news = [long(">", 2), long("$", 1 << 20), vec![b'n'; 1 << 20], b"\r\n:1\r\n".to_vec()].concat();
        for (what, bytes) in [
            ("a text", long("$", 4_000_000_000)),
            ("a length beyond 64 bits", b"$99999999999999999999999\r\n".to_vec()),
            ("an error", long("!", 4_000_000_000)),
            ("a negative length", b"=-1\r\n".to_vec()),
            ("an array", long("*", 4_000_000_000)),
            ("a map", long("%", 4_000_000_000)),
            ("attributes", long("|", u64::MAX)),
            ("a push", long(">", 4_000_000_000)),
            ("arrays in an array", short),
            ("depth", nested),
            ("a line", lines),
            ("a number with a sign", b"$+5\r\n".to_vec()),
            ("a number with blanks", b"* 5\r\n".to_vec()),
            ("a number with a line end in it", b"*1\r5\r\n".to_vec()),
            ("a number with a sign behind it", b"*1-\r\n".to_vec()),
            ("streams of RESP3", b"$?\r\n".to_vec()),
            ("another protocol", b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
            ("endless push messages", news.repeat(21)),
        ] {
            assert!(parse(&bytes, 7).is_err(), "{what}");
        }
        assert!(parse(&[&*news.repeat(19), b"+OK\r\n", &*news.repeat(19)].concat(), 4096).is_ok());
    }
}
