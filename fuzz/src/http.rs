//! A server that answers with any bytes: over HTTP/1.1 and HTTP/2, with TLS, without it and instead of its handshake.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::token::RefreshToken;
use paymentsgate_auth::{ApiRequest, Client, Config, Error, Session};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::NamedTempFile;

use super::credentials::file;
use super::input::{Input, expand};
use super::scripted::{ACCESS, PUBLIC_KEY, REFRESH, check_error, check_pair, secret};

const LIMIT: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(1);
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Plain,
    Http1,
    Http2,
    /// The bytes stand in the place of the server's side of TLS.
    NoTls,
}

struct Peer {
    port: u16,
    authority: NamedTempFile,
}

/// What the server does, and the mark of the one body that counts: a late request of an earlier input is another one.
#[derive(Clone)]
struct Answer {
    mode: Mode,
    bytes: Vec<u8>,
    mark: String,
}

static ANSWER: Mutex<Answer> =
    Mutex::new(Answer { mode: Mode::Plain, bytes: Vec::new(), mark: String::new() });
/// How many requests with that body have arrived whole.
static SEEN: AtomicU64 = AtomicU64::new(0);
static PEER: LazyLock<Peer> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let authority = file(made.cert.pem().as_bytes());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)
        .unwrap();
    let http1 = Arc::new(config.clone());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let http2 = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            // A client that has gone away ends the connection here too.
            let _ = serve(stream, &http1, &http2);
        }
    });
    Peer { port, authority }
});

/// A connection of the server. The signal of a broken pipe ends a fuzz target, so that one is found which the library raises. The
/// server must raise none: a `write` of std does not, but its vectored one does.
struct Connection(TcpStream);

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn serve(tcp: TcpStream, http1: &Arc<ServerConfig>, http2: &Arc<ServerConfig>) -> std::io::Result<()> {
    let answer = ANSWER.lock().unwrap().clone();
    let tls = |config: &Arc<ServerConfig>, tcp| {
        StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), Connection(tcp))
    };
    match answer.mode {
        Mode::Plain => serve_http1(tcp, &answer),
        Mode::Http1 => serve_http1(tls(http1, tcp), &answer),
        Mode::Http2 => serve_http2(tls(http2, tcp), &answer),
        Mode::NoTls => {
            let mut tcp = tcp;
            let _ = tcp.read(&mut [0; 4096])?;
            tcp.write_all(&answer.bytes)?;
            tcp.shutdown(Shutdown::Write)
        }
    }
}

fn serve_http1(mut stream: impl Read + Write, answer: &Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if request.len() >= head + 4 + length.unwrap_or(0) {
                break;
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    count(&request, answer);
    stream.write_all(&answer.bytes)?;
    stream.flush()
}

fn serve_http2(
    mut stream: StreamOwned<ServerConnection, Connection>,
    answer: &Answer,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()])?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        if head[3] == DATA {
            body.extend_from_slice(&payload);
        }
        match (head[3], head[4]) {
            (SETTINGS, flags) if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            // The end of a body, or of a head without a body.
            (DATA | 1, flags) if flags & END_STREAM != 0 => break,
            _ => {}
        }
    }
    count(&body, answer);
    stream.write_all(&answer.bytes)?;
    stream.flush()?;
    stream.sock.0.shutdown(Shutdown::Write)
}

fn count(request: &[u8], answer: &Answer) {
    let mark = answer.mark.as_bytes();
    if request.windows(mark.len()).any(|window| window == mark) {
        SEEN.fetch_add(1, Ordering::SeqCst);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.choice(&[Mode::Plain, Mode::Http1, Mode::Http2, Mode::NoTls]);
    let call = input.byte() % 4;
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // An account may be shown, a refresh token must not.
    let name = if call == 0 { "account" } else { REFRESH };
    let mark = format!("{name}-{}-", NUMBER.fetch_add(1, Ordering::SeqCst));
    let large = vec![b'x'; 2 * LIMIT];
    let texts = [mark.as_bytes(), ACCESS.as_bytes(), &large, PUBLIC_KEY.as_bytes()];
    let bytes = match mode {
        Mode::Http2 => frames(&mut input, &texts),
        _ => expand(input.rest(), &texts),
    };
    *ANSWER.lock().unwrap() = Answer { mode, bytes, mark: mark.clone() };
    SEEN.store(0, Ordering::SeqCst);

    let mut config = Config::default();
    let scheme = if mode == Mode::Plain { "http" } else { "https" };
    config.set("base_url", &format!("{scheme}://127.0.0.1:{}/gate", PEER.port)).unwrap();
    let authority = PEER.authority.path().to_str().unwrap();
    for (name, value) in [
        ("tls.ca_file", authority),
        ("tls.system_roots", "false"),
        ("max_response_bytes", "1024"),
        ("request_max_response_bytes", "1024"),
    ] {
        config.set(name, value).unwrap();
    }
    match call {
        0 | 1 => tokens(&mut config, &mark, call == 1),
        _ => business(&mut config, &mark, call == 3),
    }
}

/// Frames of HTTP/2, with a right length or as they are.
fn frames(input: &mut Input<'_>, texts: &[&[u8]]) -> Vec<u8> {
    let mut answer = Vec::new();
    while !input.is_empty() {
        let (kind, flags, stream) = (input.byte(), input.byte(), input.byte());
        let payload = expand(input.piece(), texts);
        match kind {
            0xff => answer.extend_from_slice(&payload),
            _ => answer.extend_from_slice(&frame(kind, flags, stream.into(), &payload)),
        }
    }
    answer
}

fn tokens(config: &mut Config, mark: &str, is_refresh: bool) {
    config.set("account_id", if is_refresh { "account-1" } else { mark }).unwrap();
    config.set("public_key", PUBLIC_KEY).unwrap();
    let client = Client::new(config).unwrap();
    let result = if is_refresh {
        client.refresh(Some(secret(ACCESS)), RefreshToken::new(secret(mark)), Some(PATIENCE))
    } else {
        client.issue(None, Some(PATIENCE))
    };
    let seen = SEEN.load(Ordering::SeqCst);
    assert!(seen <= 1, "the request was sent {seen} times");
    match result {
        Ok(pair) => {
            check_pair(&pair);
            assert!(pair.token.access.expose().len() <= LIMIT && seen == 1);
        }
        Err(error) => {
            let secrets = if is_refresh { vec![mark, ACCESS, PUBLIC_KEY] } else { vec![PUBLIC_KEY] };
            check(&error, &secrets);
            assert!(error.fate != Fate::PG_FATE_UNSENT || seen == 0, "{error:?}");
            assert_eq!(error.fate == Fate::PG_FATE_NONE, !is_refresh, "{error:?}");
        }
    }
}

fn business(config: &mut Config, mark: &str, is_post: bool) {
    config.set("static_token", ACCESS).unwrap();
    let client = Client::new(config).unwrap();
    let session = Session::open(&client, config).unwrap();
    let (method, body) = if is_post { ("POST", Some(mark.as_bytes())) } else { ("GET", None) };
    let result = session.request(ApiRequest::new(method, "/wallet?q=1", &[], body).unwrap(), Some(PATIENCE));
    let seen = SEEN.load(Ordering::SeqCst);
    match result {
        Ok(response) => assert!(response.body.len() <= LIMIT && (100..1000).contains(&response.status)),
        Err(error) => {
            check(&error, &[ACCESS]);
            // A request that may have acted is not sent again, and its error says so.
            let is_unprocessed = error.status == Status::PG_ERR_STREAM_REFUSED;
            assert!(!is_post || seen == 0 || is_unprocessed || error.may_have_acted, "{error:?}");
            assert!(!is_post || seen <= 1 + u64::from(is_unprocessed), "{error:?}: sent {seen} times");
        }
    }
    // On a busy machine a request that was given up needs some time to end.
    session.close(10 * PATIENCE).unwrap();
}

/// `secrets`: those that the call has. A service may say anything else.
fn check(error: &Error, secrets: &[&str]) {
    check_error(error, secrets);
    let number = error.status as i32;
    assert!((200..400).contains(&number), "{error:?}");
}
