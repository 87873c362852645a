//! A disk without room: what the node does while it is so, and when it tries again.
//!
//! ```text
//!            a write finds no room ──► leads no more, does not stand, takes no entries; reads go on
//!                 ▲                                    │ every election timeout
//!                 └───────── still none ───────── tried again ──► there is room: all is as before
//! ```
//!
//! What found no room waits under the loop (`log_thread`); nothing of it was acknowledged, and nothing is taken back. So an end
//! of it needs nobody: a node that is full is one whose disk is slow, and that knows it.
//!
//! Reads: stale ones are served from what is applied. For a linearizable one this node would wait until it has applied what
//! the leader has committed, which it cannot write; so whoever asks is sent to the leader.
//!
//! A node alone in its cluster goes on to lead, and refuses writes by name.

use protocol::Refused;
use raft::NodeId;

use super::Node;
use crate::{
    event::{Action, Notice},
    instruments::{Mark, Mutant, mark, mutant},
};

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    log: LogRoom,
    /// Whether the state's flush waits for room.
    state: bool,
    /// Since when there is none.
    since_ms: u64,
}

/// Whether the log's writes find room.
#[derive(Default, PartialEq, Eq)]
enum LogRoom {
    #[default]
    Enough,
    /// A write waits for room and is tried again in so many ticks.
    Waits(u32),
    /// It is being tried again.
    Tried,
}

impl Room {
    /// Whether the disk has none.
    pub(super) fn is_full(&self) -> bool {
        self.log_waits() || self.state
    }

    fn log_waits(&self) -> bool {
        self.log != LogRoom::Enough
    }

    /// In words, for people; nothing when all is well.
    pub(super) fn trouble(&self) -> &'static str {
        match (self.log_waits(), self.state) {
            (false, false) => "",
            (true, _) => {
                "disk full: no room for the log; it leaves leading to others and takes no writes until there is"
            }
            (false, true) => {
                "disk full: no room for the state; it leaves leading to others and takes no writes until there is"
            }
        }
    }
}

impl Node {
    /// A write of the log found room, or none.
    pub(super) fn log_full(&mut self, full: bool) {
        let was = self.room.is_full();
        self.room.log = if full { LogRoom::Waits(self.raft.election_ticks()) } else { LogRoom::Enough };
        self.follow_room(was, true);
    }

    /// The state's flush found room, or none.
    pub(super) fn state_full(&mut self, full: bool) {
        let was = self.room.is_full();
        self.room.state = full;
        self.follow_room(was, false);
    }

    fn follow_room(&mut self, was: bool, log: bool) {
        let full = self.room.is_full();
        let led = self.raft.is_leader() && !self.is_alone();
        if !mutant(Mutant::NodeLeadsWithoutRoom) {
            self.raft.set_full(full);
        }
        if full && !was {
            mark(Mark::DiskFull);
            self.room.since_ms = self.now.monotonic_ms;
            self.actions.push(Action::Notice(Notice::Full { led, log }));
        } else if was && !full {
            mark(Mark::DiskHasRoom);
            let after_ms = self.now.monotonic_ms.saturating_sub(self.room.since_ms);
            self.actions.push(Action::Notice(Notice::Room { after_ms }));
        }
    }

    /// A tick has passed for a write that waits for room.
    pub(super) fn tick_room(&mut self) {
        // Said again: it may have been the only voter when it was said, and not be that any more.
        if self.room.is_full() && !mutant(Mutant::NodeLeadsWithoutRoom) {
            self.raft.set_full(true);
        }
        let LogRoom::Waits(left) = &mut self.room.log else { return };
        *left = left.saturating_sub(1);
        if *left == 0 && !mutant(Mutant::NodeStaysFull) {
            self.room.log = LogRoom::Tried;
            self.actions.push(Action::RetryLog);
        }
    }

    /// Says that the disk does not answer, where this was why the node gave up leading.
    pub(super) fn notice_hang(&mut self) {
        if self.raft.take_hang() {
            self.actions.push(Action::Notice(Notice::Hangs));
        }
    }

    /// Whether this node is the only one that votes.
    fn is_alone(&self) -> bool {
        self.raft.membership().is_alone(self.members.me())
    }

    /// Why a write is not taken: this node leads, there is no other, and its disk has no room.
    pub(super) fn refuses_for_room(&self) -> Option<Refused> {
        let refuses = self.room.is_full() && self.raft.is_leader() && !mutant(Mutant::NodeLeadsWithoutRoom);
        refuses.then(|| {
            mark(Mark::WriteWithoutRoom);
            Refused::Unavailable(
                "the disk of this node is full, and there is no other to take writes".to_owned(),
            )
        })
    }

    /// Who serves a linearizable read in place of this node.
    pub(super) fn reads_elsewhere(&self) -> Option<NodeId> {
        let leader = self.standing.leader.filter(|leader| *leader != self.members.me());
        leader.filter(|_| self.room.is_full())
    }
}
