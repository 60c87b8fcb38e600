//! The certificates of one cluster: made once, reused, renewed before they end.
//!
//! The layout is kubeadm's: `ca`, `front-proxy-ca`, `apiserver`, `apiserver-kubelet-client`,
//! `front-proxy-client` as `.crt` and `.key`, `sa.key` and `sa.pub`; clients of their own have theirs
//! below `clients/`, kubelets' serving certificates below `kubelets/`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::files;

const CA_YEARS: i64 = 10;
const LEAF_DAYS: i64 = 365;
/// Leaf certificates with less time than this are made anew.
const RENEW_DAYS: i64 = 60;
/// The user that the API server is towards kubelets, as kubeadm names it.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// The group of the administrators' kubeconfig.
pub const MASTERS: &str = "system:masters";

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("access {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made or signed.
    #[error("make the certificate {name}")]
    Make {
        /// Its common name.
        name: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// A CA on disk has only one of its two files, or they do not parse.
    #[error("use the certificate authority {0}")]
    BrokenCa(PathBuf),
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertKey {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: String,
}

/// What a leaf certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    name: String,
    groups: Vec<String>,
    sans: Vec<String>,
    server: bool,
}

/// A certificate authority that can sign.
struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The certificates of one cluster, in a directory.
pub struct Pki {
    dir: PathBuf,
    ca: Authority,
    front_proxy_ca: Authority,
}

impl Pki {
    /// Opens the directory, making the two CAs and the ServiceAccount key where they are missing.
    ///
    /// # Errors
    /// If files cannot be accessed, or a CA on disk is incomplete: it is never replaced silently,
    /// because everything that it signed would stop working.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        files::private_dir(&dir).map_err(at(&dir))?;
        let ca = Authority::ensure(&dir, "ca", "kubernetes")?;
        let front_proxy_ca = Authority::ensure(&dir, "front-proxy-ca", "front-proxy-ca")?;
        let pki = Self { dir, ca, front_proxy_ca };
        pki.ensure_service_account_key()?;
        Ok(pki)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cluster CA, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca.certificate_pem
    }

    /// The CA of front proxies, PEM.
    pub fn front_proxy_ca_pem(&self) -> &str {
        &self.front_proxy_ca.certificate_pem
    }

    /// The key that signs ServiceAccount tokens, PEM.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn service_account_key_pem(&self) -> Result<String, Error> {
        read(&self.dir.join("sa.key"))
    }

    /// The API server's serving certificate. `sans` are further names and addresses it is reached
    /// by; the names of the `kubernetes` Service, `localhost` and loopback are always in.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn apiserver(&self, sans: &[String]) -> Result<CertKey, Error> {
        let mut all: Vec<String> = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "::1",
        ]
        .map(String::from)
        .to_vec();
        all.extend(sans.iter().cloned());
        self.leaf("apiserver", &self.ca, Leaf::server("kube-apiserver", &[], &all))
    }

    /// The API server's client certificate towards kubelets.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn kubelet_client(&self) -> Result<CertKey, Error> {
        self.leaf("apiserver-kubelet-client", &self.ca, Leaf::client(KUBELET_CLIENT, &[]))
    }

    /// The API server's client certificate towards extension API servers.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn front_proxy_client(&self) -> Result<CertKey, Error> {
        let leaf = Leaf::client("front-proxy-client", &[]);
        self.leaf("front-proxy-client", &self.front_proxy_ca, leaf)
    }

    /// A client certificate: `user` is its common name, each group an organization.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<CertKey, Error> {
        let file = format!("clients/{}", file_name(user));
        self.leaf(&file, &self.ca, Leaf::client(user, groups))
    }

    /// The administrator's client certificate, the only one in `system:masters`.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn admin(&self) -> Result<CertKey, Error> {
        self.client("kubernetes-admin", &[MASTERS])
    }

    /// The client certificate of a node's kubelet.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn node(&self, node: &str) -> Result<CertKey, Error> {
        self.client(&format!("system:node:{node}"), &["system:nodes"])
    }

    /// The serving certificate of a node's kubelet, for its name and addresses.
    ///
    /// # Errors
    /// If files cannot be accessed or the certificate cannot be made.
    pub fn kubelet_serving(&self, node: &str, sans: &[String]) -> Result<CertKey, Error> {
        let mut all = vec![node.to_string()];
        all.extend(sans.iter().cloned());
        let leaf = Leaf::server(&format!("system:node:{node}"), &["system:nodes"], &all);
        self.leaf(&format!("kubelets/{}", file_name(node)), &self.ca, leaf)
    }

    fn leaf(&self, file: &str, authority: &Authority, leaf: Leaf) -> Result<CertKey, Error> {
        let (certificate, key) = paths(&self.dir, file);
        if let (Ok(certificate_pem), Ok(key_pem)) = (read(&certificate), read(&key)) {
            let now = OffsetDateTime::now_utc();
            if leaf.is_served_by(&certificate_pem, &key_pem, authority, now) {
                return Ok(CertKey { certificate_pem, key_pem });
            }
        }
        let made = authority.sign(&leaf)?;
        write_pair(&certificate, &key, &made)?;
        Ok(made)
    }

    fn ensure_service_account_key(&self) -> Result<(), Error> {
        let (private, public) = (self.dir.join("sa.key"), self.dir.join("sa.pub"));
        let key = match read(&private) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(make("sa"))?,
            Err(_) => new_key("sa")?,
        };
        if !private.exists() {
            files::replace(&private, key.serialize_pem().as_bytes()).map_err(at(&private))?;
        }
        if !public.exists() {
            files::replace(&public, key.public_key_pem().as_bytes()).map_err(at(&public))?;
        }
        Ok(())
    }
}

impl Leaf {
    fn client(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| group.to_string()).collect();
        Self { name: name.to_string(), groups, sans: Vec::new(), server: false }
    }

    fn server(name: &str, groups: &[&str], sans: &[String]) -> Self {
        let mut sans: Vec<String> = sans.iter().filter(|san| !san.is_empty()).cloned().collect();
        sans.sort();
        sans.dedup();
        Self { sans, server: true, ..Self::client(name, groups) }
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&self.name, &self.groups);
        for san in &self.sans {
            params.subject_alt_names.push(san_of(san).map_err(make(&self.name))?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if self.server {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, Duration::days(LEAF_DAYS));
        Ok(params)
    }

    /// Whether a certificate on disk is this leaf, signed by this CA, with its key and enough time.
    fn is_served_by(
        &self,
        certificate_pem: &str,
        key_pem: &str,
        authority: &Authority,
        now: OffsetDateTime,
    ) -> bool {
        let Ok((_, pem)) = parse_x509_pem(certificate_pem.as_bytes()) else { return false };
        let Ok((_, certificate)) = X509Certificate::from_der(&pem.contents) else { return false };
        let until = certificate.validity().not_after.to_datetime();
        until > now + Duration::days(RENEW_DAYS)
            && self.is_named(&certificate)
            && is_signed_by(&certificate, &authority.certificate_pem)
            && has_key(&certificate, key_pem)
    }

    fn is_named(&self, certificate: &X509Certificate<'_>) -> bool {
        let subject = certificate.subject();
        let names: Vec<&str> =
            subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
        let groups: Vec<&str> =
            subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
        let mut sans = sans_of(certificate);
        sans.sort();
        let mut wanted: Vec<String> = self.sans.iter().map(|san| canonical(san)).collect();
        wanted.sort();
        names == [self.name.as_str()] && groups == self.groups && sans == wanted
    }
}

impl Authority {
    fn ensure(dir: &Path, file: &str, name: &str) -> Result<Self, Error> {
        let (certificate, key) = paths(dir, file);
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::load(&certificate, &key),
            (false, false) => Self::make(&certificate, &key, name),
            _ => Err(Error::BrokenCa(certificate)),
        }
    }

    fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let certificate_pem = read(certificate)?;
        let broken = |_| Error::BrokenCa(certificate.to_path_buf());
        let pair = KeyPair::from_pem(&read(key)?).map_err(broken)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair).map_err(broken)?;
        Ok(Self { certificate_pem, issuer })
    }

    fn make(certificate: &Path, key: &Path, name: &str) -> Result<Self, Error> {
        let pair = new_key(name)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        valid_for(&mut params, Duration::days(CA_YEARS * 365));
        let signed = params.self_signed(&pair).map_err(make(name))?;
        let made = CertKey { certificate_pem: signed.pem(), key_pem: pair.serialize_pem() };
        write_pair(certificate, key, &made)?;
        Self::load(certificate, key)
    }

    fn sign(&self, leaf: &Leaf) -> Result<CertKey, Error> {
        let key = new_key(&leaf.name)?;
        let signed = leaf.params()?.signed_by(&key, &self.issuer).map_err(make(&leaf.name))?;
        Ok(CertKey { certificate_pem: signed.pem(), key_pem: key.serialize_pem() })
    }
}

fn new_key(name: &str) -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make(name))
}

fn distinguished_name(name: &str, groups: &[String]) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    // One attribute per type is what the library takes; a user with several groups gets none lost,
    // because only single-group identities are made here.
    if let Some(group) = groups.first() {
        dn.push(DnType::OrganizationName, group.as_str());
    }
    dn.push(DnType::CommonName, name);
    dn
}

fn valid_for(params: &mut CertificateParams, time: Duration) {
    let now = OffsetDateTime::now_utc();
    // Clocks of other machines may be a little behind.
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + time;
}

fn san_of(san: &str) -> Result<SanType, rcgen::Error> {
    match san.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(san.try_into()?)),
    }
}

fn canonical(san: &str) -> String {
    san.parse::<IpAddr>().map_or_else(|_| san.to_string(), |address| address.to_string())
}

fn sans_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    names.iter().filter_map(general_name).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_string()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn is_signed_by(certificate: &X509Certificate<'_>, ca_pem: &str) -> bool {
    let Ok((_, pem)) = parse_x509_pem(ca_pem.as_bytes()) else { return false };
    let Ok((_, ca)) = X509Certificate::from_der(&pem.contents) else { return false };
    certificate.verify_signature(Some(ca.public_key())).is_ok()
}

fn has_key(certificate: &X509Certificate<'_>, key_pem: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
    certificate.public_key().raw == key.subject_public_key_info().as_slice()
}

/// A user name as a file name: what is special in paths becomes `-`.
fn file_name(user: &str) -> String {
    let safe = |char: char| {
        if char.is_ascii_alphanumeric() || "-._".contains(char) { char } else { '-' }
    };
    user.chars().map(safe).collect::<String>().trim_start_matches('.').to_string()
}

fn paths(dir: &Path, file: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")))
}

/// The key goes first: a certificate on disk always has its key.
fn write_pair(certificate: &Path, key: &Path, made: &CertKey) -> Result<(), Error> {
    let dir = certificate.parent().expect("certificates live in a directory");
    files::private_dir(dir).map_err(at(dir))?;
    files::replace(key, made.key_pem.as_bytes()).map_err(at(key))?;
    files::replace(certificate, made.certificate_pem.as_bytes()).map_err(at(certificate))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path: path.clone(), source }
}

fn make(name: &str) -> impl Fn(rcgen::Error) -> Error {
    let name = name.to_string();
    move |source| Error::Make { name: name.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn subject(pem: &str) -> String {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        certificate.subject().to_string()
    }

    #[test]
    fn everything_is_kept_from_one_start_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let sans = vec!["10.0.0.1".to_string(), "api.example.org".to_string()];
        let first = Pki::open(dir.path()).unwrap();
        let (server, admin) = (first.apiserver(&sans).unwrap(), first.admin().unwrap());
        let key = first.service_account_key_pem().unwrap();
        let second = Pki::open(dir.path()).unwrap();
        assert_eq!(second.ca_pem(), first.ca_pem());
        assert_eq!(second.apiserver(&sans).unwrap(), server);
        assert_eq!(second.admin().unwrap(), admin);
        assert_eq!(second.service_account_key_pem().unwrap(), key);
    }

    #[test]
    fn a_certificate_is_made_anew_for_new_addresses_and_after_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let before = pki.apiserver(&[]).unwrap();
        let after = pki.apiserver(&["10.0.0.1".to_string()]).unwrap();
        assert_ne!(before, after);
        let leaf = Leaf::client("x", &[]);
        let made = pki.ca.sign(&leaf).unwrap();
        let good = |days: i64| {
            let now = OffsetDateTime::now_utc() + Duration::days(days);
            leaf.is_served_by(&made.certificate_pem, &made.key_pem, &pki.ca, now)
        };
        assert!(good(0));
        assert!(!good(LEAF_DAYS - RENEW_DAYS + 1));
        assert!(!leaf.is_served_by(
            &made.certificate_pem,
            &made.key_pem,
            &pki.front_proxy_ca,
            OffsetDateTime::now_utc()
        ));
    }

    #[test]
    fn users_and_groups_are_in_the_subject() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let node = pki.node("n1").unwrap();
        assert_eq!(subject(&node.certificate_pem), "O=system:nodes, CN=system:node:n1");
        let path = dir.path().join("clients/system-node-n1.key");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_ca_is_an_error_and_not_a_new_ca() {
        let dir = tempfile::tempdir().unwrap();
        drop(Pki::open(dir.path()).unwrap());
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(matches!(Pki::open(dir.path()), Err(Error::BrokenCa(_))));
    }

    #[test]
    fn user_names_cannot_leave_the_directory() {
        assert_eq!(file_name("../../etc/passwd"), "-..-etc-passwd");
        assert_eq!(file_name("system:kube-scheduler"), "system-kube-scheduler");
    }
}
