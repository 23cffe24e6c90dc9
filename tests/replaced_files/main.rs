//! Files that are replaced while a client lives, and answers that are odd but good, on real sockets with real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::expiry::Remark;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::{Grant, Pair};
use pg_sandbox::{Action, ExpiresInForm, Fault, Options, Point, Revoke, Route, Sandbox};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// A client with files of its own, which stand for those of that sandbox or of another one.
struct Fixture {
    sandbox: Sandbox,
    client: Arc<Client>,
    folder: TempDir,
}

const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The files of a sandbox, in the order of `FILES`.
fn files_of(sandbox: &Sandbox) -> [PathBuf; 3] {
    let address = sandbox.address();
    [&address.ca_file, &address.client_cert_file, &address.client_key_file].map(Clone::clone)
}

/// Puts a file in another's place, as `mv` does.
fn replace(at: &Path, with: impl AsRef<[u8]>) {
    let new = at.with_extension("new");
    fs::write(&new, with).unwrap();
    fs::rename(&new, at).unwrap();
}

impl Fixture {
    /// On the port that asks for a client certificate, with the right files.
    fn new() -> Self {
        let sandbox = sandbox();
        let files = files_of(&sandbox);
        Fixture::with(sandbox, &files, b"")
    }

    /// With the files of another sandbox.
    fn with_files_of(stranger: &Sandbox) -> Self {
        Fixture::with(sandbox(), &files_of(stranger), b"")
    }

    /// With copies of those files, each of which begins with `mark`.
    fn with(sandbox: Sandbox, files: &[PathBuf; 3], mark: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, file) in FILES.iter().zip(files) {
            fs::write(folder.path().join(name), [mark, &fs::read(file).unwrap()].concat()).unwrap();
        }
        let client = Fixture::client(&sandbox, folder.path()).unwrap();
        Fixture { sandbox, client, folder }
    }

    fn client(sandbox: &Sandbox, folder: &Path) -> Result<Arc<Client>, Error> {
        let mut config = Config::default();
        config.set("base_url", &sandbox.urls().client_certificate)?;
        config.set("credentials_file", sandbox.address().credentials_file.to_str().unwrap())?;
        config.set("tls.system_roots", "false")?;
        for (setting, name) in
            ["tls.ca_file", "tls.client_cert_file", "tls.client_key_file"].iter().zip(FILES)
        {
            config.set(setting, folder.join(name).to_str().unwrap())?;
        }
        Client::new(&config)
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

fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).unwrap()
}

#[test]
fn a_replaced_authority_and_identity_are_used_at_the_next_handshake() {
    let stranger = sandbox();
    let fixture = Fixture::with_files_of(&stranger);
    assert_eq!(fixture.issue().unwrap_err().status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
    let [ca, cert, key] = files_of(&fixture.sandbox);
    replace(&fixture.path("ca.pem"), fs::read(ca).unwrap());
    assert_eq!(fixture.issue().unwrap_err().status, Status::PG_ERR_TLS, "trusted now, but not yet known");
    replace(&fixture.path("cert.pem"), fs::read(cert).unwrap());
    replace(&fixture.path("key.pem"), fs::read(key).unwrap());
    fixture.issue().unwrap();
    // And the other way round: what is trusted no more is refused, on a new connection.
    replace(&fixture.path("ca.pem"), fs::read(&files_of(&stranger)[0]).unwrap());
    assert_eq!(fixture.issue().unwrap_err().status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
}

#[test]
fn between_two_renames_and_while_a_file_is_broken_or_gone_the_last_good_pair_goes_on() {
    let (fixture, stranger) = (Fixture::new(), sandbox());
    let [_, other_cert, other_key] = files_of(&stranger).map(|file| fs::read(file).unwrap());
    let own_key = fs::read(fixture.path("key.pem")).unwrap();
    fixture.issue().unwrap();
    let handshakes = || fixture.sandbox.counters().tls_handshakes;
    let before = handshakes();

    // The certificate is new, the key is not yet.
    replace(&fixture.path("cert.pem"), &other_cert);
    fixture.end_connections();
    fixture.issue().unwrap();
    fs::remove_file(fixture.path("key.pem")).unwrap();
    fixture.end_connections();
    fixture.issue().unwrap();
    fs::write(fixture.path("key.pem"), &own_key[..own_key.len() / 2]).unwrap();
    fixture.end_connections();
    fixture.issue().unwrap();
    assert_eq!(handshakes(), before + 3, "each was a new connection");

    // Now they go together, and are another's.
    replace(&fixture.path("key.pem"), &other_key);
    let error = fixture.issue().unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TLS, "{error}");
    assert!(!error.text.contains("besides"), "{error}");
}

#[test]
fn an_error_of_the_handshake_tells_that_older_files_are_in_use() {
    let fixture = Fixture::with_files_of(&sandbox());
    replace(&fixture.path("key.pem"), "nonsense");
    let error = fixture.issue().unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_CERTIFICATE_UNTRUSTED);
    assert!(error.text.contains("besides, tls.client_key_file") && error.text.contains("key.pem"), "{error}");
}

/// As Kubernetes mounts a secret: every file leads through `..data`, which is swapped.
#[test]
fn a_secret_that_kubernetes_swaps_is_seen() {
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
    let client = Fixture::client(&mine, folder.path()).unwrap();
    assert!(client.issue(None, PATIENCE).is_err());
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    client.issue(None, PATIENCE).unwrap();
}

#[test]
fn a_bare_issue_uses_the_key_that_is_in_the_file_now() {
    let sandbox = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials.json");
    let good = fs::read_to_string(&sandbox.address().credentials_file).unwrap();
    let key = sandbox.credentials().public_key.clone();
    // Another PEM of the same account, which the service does not know.
    let stale =
        good.replace(&key, "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K");
    assert_ne!(stale, good);
    replace(&path, &stale);
    let mut config = Config::default();
    config.set("base_url", &sandbox.urls().http).unwrap();
    config.set("credentials_file", path.to_str().unwrap()).unwrap();
    let client = Client::new(&config).unwrap();
    assert_eq!(client.issue(None, PATIENCE).unwrap_err().status, Status::PG_ERR_REFUSED);
    replace(&path, &good);
    client.issue(None, PATIENCE).unwrap();
    replace(&path, good.replace(&sandbox.credentials().account_id, "another"));
    client.issue(None, PATIENCE).unwrap();
}

#[test]
fn one_byte_order_mark_in_a_pem_file_hides_no_section() {
    let sandbox = sandbox();
    let files = files_of(&sandbox);
    let fixture = Fixture::with(sandbox, &files, b"\xef\xbb\xbf");
    fixture.issue().unwrap();
}

#[test]
fn an_encrypted_key_gets_advice_that_fits() {
    let fixture = Fixture::new();
    for pem in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        replace(&fixture.path("key.pem"), pem);
        let error = Fixture::client(&fixture.sandbox, fixture.folder.path()).err().unwrap();
        assert_eq!(error.status, Status::PG_ERR_INVALID_PEM);
        assert!(error.text.contains("encrypted") && error.text.contains("openssl pkey"), "{error}");
    }
}

/// A TLS server whose certificate is that of an authority, as `openssl req -x509` makes it.
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
fn the_certificate_of_an_authority_as_a_servers_own_gets_advice_that_fits() {
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

fn plain_client(sandbox: &Sandbox) -> Arc<Client> {
    let mut config = Config::default();
    config.set("base_url", &sandbox.urls().http).unwrap();
    config.set("credentials_file", sandbox.address().credentials_file.to_str().unwrap()).unwrap();
    Client::new(&config).unwrap()
}

#[test]
fn labels_and_marks_of_a_good_answer_do_no_harm() {
    let sandbox = sandbox();
    let client = plain_client(&sandbox);
    for encoding in ["identity", "Identity", "none", "", "utf-8"] {
        sandbox.switches(|switches| {
            (switches.content_encoding, switches.byte_order_mark) = (Some(encoding.to_owned()), true);
        });
        let pair = client.issue(None, PATIENCE).unwrap();
        client.refresh(None, pair.refresh.unwrap(), PATIENCE).unwrap();
    }
    let sent = sandbox.counters().routes[&Route::Issue].last.clone().unwrap().headers;
    assert_eq!(sent["accept-encoding"], "identity");
}

#[test]
fn each_form_of_expires_in_gives_a_pair_and_a_wrong_one_a_remark() {
    let sandbox = sandbox();
    sandbox.switches(|switches| switches.opaque_access_token = true);
    let client = plain_client(&sandbox);
    for (form, seconds, remark) in [
        (ExpiresInForm::Float, 3600, None),
        (ExpiresInForm::FloatString, 3600, None),
        (ExpiresInForm::Negative, 300, Some(Remark::BelowASecond)),
        (ExpiresInForm::Text, 300, Some(Remark::NotANumber)),
    ] {
        sandbox.switches(|switches| switches.expires_in_form = form);
        let lifetime = client.issue(None, PATIENCE).unwrap().token.lifetime;
        assert_eq!((lifetime.length.as_secs(), lifetime.remark), (seconds, remark), "{form:?}");
    }
    sandbox.switches(|switches| {
        (switches.expires_in_form, switches.access_lifetime_s) = (ExpiresInForm::Number, 30 * 86_400);
    });
    let lifetime = client.issue(None, PATIENCE).unwrap().token.lifetime;
    assert_eq!((lifetime.length.as_secs(), lifetime.remark), (86_400, Some(Remark::AboveADay)));
}

/// A PEM that the service does not know, as the key of the same account.
const STALE_KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K";

/// A session whose credentials come from a file of its own.
struct Lodger {
    sandbox: Sandbox,
    session: Session,
    folder: TempDir,
}

impl Lodger {
    fn new(key: &str, store: bool) -> Self {
        Lodger::on(sandbox(), key, store)
    }

    fn on(sandbox: Sandbox, key: &str, store: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        fs::write(&path, Lodger::json(&sandbox, key)).unwrap();
        let mut config = Config::default();
        config.set("base_url", &sandbox.urls().http).unwrap();
        config.set("credentials_file", path.to_str().unwrap()).unwrap();
        if store {
            config.set("store", &format!("file:{}", folder.path().join("store").display())).unwrap();
        }
        let session = Session::open(&Client::new(&config).unwrap(), &config).unwrap();
        Lodger { sandbox, session, folder }
    }

    fn json(sandbox: &Sandbox, key: &str) -> String {
        format!(r#"{{"account_id":"{}","public_key":"{key}"}}"#, sandbox.credentials().account_id)
    }

    fn rotate(&self, json: impl AsRef<[u8]>) {
        replace(&self.folder.path().join("credentials.json"), json);
    }

    fn rotate_to(&self, key: &str) {
        self.rotate(Lodger::json(&self.sandbox, key));
    }

    fn good_key(&self) -> String {
        self.sandbox.credentials().public_key.clone()
    }

    fn token(&self) -> Result<Arc<Grant>, Error> {
        self.session.token(Duration::from_secs(20), Duration::ZERO)
    }

    /// The file is looked at once a second, while half a minute would have to be waited after a refused key.
    fn token_before_the_wait_is_over(&self) -> Arc<Grant> {
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            match self.token() {
                Ok(grant) => return grant,
                Err(error) => assert!(Instant::now() < patience, "{error}"),
            }
            thread::yield_now();
        }
    }

    /// The body of the last Issue, and how many there were.
    fn issues(&self) -> (u64, String) {
        let counters = self.sandbox.counters();
        let issue = &counters.routes[&Route::Issue];
        (issue.calls, issue.last.clone().unwrap().body)
    }

    /// The service refuses both tokens, so that an Issue is due.
    fn revoke(&self, token: &Grant) {
        self.sandbox.revoke(&Revoke::All(true));
        self.session.reject(*token.token.fingerprint()).unwrap();
    }
}

#[test]
fn a_key_that_is_replaced_after_it_was_refused_ends_the_wait() {
    for store in [false, true] {
        let lodger = Lodger::new(STALE_KEY, store);
        let error = lodger.token().unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED);
        assert!(error.retry_after.unwrap() > Duration::from_secs(10));
        lodger.rotate_to(&lodger.good_key());
        lodger.token_before_the_wait_is_over();
        assert_eq!(lodger.issues().0, 2, "no other call was made for it");
        assert!(lodger.session.health().unwrap().file_error.is_none());
    }
}

#[test]
fn the_next_issue_is_made_with_the_key_that_is_in_the_file_by_then() {
    for store in [false, true] {
        let sandbox = sandbox();
        let good = sandbox.credentials().public_key.clone();
        let lodger = Lodger::on(sandbox, &good, store);
        let first = lodger.token().unwrap();
        lodger.rotate_to(STALE_KEY);
        lodger.revoke(&first);
        // The old key would be taken: it is not presented any more.
        lodger.session.token(Duration::from_millis(500), Duration::ZERO).unwrap_err();
        assert!(lodger.issues().1.contains(STALE_KEY), "{}", lodger.issues().1);
        lodger.rotate_to(&good);
        let second = lodger.token_before_the_wait_is_over();
        assert_ne!(second.token.fingerprint(), first.token.fingerprint());
    }
}

#[test]
fn a_broken_file_and_that_of_another_account_leave_a_session_as_it_was() {
    let other = format!(r#"{{"account_id":"b-2","public_key":"{STALE_KEY}"}}"#);
    for (json, trouble) in [("{", "line 1"), (other.as_str(), "b-2")] {
        let sandbox = sandbox();
        let good = sandbox.credentials().public_key.clone();
        let lodger = Lodger::on(sandbox, &good, false);
        let first = lodger.token().unwrap();
        lodger.rotate(json);
        lodger.revoke(&first);
        lodger.token().unwrap();
        let error = lodger.session.health().unwrap().file_error.unwrap();
        assert!(error.contains("credentials.json") && error.contains(trouble), "{error}");
        let (calls, body) = lodger.issues();
        assert!(calls == 2 && body.contains(&good), "{calls} {body}");
    }
}

/// As on a mount that is gone: the file can be looked at, and reading it does not end.
#[test]
fn a_file_that_hangs_holds_up_one_call_for_a_second_and_no_other() {
    let sandbox = sandbox();
    let good = sandbox.credentials().public_key.clone();
    let lodger = Lodger::on(sandbox, &good, false);
    let first = lodger.token().unwrap();
    let path = lodger.folder.path().join("credentials.json");
    let pipe = lodger.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &path).unwrap();
    lodger.revoke(&first);
    lodger.token().unwrap();
    assert!(lodger.session.health().is_ok(), "nothing waits for the file");
    // What hangs comes to its end, and the file is good again.
    // Opened for both, so that this does not wait for a reader.
    drop(fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
    lodger.rotate_to(STALE_KEY);
    lodger.session.refresh(Duration::from_secs(20)).unwrap();
}

#[test]
fn credentials_that_the_host_sets_are_not_undone_by_a_file_that_stays() {
    let lodger = Lodger::new(STALE_KEY, false);
    lodger.token().unwrap_err();
    let account = lodger.sandbox.credentials().account_id.clone();
    lodger.session.set_credentials(Credentials::new(&account, &lodger.good_key(), "test").unwrap()).unwrap();
    let token = lodger.token().unwrap();
    lodger.revoke(&token);
    lodger.token().unwrap();
    assert!(lodger.issues().1.contains(&lodger.good_key()));
}
