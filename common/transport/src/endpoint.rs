//! One UDP socket that accepts and dials. Which protocol a connection speaks is agreed in its handshake (ALPN), so
//! peers and clients share a port; what a certificate may do is decided here, before anything of the protocol is read.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use protocol::version::{ALPN_CLIENT, ALPN_PEER};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt, crypto::rustls::HandshakeData,
};
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    Connection, Identity, Settings, Subject, TlsFault, TransportError, Whose,
    connection::{CloseCode, canonical},
    crypto,
    identity::{ANY_NODE, describe, node_name},
    probe,
};

/// Most streams of a kind on one connection, whatever the settings say: more make a connection expensive to open.
const MOST_STREAMS: u32 = 1024;
/// Most bytes kept for one connection that has not been accepted yet, and for all of them. A handshake takes a few
/// thousand.
const INCOMING_BYTES: u64 = 64 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 4 * 1024 * 1024;

/// A socket with its identity.
pub struct Endpoint {
    quic: quinn::Endpoint,
    dialing: Mutex<Dialing>,
    settings: Settings,
    local: SocketAddr,
    serves: bool,
    handshakes: Arc<Semaphore>,
}

/// What new connections of ours are made with; replaced as a whole by [`Endpoint::reload`].
#[derive(Clone)]
struct Dialing {
    client: ClientConfig,
    /// Only servers dial peers.
    peer: Option<ClientConfig>,
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Servers among themselves; this one dialled, as its certificate says.
    Peer {
        /// Its id.
        node: u64,
    },
    /// A client with a server.
    Client,
}

/// A proven connection that came in.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub connection: Connection,
    /// Whose certificate the far end has.
    pub subject: Subject,
    /// What it speaks.
    pub kind: Kind,
}

impl Endpoint {
    /// Listens for peers and clients, and can dial both. Needs a tokio runtime around it.
    pub fn server(
        listen: SocketAddr,
        identity: &Identity,
        settings: &Settings,
    ) -> Result<Self, TransportError> {
        let bound = bind(listen, settings).map_err(TransportError::io)?;
        Self::new(bound, Some(server_config(identity, settings)?), identity, settings)
    }

    /// Dials servers as a client. Needs a tokio runtime around it.
    pub fn client(identity: &Identity, settings: &Settings) -> Result<Self, TransportError> {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let only_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let bound = bind(both, settings).or_else(|_| bind(only_v4, settings)).map_err(TransportError::io)?;
        Self::new(bound, None, identity, settings)
    }

    fn new(
        socket: UdpSocket,
        accepting: Option<ServerConfig>,
        identity: &Identity,
        settings: &Settings,
    ) -> Result<Self, TransportError> {
        let serves = accepting.is_some();
        let dialing = Mutex::new(Dialing::new(identity, settings, serves)?);
        let quic = quinn::Endpoint::new(endpoint_config(settings), accepting, socket, Arc::new(TokioRuntime))
            .map_err(TransportError::io)?;
        let local = quic.local_addr().map_err(TransportError::io)?;
        let handshakes = Arc::new(Semaphore::new(settings.handshakes));
        Ok(Self { quic, dialing, settings: settings.clone(), local, serves, handshakes })
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Uses another identity for every connection from now on; those that exist stay.
    pub fn reload(&self, identity: &Identity) -> Result<(), TransportError> {
        let dialing = Dialing::new(identity, &self.settings, self.serves)?;
        if self.serves {
            self.quic.set_server_config(Some(server_config(identity, &self.settings)?));
        }
        *self.dialing.lock().unwrap_or_else(PoisonError::into_inner) = dialing;
        Ok(())
    }

    /// The next connection that wants in, or `None` once the endpoint is closed. Give each to a task of its own, which
    /// calls [`Accepting::finish`]: a slow handshake then holds up nobody. Beyond the bound on handshakes connections
    /// are refused at once, and beyond a lower one they first prove their address.
    pub async fn accept(&self) -> Option<Accepting> {
        loop {
            let incoming = self.quic.accept().await?;
            let busy = self.settings.handshakes.saturating_sub(self.handshakes.available_permits());
            let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            if busy >= self.settings.retry_above && incoming.may_retry() {
                // It fails only for an address that is proven already.
                let _ = incoming.retry();
                continue;
            }
            return Some(Accepting { incoming, permit, deadline: self.settings.handshake_timeout });
        }
    }

    /// Dials server `node` as a server. Any other server at that address is an error.
    ///
    /// TLS 1.3 lets the dialing end finish first: when the far end does not accept *our* certificate, that shows at
    /// the first use of the connection.
    pub async fn dial_peer(&self, address: SocketAddr, node: u64) -> Result<Connection, TransportError> {
        let config = self.dialing().peer;
        let config = config.ok_or(TransportError::tls(Whose::Ours, TlsFault::WrongRole))?;
        let connection = self.dial(config, address, &node_name(node)).await?;
        if *connection.subject() == (Subject::Node { id: node }) {
            return Ok(connection);
        }
        connection.close(CloseCode::Misdirected, "not the node that was dialed");
        Err(TransportError::tls(Whose::Theirs, TlsFault::WrongName))
    }

    /// Dials any server of our CA as a client. See [`Endpoint::dial_peer`] about our own certificate.
    pub async fn dial_client(&self, address: SocketAddr) -> Result<Connection, TransportError> {
        let config = self.dialing().client;
        let connection = self.dial(config, address, ANY_NODE).await?;
        if matches!(connection.subject(), Subject::Node { .. }) {
            return Ok(connection);
        }
        connection.close(CloseCode::Role, "not a node");
        Err(TransportError::tls(Whose::Theirs, TlsFault::WrongRole))
    }

    async fn dial(
        &self,
        config: ClientConfig,
        address: SocketAddr,
        name: &str,
    ) -> Result<Connection, TransportError> {
        let connecting = self.quic.connect_with(config, address, name)?;
        let connected = tokio::select! {
            // An answer counts more than the hint that there is none.
            biased;
            connected = timeout(self.settings.connect_timeout, connecting) => connected,
            () = probe::refused(canonical(address)) => return Err(TransportError::Refused),
        };
        let quic = connected.map_err(|_| TransportError::Silent)?.map_err(TransportError::while_dialing)?;
        proven(quic)
    }

    fn dialing(&self) -> Dialing {
        self.dialing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes every connection and accepts no more. Returns at once; a process that exits next should yield a few
    /// times so that the farewells leave. Waiting for the far ends to confirm would cost three round-trip timeouts.
    pub fn close(&self) {
        self.quic.close(CloseCode::Done.into(), b"done");
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("local", &self.quic.local_addr().ok()).finish_non_exhaustive()
    }
}

/// A connection that has not proven anything yet. Dropping it refuses it.
pub struct Accepting {
    incoming: quinn::Incoming,
    permit: OwnedSemaphorePermit,
    deadline: Duration,
}

impl Accepting {
    /// Where it claims to come from.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.incoming.remote_address())
    }

    /// Whether it has shown that it receives what is sent there.
    pub fn remote_address_validated(&self) -> bool {
        self.incoming.remote_address_validated()
    }

    /// Does the handshake, and decides what the far end may be.
    pub async fn finish(self) -> Result<Accepted, TransportError> {
        let Self { incoming, permit, deadline } = self;
        let quic = timeout(deadline, async { incoming.accept()?.await })
            .await
            .map_err(|_| TransportError::Silent)?
            .map_err(TransportError::while_dialing)?;
        drop(permit);
        let is_peer = is_peer(&quic)?;
        let connection = proven(quic)?;
        let subject = connection.subject().clone();
        let kind = match &subject {
            _ if !is_peer => Kind::Client,
            Subject::Node { id } => Kind::Peer { node: *id },
            Subject::Client { .. } => {
                connection.close(CloseCode::Role, "a client certificate may not act as a peer");
                return Err(TransportError::tls(Whose::Theirs, TlsFault::WrongRole));
            }
        };
        Ok(Accepted { connection, subject, kind })
    }
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepting").field("remote", &self.remote_address()).finish_non_exhaustive()
    }
}

impl Dialing {
    fn new(identity: &Identity, settings: &Settings, serves: bool) -> Result<Self, TransportError> {
        let transport = Arc::new(transport_config(settings)?);
        let config = |alpn| {
            let mut config = ClientConfig::new(Arc::new(crypto::client(identity, alpn)?));
            config.transport_config(Arc::clone(&transport));
            Ok::<_, TransportError>(config)
        };
        let peer = if serves { Some(config(ALPN_PEER)?) } else { None };
        Ok(Self { client: config(ALPN_CLIENT)?, peer })
    }
}

/// The connection with whom its certificate names. TLS has checked the certificate; a role it does not say is no
/// role at all.
fn proven(quic: quinn::Connection) -> Result<Connection, TransportError> {
    let chain = quic.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    if let Some(Ok((subject, _))) = chain.as_ref().and_then(|chain| chain.first()).map(describe) {
        return Ok(Connection::new(quic, subject));
    }
    quic.close(CloseCode::Role.into(), b"the certificate says no role");
    Err(TransportError::tls(Whose::Theirs, TlsFault::WrongRole))
}

/// Which of the two protocols was agreed on.
fn is_peer(quic: &quinn::Connection) -> Result<bool, TransportError> {
    let agreed = quic.handshake_data().and_then(|any| any.downcast::<HandshakeData>().ok());
    match agreed.and_then(|data| data.protocol).as_deref() {
        Some(ALPN_PEER) => Ok(true),
        Some(ALPN_CLIENT) => Ok(false),
        _ => Err(TransportError::Version),
    }
}

fn bind(address: SocketAddr, settings: &Settings) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // The system may allow less; the endpoint then works, with losses in bulk.
    let _ = socket.set_recv_buffer_size(settings.socket_buffer);
    let _ = socket.set_send_buffer_size(settings.socket_buffer);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn endpoint_config(settings: &Settings) -> EndpointConfig {
    let Some(secret) = settings.reset_key else { return EndpointConfig::default() };
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Random connection ids. Unlike quinn's default, which drops what does not look like an id of this process, every id
/// is taken for one that an earlier process may have given out, and is answered with a reset.
struct RandomIds;

const ID_BYTES: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn server_config(identity: &Identity, settings: &Settings) -> Result<ServerConfig, TransportError> {
    let mut config = ServerConfig::with_crypto(Arc::new(crypto::server(identity)?));
    config
        .transport_config(Arc::new(transport_config(settings)?))
        .migration(false)
        // Up to here a newcomer is told that there is no room; beyond, quinn ignores it without spending keys on it.
        .max_incoming(settings.handshakes.saturating_mul(4))
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    Ok(config)
}

fn transport_config(settings: &Settings) -> Result<TransportConfig, TransportError> {
    let idle = IdleTimeout::try_from(settings.idle_timeout)
        .map_err(|error| TransportError::identity("idle_timeout", error))?;
    let streams = VarInt::from_u32(settings.streams.min(MOST_STREAMS));
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(settings.keep_alive)
        .initial_rtt(settings.initial_rtt)
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(streams)
        .stream_receive_window(VarInt::from_u32(settings.stream_window))
        .receive_window(VarInt::from_u32(settings.connection_window))
        .send_window(settings.send_window)
        .datagram_receive_buffer_size(None);
    Ok(config)
}
