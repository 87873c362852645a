//! The consensus core: Raft without IO, clock, threads or dependencies.
//!
//! A cluster of servers keeps one log, and whatever a majority holds on disk is never lost and never changes. This
//! crate decides; it does nothing itself. The caller tells a [`Raft`] what happened (time passed, a message came, a
//! write is durable, entries were applied), asks it things (propose, read, change), and then does what
//! [`Raft::effects`] says. Section and figure numbers are those of Ongaro's thesis.
//!
//! # The contract
//!
//! *Everything in one [`Effects`] may be done at once, in any order, in parallel.* The core itself withholds what
//! must wait for the disk, so the caller keeps no rules of its own:
//!
//! ```text
//!   tick ─────────┐                                 ┌─► persist ──► disk ──► persisted(ticket)
//!   step ─────────┤                                 ├─► send ─────► network
//!   persisted ────┤    ┌──────┐                     ├─► fetch ────► disk ──► fetched(entries)
//!   applied ──────┼───►│ Raft ├──► effects() ───────┤
//!   fetched ──────┤    └──────┘                     ├─► send_snapshot ► state ► snapshot_sent(peer, …)
//!   discarded ────┤                                 ├─► apply ────► state ─► applied(index)
//!   propose, read ┤                                 └─► reads, failed_reads
//!   change ───────┘
//! ```
//!
//! Only two orders are asked for: writes reach the disk in the order they were given, and the reads of one
//! `Effects` are served after its entries were applied. What was found on disk at the start has been synced before
//! [`Raft::new`] sees it.
//!
//! # The story
//!
//! **Terms and roles** (`raft`). Time is cut into terms, each with at most one leader. A server is a follower, a
//! candidate or a leader; every message passes one gate that compares terms, and roles change in one function.
//!
//! **Elections** (`candidate`, `follower`). A follower that hears nothing for a randomised time asks whether it
//! *would* be elected, and only if a majority would spends a term on a vote. Who hears a leader helps nobody to
//! depose it; a leader that hears no majority gives up by itself. Term and vote are one record, and nothing of a
//! term leaves before that record is durable.
//!
//! **The log** (`log`, `leader`, `follower`, `progress`). A leader only appends. Each append names the entry before
//! it; a follower that has another there refuses, and says how far back the logs may agree. Appends follow each
//! other without waiting, in a window of entries and bytes. The leader sends while its own disk works, and counts
//! every server, itself too, by what its disk holds. An entry of its own term that a majority holds is committed,
//! and with it all before; entries of earlier terms are never committed by counting.
//!
//! **Snapshots** (`leader`, `progress`, `install`). What the caller has discarded from its log comes no more by append
//! but as a state (thesis 5). The leader asks the caller to send one and goes on with heartbeats. The caller of the
//! follower receives it, asks [`Raft::accepts_snapshot`], makes it current and says [`Raft::snapshot_installed`]: the log
//! is dropped unless it holds the entry at the state's position, and everything up to there is committed and applied.
//!
//! **The gate** (`outbox`). Messages wait for term, vote and entries to be durable. A write that was under way when
//! its entries were replaced proves nothing about them, not even when they come back.
//!
//! **Reads** (`reads`). A read is served from state as soon as a majority answered a round that began after the read
//! came and the state has reached the commit index noted then. Rounds are never numbered twice. A follower asks its
//! leader for the index and serves from its own state.
//!
//! **Members** (`change`, `membership`, `membership::history`). Who votes stands in the log like everything else, and is in
//! effect from the moment it is appended until it is replaced. While voters change, the old and the new ones decide
//! together, each by a majority, until both have committed that the new ones go on alone; the leader sees to the end of it.
//! Learners are sent the log and do not count. The state machine keeps the membership at the position that it has applied,
//! and gives it back at a start and with a state.
//!
//! # Invariants
//!
//! 1. A term never falls; in a term a server votes once (3.4).
//! 2. `applied ≤ applying ≤ commit ≤ last`, and `applying ≤ persisted`: only what is committed *and* durable here
//!    is applied here.
//! 3. Nothing at or below the commit index is ever replaced (3.6.3), except by a state that contains it (5).
//! 4. A follower's match, as its leader sees it, is what that follower's disk is known to hold (3.5, 10.2.1).
//! 5. Peers' messages are refused, never asserted on; our own state is asserted, around every step in debug builds
//!    (`invariants`).
//! 6. Memberships that follow each other in a log are never two whose majorities need not overlap (4.3).
//! 7. Every queue has a bound; what exceeds it is refused as [`Refusal::Busy`], or lost as a network loses.
//!
//! # Caveats
//!
//! A server that lost acknowledged data from its disk must not start again under its old id. A change of voters is not
//! called off: whoever asks for one sees first that enough of the new voters are up and have caught up, for without a
//! majority of them nothing is committed until they are. Reads by lease are absent on purpose: they trust clocks.
//!
//! Reading order: `types`, `message`, `effects`, `raft`, `shared`, then the roles, `progress`, `reads`, `log`,
//! `outbox`, `membership`, `change`.
#![no_std]
extern crate alloc;

mod candidate;
mod change;
mod config;
mod effects;
mod follower;
mod install;
pub mod instruments;
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
mod room;
mod shared;
mod status;
mod transfer;
mod types;

pub use change::{ChangeRefusal, Edit};
pub use config::{Config, ConfigError, Restored};
pub use effects::{Effects, Fetch, Fetched, Persist, SendSnapshot};
pub use membership::{MemberRole, Membership, MembershipError};
pub use message::{AppendOutcome, Envelope, Message};
pub use raft::{Raft, Refusal};
pub use status::{PeerStatus, RoleName, Status};
pub use types::{Entry, HardState, Index, NodeId, Payload, Position, ReadId, Term, Ticket};
