//! Certificates and keys of TLS.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::clock::{Clock, Moment, SystemClock};
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Pair;
use pg_sandbox::{Action, Fault, Point, Route, Sandbox};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use crate::{PATIENCE, replace, sandbox};

const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The system's clock, ahead by what a test has skipped: the files are not checked at every request.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Ahead {
    fn skip_a_second(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Moment {
        let ahead = Duration::from_secs(self.0.load(Ordering::SeqCst));
        let Moment { boot, wall } = SystemClock.now();
        Moment { boot: boot + ahead, wall: wall + ahead }
    }
}

/// A client with its own copies of the files of its emulator, or of another emulator.
struct Fixture {
    sandbox: Sandbox,
    client: Arc<Client>,
    clock: Arc<Ahead>,
    folder: TempDir,
}

/// The files of an emulator, in the order of `FILES`.
fn files_of(sandbox: &Sandbox) -> [PathBuf; 3] {
    let address = sandbox.address();
    [&address.ca_file, &address.client_cert_file, &address.client_key_file].map(Clone::clone)
}

impl Fixture {
    /// On the port that asks for a client certificate, with the right files.
    fn new() -> Self {
        let sandbox = sandbox();
        let files = files_of(&sandbox);
        Fixture::with(sandbox, &files, b"")
    }

    /// With the files of another emulator.
    fn with_files_of(stranger: &Sandbox) -> Self {
        Fixture::with(sandbox(), &files_of(stranger), b"")
    }

    /// With copies of `files` that each begin with `mark`.
    fn with(sandbox: Sandbox, files: &[PathBuf; 3], mark: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, file) in FILES.iter().zip(files) {
            fs::write(folder.path().join(name), [mark, &fs::read(file).unwrap()].concat()).unwrap();
        }
        let clock = Arc::<Ahead>::default();
        let client = Fixture::client(&sandbox, folder.path(), &clock).unwrap();
        Fixture { sandbox, client, clock, folder }
    }

    fn client(sandbox: &Sandbox, folder: &Path, clock: &Arc<Ahead>) -> Result<Arc<Client>, Error> {
        let mut config = Config::default();
        config.set("base_url", &sandbox.urls().client_certificate)?;
        config.set("credentials_file", sandbox.address().credentials_file.to_str().unwrap())?;
        config.set("tls.system_roots", "false")?;
        for (setting, name) in
            ["tls.ca_file", "tls.client_cert_file", "tls.client_key_file"].iter().zip(FILES)
        {
            config.set(setting, folder.join(name).to_str().unwrap())?;
        }
        let url = sandbox.urls().client_certificate.parse().unwrap();
        let transport = config.transport(url, clock.clone())?;
        Client::with_parts(&config, Box::new(transport), clock.clone())
    }

    /// Replaces a file, and lets the time pass after which it is checked.
    fn replace(&self, name: &str, with: impl AsRef<[u8]>) {
        replace(&self.path(name), with);
        self.clock.skip_a_second();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self) -> Result<Pair, Error> {
        self.client.issue(None, PATIENCE)
    }

    /// The next request needs a new handshake.
    fn end_connections(&self) {
        let reset = Fault::new(Route::Issue, Action::Reset).at(Point::Before);
        self.sandbox.inject(reset).unwrap();
        assert_eq!(self.issue().unwrap_err().status, Status::PG_ERR_CONNECTION_LOST);
    }
}

#[test]
fn a_replaced_authority_and_identity_are_used_at_the_next_handshake() {
    let stranger = sandbox();
    let fixture = Fixture::with_files_of(&stranger);
    assert_eq!(fixture.issue().unwrap_err().status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
    let [ca, cert, key] = files_of(&fixture.sandbox);
    fixture.replace("ca.pem", fs::read(ca).unwrap());
    assert_eq!(
        fixture.issue().unwrap_err().status,
        Status::PG_ERR_TLS,
        "the server is trusted now, but does not know the client"
    );
    fixture.replace("cert.pem", fs::read(cert).unwrap());
    fixture.replace("key.pem", fs::read(key).unwrap());
    fixture.issue().unwrap();
    // The other way round: an authority that is no longer trusted is refused on a new connection.
    fixture.replace("ca.pem", fs::read(&files_of(&stranger)[0]).unwrap());
    assert_eq!(fixture.issue().unwrap_err().status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
}

#[test]
fn the_last_good_files_stay_in_use_between_two_renames_and_while_one_is_broken_or_missing() {
    let (fixture, stranger) = (Fixture::new(), sandbox());
    let [_, other_cert, other_key] = files_of(&stranger).map(|file| fs::read(file).unwrap());
    let own_key = fs::read(fixture.path("key.pem")).unwrap();
    fixture.issue().unwrap();
    let handshakes = || fixture.sandbox.counters().tls_handshakes;
    let before = handshakes();

    // The certificate is new and the key is still the old one.
    fixture.replace("cert.pem", &other_cert);
    fixture.end_connections();
    fixture.issue().unwrap();
    fs::remove_file(fixture.path("key.pem")).unwrap();
    fixture.clock.skip_a_second();
    fixture.end_connections();
    fixture.issue().unwrap();
    fixture.replace("key.pem", &own_key[..own_key.len() / 2]);
    fixture.end_connections();
    fixture.issue().unwrap();
    assert_eq!(handshakes(), before + 3, "each was a new connection");

    // Now both are from the other emulator and match.
    fixture.replace("key.pem", &other_key);
    let error = fixture.issue().unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TLS, "{error}");
    assert!(!error.text.contains("besides"), "{error}");
}

#[test]
fn a_handshake_error_says_that_older_files_are_in_use() {
    let fixture = Fixture::with_files_of(&sandbox());
    fixture.replace("key.pem", "nonsense");
    let error = fixture.issue().unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
    assert!(error.text.contains("besides, tls.client_key_file") && error.text.contains("key.pem"), "{error}");
}

/// Kubernetes mounts a secret like this: every file is a link through `..data`, which is replaced.
#[test]
fn a_secret_swapped_by_kubernetes_is_noticed() {
    let (mine, stranger) = (sandbox(), sandbox());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, owner) in [("..1", &stranger), ("..2", &mine)] {
        fs::create_dir(at(version)).unwrap();
        for (name, file) in FILES.iter().zip(files_of(owner)) {
            fs::copy(file, at(version).join(name)).unwrap();
        }
    }
    symlink("..1", at("..data")).unwrap();
    for name in FILES {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let clock = Arc::<Ahead>::default();
    let client = Fixture::client(&mine, folder.path(), &clock).unwrap();
    assert!(client.issue(None, PATIENCE).is_err());
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    clock.skip_a_second();
    client.issue(None, PATIENCE).unwrap();
}

#[test]
fn a_byte_order_mark_in_a_pem_file_hides_no_section() {
    let sandbox = sandbox();
    let files = files_of(&sandbox);
    let fixture = Fixture::with(sandbox, &files, b"\xef\xbb\xbf");
    fixture.issue().unwrap();
}

/// A file with `\n` instead of line breaks: the parser's text has its bytes as numbers.
#[test]
fn the_error_for_a_key_in_the_place_of_a_certificate_does_not_show_it() {
    let fixture = Fixture::new();
    fixture.replace("cert.pem", "-----BEGIN PRIVATE KEY-----\\nMIIE-----END PRIVATE KEY-----");
    let error = Fixture::client(&fixture.sandbox, fixture.folder.path(), &fixture.clock).err().unwrap();
    assert_eq!(error.status, Status::PG_ERR_INVALID_PEM);
    assert!(error.text.contains("not PEM") && !error.text.contains("77, 73, 73, 69"), "{error}");
}

#[test]
fn the_error_for_an_encrypted_key_gives_fitting_advice() {
    let fixture = Fixture::new();
    for pem in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        fixture.replace("key.pem", pem);
        let error = Fixture::client(&fixture.sandbox, fixture.folder.path(), &fixture.clock).err().unwrap();
        assert_eq!(error.status, Status::PG_ERR_INVALID_PEM);
        assert!(error.text.contains("encrypted") && error.text.contains("openssl pkey"), "{error}");
    }
}

/// A TLS server with the certificate of an authority, as `openssl req -x509` makes it.
fn server_with_the_certificate_of_an_authority() -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let _ = rustls::StreamOwned::new(connection, tcp).read(&mut [0; 64]);
    });
    (url, certificate.pem())
}

#[test]
fn the_error_for_an_authority_certificate_used_by_a_server_gives_fitting_advice() {
    let (url, pem) = server_with_the_certificate_of_an_authority();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, pem).unwrap();
    let mut config = Config::default();
    config.set("base_url", &url).unwrap();
    config.set("account_id", "a-1").unwrap();
    config
        .set("public_key", "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K")
        .unwrap();
    config.set("tls.ca_file", ca_file.to_str().unwrap()).unwrap();
    let error = Client::new(&config).unwrap().issue(None, PATIENCE).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
    assert!(error.text.contains("CA:TRUE"), "{error}");
}
