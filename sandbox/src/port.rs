//! A port of the service: accepts connections, does TLS, and speaks HTTP/1.1 and HTTP/2.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Tls;
use crate::connections::HowToEnd;
use crate::counters::Listener;
use crate::fault::{Action, Point};
use crate::route::Route;
use crate::service::Service;
use crate::wire::{Control, Ending, Stream, Wire};

/// A port of the service.
pub(crate) struct Port {
    pub(crate) listener: Listener,
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<Tls>,
}

impl Port {
    pub(crate) async fn serve(self, service: Service) {
        loop {
            let tcp = accept(&self.socket).await;
            let (faults, http2) = {
                let mut world = service.shared().lock();
                world.counted.connected(self.listener);
                (world.faults.strike(Route::Any, Point::Accept), world.state.switches.http2)
            };
            tokio::spawn(welcome(tcp, faults, self.tls.clone(), http2, service.clone()));
        }
    }
}

/// The next connection. A lack of file descriptors passes, so this waits for its end.
pub(crate) async fn accept(socket: &TcpListener) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((tcp, _)) => return tcp,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn welcome(mut tcp: TcpStream, faults: Vec<Action>, tls: Option<Tls>, http2: bool, service: Service) {
    for fault in faults {
        match fault {
            Action::Delay { ms } => sleep(Duration::from_millis(ms)).await,
            Action::Reset => {
                let _ = tcp.set_zero_linger();
                return;
            }
            Action::Close => {
                let _ = tcp.shutdown().await;
                return wait_for_the_end(tcp).await;
            }
            _ => return wait_for_the_end(tcp).await,
        }
    }
    // Bytes are sent at once: those that wait for an acknowledgement would be lost in a reset.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else {
        return converse(tcp, http2, service).await;
    };
    let stream = match TlsAcceptor::from(tls.config(http2)).accept(tcp).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut tcp)) => {
            // A close with the client's first request unread would reset the connection before the alert arrives.
            let _ = tcp.shutdown().await;
            return wait_for_the_end(tcp).await;
        }
    };
    {
        let counted = &mut service.shared().lock().counted;
        counted.tls_handshakes += 1;
        counted.tls_resumed += u64::from(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
    }
    converse(stream, http2, service).await;
}

/// Speaks HTTP until one side closes.
async fn converse<S: Stream + Send + 'static>(stream: S, http2: bool, service: Service) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // The emulator writes `Date` itself, by its own clock.
    http.http1().auto_date_header(false);
    http.http2().auto_date_header(false);
    if !http2 {
        http = http.http1_only();
    }
    let control = Control::new();
    let wire = TokioIo::new(Wire::new(stream, Arc::clone(&control)));
    let answer = service_fn(|request| service.clone().call(request, Arc::clone(&control)));
    // Counted until the connection is dropped below, which ends it.
    let mut open = service.shared().connections.begin();
    let mut connection = pin!(http.serve_connection(wire, answer));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = control.ended() => return,
            how = open.asked_to_end() => match how {
                HowToEnd::Goaway => connection.as_mut().graceful_shutdown(),
                HowToEnd::Close => control.end(Ending::Close),
                HowToEnd::Reset => control.end(Ending::Reset),
            },
        }
    }
}

async fn wait_for_the_end(mut tcp: TcpStream) {
    let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
}
