//! The consensus core: Raft without IO, clock, threads or dependencies.
#![no_std]
extern crate alloc;
mod config;
mod effects;
mod message;
mod types;
pub use config::{Config, Restored};
pub use effects::{Effects, Fetch, Fetched, Persist};
pub use message::{AppendOutcome, Envelope, Message};
pub use types::{Entry, HardState, Index, NodeId, Payload, Position, ReadId, Term, Ticket};
