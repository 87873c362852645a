//! Leadership by somebody's wish: handed over, left to others, given up because the process is about to end.
//!
//! The core does the work (`common/raft/src/transfer.rs`). Here is who is told what came of it: a client hears that
//! another server leads, or that this one leads on; nobody waits beyond their deadline. Writes that come meanwhile, which
//! the core does not take, are held until it is known who leads: then they are proposed here, or sent on to there.

use protocol::{Operation, Refused, RequestId, Response};
use raft::{NodeId, Refusal, RoleName, Term};

use super::Node;
use crate::{
    event::Caller,
    instruments::{Mark, mark},
};

/// Most clients that wait for a hand-over.
const MOST_ASKING: usize = 64;
/// Most writes that are held, and most of their bytes; the clients of more look for the next leader themselves.
const MOST_HELD: usize = 4096;
const MOST_HELD_BYTES: usize = 16 << 20;
/// Once leadership is gone, a write is held for so many ticks while nobody is heard to lead.
const LEADERLESS_TICKS: u32 = 20;
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
    /// Writes that came while leadership was handed over.
    held: Vec<Held>,
    held_bytes: usize,
    /// Whether leadership is handed over, or was and the successor was not heard yet.
    handing: bool,
    /// How many ticks have passed since then.
    leaderless: u32,
}

/// A write that nobody has proposed.
struct Held {
    caller: Caller,
    request: RequestId,
    operation: Operation,
    deadline_ms: u64,
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

    /// A write came while leadership is handed over.
    pub(super) fn hold(
        &mut self,
        caller: Caller,
        request: RequestId,
        operation: Operation,
        deadline_ms: u64,
    ) {
        let bytes = self.leading.held_bytes.saturating_add(operation.to_bytes().len());
        if self.leading.held.len() >= MOST_HELD || bytes > MOST_HELD_BYTES {
            return self.refuse(caller, Refusal::Transferring, "");
        }
        mark(Mark::WriteHeld);
        self.leading.held_bytes = bytes;
        self.leading.held.push(Held { caller, request, operation, deadline_ms });
    }

    /// Whether writes that come now are held.
    pub(super) fn holds(&self) -> bool {
        self.leading.handing || self.raft.is_transferring()
    }

    /// Lets writes go on that were held, once it is known where to.
    pub(super) fn release(&mut self) {
        if !self.holds() {
            return;
        }
        let status = self.raft.status();
        let another = status.leader.filter(|leader| *leader != status.id);
        let leads_on = status.role == RoleName::Leader && status.transferring.is_none();
        self.leading.handing = !leads_on && another.is_none() && self.leading.leaderless < LEADERLESS_TICKS;
        if self.leading.handing {
            return;
        }
        self.leading.held_bytes = 0;
        for Held { caller, request, operation, deadline_ms } in std::mem::take(&mut self.leading.held) {
            if leads_on {
                self.write(caller, request, operation, deadline_ms);
            } else {
                let refused = self.redirect(another);
                self.reply(caller, Err(refused));
            }
        }
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

    /// A tick has passed for writes that are held, and for a process that is about to end.
    pub(super) fn tick_leading(&mut self) {
        let open = self.leading.handing && self.standing.role != RoleName::Leader;
        self.leading.leaderless = if open { self.leading.leaderless + 1 } else { 0 };
        let now = self.now.monotonic_ms;
        let late: Vec<Held> = self.leading.held.extract_if(.., |held| held.deadline_ms <= now).collect();
        for held in late {
            mark(Mark::WriteExpired);
            self.reply(held.caller, Err(Refused::NoQuorum));
        }
        if self.standing.role != RoleName::Leader
            && let Some(left) = &mut self.leading.farewell
        {
            *left = left.saturating_sub(1);
        }
    }
}
