//! Every bound and timer of an endpoint. The values measured well on loopback and are recorded in
//! `docs/protocol.md`; what is not here is quinn's default (segmentation offload on, Cubic, fair sending).

use std::time::Duration;

/// See the fields. [`Settings::default`] is for servers, [`Settings::client`] for tools.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a dial waits for the first sign of life before it reports silence.
    pub connect_timeout: Duration,
    /// How long an accepted connection may take to prove its certificate.
    pub handshake_timeout: Duration,
    /// After this long without a packet a connection is dead.
    pub idle_timeout: Duration,
    /// A packet at least this often keeps a quiet connection alive; `None` lets it die when idle.
    pub keep_alive: Option<Duration>,
    /// The round trip assumed before one was measured; it decides how soon a lost first packet is repeated.
    pub initial_rtt: Duration,
    /// Most streams of each kind that the far end may have open; at most 1024.
    pub streams: u32,
    /// Most unread bytes the far end may send on one stream.
    pub stream_window: u32,
    /// Most unread bytes the far end may send on one connection.
    pub connection_window: u32,
    /// Most unacknowledged bytes of our own on one connection.
    pub send_window: u64,
    /// Kernel buffers of the UDP socket, as far as the system allows.
    pub socket_buffer: usize,
    /// Most connections that may be proving their certificates at once; more are refused.
    pub handshakes: usize,
    /// With more than this many unproven connections, a newcomer first shows that its address is its own.
    pub retry_above: usize,
    /// Secret of the stateless resets. Kept over restarts, it lets the far end of an old connection notice at once
    /// that this process is a new one.
    pub reset_key: Option<[u8; 64]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(2),
            keep_alive: Some(Duration::from_millis(500)),
            initial_rtt: Duration::from_millis(10),
            streams: 64,
            stream_window: 2 * 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            send_window: 8 * 1024 * 1024,
            socket_buffer: 4 * 1024 * 1024,
            handshakes: 256,
            retry_above: 64,
            reset_key: None,
        }
    }
}

impl Settings {
    /// For tools and the client library: a network may lie between, and a silent server is noticed by deadlines. Scans
    /// that nobody reads for a while fill the windows of their streams, four at most; that of the connection leaves room
    /// for the answers of everything else.
    pub fn client() -> Self {
        let own = Self::default();
        let connection_window = 6 * own.stream_window;
        Self { initial_rtt: Duration::from_millis(50), connection_window, ..own }
    }
}
