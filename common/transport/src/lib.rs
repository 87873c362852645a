//! QUIC endpoints, TLS identity and framed messages on streams.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`identity`] | who we are and whom we trust: CA, certificate, key; the role written in a certificate |
//! | [`issue`] | makes a CA and the certificates under it |
//! | [`endpoint`] | one UDP socket: accepts and dials, peers and clients on the same port |
//! | [`connection`] | one connection and the framed streams in it |
//! | [`local`] | a socket of this machine, for who administers a node |
//! | [`settings`] | every bound and timer, with the values that measured well |
//! | [`error`] | what can go wrong, told apart by what the caller can do |
//!
//! Invariants: nothing crosses a QUIC connection before both ends have proven, with TLS 1.3, a certificate of the same
//! CA; a client's certificate never gets past [`Accepting::finish`](endpoint::Accepting::finish) on the peer
//! protocol; no frame larger than the reader's limit is ever buffered; no certificate, resumption ticket or early
//! data from an earlier connection is ever trusted in a later one. There are no 0-RTT data (they can be
//! replayed), no datagrams and no migration.

pub mod connection;
mod crypto;
pub mod endpoint;
pub mod error;
pub mod identity;
pub mod issue;
pub mod local;
mod probe;
pub mod settings;
#[cfg(test)]
mod tests;

pub use connection::{CloseCode, Connection, FrameReader, FrameWriter};
pub use endpoint::{Accepted, Accepting, Endpoint, Kind};
pub use error::{TlsFault, TlsReason, TransportError, Whose};
pub use identity::{Identity, Subject};
pub use issue::{Authority, Issued};
pub use local::{LocalListener, Visitor, dial_local};
pub use settings::Settings;
