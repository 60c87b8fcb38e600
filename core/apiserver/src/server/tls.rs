//! TLS of the server: certificates that can be replaced while it runs, and who the peer is.
//!
//! A client certificate that does not verify does not end the handshake: as upstream, the
//! connection lives and every request on it is answered 401, which clients can read.
//! No session is ever resumed, so that identity is verified anew on every connection.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::authn::x509::Peer;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM holds no usable certificate or key.
    #[error("read the {0}")]
    Pem(&'static str),
    /// The key does not fit the certificate, or the CA is unusable.
    #[error("use the certificates")]
    Rustls(#[from] rustls::Error),
    /// The client CA is unusable.
    #[error("use the client CA")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// What the server serves TLS with, all PEM.
#[derive(Clone, Debug)]
pub struct Material {
    /// The serving certificate and its chain.
    pub certificate_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
    /// The CAs that client certificates are verified with; `None` takes no client certificates.
    pub client_ca_pem: Option<Vec<u8>>,
    /// The CAs that front proxies' certificates are verified with.
    pub front_proxy_ca_pem: Option<Vec<u8>>,
}

struct Current {
    key: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    front_proxies: Option<Arc<dyn ClientCertVerifier>>,
}

/// The server's TLS; its material can be replaced at any time.
pub struct ServingTls {
    current: Arc<ArcSwap<Current>>,
    config: Arc<rustls::ServerConfig>,
}

impl ServingTls {
    /// Reads the material.
    pub fn new(material: &Material) -> Result<Arc<Self>, Error> {
        let provider = provider();
        let current = Arc::new(ArcSwap::from_pointee(Current::read(material, &provider)?));
        let config = server_config(&provider, &current)?;
        Ok(Arc::new(Self { current, config: Arc::new(config) }))
    }

    /// Replaces the material; connections that exist keep what they have.
    pub fn reload(&self, material: &Material) -> Result<(), Error> {
        self.current.store(Arc::new(Current::read(material, &provider())?));
        Ok(())
    }

    /// The acceptor for new connections.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.config.clone().into()
    }

    /// Who is at the other end of an accepted connection.
    pub fn peer(&self, connection: &rustls::ServerConnection) -> Peer {
        let Some([end, chain @ ..]) = connection.peer_certificates() else { return Peer::Nobody };
        let current = self.current.load();
        let Some(clients) = &current.clients else { return Peer::Nobody };
        let now = UnixTime::now();
        let error = match clients.verify_client_cert(end, chain, now) {
            Ok(_) => return Peer::from_verified(end),
            Err(error) => error,
        };
        match &current.front_proxies {
            Some(proxies) if proxies.verify_client_cert(end, chain, now).is_ok() => {
                Peer::from_front_proxy(end)
            }
            _ => Peer::Invalid(error.to_string().into()),
        }
    }
}

/// The one crypto provider.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    current: &Arc<ArcSwap<Current>>,
) -> Result<rustls::ServerConfig, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Deferred { current: current.clone() }))
        .with_cert_resolver(Arc::new(Resolver { current: current.clone() }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl Current {
    fn read(material: &Material, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let chain = certificates(&material.certificate_pem, "serving certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&material.key_pem)
            .map_err(|_| Error::Pem("serving key"))?;
        let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
        let verifier = |pem: &Option<Vec<u8>>| {
            pem.as_ref().map(|pem| client_verifier(pem, provider)).transpose()
        };
        let clients = verifier(&material.client_ca_pem)?;
        let front_proxies = verifier(&material.front_proxy_ca_pem)?;
        Ok(Self { key, clients, front_proxies })
    }
}

/// The certificates of a PEM bundle, at least one.
pub(crate) fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|chain| !chain.is_empty()).ok_or(Error::Pem(what))
}

/// The roots of a PEM bundle.
pub(crate) fn roots(pem: &[u8], what: &'static str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn client_verifier(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(roots(pem, "client CA")?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    Ok(verifier.allow_unauthenticated().build()?)
}

#[derive(Clone)]
struct Resolver {
    current: Arc<ArcSwap<Current>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

/// Asks for a certificate and proof of its key, and leaves the chain to [`ServingTls::peer`].
struct Deferred {
    current: Arc<ArcSwap<Current>>,
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deferred")
    }
}

impl ClientCertVerifier for Deferred {
    fn offer_client_auth(&self) -> bool {
        self.current.load().clients.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client's TLS that takes any certificate: where an APIService says so, and towards pods, which have
/// none that anybody vouches for.
pub(crate) fn unverified() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))))
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
