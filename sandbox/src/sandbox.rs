//! The emulator as a whole: starts it on its own thread, controls it, and stops it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::certificates::{Authority, Identity, Tls};
use crate::counters::{Counters, Listener};
use crate::folder::Folder;
use crate::port::Port;
use crate::service::Service;
use crate::state::Revoke;
use crate::world::{Shared, World};
use crate::{Call, Credentials, Entry, Error, Fault, HowToEnd, Switches, Use, admin, fixed, foreign, proxy};

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address of all ports; by default 127.0.0.1.
    pub address: Ipv4Addr,
    /// Port of the main HTTPS listener; 0, the default, takes any that is free.
    pub port: u16,
    /// Where to write the files; by default a temporary directory that is removed at the end.
    pub directory: Option<PathBuf>,
    /// The switches at the start and after a reset.
    pub switches: Switches,
}

impl Default for Options {
    fn default() -> Self {
        Options { address: Ipv4Addr::LOCALHOST, port: 0, directory: None, switches: Switches::default() }
    }
}

/// All addresses and files. Its JSON form is the line that the binary prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The URLs.
    #[serde(flatten)]
    pub urls: Urls,
    /// The authority to trust, as PEM.
    pub ca_file: PathBuf,
    /// A client's certificate, as PEM.
    pub client_cert_file: PathBuf,
    /// Its key, as PEM.
    pub client_key_file: PathBuf,
    /// The default account's `credentials.json`.
    pub credentials_file: PathBuf,
    /// The default account.
    pub account_id: String,
    /// Its public key.
    pub public_key: String,
    /// The process.
    pub pid: u32,
}

/// The URLs, none of which ends in a slash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// The API with a good certificate.
    pub https: String,
    /// The API in plain HTTP.
    pub http: String,
    /// The API with an expired certificate.
    pub expired: String,
    /// The API with a self-signed certificate.
    pub self_signed: String,
    /// The API with a certificate for `wrong.example`.
    pub wrong_name: String,
    /// The API for callers with a client certificate.
    pub client_certificate: String,
    /// The forward proxy.
    pub proxy: String,
    /// The second host.
    pub foreign: String,
    /// The same pair for every request, as fast as possible.
    pub fixed: String,
    /// The same without HTTP/2.
    pub fixed_http1: String,
    /// The admin port.
    pub admin: String,
}

/// A running emulator. Dropping it stops it and removes its temporary directory.
pub struct Sandbox {
    shared: Arc<Shared>,
    address: Address,
    credentials: Credentials,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Folder,
}

impl Sandbox {
    /// Starts it; all ports answer when this returns.
    pub fn start(options: Options) -> Result<Self, Error> {
        let folder = Folder::open(options.directory.as_deref())?;
        let authority = Authority::new()?;
        let client = authority.client()?;
        let credentials = Credentials::new()?;
        let credentials_json = serde_json::to_string_pretty(&credentials).unwrap_or_default();
        let identities = Identities::new(&authority, options.address)?;
        let shared = Arc::new(Shared::new(World::new(credentials.clone(), options.switches)));
        let (stop, stopped) = oneshot::channel();
        let main = SocketAddrV4::new(options.address, options.port);
        let (urls, thread) = run(main, identities, Arc::clone(&shared), stopped)?;
        let address = Address {
            urls,
            ca_file: folder.write("ca.pem", authority.pem())?,
            client_cert_file: folder.write("client.pem", &client.pem())?,
            client_key_file: folder.write("client.key", &client.key_pem())?,
            credentials_file: folder.write("credentials.json", &credentials_json)?,
            account_id: credentials.account_id.clone(),
            public_key: credentials.public_key.clone(),
            pid: std::process::id(),
        };
        Ok(Self { shared, address, credentials, stop: Some(stop), thread: Some(thread), _folder: folder })
    }

    /// All addresses and files.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The URLs.
    pub fn urls(&self) -> &Urls {
        &self.address.urls
    }

    /// The default account.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Makes another account.
    pub fn add_account(&self) -> Result<Credentials, Error> {
        let credentials = Credentials::new()?;
        self.shared.lock().state.add_account(&credentials);
        Ok(credentials)
    }

    /// Reads or changes switches.
    pub fn switches<T>(&self, change: impl FnOnce(&mut Switches) -> T) -> T {
        change(&mut self.shared.lock().state.switches)
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) -> Result<(), Error> {
        self.shared.lock().faults.add(fault).map(|_| ())
    }

    /// Removes the faults that have not struck yet.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Removes one fault with this route, point and action, and keeps the others.
    pub fn withdraw(&self, fault: Fault) -> Result<(), Error> {
        self.shared.lock().faults.withdraw(fault)
    }

    /// The faults that have not struck yet.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.lock().faults.all().to_vec()
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    /// The calls to the auth routes, in the order in which they ended.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.lock().journal.clone()
    }

    /// How the business routes answered each access token, by fingerprint.
    pub fn uses(&self) -> BTreeMap<String, Use> {
        self.shared.lock().uses.clone()
    }

    /// The requests that the second host received.
    pub fn foreign(&self) -> Vec<Call> {
        self.shared.lock().foreign.clone()
    }

    /// Sets the emulator's clock forward.
    pub fn advance(&self, by: Duration) {
        self.shared.lock().advance(by);
    }

    /// Revokes tokens.
    pub fn revoke(&self, whose: &Revoke) {
        self.shared.lock().state.revoke(whose);
    }

    /// Ends all connections to the API, as if they had been idle for too long. Returns once they have ended; after
    /// [`HowToEnd::Goaway`] the clients decide when.
    pub fn end_connections(&self, how: HowToEnd) {
        self.shared.connections.end(how);
        while how != HowToEnd::Goaway && self.open_connections() > 0 {
            thread::sleep(Duration::from_millis(1));
            // One whose handshake was not over yet.
            self.shared.connections.end(how);
        }
    }

    /// How many connections to the API are open.
    pub fn open_connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// Resets tokens, other accounts, switches, faults, counters and clock.
    pub fn reset(&self) {
        self.shared.lock().reset();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The certificates of the TLS ports.
struct Identities {
    local: Tls,
    expired: Tls,
    self_signed: Tls,
    wrong_name: Tls,
    client_certificate: Tls,
}

impl Identities {
    fn new(authority: &Authority, address: Ipv4Addr) -> Result<Self, Error> {
        let local = authority.local(address)?;
        Ok(Self {
            local: local.tls()?,
            expired: authority.expired()?.tls()?,
            self_signed: Identity::self_signed()?.tls()?,
            wrong_name: authority.wrong_name()?.tls()?,
            client_certificate: authority.tls_for_known_clients(&local)?,
        })
    }
}

/// Starts the thread; returns when every port is open.
fn run(
    main: SocketAddrV4,
    identities: Identities,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> Result<(Urls, JoinHandle<()>), Error> {
    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name("pg-sandbox".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error.into()))),
        };
        runtime.block_on(async move {
            let _ = tell.send(open(main, identities, shared).await);
            let _ = stopped.await;
        });
    })?;
    let urls = told.recv().map_err(|_| Error::Ended)??;
    Ok((urls, thread))
}

/// Opens every port and starts a task for each.
async fn open(main: SocketAddrV4, identities: Identities, shared: Arc<Shared>) -> Result<Urls, Error> {
    let any_port = SocketAddrV4::new(*main.ip(), 0);
    let mut urls = Urls::default();
    let foreign_socket = listen(any_port, "http", &mut urls.foreign).await?;
    let admin_socket = listen(any_port, "http", &mut urls.admin).await?;
    let proxy_socket = listen(any_port, "http", &mut urls.proxy).await?;
    let fixed_socket = listen(any_port, "https", &mut urls.fixed).await?;
    let fixed_http1_socket = listen(any_port, "https", &mut urls.fixed_http1).await?;
    let Identities { local, expired, self_signed, wrong_name, client_certificate } = identities;
    let now = shared.lock().now();
    tokio::spawn(fixed::serve(fixed_socket, local.config(true), now));
    tokio::spawn(fixed::serve(fixed_http1_socket, local.config(false), now));
    let ports = [
        (Listener::Https, Some(local), &mut urls.https),
        (Listener::Http, None, &mut urls.http),
        (Listener::Expired, Some(expired), &mut urls.expired),
        (Listener::SelfSigned, Some(self_signed), &mut urls.self_signed),
        (Listener::WrongName, Some(wrong_name), &mut urls.wrong_name),
        (Listener::ClientCertificate, Some(client_certificate), &mut urls.client_certificate),
    ];
    let service = Service::new(Arc::clone(&shared), &urls.foreign);
    for (listener, tls, url) in ports {
        let place = if listener == Listener::Https { main } else { any_port };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let socket = listen(place, scheme, url).await?;
        tokio::spawn(Port { listener, socket, tls }.serve(service.clone()));
    }
    tokio::spawn(proxy::serve(proxy_socket, Arc::clone(&shared)));
    tokio::spawn(serve(foreign_socket, foreign::router(Arc::clone(&shared))));
    tokio::spawn(serve(admin_socket, admin::router(shared)));
    Ok(urls)
}

async fn listen(place: SocketAddrV4, scheme: &str, url: &mut String) -> Result<TcpListener, Error> {
    let socket = TcpListener::bind(place).await?;
    *url = format!("{scheme}://{}", socket.local_addr()?);
    Ok(socket)
}

async fn serve(socket: TcpListener, router: axum::Router) {
    let _ = axum::serve(socket, router).await;
}
