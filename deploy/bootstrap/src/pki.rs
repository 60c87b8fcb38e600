//! Keys and certificates, laid out as kubeadm lays them out under `pki/`.
//!
//! Everything is made once and used again; leaf certificates are renewed when a third of their life
//! is left. Keys are ECDSA P-256 and readable by their owner only.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(365);

/// Why the keys and certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("access {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// A certificate could not be made or read.
    #[error("make or read {0}")]
    Certificate(PathBuf, #[source] rcgen::Error),
    /// A stored certificate is no certificate.
    #[error("parse the certificate {0}")]
    Malformed(PathBuf),
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The cluster's certificate authority and everything it signs.
pub struct Pki {
    dir: PathBuf,
    ca: Pair,
    front_proxy_ca: Pair,
}

/// What a leaf certificate is for.
enum Usage<'a> {
    Server { addresses: &'a [IpAddr], names: &'a [String] },
    Client,
}

impl Pki {
    /// The authorities of `dir`, made if they are not there.
    ///
    /// # Errors
    /// If files cannot be read or written, or hold something else.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        make_dir(dir)?;
        let ca = authority(dir, "ca", "kubernetes")?;
        let front_proxy_ca = authority(dir, "front-proxy-ca", "front-proxy-ca")?;
        Ok(Self { dir: dir.to_path_buf(), ca, front_proxy_ca })
    }

    /// The authority that servers and clients are signed by, in PEM.
    pub fn ca_certificate(&self) -> &str {
        &self.ca.certificate
    }

    /// The authority of the front proxy (request-header authentication), in PEM.
    pub fn front_proxy_ca_certificate(&self) -> &str {
        &self.front_proxy_ca.certificate
    }

    /// A server's certificate for these addresses and names.
    ///
    /// # Errors
    /// If it cannot be made or stored.
    pub fn server(
        &self,
        file: &str,
        common_name: &str,
        addresses: &[IpAddr],
        names: &[String],
    ) -> Result<Pair, PkiError> {
        self.leaf(file, common_name, &[], &Usage::Server { addresses, names })
    }

    /// A client's certificate: the user is `user`, in `groups`.
    ///
    /// # Errors
    /// If it cannot be made or stored.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Pair, PkiError> {
        self.leaf(file, user, groups, &Usage::Client)
    }

    /// The key that ServiceAccount tokens are signed with, in PEM.
    ///
    /// # Errors
    /// If it cannot be made or stored.
    pub fn service_account_key(&self) -> Result<String, PkiError> {
        let path = self.dir.join("sa.key");
        if path.exists() {
            return read(&path);
        }
        let key = new_key(&path)?;
        write(&self.dir.join("sa.pub"), &key.public_key_pem(), 0o644)?;
        write(&path, &key.serialize_pem(), 0o600)?;
        Ok(key.serialize_pem())
    }

    fn leaf(
        &self,
        file: &str,
        common_name: &str,
        groups: &[&str],
        usage: &Usage<'_>,
    ) -> Result<Pair, PkiError> {
        let (certificate_path, key_path) = paths(&self.dir, file);
        let params = leaf_params(common_name, groups, usage)
            .map_err(|error| PkiError::Certificate(certificate_path.clone(), error))?;
        if certificate_path.exists() && key_path.exists() {
            let stored = Pair { certificate: read(&certificate_path)?, key: read(&key_path)? };
            if self.still_good(&stored, &params, &certificate_path)? {
                return Ok(stored);
            }
        }
        let key = new_key(&key_path)?;
        let sign = || -> Result<String, rcgen::Error> {
            let ca_key = KeyPair::from_pem(&self.ca.key)?;
            let issuer = Issuer::from_ca_cert_pem(&self.ca.certificate, ca_key)?;
            Ok(params.signed_by(&key, &issuer)?.pem())
        };
        let certificate =
            sign().map_err(|error| PkiError::Certificate(certificate_path.clone(), error))?;
        let pair = Pair { certificate, key: key.serialize_pem() };
        store(&self.dir, file, &pair)?;
        Ok(pair)
    }

    /// Whether a stored certificate says what is wanted and has more than a third of its life left.
    fn still_good(
        &self,
        stored: &Pair,
        wanted: &CertificateParams,
        path: &Path,
    ) -> Result<bool, PkiError> {
        let malformed = || PkiError::Malformed(path.to_path_buf());
        let (_, pem) = x509_parser::pem::parse_x509_pem(stored.certificate.as_bytes())
            .map_err(|_| malformed())?;
        let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|_| malformed())?;
        let left = certificate.validity().not_after.to_datetime() - OffsetDateTime::now_utc();
        let names = certificate.subject_alternative_name().ok().flatten();
        let count = names.map_or(0, |names| names.value.general_names.len());
        let same_names = count == wanted.subject_alt_names.len()
            && wanted.subject_alt_names.iter().all(|name| has_name(&certificate, name));
        Ok(left > LEAF_LIFE / 3 && same_names && self.signed(&certificate))
    }

    fn signed(&self, certificate: &X509Certificate<'_>) -> bool {
        let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(self.ca.certificate.as_bytes()) else {
            return false;
        };
        X509Certificate::from_der(&pem.contents)
            .is_ok_and(|(_, ca)| certificate.verify_signature(Some(ca.public_key())).is_ok())
    }
}

fn has_name(certificate: &X509Certificate<'_>, wanted: &rcgen::SanType) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match (name, wanted) {
        (GeneralName::DNSName(name), rcgen::SanType::DnsName(wanted)) => *name == wanted.as_str(),
        (GeneralName::IPAddress(bytes), rcgen::SanType::IpAddress(wanted)) => match wanted {
            IpAddr::V4(wanted) => *bytes == wanted.octets(),
            IpAddr::V6(wanted) => *bytes == wanted.octets(),
        },
        _ => false,
    })
}

fn leaf_params(
    common_name: &str,
    groups: &[&str],
    usage: &Usage<'_>,
) -> Result<CertificateParams, rcgen::Error> {
    let mut names = Vec::new();
    let purpose = match usage {
        Usage::Server { addresses, names: dns } => {
            names.extend(dns.iter().cloned());
            names.extend(addresses.iter().map(ToString::to_string));
            ExtendedKeyUsagePurpose::ServerAuth
        }
        Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, LEAF_LIFE);
    Ok(params)
}

/// Valid from an hour ago, so that a clock that is a little behind does not refuse it.
fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + life;
}

fn authority(dir: &Path, file: &str, common_name: &str) -> Result<Pair, PkiError> {
    let (certificate_path, key_path) = paths(dir, file);
    if certificate_path.exists() && key_path.exists() {
        return Ok(Pair { certificate: read(&certificate_path)?, key: read(&key_path)? });
    }
    let key = new_key(&key_path)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::CrlSign,
    ];
    set_life(&mut params, CA_LIFE);
    let certificate =
        params.self_signed(&key).map_err(|error| PkiError::Certificate(certificate_path, error))?;
    let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    store(dir, file, &pair)?;
    Ok(pair)
}

fn new_key(path: &Path) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| PkiError::Certificate(path.to_path_buf(), error))
}

fn paths(dir: &Path, file: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")))
}

fn store(dir: &Path, file: &str, pair: &Pair) -> Result<(), PkiError> {
    let (certificate_path, key_path) = paths(dir, file);
    write(&key_path, &pair.key, 0o600)?;
    write(&certificate_path, &pair.certificate, 0o644)
}

fn make_dir(dir: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| PkiError::Io(dir.to_path_buf(), error))
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|error| PkiError::Io(path.to_path_buf(), error))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| PkiError::Io(path.to_path_buf(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server(pki: &Pki, address: &str) -> Pair {
        let names = ["kubernetes.default.svc".to_owned()];
        pki.server("apiserver", "kube-apiserver", &[address.parse().unwrap()], &names).unwrap()
    }

    #[test]
    fn what_was_made_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path()).unwrap();
        let admin = first.client("admin", "kubernetes-admin", &["system:masters"]).unwrap();
        let serving = server(&first, "127.0.0.1");
        let second = Pki::open(dir.path()).unwrap();
        assert_eq!(second.ca_certificate(), first.ca_certificate());
        assert_eq!(second.client("admin", "kubernetes-admin", &["system:masters"]).unwrap(), admin);
        assert_eq!(server(&second, "127.0.0.1"), serving);
    }

    #[test]
    fn a_server_that_moved_gets_another_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        assert_ne!(server(&pki, "127.0.0.1"), server(&pki, "127.65.128.1"));
    }

    #[test]
    fn another_authority_signs_anew() {
        let dir = tempfile::tempdir().unwrap();
        let old = server(&Pki::open(dir.path()).unwrap(), "127.0.0.1");
        fs::remove_file(dir.path().join("ca.crt")).unwrap();
        assert_ne!(server(&Pki::open(dir.path()).unwrap(), "127.0.0.1"), old);
    }

    #[test]
    fn keys_are_their_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        pki.service_account_key().unwrap();
        for key in ["ca.key", "sa.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{key}");
        }
    }
}
