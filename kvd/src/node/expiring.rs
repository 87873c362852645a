//! Leases come to their end: a leader names in the log what is over by its clock.
//!
//! The stamp of that entry decides, where it is applied, on every node alike (`state/leasing.rs`): a leader that is none any
//! more, or has not heard of a renewal, harms nobody. One such entry is under way at a time, and it ends a bounded number;
//! the next follows when it was applied. It is taken where the queue of proposals is full of what clients want: so leases end
//! in time under any load.
//!
//! **The clock must not stand still while nobody writes.** A server that has just been started knows of the time only what the
//! newest stamp in its log says; were it elected after an hour of silence, every lease would have that hour again. So as
//! long as there are leases, a leader makes an entry that carries nothing but its stamp when none came for [`QUIET_MS`].

use protocol::{
    Command, Operation, Refused, RequestId, Response,
    lease::{LeaseKeys, Leases},
    limits::{PAGE_BYTES, PAGE_ROWS},
    response::Found,
};
use raft::{Position, RoleName};
use std::sync::Arc;

use super::Node;
use crate::{
    event::Caller,
    instruments::{Mark, mark},
};

/// So long a leader lets pass without a stamp in the log while there are leases.
const QUIET_MS: u64 = 500;

impl Node {
    /// Proposes to end what is over, or that it is so late. Costs a comparison where there are no leases.
    pub(super) fn expire_leases(&mut self) {
        let Some(deadline_ms) = self.state.leases().next_deadline() else { return };
        let clock_ms = self.clock.at(self.now);
        let is_over = deadline_ms <= clock_ms;
        let is_quiet = clock_ms.saturating_sub(self.clock.stamp_ms) >= QUIET_MS;
        if !is_over && !is_quiet {
            return;
        }
        let status = self.raft.status();
        let applied = self.state.applied().index;
        let under_way = self.expiring.is_some_and(|at| at.term == status.term && at.index > applied);
        if status.role != RoleName::Leader || under_way {
            return;
        }
        let leases = if is_over { self.state.leases().over(clock_ms) } else { Vec::new() };
        if leases.is_empty() {
            mark(Mark::LeaseClockKept);
        }
        let request = RequestId { token: [0; 16], learned: 0, cluster: self.members.cluster() };
        let operation = Operation::Expire { leases };
        let command = Command { request, stamp_ms: clock_ms, wall_ms: self.now.wall_ms, operation };
        // Refused, it is tried again with the next tick, or as soon as something was applied.
        if let Ok(position) = self.raft.propose_urgent(Arc::from(command.encode())) {
            self.clock.gave(clock_ms, position.term, self.now);
            self.expiring = Some(position);
        }
    }

    /// Adds to a row how long it is still to be there.
    pub(super) fn show_time_left(&self, found: &mut Found) {
        if let Some(held) = &mut found.lease {
            let lease = self.state.leases().get(held.lease);
            let now_ms = self.clock.at(self.now);
            held.remaining_ms = lease.map(|lease| lease.stored.deadline_ms.saturating_sub(now_ms));
        }
    }

    /// Answers with the leases after an id.
    pub(super) fn show_leases(&mut self, caller: Caller, after: u64) {
        let (leases, more) = self.state.leases().page(after, self.clock.at(self.now), PAGE_ROWS);
        let revision = self.applied();
        self.reply(caller, Ok(Response::Leases(Leases { leases, more, revision })));
    }

    /// Answers with a lease and its keys after one of them.
    pub(super) fn show_lease(&mut self, caller: Caller, id: u64, after: &[u8]) {
        let leases = self.state.leases();
        let lease = leases.get(id).map(|lease| lease.shown(id, self.clock.at(self.now)));
        let (mut keys, mut bytes, mut more) = (Vec::new(), 0, false);
        for key in leases.keys_after(id, after) {
            more = keys.len() >= PAGE_ROWS || bytes >= PAGE_BYTES;
            if more {
                break;
            }
            bytes += key.len();
            keys.push(key.to_vec());
        }
        let revision = self.applied();
        let answer: Result<_, Refused> = Ok(Response::Lease(LeaseKeys { lease, keys, more, revision }));
        self.reply(caller, answer);
    }
}

/// Where the entry is that ends leases, until it is applied here.
pub(super) type Expiring = Option<Position>;
