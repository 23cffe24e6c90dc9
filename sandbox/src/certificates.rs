//! The emulator's own certificate authority, and the good and bad certificates that it issues.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::Error;

/// Signs certificates; no other program trusts it.
pub(crate) struct Authority {
    pem: String,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// The configurations of a TLS port: one with HTTP/2 and one without, for the switch `http2`.
#[derive(Clone)]
pub(crate) struct Tls {
    with_http2: Arc<ServerConfig>,
    without_http2: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "PaymentsGate sandbox authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), root: certificate.der().clone(), issuer: Issuer::new(params, key) })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A good certificate for this machine, also for this address.
    pub(crate) fn local(&self, address: Ipv4Addr) -> Result<Identity, Error> {
        let mut names = LOCAL.map(str::to_owned).to_vec();
        names.extend((!address.is_loopback()).then(|| address.to_string()));
        self.sign(params(&names, ExtendedKeyUsagePurpose::ServerAuth)?)
    }

    /// A certificate that was valid until 2021.
    pub(crate) fn expired(&self) -> Result<Identity, Error> {
        let mut params = server_params(&LOCAL)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// A good certificate for another host.
    pub(crate) fn wrong_name(&self) -> Result<Identity, Error> {
        self.sign(server_params(&["wrong.example"])?)
    }

    /// A certificate for a client.
    pub(crate) fn client(&self) -> Result<Identity, Error> {
        self.sign(params(&["client"], ExtendedKeyUsagePurpose::ClientAuth)?)
    }

    fn sign(&self, params: CertificateParams) -> Result<Identity, Error> {
        let key = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&key, &self.issuer)?, key })
    }

    /// TLS that requires a client certificate of this authority.
    pub(crate) fn tls_for_known_clients(&self, identity: &Identity) -> Result<Tls, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
        let builder = tls_builder()?.with_client_cert_verifier(verifier);
        Ok(Tls::new(builder.with_single_cert(identity.chain(), identity.private_key())?))
    }
}

impl Identity {
    /// A self-signed certificate.
    pub(crate) fn self_signed() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        Ok(Self { certificate: server_params(&LOCAL)?.self_signed(&key)?, key })
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// TLS without client certificates.
    pub(crate) fn tls(&self) -> Result<Tls, Error> {
        let builder = tls_builder()?.with_no_client_auth();
        Ok(Tls::new(builder.with_single_cert(self.chain(), self.private_key())?))
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn private_key(&self) -> rustls::pki_types::PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

impl Tls {
    fn new(config: ServerConfig) -> Self {
        let mut with_http2 = config.clone();
        with_http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut without_http2 = config;
        without_http2.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { with_http2: with_http2.into(), without_http2: without_http2.into() }
    }

    pub(crate) fn config(&self, http2: bool) -> Arc<ServerConfig> {
        Arc::clone(if http2 { &self.with_http2 } else { &self.without_http2 })
    }
}

const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

fn server_params(names: &[&str]) -> Result<CertificateParams, Error> {
    params(names, ExtendedKeyUsagePurpose::ServerAuth)
}

fn params(names: &[impl ToString], purpose: ExtendedKeyUsagePurpose) -> Result<CertificateParams, Error> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name.push(DnType::CommonName, names.concat());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn tls_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Error> {
    let provider = Arc::new(ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}
