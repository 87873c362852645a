//! From `host:port` to a link: resolve, race the addresses a name has, shake hands, be welcomed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use transport::{Endpoint, Identity, TransportError};

use crate::{
    error::EndpointError,
    link::Link,
    race::{Contender, HEAD_START, race},
    retry::Address,
};

/// Dials nodes from one socket, which is opened by the first use because that needs a runtime.
pub(crate) struct Dialer {
    identity: Identity,
    settings: transport::Settings,
    endpoint: Mutex<Option<Arc<Endpoint>>>,
}

impl Dialer {
    /// Nothing is opened yet.
    pub(crate) fn new(identity: Identity, connect_timeout: std::time::Duration) -> Self {
        let settings = transport::Settings { connect_timeout, ..transport::Settings::client() };
        Self { identity, settings, endpoint: Mutex::new(None) }
    }

    /// A link to the node at `address`.
    pub(crate) async fn dial(&self, address: &Address) -> Result<Link, EndpointError> {
        let unresolved = |reason: String| EndpointError::Unresolved { reason };
        let endpoint = self.endpoint()?;
        let resolved =
            tokio::net::lookup_host(&**address).await.map_err(|error| unresolved(error.to_string()))?;
        let dials = resolved.map(|socket| {
            let (endpoint, address) = (Arc::clone(&endpoint), address.clone());
            let dial = async move {
                let connection = endpoint.dial_client(socket).await.map_err(endpoint_error)?;
                Link::open(address, connection).await
            };
            Box::pin(dial) as Contender<'static, Link, EndpointError>
        });
        let failures = match race(dials.collect(), HEAD_START).await {
            Ok(link) => return Ok(link),
            Err(failures) => failures,
        };
        // A name with several addresses: what a node that is there said counts more than that others are not.
        let telling = failures.iter().find(|error| !matches!(error, EndpointError::Refused)).cloned();
        Err(telling.or(failures.into_iter().next()).unwrap_or_else(|| unresolved("no address".into())))
    }

    /// Closes the socket with everything on it.
    pub(crate) fn close(&self) {
        if let Some(endpoint) = self.slot().take() {
            endpoint.close();
        }
    }

    fn endpoint(&self) -> Result<Arc<Endpoint>, EndpointError> {
        let mut slot = self.slot();
        if let Some(endpoint) = &*slot {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Endpoint::client(&self.identity, &self.settings)
            .map_err(|error| EndpointError::Local { reason: error.to_string() })?;
        Ok(Arc::clone(slot.insert(Arc::new(endpoint))))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Endpoint>>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The earlier of a timeout counted from now and the deadline of the call.
pub(crate) fn bounded(timeout: std::time::Duration, until: Instant) -> Instant {
    (Instant::now() + timeout).min(until)
}

/// What the transport could not do, in the words of this crate.
pub(crate) fn endpoint_error(error: TransportError) -> EndpointError {
    match error {
        TransportError::Refused => EndpointError::Refused,
        TransportError::Silent => EndpointError::Silent,
        TransportError::Tls { .. } => EndpointError::Tls { reason: error.to_string() },
        TransportError::Version => EndpointError::Version,
        TransportError::Io(error) => EndpointError::Local { reason: error.to_string() },
        other => EndpointError::Dropped { reason: other.to_string() },
    }
}
