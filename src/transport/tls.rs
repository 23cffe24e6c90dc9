//! The TLS configuration: the trusted authorities and the client's certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, version};

use crate::credentials::read_file;
use crate::error::Error;
use crate::rotation::Reloaded;
use crate::secret::Wiped;
use crate::status::Status;

/// The files and options of TLS.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Whether the system's certificate authorities are trusted too.
    pub system_roots: bool,
    /// The client's certificate chain.
    pub client_cert_file: Option<PathBuf>,
    /// The private key of the client's certificate.
    pub client_key_file: Option<PathBuf>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions { ca_file: None, system_roots: true, client_cert_file: None, client_key_file: None }
    }
}

/// The content of the TLS files, read and checked. A changed file is read again.
pub struct TlsSettings {
    provider: Arc<CryptoProvider>,
    system_roots: bool,
    files: Arc<Reloaded<TlsFiles>>,
}

pub(crate) struct TlsFiles {
    own_roots: RootCertStore,
    identity: Option<Arc<CertifiedKey>>,
}

impl TlsSettings {
    /// Reads the files.
    pub fn load(options: &TlsOptions) -> Result<Self, Error> {
        if options.ca_file.is_none() && !options.system_roots {
            let text = "tls.system_roots is false and tls.ca_file is not set, so no server could be trusted; set tls.ca_file";
            return Err(Error::new(Status::PG_ERR_MISSING_SETTING, text));
        }
        let pair = match (&options.client_cert_file, &options.client_key_file) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (Some(_), None) => return Err(lone("tls.client_cert_file", "tls.client_key_file")),
            (None, Some(_)) => return Err(lone("tls.client_key_file", "tls.client_cert_file")),
        };
        let provider = Arc::new(ring::default_provider());
        let ca_file = options.ca_file.clone();
        let paths = ca_file.iter().chain(pair.iter().flat_map(|(cert, key)| [cert, key])).cloned().collect();
        let with = provider.clone();
        let read = move || TlsFiles::read(ca_file.as_ref(), pair.as_ref(), &with);
        let files = Arc::new(Reloaded::new(paths, Box::new(read))?);
        Ok(TlsSettings { provider, system_roots: options.system_roots, files })
    }

    /// The current content of the files, or the last good one if they cannot be used.
    pub(crate) async fn files(&self) -> Arc<TlsFiles> {
        self.files.reload_async().await
    }

    /// Why the current files cannot be used, if they cannot.
    pub(crate) fn reload_error(&self) -> Option<Error> {
        self.files.reload_error()
    }

    /// Also reads the system's roots, which takes milliseconds. So this is called at the first connection, not before.
    pub(crate) fn client_config(&self, files: &TlsFiles) -> Result<ClientConfig, Error> {
        let mut roots = files.own_roots.clone();
        if self.system_roots {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
                let text = format!(
                    "the system has no certificate authorities to trust {why}; install them (often the package \
                     ca-certificates) or set tls.ca_file"
                );
                return Err(Error::new(Status::PG_ERR_SYSTEM, text));
            }
        }
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| Error::new(Status::PG_ERR_INTERNAL, format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Early data can be replayed by an attacker who records it, so a refresh must never be sent in it.
        config.enable_early_data = false;
        Ok(config)
    }
}

impl TlsFiles {
    fn read(
        ca_file: Option<&PathBuf>,
        pair: Option<&(PathBuf, PathBuf)>,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let mut own_roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            for certificate in certificates("tls.ca_file", path)? {
                own_roots
                    .add(certificate)
                    .map_err(|error| invalid("tls.ca_file", path, &error.to_string()))?;
            }
        }
        let identity = pair.map(|(cert, key)| identity(cert, key, provider)).transpose()?;
        Ok(TlsFiles { own_roots, identity })
    }
}

/// The text of a PEM file, without a byte order mark, which would hide the first section from the parser.
fn read_pem(setting: &str, path: &Path) -> Result<Wiped<Vec<u8>>, Error> {
    let mut pem = read_file(setting, path)?;
    if pem.starts_with(b"\xef\xbb\xbf") {
        // Line breaks replace the mark, so that no bytes move.
        pem[..3].fill(b'\n');
    }
    Ok(pem)
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read_pem(setting, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        // The text of the parser's error may quote the file, as numbers.
        .map_err(|_| invalid(setting, path, "it is not PEM: a section has no sound beginning or end"))?;
    if found.is_empty() {
        return Err(invalid(setting, path, "it holds no `-----BEGIN CERTIFICATE-----` section"));
    }
    Ok(found)
}

fn identity(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates("tls.client_cert_file", cert)?;
    let pem = read_pem("tls.client_key_file", key)?;
    let bad_key = |why: &str| invalid("tls.client_key_file", key, why);
    if is_encrypted(&pem) {
        let (from, name) = (key.display(), "client-key.pem");
        return Err(bad_key(&format!(
            "the key is encrypted with a passphrase, which is not supported; write it without one, readable for this user \
             alone (`umask 077; openssl pkey -in {from} -out {name}`), and name that file"
        )));
    }
    // The text of the parser's error may quote the key.
    let private =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| bad_key("it holds no private key in PEM"))?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        bad_key(&format!(
            "it does not match tls.client_cert_file {}: {error}; the first certificate there must be the client's own, \
             not that of an authority",
            cert.display()
        ))
    })?;
    Ok(Arc::new(certified))
}

/// Whether the key is encrypted, as PKCS #8 or in the older form with a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED")
}

fn invalid(setting: &str, path: &Path, why: &str) -> Error {
    let text = format!("{setting}: {} is not usable: {why}", path.display());
    Error::new(Status::PG_ERR_INVALID_PEM, text)
}

fn lone(set: &str, wanted: &str) -> Error {
    Error::new(
        Status::PG_ERR_MISSING_SETTING,
        format!("{set} is set, but not {wanted}; a client certificate needs both"),
    )
}
