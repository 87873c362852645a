//! Whether anything listens at an address. QUIC by design does not heed the operating system's "port unreachable",
//! which anyone on the way could forge, and so a dead server costs its whole timeout. A connected UDP socket beside it
//! is told within microseconds. The answer is a hint: it chooses the words of an error and the next endpoint to try,
//! and never ends a connection that exists.

use std::{io, net::SocketAddr};

use tokio::net::UdpSocket;

/// Returns when the far machine says that nothing listens there; otherwise never.
pub(crate) async fn refused(address: SocketAddr) {
    if probe(address).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        return;
    }
    std::future::pending::<()>().await;
}

async fn probe(address: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    // One byte is no QUIC packet: an endpoint that is there drops it unanswered.
    socket.send(&[0]).await?;
    socket.recv(&mut [0; 1]).await.map(drop)
}
