//! Names and numbers of formats. A number changes only when old bytes can no longer be read.

/// ALPN of the connection between servers.
pub const ALPN_PEER: &[u8] = b"kvd-peer/1";
/// ALPN of the connection between a client and a server.
pub const ALPN_CLIENT: &[u8] = b"kvd-client/1";
/// Format of log segments and of the entries in them.
pub const LOG_FORMAT: u16 = 1;
/// Format of the state's tables. Since 2 they hold what is kept of the past, since 3 who is in the cluster.
pub const STATE_FORMAT: u16 = 3;
/// Format of a state as a sequence of bytes.
pub const SNAPSHOT_FORMAT: u16 = 1;
