//! From `host:port` to a link: resolve, race the addresses a name has, shake hands, be welcomed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;
use transport::{Endpoint, Identity, TransportError};

use crate::{
    Settings,
    error::EndpointError,
    link::Link,
    local::{self, Unopened, Way},
    race::{Contender, HEAD_START, race},
    retry::Address,
};

/// Dials nodes from one socket, which is opened by the first use because that needs a runtime.
pub(crate) struct Dialer {
    identity: Option<Identity>,
    /// Through which nodes are reached by a client without certificates.
    sockets: Vec<PathBuf>,
    settings: transport::Settings,
    endpoint: Mutex<Option<Arc<Endpoint>>>,
}

impl Dialer {
    /// Nothing is opened yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        let transport = transport::Settings {
            connect_timeout: settings.connect_timeout,
            ..transport::Settings::client()
        };
        let sockets = settings.endpoints.iter().filter_map(|endpoint| local::path(endpoint));
        Self {
            identity: settings.identity.clone(),
            sockets: sockets.map(Path::to_owned).collect(),
            settings: transport,
            endpoint: Mutex::new(None),
        }
    }

    /// A link to the node at `address`.
    pub(crate) async fn dial(&self, address: &Address) -> Result<Link, EndpointError> {
        let unresolved = |reason: String| EndpointError::Unresolved { reason };
        if let Some(path) = local::path(address) {
            return Ok(Link::open_local(address.clone(), Way::to(path)).await?);
        }
        let Some(identity) = &self.identity else { return self.dial_through(address).await };
        let endpoint = self.endpoint(identity)?;
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

    /// A link to the node at `address` through a socket of this machine, the first that has a node behind it.
    async fn dial_through(&self, address: &Address) -> Result<Link, EndpointError> {
        let mut failure =
            EndpointError::Local { reason: "there is neither a certificate nor a socket".to_owned() };
        for socket in &self.sockets {
            match Link::open_local(address.clone(), Way::through(socket, address)).await {
                Ok(link) => return Ok(link),
                Err(Unopened::Node(error)) => return Err(error),
                Err(Unopened::Socket(error)) => {
                    let reason = format!("unix:{}, through which it is reached, {error}", socket.display());
                    failure = EndpointError::Local { reason };
                }
            }
        }
        Err(failure)
    }

    /// Closes the socket with everything on it.
    pub(crate) fn close(&self) {
        if let Some(endpoint) = self.slot().take() {
            endpoint.close();
        }
    }

    fn endpoint(&self, identity: &Identity) -> Result<Arc<Endpoint>, EndpointError> {
        let mut slot = self.slot();
        if let Some(endpoint) = &*slot {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Endpoint::client(identity, &self.settings)
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
        TransportError::Forbidden(_) => {
            EndpointError::Forbidden { reason: "it is the superuser's and its owner's".into() }
        }
        TransportError::Io(error) => EndpointError::Local { reason: error.to_string() },
        other => EndpointError::Dropped { reason: other.to_string() },
    }
}
