//! Makes a CA and certificates under it: enough for a cluster to run without any other tool. Keys are ECDSA P-256.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::{
    TransportError,
    identity::{ANY_NODE, is_name, node_name},
};

/// What a CA is made for when nobody says otherwise.
pub const CA_DAYS: u32 = 3650;
/// Clocks of machines differ; a certificate is valid from a little before it was made.
const BACKDATED: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Longest validity, which keeps dates within what X.509 can say.
const MOST_DAYS: u32 = 36_500;

/// A CA with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its key; write it with mode 0600.
    pub key_pem: String,
}

impl Authority {
    /// Makes a CA.
    pub fn create(name: &str, days: u32) -> Result<Self, TransportError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, lasting(days))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert_pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), cert_pem })
    }

    /// Takes a CA that was made before.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, TransportError> {
        let unusable = |error: rcgen::Error| TransportError::identity("CA", error);
        let key = KeyPair::from_pem(key_pem).map_err(unusable)?;
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key).map_err(unusable)?;
        Ok(Self { issuer, cert_pem: cert_pem.to_owned() })
    }

    /// The CA's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's key. Whoever has it can become any node of the cluster.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for server `id`, which may be dialed by `hosts` beside its names inside the cluster.
    pub fn issue_node(
        &self,
        id: u64,
        hosts: &[impl AsRef<str>],
        days: u32,
    ) -> Result<Issued, TransportError> {
        let hosts: Vec<_> = hosts.iter().map(AsRef::as_ref).collect();
        self.node(id, &hosts, lasting(days))
    }

    /// A certificate for a client.
    pub fn issue_client(&self, name: &str, days: u32) -> Result<Issued, TransportError> {
        self.client(name, lasting(days))
    }

    pub(crate) fn node(&self, id: u64, hosts: &[&str], validity: Validity) -> Result<Issued, TransportError> {
        if id == 0 {
            return Err(TransportError::identity("node", "an id is at least 1"));
        }
        let mut names = vec![role(&format!("node/{id}"))?, dns(&node_name(id))?, dns(ANY_NODE)?];
        for host in hosts {
            names.push(
                host.parse::<IpAddr>()
                    .map_or_else(|_| dns(host), |address| Ok(SanType::IpAddress(address)))?,
            );
        }
        let uses = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&format!("kvd node {id}"), names, uses, validity)
    }

    pub(crate) fn client(&self, name: &str, validity: Validity) -> Result<Issued, TransportError> {
        if !is_name(name) {
            return Err(TransportError::identity("client name", "up to 64 letters, digits and - _ . @"));
        }
        let uses = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&format!("kvd client {name}"), vec![role(&format!("client/{name}"))?], uses, validity)
    }

    fn sign(
        &self,
        name: &str,
        names: Vec<SanType>,
        uses: Vec<ExtendedKeyUsagePurpose>,
        validity: Validity,
    ) -> Result<Issued, TransportError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, validity)?;
        params.subject_alt_names = names;
        params.extended_key_usages = uses;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let cert_pem = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Issued { cert_pem, key_pem: key.serialize_pem() })
    }
}

/// Never shows the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Never shows the key.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// From when until when, since 1970.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// From now for so many days.
fn lasting(days: u32) -> Validity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Validity { from: now.saturating_sub(BACKDATED), until: now + DAY * days.min(MOST_DAYS) }
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, TransportError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + validity.from;
    params.not_after = epoch + validity.until;
    Ok(params)
}

fn role(role: &str) -> Result<SanType, TransportError> {
    format!("kvd://{role}").try_into().map(SanType::URI).map_err(failed)
}

fn dns(name: &str) -> Result<SanType, TransportError> {
    let bad = || TransportError::identity(format!("host {name:?}"), "neither a host name nor an IP address");
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
        return Err(bad());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| bad())
}

// Taken by value so that it can be named in `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: rcgen::Error) -> TransportError {
    TransportError::identity("certificate", error)
}
