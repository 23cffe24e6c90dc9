//! Whom we trust and who we are, for TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, version};

use crate::config::Config;
use crate::credentials::read_file;
use crate::error::Error;
use crate::status::Status;

/// The TLS part of a configuration, with its files read and checked.
pub(crate) struct TlsSettings {
    provider: Arc<CryptoProvider>,
    system_roots: bool,
    own_roots: RootCertStore,
    identity: Option<Arc<CertifiedKey>>,
}

impl TlsSettings {
    pub(crate) fn load(config: &Config) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut own_roots = RootCertStore::empty();
        if let Some(path) = &config.ca_file {
            for certificate in certificates("tls.ca_file", path)? {
                own_roots
                    .add(certificate)
                    .map_err(|error| invalid("tls.ca_file", path, &error.to_string()))?;
            }
        } else if !config.system_roots {
            let text = "tls.system_roots is false and tls.ca_file is not set, so no server could be trusted; set tls.ca_file";
            return Err(Error::new(Status::PG_ERR_MISSING_SETTING, text));
        }
        let identity = match (&config.client_cert_file, &config.client_key_file) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(identity(cert, key, &provider)?),
            (Some(_), None) => return Err(lone("tls.client_cert_file", "tls.client_key_file")),
            (None, Some(_)) => return Err(lone("tls.client_key_file", "tls.client_cert_file")),
        };
        Ok(TlsSettings { provider, system_roots: config.system_roots, own_roots, identity })
    }

    /// Reads the system's roots too, which takes milliseconds: made at the first connection, not before.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let mut roots = self.own_roots.clone();
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
        let mut config = match &self.identity {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Early data can be replayed by whoever sees it: a refresh must never travel in it.
        config.enable_early_data = false;
        Ok(config)
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read_file(setting, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(setting, path, &error.to_string()))?;
    if found.is_empty() {
        return Err(invalid(setting, path, "it holds no `-----BEGIN CERTIFICATE-----` section"));
    }
    Ok(found)
}

fn identity(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates("tls.client_cert_file", cert)?;
    let pem = read_file("tls.client_key_file", key)?;
    let bad_key = |why: &str| invalid("tls.client_key_file", key, why);
    // The parser's own words may quote the key.
    let private =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| bad_key("it holds no private key in PEM"))?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        bad_key(&format!("it does not go with tls.client_cert_file {}: {error}", cert.display()))
    })?;
    Ok(Arc::new(certified))
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
