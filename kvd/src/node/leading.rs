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

/// See the module.
#[derive(Default)]
pub(super) struct Leading {
    asking: Vec<Asking>,
    /// Whether leading is left to others.
    reluctant: bool,
    /// What that was before the drain that is under way, and is again if this server leads on.
    before_drain: Option<bool>,
    /// While the process is about to end.
    farewell: Option<Farewell>,
    /// Writes that came while leadership was handed over.
    held: Vec<Held>,
    held_bytes: usize,
    /// Whether leadership is handed over, or was and the successor was not heard yet.
    handing: bool,
    /// How many ticks have passed since then.
    leaderless: u32,
}

/// What a process that is about to end waits for.
struct Farewell {
    /// So many more attempts to hand over.
    tries: u32,
    /// So many ticks to hear of a successor, once it does not lead.
    ticks: u32,
}

/// A write that nobody has proposed.
struct Held {
    caller: Caller,
    request: RequestId,
    operation: Operation,
    deadline_ms: u64,
}

/// A hand-over whose end somebody waits for.
struct Asking {
    /// The client, while it waits.
    caller: Option<Caller>,
    /// The term in which it asked.
    term: Term,
    /// To whom.
    to: NodeId,
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
        if self.leading.farewell.is_some() {
            return self.reply(caller, Err(about_to_stop()));
        }
        let to = to.map(NodeId);
        if to.is_some_and(|to| self.members.address(to).is_none()) {
            mark(Mark::RequestInvalid);
            return self.reply(caller, Err(Refused::Invalid("no server of the cluster has this id".into())));
        }
        if to == Some(self.members.me()) && self.raft.is_leader() {
            return self.say_who_leads(caller);
        }
        self.hand_over_for(caller, to, deadline_ms);
    }

    /// Hands over, or joins the hand-over that is under way.
    fn hand_over_for(&mut self, caller: Caller, to: Option<NodeId>, deadline_ms: u64) {
        if self.leading.asking.len() >= MOST_ASKING {
            return self.refuse(caller, Refusal::Busy, "the queue of hand-overs");
        }
        let under_way =
            self.raft.status().transferring.filter(|under_way| to.is_none_or(|to| to == *under_way));
        match under_way.map_or_else(|| self.raft.transfer(to), Ok) {
            Ok(to) => {
                let term = self.raft.status().term;
                self.leading.asking.push(Asking { caller: Some(caller), term, to, deadline_ms });
            }
            Err(Refusal::Transferring) => {
                let what = "the hand-over to another server, which is under way".to_owned();
                self.reply(caller, Err(Refused::Busy { what }));
            }
            Err(refusal) => self.refuse(caller, refusal, "the queue of hand-overs"),
        }
    }

    /// A client wants this server to leave leading to others, or not to any more.
    pub(super) fn drain(&mut self, caller: Caller, undo: bool, deadline_ms: u64) {
        if self.leading.farewell.is_some() {
            return self.reply(caller, Err(about_to_stop()));
        }
        if undo || !self.raft.is_leader() {
            self.leading.before_drain = None;
            self.be_reluctant(!undo);
            return self.say_who_leads(caller);
        }
        self.hand_over_for(caller, None, deadline_ms);
        // Where nobody can take over it leads on, as willing as it was.
        if self.raft.is_transferring() {
            self.leading.before_drain.get_or_insert(self.leading.reluctant);
            self.be_reluctant(true);
        }
    }

    /// The process is about to end: another server should lead by then.
    pub(super) fn leave(&mut self) {
        self.leading.before_drain = None;
        self.be_reluctant(true);
        let hands_over = matches!(self.raft.transfer(None), Ok(_) | Err(Refusal::Transferring));
        if hands_over {
            mark(Mark::LeaderLeaves);
        }
        // Its successor is elected and heard within an election timeout and a half, or something else is wrong.
        let ticks = self.raft.election_ticks().saturating_mul(3) / 2;
        let (tries, ticks) = if hands_over { (1, ticks) } else { (0, 0) };
        self.leading.farewell = Some(Farewell { tries, ticks });
    }

    /// Whether a process that is about to end has nothing more to wait for.
    pub fn has_left(&self) -> bool {
        let Some(Farewell { tries, ticks }) = self.leading.farewell else { return false };
        let status = self.raft.status();
        let another = status.leader.is_some_and(|leader| leader != status.id);
        let leads_on = status.role == RoleName::Leader && tries == 0;
        status.transferring.is_none()
            && (leads_on || another || status.role != RoleName::Leader && ticks == 0)
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
        // Once leadership is gone, a successor that is not heard within an election timeout was not elected.
        let soon = self.leading.leaderless < self.raft.election_ticks();
        self.leading.handing = !leads_on && another.is_none() && soon;
        if self.leading.handing {
            return;
        }
        self.leading.held_bytes = 0;
        for Held { caller, request, operation, deadline_ms } in std::mem::take(&mut self.leading.held) {
            if leads_on && self.leading.farewell.is_none() {
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
        let another = status.leader.is_some_and(|leader| leader != status.id);
        let leads_on = status.role == RoleName::Leader && status.transferring.is_none();
        if let Some(before) = self.leading.before_drain.take_if(|_| leads_on || another) {
            self.be_reluctant(before || another);
        }
        for mut asking in std::mem::take(&mut self.leading.asking) {
            if status.term > asking.term && another {
                if let Some(caller) = asking.caller {
                    self.say_who_leads(caller);
                }
            } else if leads_on {
                mark(Mark::LeadsOn);
                if let Some(caller) = asking.caller {
                    let (to, me) = (self.members.name(asking.to), self.members.name(status.id));
                    let why = format!("{to} did not take over within an election timeout; {me} leads on");
                    self.reply(caller, Err(Refused::Unavailable(why)));
                }
            } else {
                // Whoever has waited for too long hears that nobody knows, and the hand-over goes on.
                let late = asking.deadline_ms <= self.now.monotonic_ms;
                if let Some(caller) = asking.caller.take_if(|_| late) {
                    self.reply(caller, Err(Refused::Lost));
                }
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
        let (leads, transferring) = (self.raft.is_leader(), self.raft.is_transferring());
        let Some(farewell) = &mut self.leading.farewell else { return };
        if !leads {
            farewell.ticks = farewell.ticks.saturating_sub(1);
        } else if !transferring && farewell.tries > 0 {
            farewell.tries -= 1;
            let _ = self.raft.transfer(None);
        }
    }
}

fn about_to_stop() -> Refused {
    Refused::Unavailable("this node is about to stop".to_owned())
}
