//! A port that answers every request with the same pair and does not read its content. Benchmarks measure
//! against it, so that the time is the client's.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::port::accept;
use crate::switches::Switches;
use crate::token::{Signer, random_text};

/// `now` is the time at which the pair counts as made.
pub(crate) async fn serve(socket: TcpListener, tls: Arc<ServerConfig>, now: u64) {
    let switches = Switches::default();
    let pair = json!({
        "access_token": Signer::new().access_token(&switches, "fixed", now),
        "refresh_token": random_text(),
        "expires_in": switches.access_lifetime_s,
    });
    let pair = Bytes::from(pair.to_string());
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let tcp = accept(&socket).await;
        tokio::spawn(converse(tcp, acceptor.clone(), pair.clone()));
    }
}

async fn converse(tcp: TcpStream, acceptor: TlsAcceptor, pair: Bytes) {
    let _ = tcp.set_nodelay(true);
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let answer = service_fn(|request| answer(request, pair.clone()));
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, pair: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(pair));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
