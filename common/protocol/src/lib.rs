//! What is said: requests, replies, peer messages and replicated commands; their bytes and versions.
//!
//! | module | what crosses |
//! | --- | --- |
//! | [`mod@version`] | ALPN names and format numbers |
//! | [`limits`] | every bound on what may cross a wire or enter the log |
//! | [`identity`] | cluster, request and incarnation ids |
//! | [`command`] | what is inside a log entry |
//! | [`request`], [`response`] | client frames |
//! | [`error`] | the refusals a server can answer with |
//!
//! Everything here is bytes to types and back, without streams and without async. Decoders return
//! [`DecodeError`]; no input makes them panic.

pub mod command;
pub mod error;
pub mod identity;
pub mod limits;
pub mod request;
pub mod response;
pub mod version;

pub use command::{Command, Operation};
pub use error::{DecodeError, Refused};
pub use identity::{ClusterId, RequestId};
pub use request::{Consistency, Request, RequestFrame};
pub use response::{NodeStatus, Response, ResponseFrame, Role, Welcome};
