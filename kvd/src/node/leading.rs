//! Leadership by somebody's wish: handed over, left to others, given up because the process is about to end.
//!
//! The core does the work (`common/raft/src/transfer.rs`). Here is who is told what came of it: a client hears that
//! another server leads, or that this one leads on; nobody waits beyond their deadline.

use raft::{NodeId, Refusal, RoleName, Term};

use protocol::{Refused, Response};

use super::Node;
use crate::{
    event::Caller,
    instruments::{Mark, mark},
};

/// Most clients that wait for a hand-over.
const MOST_ASKING: usize = 64;
/// A process that is about to end waits for so many ticks to hear of its successor, after it has handed over.
const FAREWELL_TICKS: u32 = 30;

/// See the module.
#[derive(Default)]
pub(super) struct Leading {
    asking: Vec<Asking>,
    /// Whether leading is left to others.
    reluctant: bool,
    /// While the process is about to end: how many ticks it still waits once it does not lead.
    farewell: Option<u32>,
}

/// A client that waits for another server to lead.
struct Asking {
    caller: Caller,
    /// The term in which it asked.
    term: Term,
    /// To whom.
    to: NodeId,
    /// Whether this server is to leave leading to others from now on.
    drains: bool,
    deadline_ms: u64,
}

impl Leading {
    /// Whether leading is left to others.
    pub(super) fn is_reluctant(&self) -> bool {
        self.reluctant
    }
}

impl Node {
    /// A client wants another server to lead.
    pub(super) fn transfer(&mut self, caller: Caller, to: Option<u64>, deadline_ms: u64) {
        let to = to.map(NodeId);
        if to.is_some_and(|to| self.members.address(to).is_none()) {
            mark(Mark::RequestInvalid);
            return self.reply(caller, Err(Refused::Invalid("no server of the cluster has this id".into())));
        }
        if to == Some(self.members.me()) && self.standing.role == RoleName::Leader {
            return self.say_who_leads(caller);
        }
        match self.raft.transfer(to) {
            Ok(to) => self.await_leader(Asking { caller, term: self.term(), to, drains: false, deadline_ms }),
            Err(refusal) => self.refuse(caller, refusal, "the queue of hand-overs"),
        }
    }

    /// A client wants this server to leave leading to others, or not to any more.
    pub(super) fn drain(&mut self, caller: Caller, undo: bool, deadline_ms: u64) {
        self.be_reluctant(!undo);
        if undo || self.standing.role != RoleName::Leader {
            return self.say_who_leads(caller);
        }
        match self.raft.transfer(None) {
            Ok(to) => self.await_leader(Asking { caller, term: self.term(), to, drains: true, deadline_ms }),
            Err(refusal) => {
                // It leads on, so it is as willing as before.
                self.be_reluctant(false);
                self.refuse(caller, refusal, "the queue of hand-overs");
            }
        }
    }

    /// The process is about to end: another server should lead by then.
    pub(super) fn leave(&mut self) {
        self.be_reluctant(true);
        let hands_over = matches!(self.raft.transfer(None), Ok(_) | Err(Refusal::Transferring));
        if hands_over {
            mark(Mark::LeaderLeaves);
        }
        self.leading.farewell = Some(if hands_over { FAREWELL_TICKS } else { 0 });
    }

    /// Whether a process that is about to end has nothing more to wait for.
    pub fn has_left(&self) -> bool {
        let status = self.raft.status();
        let another = status.leader.is_some_and(|leader| leader != status.id);
        status.transferring.is_none()
            && (self.leading.farewell == Some(0) || status.role == RoleName::Leader || another)
    }

    fn be_reluctant(&mut self, reluctant: bool) {
        self.leading.reluctant = reluctant;
        self.raft.set_reluctant(reluctant);
    }

    fn term(&self) -> Term {
        self.raft.status().term
    }

    fn await_leader(&mut self, asking: Asking) {
        if self.leading.asking.len() >= MOST_ASKING {
            return self.refuse(asking.caller, Refusal::Busy, "the queue of hand-overs");
        }
        self.leading.asking.push(asking);
    }

    fn say_who_leads(&mut self, caller: Caller) {
        let status = self.raft.status();
        let leader = status.leader.map(|leader| leader.0);
        self.reply(caller, Ok(Response::Leads { leader, term: status.term.0 }));
    }

    /// Tells those who wait what came of a hand-over.
    pub(super) fn tell_of_hand_overs(&mut self) {
        if self.leading.asking.is_empty() {
            return;
        }
        let status = self.raft.status();
        for asking in std::mem::take(&mut self.leading.asking) {
            let another = status.leader.is_some_and(|leader| leader != status.id);
            if status.term > asking.term && another {
                self.say_who_leads(asking.caller);
            } else if status.role == RoleName::Leader && status.transferring.is_none() {
                mark(Mark::LeadsOn);
                if asking.drains {
                    self.be_reluctant(false);
                }
                let (to, me) = (self.members.name(asking.to), self.members.name(status.id));
                let why = format!("{to} did not take over within an election timeout; {me} leads on");
                self.reply(asking.caller, Err(Refused::Unavailable(why)));
            } else if asking.deadline_ms <= self.now.monotonic_ms {
                self.reply(asking.caller, Err(Refused::NoQuorum));
            } else {
                self.leading.asking.push(asking);
            }
        }
    }

    /// A tick has passed for a process that is about to end.
    pub(super) fn tick_farewell(&mut self) {
        if self.standing.role != RoleName::Leader
            && let Some(left) = &mut self.leading.farewell
        {
            *left = left.saturating_sub(1);
        }
    }
}
