//! TLS as we allow it: version 1.3 with ring's algorithms, both ends proven, nothing remembered between connections.

use std::sync::Arc;

use protocol::version::{ALPN_CLIENT, ALPN_PEER};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, ring::default_provider},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use crate::{Identity, TransportError};

/// The chain with its key, checked to belong together.
pub(crate) fn certified(identity: &Identity) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(identity.chain().to_vec(), identity.key().clone_key(), &default_provider())
}

/// For one side of accepting: both protocols on one port.
pub(crate) fn server(identity: &Identity) -> Result<QuicServerConfig, TransportError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots(), Arc::clone(&provider))
        .build()
        .map_err(unusable)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver(identity)?);
    config.alpn_protocols = vec![ALPN_PEER.to_vec(), ALPN_CLIENT.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).map_err(unusable)
}

/// For dialing with one protocol.
pub(crate) fn client(identity: &Identity, alpn: &[u8]) -> Result<QuicClientConfig, TransportError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(identity.roots(), Arc::clone(&provider))
        .build()
        .map_err(unusable)?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(resolver(identity)?);
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    QuicClientConfig::try_from(config).map_err(unusable)
}

/// Named here and never taken from the process, whose default another library might have set.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn resolver(identity: &Identity) -> Result<Arc<SingleCertAndKey>, TransportError> {
    certified(identity).map(|key| Arc::new(SingleCertAndKey::from(key))).map_err(unusable)
}

fn unusable(error: impl ToString) -> TransportError {
    TransportError::identity("TLS", error)
}
