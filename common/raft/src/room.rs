//! A server whose disk has no room, or does not answer: what it leaves to others.
//!
//! Nothing here is needed for safety: what is not on a disk is not acknowledged, whoever leads. A leader without room would go on
//! to be followed, though, and with it nobody could write; a server without room that is elected would be such a leader; and
//! what a follower without room took would only pile up in memory. So it leads no more, does not stand, and takes no entries,
//! until the caller says that there is room again. Votes and terms wait for its disk as ever.
//!
//! A leader that gives up so does not hand over as it does by somebody's wish: a successor is told to stand when it has everything
//! and the leader has applied it, and what its own disk lacks this leader cannot apply. An election comes as after any end.
//!
//! Alone in its cluster a server leads on: there is nobody to leave it to.

use crate::{
    instruments::{Mark, mark},
    raft::{Next, Raft, Role},
};

/// What the disk of a server cannot do, as far as the caller said or the leader found.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// It has no room.
    pub(crate) without_room: bool,
    /// For so many ticks term and vote have waited for it.
    pub(crate) waits: u32,
    /// It was silent for so long that leading was given up, until somebody asks.
    pub(crate) hung: bool,
}

impl Raft {
    /// The caller's disk has no room from now on, or has room again. May be said again.
    pub fn set_full(&mut self, full: bool) {
        self.core.disk.without_room = full;
        if !full || self.core.is_alone() {
            return;
        }
        self.observed(|raft| {
            match raft.role {
                Role::Leader(_) => mark(Mark::LeaderWithoutRoom),
                Role::Candidate(_) => mark(Mark::CandidateWithoutRoom),
                Role::Follower(_) => return,
            }
            raft.turn(Next::Follow(None));
        });
    }

    /// Whether this server has given up leading because its own disk was silent, since this was asked last.
    pub fn take_hang(&mut self) -> bool {
        core::mem::take(&mut self.core.disk.hung)
    }
}
