//! Access to a Redis server: users and their rights, passwords, TLS.

use std::fs;
use std::time::{Duration, Instant};

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::faults::{FAIL, told};
use crate::server::RedisServer;
use crate::shared::{Fixture, generation};
use crate::support::client;

/// The rights from the ACL line of docs/redis.md.
fn documented_rights() -> Vec<String> {
    let document = include_str!("../../docs/redis.md");
    let line = document.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER shop on >PASSWORD "));
    line.expect("docs/redis.md has the line").split(' ').map(str::to_owned).collect()
}

fn set_user(fixture: &Fixture, rights: &[String]) {
    let words = ["acl", "setuser", "shop", "reset", "on", ">hunter2"].into_iter();
    let words: Vec<_> = words.chain(rights.iter().map(String::as_str)).collect();
    assert_eq!(fixture.redis.cli(&words), "OK", "{words:?}");
}

fn at(fixture: &Fixture, login: &str) -> String {
    format!("redis://{login}@127.0.0.1:{}", fixture.redis.port)
}

/// Checks that no error, log line and health text contains the password.
fn told_without_password(session: &Session) -> Error {
    let error = told(session);
    let health = format!("{:?}", session.health().unwrap());
    for text in [error.to_string(), format!("{error:?}"), health] {
        assert!(!text.contains("hunter2") && !text.contains("hunter3"), "{text}");
    }
    error
}

#[test]
fn a_user_with_the_documented_rights_can_do_everything() {
    let fixture = Fixture::new();
    set_user(&fixture, &documented_rights());
    fixture.redis.cli(&["acl", "setuser", "default", "off"]);
    let as_admin = |words: &[&str]| fixture.redis.cli(words);
    let session = fixture.session_at(&at(&fixture, "shop:hunter2"), &[]);
    assert_eq!(generation(&session), 1);
    fixture.pass(3600);
    assert_eq!(generation(&session), 2);
    assert_eq!(generation(&fixture.session_at(&at(&fixture, "shop:hunter2"), &[])), 2);
    assert_eq!(fixture.calls(), (1, 1));
    assert!(as_admin(&["acl", "log"]).contains("NOAUTH"), "the default user is refused");
}

#[test]
fn each_documented_right_is_needed_and_the_error_names_a_missing_one() {
    let fixture = Fixture::new();
    let rights = documented_rights();
    // Rights that only matter while waiting, with replicas, or with another database.
    let minor = ["+subscribe", "+publish", "&pg:*", "+wait", "-@all", "resetchannels"];
    for missing in rights.iter().filter(|right| !minor.contains(&right.as_str())) {
        let others: Vec<_> = rights.iter().filter(|right| *right != missing).cloned().collect();
        fixture.redis.cli(&["flushall"]);
        set_user(&fixture, &others);
        let strict = [FAIL[0], ("durability", "strict")];
        let error = told_without_password(&fixture.session_at(&at(&fixture, "shop:hunter2"), &strict));
        assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED, "{missing}: {error}");
        assert!(error.text.contains("docs/redis.md"), "{missing}: {error}");
    }
    for missing in ["+subscribe", "+publish", "&pg:*"] {
        let others: Vec<_> = rights.iter().filter(|right| right != &missing).cloned().collect();
        set_user(&fixture, &others);
        let session = fixture.session_at(&at(&fixture, "shop:hunter2"), &FAIL);
        fixture.pass(3600);
        generation(&session);
    }
}

#[test]
fn a_wrong_or_missing_password_is_an_error() {
    let fixture = Fixture::new();
    set_user(&fixture, &documented_rights());
    fixture.redis.cli(&["config", "set", "requirepass", "hunter2"]);
    for store in [
        at(&fixture, "shop:hunter3"),
        at(&fixture, "nobody:hunter2"),
        at(&fixture, ":hunter3"),
        fixture.redis.url(),
    ] {
        let session = fixture.session_at(&store, &FAIL);
        let error = told_without_password(&session);
        assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED, "{error}");
        assert!(error.text.contains("user and password"), "{error}");
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(fixture.calls(), (0, 0));
    }
    assert_eq!(generation(&fixture.session_at(&at(&fixture, ":hunter2"), &[])), 1);
    assert_eq!(generation(&fixture.session_at(&format!("{}/3", at(&fixture, ":hunter2")), &[])), 1);
    let error = told(&fixture.session_at(&format!("{}/99", at(&fixture, ":hunter2")), &FAIL));
    assert!(error.text.contains("database") && error.text.contains("/99"), "{error}");
}

#[test]
fn no_text_contains_the_password() {
    let fixture = Fixture::new();
    let config = fixture.config(&at(&fixture, "shop:hunter2"), &[("store_key", crate::shared::ZEROS)]);
    assert!(!format!("{config:?}").contains("hunter2"));
    let mut config = config;
    for bad in ["redis://shop:hunter2@h?x", "rediss://shop:hunter2@", "redis://shop:hunter2@h:x"] {
        let error = config.set("store", bad).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// An authority, a server's certificate and a client's certificate, in files.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        for end in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            fs::write(folder.path().join(format!("{end}.pem")), certificate.pem()).unwrap();
            fs::write(folder.path().join(format!("{end}.key")), key.serialize_pem()).unwrap();
        }
        Authority { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A server with a port for TLS besides the plain one.
    fn server(&self, auth_clients: &str) -> (RedisServer, u16) {
        let port = crate::server::free_port();
        let (cert, key, ca) = (self.file("server.pem"), self.file("server.key"), self.file("ca.pem"));
        let server = RedisServer::start(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            auth_clients,
        ]);
        (server, port)
    }
}

/// A session that trusts the emulator's authority and this one.
fn session(fixture: &Fixture, store: &str, authority: &Authority, settings: &[(&str, &str)]) -> Session {
    let both = authority.file("both.pem");
    let emulator = fs::read_to_string(&fixture.sandbox.address().ca_file).unwrap();
    fs::write(&both, emulator + &fs::read_to_string(authority.file("ca.pem")).unwrap()).unwrap();
    let mut config = fixture.config(store, settings);
    config.set("tls.ca_file", &both).unwrap();
    Session::open(&client(&config, &fixture.sandbox.urls().https), &config).unwrap()
}

fn told_soon(session: &Session) -> Error {
    let begun = Instant::now();
    let error = told(session);
    assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
    assert_eq!(error.status, Status::PG_ERR_STORE, "{error}");
    error
}

#[test]
fn tls_to_redis_is_verified_like_tls_to_the_service() {
    let authority = Authority::new("localhost");
    let mut ports = 0;
    let fixture = Fixture::on(|| {
        let (server, port) = authority.server("no");
        ports = port;
        server
    });
    let url = format!("rediss://localhost:{ports}");
    let secure = session(&fixture, &url, &authority, &[]);
    assert_eq!(generation(&secure), 1);
    fixture.pass(3600);
    assert_eq!(generation(&secure), 2);
    assert_eq!(generation(&fixture.session()), 2, "the plain port has the same record");
    // A certificate of another authority.
    let error = told_soon(&fixture.session_at(&url, &FAIL));
    assert!(error.text.contains("UnknownIssuer") && error.text.contains("tls.ca_file"), "{error}");
    // A certificate for another name.
    let error = told_soon(&session(&fixture, &format!("rediss://127.0.0.1:{ports}"), &authority, &FAIL));
    assert!(
        error.text.contains("not valid for name") && error.text.contains("certificate of the server"),
        "{error}"
    );
    // Plain text to a TLS port, and the reverse.
    let error = told_soon(&fixture.session_at(&format!("redis://localhost:{ports}"), &FAIL));
    assert!(error.text.contains("rediss://"), "{error}");
    let error = told_soon(&session(
        &fixture,
        &format!("rediss://localhost:{}", fixture.redis.port),
        &authority,
        &FAIL,
    ));
    assert!(error.text.contains("write redis://"), "{error}");
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn a_redis_server_can_require_a_client_certificate() {
    let authority = Authority::new("localhost");
    let mut ports = 0;
    let fixture = Fixture::on(|| {
        let (server, port) = authority.server("yes");
        ports = port;
        server
    });
    let url = format!("rediss://localhost:{ports}");
    let error = told_soon(&session(&fixture, &url, &authority, &FAIL));
    assert!(error.text.contains("tls.client_cert_file"), "{error}");
    let files = (authority.file("client.pem"), authority.file("client.key"));
    let ours = [("tls.client_cert_file", &*files.0), ("tls.client_key_file", &*files.1)];
    assert_eq!(generation(&session(&fixture, &url, &authority, &ours)), 1);
}
