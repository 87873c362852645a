//! Names and numbers of formats. A number changes only when old bytes can no longer be read.

/// ALPN of the connection between servers.
pub const ALPN_PEER: &[u8] = b"kvd-peer/1";
/// ALPN of the connection between a client and a server.
pub const ALPN_CLIENT: &[u8] = b"kvd-client/1";
/// Format of log segments and of the entries in them.
pub const LOG_FORMAT: u16 = 1;
/// Format of the state's tables. Since 2 they hold what is kept of the past; 3 says that there are leases or members among
/// them, or were, and 4 that a backup was staged. A state in which there never were any stays in format 2, byte by byte.
pub const STATE_FORMAT: u16 = 4;
/// Of a state with leases or members into which nothing was ever restored while it ran.
pub const STATE_FORMAT_LEASES: u16 = 3;
/// The oldest format of the state's tables that can be read, and the one that is written where nothing newer is in them.
pub const STATE_FORMAT_PLAIN: u16 = 2;

/// Whether the format of a state's tables is known here.
pub fn knows_state_format(format: u128) -> bool {
    (u128::from(STATE_FORMAT_PLAIN)..=u128::from(STATE_FORMAT)).contains(&format)
}
/// Format of a state as a sequence of bytes.
pub const SNAPSHOT_FORMAT: u16 = 1;
