//! The consensus core: Raft without IO, clock, threads or dependencies.
#![no_std]
extern crate alloc;

mod candidate;
mod config;
mod effects;
mod follower;
mod invariants;
mod leader;
mod log;
mod membership;
mod message;
mod outbox;
mod progress;
mod raft;
mod reads;
mod rng;
mod status;
mod types;

pub use config::{Config, ConfigError, Restored};
pub use effects::{Effects, Fetch, Fetched, Persist};
pub use message::{AppendOutcome, Envelope, Message};
pub use raft::{Raft, Refusal};
pub use status::{PeerStatus, RoleName, Status};
pub use types::{Entry, HardState, Index, NodeId, Payload, Position, ReadId, Term, Ticket};
