//! The ports beside the main one.

use std::fs;

use pg_sandbox::{Listener, Options, Sandbox};
use reqwest::{Identity, Proxy};

use crate::fixture::{Fixture, builder, causes, issue_with};

#[test]
fn each_bad_certificate_has_its_own_defect() {
    let fixture = Fixture::new();
    let client = builder(&fixture.sandbox).build().unwrap();
    let urls = fixture.sandbox.urls();
    for (url, reason) in [
        (&urls.expired, "expired"),
        (&urls.self_signed, "UnknownIssuer"),
        (&urls.wrong_name, "wrong.example"),
    ] {
        let error = causes(&issue_with(&client, &fixture.sandbox, url).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.connections[&Listener::Expired], counters.tls_handshakes), (1, 0));
}

#[test]
fn the_ports_with_bad_certificates_lead_to_the_same_service() {
    let fixture = Fixture::new();
    let careless = builder(&fixture.sandbox).tls_danger_accept_invalid_certs(true).build().unwrap();
    let urls = fixture.sandbox.urls();
    for url in [&urls.expired, &urls.self_signed, &urls.wrong_name] {
        assert_eq!(issue_with(&careless, &fixture.sandbox, url).unwrap().status(), 200);
    }
}

#[test]
fn a_client_certificate_can_be_required() {
    let fixture = Fixture::new();
    let address = fixture.sandbox.address();
    let url = &address.urls.client_certificate;
    let without = builder(&fixture.sandbox).build().unwrap();
    let error = causes(&issue_with(&without, &fixture.sandbox, url).unwrap_err());
    assert!(error.contains("CertificateRequired"), "{error}");
    let mut pem = fs::read(&address.client_cert_file).unwrap();
    pem.extend(fs::read(&address.client_key_file).unwrap());
    let with = builder(&fixture.sandbox).identity(Identity::from_pem(&pem).unwrap()).build().unwrap();
    assert_eq!(issue_with(&with, &fixture.sandbox, url).unwrap().status(), 200);
}

#[test]
fn the_proxy_opens_tunnels() {
    let fixture = Fixture::new();
    let urls = fixture.sandbox.urls();
    let through = |proxy: &str| {
        let proxy = Proxy::all(proxy).unwrap();
        let client = builder(&fixture.sandbox).proxy(proxy).build().unwrap();
        issue_with(&client, &fixture.sandbox, &urls.https)
    };
    assert_eq!(through(&urls.proxy).unwrap().status(), 200);
    fixture.sandbox.switches(|s| s.proxy_credentials = Some("user:pass".into()));
    assert!(through(&urls.proxy).is_err());
    let with_credentials = urls.proxy.replace("http://", "http://user:pass@");
    assert_eq!(through(&with_credentials).unwrap().status(), 200);
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.proxy_tunnels, counters.proxy_refusals), (2, 1));
    assert_eq!(counters.connections[&Listener::Proxy], 3);
}

#[test]
fn tls_sessions_are_resumed() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture.try_issue().unwrap().bytes().unwrap();
    }
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.tls_handshakes, counters.tls_resumed), (3, 2));
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let fixture = Fixture::new();
    let port = fixture.sandbox.urls().https.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(Sandbox::start(Options { port, ..Options::default() }).is_err());
}

#[test]
fn a_dropped_emulator_closes_its_ports() {
    let fixture = Fixture::new();
    let address = fixture.sandbox.address().clone();
    let client = builder(&fixture.sandbox).build().unwrap();
    drop(fixture);
    assert!(client.get(&address.urls.http).send().is_err());
    assert!(!address.ca_file.exists());
}
