//! Finds the leader and retries within a deadline, exactly once.
//!
//! What decides is pure and lies in `retry`; what does is told by it.

mod error;
#[allow(dead_code, reason = "the driver that calls it follows with the transport")]
mod race;
#[allow(dead_code, reason = "the driver that calls it follows with the transport")]
mod retry;

pub use error::{EndpointError, EndpointFailure, Error, Outcome};
