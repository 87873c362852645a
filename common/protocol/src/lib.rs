//! What is said: requests, replies, peer messages and replicated commands; their bytes and versions.
//!
//! | module | what crosses |
//! | --- | --- |
//! | [`mod@version`] | ALPN names and format numbers |
//! | [`limits`] | every bound on what may cross a wire or enter the log |
//! | [`identity`] | cluster, request and incarnation ids |
//! | [`command`], [`operation`] | what is inside a log entry, and what it does |
//! | [`request`], [`response`] | client frames |
//! | [`lease`] | how long keys are there, and what holds them |
//! | [`events`] | what a node remembers of what happened to it |
//! | [`history`] | how much of the past is kept, and what is shown of it |
//! | [`local`] | how a stream begins on the socket of a node's own machine |
//! | [`scan`] | many rows of one revision, on a stream of their own |
//! | [`snapshot`] | a whole state as bytes, sent to a follower or saved as a backup |
//! | [`stored`] | what stands in rows and changes, and the hashes of it |
//! | [`watch`] | what happens to the keys of a range, on a stream of its own |
//! | [`frame`] | the record of one entry: the same bytes between servers and in the log |
//! | [`peer`] | frames between servers |
//! | [`error`] | the refusals a server can answer with |
//!
//! Everything here is bytes to types and back, without streams and without async. Decoders return
//! [`DecodeError`]; no input makes them panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod command;
pub mod error;
pub mod events;
pub mod frame;
pub mod history;
pub mod identity;
pub mod lease;
pub mod limits;
pub mod local;
pub mod member;
pub mod operation;
pub mod peer;
mod read;
pub mod request;
pub mod response;
pub mod restore;
pub mod scan;
pub mod snapshot;
pub mod stored;
#[cfg(test)]
mod testing;
pub mod version;
pub mod watch;

pub use command::Command;
pub use error::{DecodeError, Refused};
pub use identity::{ClusterId, RequestId};
pub use lease::Hold;
pub use member::{Intent, Member, MemberChange, MemberEdit, MemberRecord, Part};
pub use operation::{Condition, KeyRange, Operation, Transaction, Verdict};
pub use peer::{PeerFrame, PeerHello, Presence};
pub use request::{Consistency, Request, RequestFrame};
pub use response::{Decided, NodeStatus, Response, ResponseFrame, Role, Welcome};
pub use restore::Restore;
pub use scan::{Scan, ScanFrame};
pub use watch::{Watch, WatchFrame};
