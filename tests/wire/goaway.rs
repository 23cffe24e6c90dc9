//! A server that closes its connections in order, as all servers do from time to time. Its GOAWAY frame of HTTP/2 names
//! the last request that it has processed or may have processed; later ones were not (RFC 9113, 6.8 and 8.7).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::token::RefreshToken;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Tls = StreamOwned<ServerConnection, TcpStream>;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `:status: 200` and `content-length: 9` in HPACK.
const HEAD: [u8; 5] = [0x88, 0x0f, 0x0d, 1, b'9'];
/// The stream of frames that concern the whole connection.
const CONNECTION: u32 = 0;
/// The first stream of a client.
const FIRST_STREAM: u32 = 1;

/// How a server closes a connection.
#[derive(Clone, Copy, Debug)]
struct Leave {
    /// The reason, as an error code of HTTP/2: 0 is no error, 2 an internal error.
    reason: u32,
    /// It ends TLS with close_notify too.
    is_orderly: bool,
    /// It closes in the middle of an answer.
    has_begun: bool,
}

const LEAVES: [Leave; 4] = [
    Leave { reason: 0, is_orderly: true, has_begun: false },
    Leave { reason: 0, is_orderly: false, has_begun: false },
    Leave { reason: 2, is_orderly: true, has_begun: false },
    Leave { reason: 2, is_orderly: false, has_begun: false },
];

/// The server's side of TLS; writes its certificate to this file.
fn tls(ca_file: &Path) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Kind and flags.
fn read_frame(tls: &mut Tls) -> (u8, u8) {
    let mut head = [0; 9];
    tls.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    tls.read_exact(&mut vec![0; length as usize]).unwrap();
    (head[3], head[4])
}

fn write_frame(tls: &mut Tls, stream: u32, kind: u8, flags: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    tls.write_all(&[&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()).unwrap();
    tls.flush().unwrap();
}

/// Reads a request to its end, sends GOAWAY with `last_stream`, and closes the connection.
fn go_away(tls: &mut Tls, last_stream: u32, leave: Leave) {
    tls.read_exact(&mut [0; "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).unwrap();
    write_frame(tls, CONNECTION, SETTINGS, 0, &[]);
    loop {
        match read_frame(tls) {
            (SETTINGS, flags) if flags & ACK == 0 => write_frame(tls, CONNECTION, SETTINGS, ACK, &[]),
            (DATA, flags) if flags & END_STREAM != 0 => break,
            _ => {}
        }
    }
    if leave.has_begun {
        write_frame(tls, FIRST_STREAM, HEADERS, END_HEADERS, &HEAD);
    }
    let debug_data = b"bad token r3fr3sh";
    let ids = [last_stream.to_be_bytes(), leave.reason.to_be_bytes()].concat();
    write_frame(tls, CONNECTION, GOAWAY, 0, &[&ids, &debug_data[..]].concat());
    if leave.is_orderly {
        tls.conn.send_close_notify();
        let _ = tls.flush();
    }
    // With unread bytes of the client, the system would reset the connection, perhaps before the frames arrive.
    tls.sock.shutdown(Shutdown::Write).unwrap();
    let _ = tls.sock.read_to_end(&mut Vec::new());
}

fn refresh_at_a_server_that_goes_away(last_stream: u32, leave: Leave) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let config = tls(&ca_file);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let tcp = listener.accept().unwrap().0;
        go_away(&mut StreamOwned::new(ServerConnection::new(config).unwrap(), tcp), last_stream, leave);
    });
    let mut settings = Config::default();
    settings.set("base_url", &url).unwrap();
    settings.set("tls.ca_file", ca_file.to_str().unwrap()).unwrap();
    let refresh = RefreshToken::new(Secret::new("r3fr3sh").unwrap());
    let error = Client::new(&settings).unwrap().refresh(None, refresh, PATIENCE).unwrap_err();
    server.join().unwrap();
    assert!(!error.text.contains("r3fr3sh"), "a server repeats the token: {error}");
    error
}

#[test]
fn a_request_the_server_did_not_process_keeps_the_refresh_token_good() {
    for leave in LEAVES {
        let error = refresh_at_a_server_that_goes_away(FIRST_STREAM - 1, leave);
        assert_eq!(
            (error.status, error.fate),
            (Status::PG_ERR_STREAM_REFUSED, Fate::PG_FATE_NOT_CONSUMED),
            "{leave:?}: {error}"
        );
        assert!(error.is_retryable());
    }
}

#[test]
fn a_request_the_server_may_have_processed_has_an_unknown_fate() {
    for leave in LEAVES {
        let error = refresh_at_a_server_that_goes_away(FIRST_STREAM, leave);
        assert_eq!(
            (error.status, error.fate),
            (Status::PG_ERR_CONNECTION_LOST, Fate::PG_FATE_UNKNOWN),
            "{leave:?}: {error}"
        );
    }
}

#[test]
fn a_request_with_a_partial_answer_was_processed_whatever_goaway_says() {
    for leave in LEAVES.map(|leave| Leave { has_begun: true, ..leave }) {
        let error = refresh_at_a_server_that_goes_away(FIRST_STREAM - 1, leave);
        assert_eq!(
            (error.status, error.fate),
            (Status::PG_ERR_CONNECTION_LOST, Fate::PG_FATE_UNKNOWN),
            "{leave:?}: {error}"
        );
    }
}
