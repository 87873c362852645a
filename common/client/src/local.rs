//! Streams over the socket of a node on this machine: to that node, or through it to another one. Each is a connection of its
//! own, so there is nothing to share and nothing to close but the stream.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::{
    Welcome,
    limits::CLIENT_FRAME_BYTES,
    local::{Fault, Knock, Opened},
};
use transport::{FrameReader, FrameWriter};

use crate::{dial::endpoint_error, error::EndpointError, retry::Address};

/// What the address of a socket begins with.
const SCHEME: &str = "unix:";

/// The path in the address of a socket.
pub(crate) fn path(address: &str) -> Option<&Path> {
    address.strip_prefix(SCHEME).map(Path::new)
}

/// How a node is reached.
pub(crate) struct Way {
    socket: PathBuf,
    whom: Knock,
}

/// Why there is no stream.
pub(crate) enum Unopened {
    /// The node at the socket is not there, or does not let us in.
    Socket(EndpointError),
    /// It is there, and the one that was meant could not be had.
    Node(EndpointError),
}

impl From<Unopened> for EndpointError {
    fn from(unopened: Unopened) -> Self {
        let (Unopened::Socket(error) | Unopened::Node(error)) = unopened;
        error
    }
}

impl Way {
    /// To the node that listens at the socket.
    pub(crate) fn to(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), whom: Knock::Here }
    }

    /// Through it to the node at `address`.
    pub(crate) fn through(socket: &Path, address: &Address) -> Self {
        Self { socket: socket.to_owned(), whom: Knock::There(address.to_string()) }
    }

    /// Opens a stream of client frames.
    pub(crate) async fn open(&self) -> Result<(Welcome, (FrameWriter, FrameReader)), Unopened> {
        let socket = |error| Unopened::Socket(endpoint_error(error));
        let (mut writer, mut reader) = transport::dial_local(&self.socket).await.map_err(socket)?;
        writer.write(&[Bytes::from(self.whom.clone().encode())]).await.map_err(socket)?;
        let dropped = |reason: String| Unopened::Socket(EndpointError::Dropped { reason });
        let bytes = reader.next(CLIENT_FRAME_BYTES).await.map_err(socket)?;
        let bytes = bytes.ok_or_else(|| dropped("no welcome".into()))?;
        match Opened::decode(&bytes).map_err(|error| dropped(error.to_string()))? {
            Opened::Welcome(welcome) => Ok((welcome, (writer, reader))),
            Opened::Failed { kind, why } => Err(Unopened::Node(fault(kind, why))),
        }
    }
}

fn fault(kind: Fault, reason: String) -> EndpointError {
    match kind {
        Fault::Refused => EndpointError::Refused,
        Fault::Silent => EndpointError::Silent,
        Fault::Tls => EndpointError::Tls { reason },
        Fault::Version => EndpointError::Version,
        Fault::Unresolved => EndpointError::Unresolved { reason },
        Fault::Forbidden => EndpointError::Forbidden { reason },
        Fault::Other => EndpointError::Dropped { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_has_a_path() {
        assert_eq!(path("unix:/run/kv/kvd.sock"), Some(Path::new("/run/kv/kvd.sock")));
        assert_eq!((path("n1:7400"), path("[::1]:7400")), (None, None));
    }
}
