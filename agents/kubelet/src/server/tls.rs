//! The HTTPS server's identity, and whom it lets in.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::Config;

/// Users that may use the server besides members of `system:masters`.
const USERS: [&str; 3] = ["system:apiserver", "kube-apiserver-kubelet-client", "kube-apiserver"];

/// The server's TLS settings. A client may come without a certificate, but gets no further than
/// `/healthz` then.
///
/// # Errors
/// A PEM text is none.
pub fn server_config(config: &Config) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("failed to choose TLS versions")?;
    let builder = match &config.tls.client_ca_pem {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate).context("failed to trust the client CA")?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .context("failed to set up the check of client certificates")?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let (chain, key) = match &config.tls.serving_pem {
        Some((chain, key)) => (chain.clone(), key.clone()),
        None => self_signed(&config.node_name, config.address)?,
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("failed to read the key")?;
    let mut server = builder
        .with_single_cert(certificates(&chain)?, key)
        .context("failed to use the serving certificate")?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.context("failed to read a certificate")
}

fn self_signed(name: &str, address: IpAddr) -> anyhow::Result<(String, String)> {
    let names = vec![name.to_string(), address.to_string()];
    let made = rcgen::generate_simple_self_signed(names);
    let made = made.context("failed to make a serving certificate")?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Whether the bearer of this verified certificate may use the server.
#[must_use]
pub fn admits(certificate: &[u8]) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let subject = certificate.subject();
    let user = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let mut groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    user.into_iter().any(|user| USERS.contains(&user))
        || groups.any(|group| group == "system:masters")
}
