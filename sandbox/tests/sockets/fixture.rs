//! An emulator, and clients that trust it and never retry.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Once;
use std::time::{Duration, Instant};

use pg_sandbox::{Fault, Options, Sandbox, Switches};
use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::{Certificate, redirect, retry};
use serde_json::{Value, json};

pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    client: Client,
}

pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Pair {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let body: Value = response.json().unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Switches)) -> Self {
        let mut options = Options::default();
        change(&mut options.switches);
        let sandbox = Sandbox::start(options).unwrap();
        let client = builder(&sandbox).build().unwrap();
        Self { sandbox, client }
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.sandbox.inject(fault).unwrap();
    }

    pub(crate) fn try_issue(&self) -> reqwest::Result<Response> {
        issue_with(&self.client, &self.sandbox, &self.sandbox.urls().https)
    }

    pub(crate) fn issue(&self) -> Pair {
        Pair::of(self.try_issue().unwrap())
    }

    pub(crate) fn try_refresh(&self, token: &str) -> reqwest::Result<Response> {
        let url = format!("{}/auth/token/refresh", self.sandbox.urls().https);
        self.client.post(url).json(&json!({"refresh_token": token})).send()
    }

    pub(crate) fn refresh(&self, token: &str) -> Pair {
        Pair::of(self.try_refresh(token).unwrap())
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> Response {
        self.client.get(format!("{}{path}", self.sandbox.urls().https)).bearer_auth(token).send().unwrap()
    }
}

pub(crate) fn issue_with(client: &Client, sandbox: &Sandbox, base: &str) -> reqwest::Result<Response> {
    let credentials = sandbox.credentials();
    let body = json!({"account_id": credentials.account_id, "public_key": credentials.public_key});
    client.post(format!("{base}/auth/token")).json(&body).send()
}

/// A client that opens a connection for each call, and neither retries nor follows redirects.
pub(crate) fn plain_builder() -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(10))
}

/// The same client, trusting the emulator.
pub(crate) fn builder(sandbox: &Sandbox) -> ClientBuilder {
    let ca = Certificate::from_pem(&fs::read(&sandbox.address().ca_file).unwrap()).unwrap();
    plain_builder().tls_certs_only([ca])
}

/// The texts of an error and of all its causes.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The bytes that a raw socket reads until the connection ends, and how it ends.
pub(crate) fn raw(url: &str, request: &str) -> (Vec<u8>, io::Result<()>) {
    let mut stream = TcpStream::connect(url.split_once("://").unwrap().1).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(request.as_bytes());
    read_to_the_end(&mut stream)
}

pub(crate) fn read_to_the_end(stream: &mut impl Read) -> (Vec<u8>, io::Result<()>) {
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received).map(|_| ());
    (received, end)
}

/// Waits for a condition of another thread or process.
pub(crate) fn eventually(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(10), "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
