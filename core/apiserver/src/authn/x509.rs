//! Users of client certificates: CN is the name, each O a group.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::Identity;
use super::request_header::ALLOWED_NAMES;

/// What a TLS connection knows of its peer; one per connection, shared by its requests.
#[derive(Clone, Debug)]
pub enum Peer {
    /// The peer sent no certificate.
    Nobody,
    /// A certificate that the client CA vouches for.
    Verified {
        /// The user in the certificate.
        identity: Arc<Identity>,
        /// End of validity, seconds since the epoch.
        not_after: u64,
    },
    /// A front proxy, which says in headers for whom it asks.
    FrontProxy,
    /// A certificate that could not be verified; it authenticates nobody.
    Invalid(Arc<str>),
}

/// Why a verified certificate names no user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate is no X.509 DER.
    #[error("parse the client certificate")]
    Parse,
    /// The subject has no common name.
    #[error("find a common name in the client certificate")]
    NoCommonName,
}

impl Peer {
    /// The user, if the certificate is valid at this moment.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        match self {
            Self::Verified { identity, not_after } if now_secs() <= *not_after => {
                Some(identity.clone())
            }
            _ => None,
        }
    }

    /// Whether the peer showed a certificate that is not (or no longer) good.
    pub fn is_rejected(&self) -> bool {
        match self {
            Self::Nobody => false,
            // Without the headers it is nobody that the client CA knows.
            Self::FrontProxy => true,
            Self::Verified { not_after, .. } => now_secs() > *not_after,
            Self::Invalid(_) => true,
        }
    }

    /// Reads the name of a front proxy's certificate whose chain has been verified.
    pub fn from_front_proxy(der: &[u8]) -> Self {
        match parse(der) {
            Ok((user, _)) if ALLOWED_NAMES.contains(&user.name.as_str()) => Self::FrontProxy,
            _ => Self::Invalid("the front proxy has another name".into()),
        }
    }

    /// Reads the user of a certificate whose chain has been verified.
    pub fn from_verified(der: &[u8]) -> Self {
        match parse(der) {
            Ok((identity, not_after)) => Self::Verified { identity: Arc::new(identity), not_after },
            Err(error) => Self::Invalid(error.to_string().into()),
        }
    }
}

fn parse(der: &[u8]) -> Result<(Identity, u64), Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Parse)?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().find_map(|cn| cn.as_str().ok());
    let name = name.filter(|name| !name.is_empty()).ok_or(Error::NoCommonName)?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let mut identity = Identity::user(name, &groups);
    let fingerprint = ring::digest::digest(&ring::digest::SHA256, der);
    identity.extra.insert(
        "authentication.kubernetes.io/credential-id".to_string(),
        vec![format!("X509SHA256={}", hex(fingerprint.as_ref()))],
    );
    let not_after = certificate.validity().not_after.timestamp();
    Ok((identity, u64::try_from(not_after).unwrap_or(0)))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since the epoch.
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_stops_working_when_it_expires() {
        let identity = Arc::new(Identity::user("ann", &["dev"]));
        let live = Peer::Verified { identity: identity.clone(), not_after: now_secs() + 60 };
        assert_eq!(live.identity().unwrap().name, "ann");
        let expired = Peer::Verified { identity, not_after: now_secs() - 60 };
        assert!(expired.identity().is_none());
        assert!(expired.is_rejected());
    }

    #[test]
    fn garbage_is_nobody() {
        assert!(Peer::from_verified(b"not a certificate").is_rejected());
    }
}
