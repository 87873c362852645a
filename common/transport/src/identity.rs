//! Who we are and whom we trust. The role is in the certificate, as a URI among its alternative names, so that it
//! cannot be claimed but only issued: `kvd://node/1` is server 1, `kvd://client/admin` a client.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ring::digest;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::TransportError;

/// The name under which every node can be dialed by clients.
pub(crate) const ANY_NODE: &str = "kvd.internal";
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// The name under which only this node can be dialed.
pub(crate) fn node_name(id: u64) -> String {
    format!("node-{id}.{ANY_NODE}")
}

/// Whom a certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A server.
    Node {
        /// Its id.
        id: u64,
    },
    /// Anyone else.
    Client {
        /// Its name.
        name: String,
    },
}

/// A CA, a certificate chain under it and its key. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    subject: Subject,
    expires: i64,
    ca_fingerprint: [u8; 32],
}

impl Identity {
    /// Reads the three from PEM files and refuses a key that others could read.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, TransportError> {
        check_mode(key)?;
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| unreadable(path, &error));
        let named = [ca, cert, key].map(|path| path.display().to_string());
        Self::build([&read(ca)?, &read(cert)?, &read(key)?], named.each_ref().map(String::as_str))
    }

    /// Reads the three from PEM text.
    pub fn from_pem(ca: &str, cert: &str, key: &str) -> Result<Self, TransportError> {
        Self::build([ca, cert, key], ["CA", "certificate", "key"])
    }

    /// The same with the names by which a refusal calls each of CA, certificate and key.
    pub fn from_named_pem(pems: [&str; 3], names: [&str; 3]) -> Result<Self, TransportError> {
        Self::build(pems, names)
    }

    fn build(
        [ca, cert, key]: [&str; 3],
        [ca_at, cert_at, key_at]: [&str; 3],
    ) -> Result<Self, TransportError> {
        let authorities = certificates(ca, ca_at)?;
        let chain = certificates(cert, cert_at)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| TransportError::identity(key_at, "no private key in PEM form"))?;
        let mut roots = RootCertStore::empty();
        let mut fingerprint = None;
        for authority in authorities {
            fingerprint.get_or_insert_with(|| sha256(&authority));
            roots.add(authority).map_err(|error| TransportError::identity(ca_at, error))?;
        }
        let leaf = chain.first().ok_or_else(|| TransportError::identity(cert_at, "no certificate"))?;
        let (subject, expires) = describe(leaf).map_err(|why| TransportError::identity(cert_at, why))?;
        let ca_fingerprint = fingerprint.ok_or_else(|| TransportError::identity(ca_at, "no certificate"))?;
        let identity =
            Self(Arc::new(Inner { roots: Arc::new(roots), chain, key, subject, expires, ca_fingerprint }));
        // A key that does not belong to the certificate is found here and not at the first connection.
        crate::crypto::certified(&identity).map_err(|why| TransportError::identity(key_at, why))?;
        Ok(identity)
    }

    /// Whom the certificate was issued to.
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// Whole days until the certificate expires, rounded down; negative once it has.
    pub fn days_left(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.0.expires.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(SECONDS_PER_DAY)
    }

    /// When the certificate expires, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.0.expires
    }

    /// SHA-256 of the first CA certificate.
    pub fn ca_fingerprint(&self) -> [u8; 32] {
        self.0.ca_fingerprint
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0.roots)
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }
}

/// Never shows the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.0.subject).finish()
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> TransportError {
    TransportError::identity(path.display().to_string(), error)
}

#[cfg(unix)]
fn check_mode(key: &Path) -> Result<(), TransportError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(key).map_err(|error| unreadable(key, &error))?;
    let mode = metadata.permissions().mode() & 0o7777;
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(TransportError::KeyExposed { path: key.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_key: &Path) -> Result<(), TransportError> {
    Ok(())
}

fn certificates(pem: &str, at: &str) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TransportError::identity(at, "not certificates in PEM form"))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The subject and the end of validity of a certificate.
pub(crate) fn describe(certificate: &CertificateDer<'_>) -> Result<(Subject, i64), &'static str> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| "not an X.509 certificate")?;
    let names = parsed.subject_alternative_name().ok().flatten().ok_or("the certificate says no role")?;
    let mut roles = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("kvd://"),
        _ => None,
    });
    // Two roles in one certificate would leave it to the reader which one counts.
    let (Some(role), None) = (roles.next(), roles.next()) else {
        return Err("the certificate says no single role");
    };
    Ok((
        parse_role(role).ok_or("the certificate's role is malformed")?,
        parsed.validity().not_after.timestamp(),
    ))
}

fn parse_role(role: &str) -> Option<Subject> {
    if let Some(name) = role.strip_prefix("client/") {
        return is_name(name).then(|| Subject::Client { name: name.to_owned() });
    }
    let digits = role.strip_prefix("node/")?;
    let id: u64 = digits.parse().ok()?;
    // One spelling an id: what is compared as text elsewhere is then compared as a number too.
    (id != 0 && id.to_string() == digits).then_some(Subject::Node { id })
}

/// Names that need no escaping anywhere.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=protocol::limits::NAME_BYTES).contains(&name.len()) && name.bytes().all(plain)
}
