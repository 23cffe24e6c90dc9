//! A connection that can be ended at a chosen byte, by RST or FIN.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// How the emulator ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With RST.
    Reset,
    /// With FIN, after close_notify if there is TLS.
    Close,
}

/// The handle by which a request ends its connection.
pub(crate) struct Control {
    written: AtomicU64,
    limit: AtomicU64,
    ending: OnceLock<Ending>,
    ended: Notify,
}

const NO_LIMIT: u64 = u64::MAX;

impl Control {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            written: AtomicU64::new(0),
            limit: AtomicU64::new(NO_LIMIT),
            ending: OnceLock::new(),
            ended: Notify::new(),
        })
    }

    pub(crate) fn end(&self, ending: Ending) {
        self.ending.get_or_init(|| ending);
        self.ended.notify_one();
    }

    /// Returns once `end` was called.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Lets this many more bytes out, then resets the connection.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.limit.store(self.written.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    }

    pub(crate) fn lift_limit(&self) {
        self.limit.store(NO_LIMIT, Ordering::Relaxed);
    }

    fn room(&self) -> u64 {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

/// A stream over a TCP connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A controlled stream. It is above TLS, so that it counts the bytes that the peer reads.
pub(crate) struct Wire<S: Stream> {
    stream: S,
    control: Arc<Control>,
}

impl<S: Stream> Wire<S> {
    pub(crate) fn new(stream: S, control: Arc<Control>) -> Self {
        Self { stream, control }
    }

    /// Ends the connection if the last permitted byte has left.
    fn cut_if_due(&self) -> io::Result<()> {
        if self.control.room() > 0 {
            return Ok(());
        }
        self.control.end(Ending::Reset);
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl<S: Stream> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Stream> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = usize::try_from(self.control.room()).unwrap_or(usize::MAX);
        let permitted = &bytes[..bytes.len().min(room)];
        if permitted.is_empty() && !bytes.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.cut_if_due()?;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, permitted))?;
        self.control.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(self.cut_if_due())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Stream> Drop for Wire<S> {
    fn drop(&mut self) {
        match self.control.ending.get() {
            Some(Ending::Reset) => {
                let _ = self.stream.tcp().set_zero_linger();
            }
            Some(Ending::Close) => {
                // The close_notify fits the socket's buffer, so this need not wait.
                let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
            }
            None => {}
        }
    }
}
