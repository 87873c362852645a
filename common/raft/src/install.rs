//! A state takes the place of the log's beginning (thesis 5, Figure 5.3, `InstallSnapshot`).
//!
//! The bytes are the caller's: it received them from whoever leads or led, and holds them whole and checked. A state at a
//! committed position is true whoever sent it and whenever, for what is committed never changes; so there is no term to
//! compare, only the question whether it helps. It takes three steps:
//!
//! ```text
//!   accepts_snapshot(at) ──► the caller makes it current, durably ──► snapshot_installed(at)
//!          │ nothing is applied, appended, committed or campaigned for meanwhile │
//! ```
//!
//! Then, as Figure 5.3 has it: if the log holds the entry at the state's position, it stays, with all that follows; if
//! not, it goes as a whole and begins anew there. Either way everything up to the position is committed and applied.
//! The membership of the state takes the place of all up to the position, and where the log goes, of all after it too.
//! What was acknowledged stays true: entries that were acknowledged to a leader of this term agree with the state.

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    membership::Membership,
    raft::{IMPOSSIBLE, Raft, Role},
    shared::{Core, founded},
    types::Position,
};

impl Raft {
    /// Whether a whole state whose last entry is at `at` may be made current. If so, nothing is applied before
    /// [`Raft::snapshot_installed`].
    ///
    /// Not so when it brings nothing new, while another one is made current, and for a server that campaigns or leads,
    /// which has no use for it. Nor before the present term is on disk: a restart would find a state of a term that this
    /// server never entered.
    pub fn accepts_snapshot(&mut self, at: Position) -> bool {
        let core = &mut self.core;
        let old = at.index <= core.commit && !mutant(Mutant::OldSnapshotTaken);
        let known = core.outbox.hard_is_durable() || mutant(Mutant::SnapshotBeforeTerm);
        let impossible = at.term > core.term() || !known || at.index.0 >= IMPOSSIBLE;
        let refusal = if old {
            Mark::SnapshotOld
        } else if impossible || core.installing || !matches!(self.role, Role::Follower(_)) {
            Mark::SnapshotRefused
        } else {
            core.installing = true;
            return true;
        };
        mark(refusal);
        false
    }

    /// The state at `at`, which was accepted, is current and durable. `membership` is the one that it has, as in
    /// [`Restored::membership`](crate::Restored::membership).
    pub fn snapshot_installed(&mut self, at: Position, membership: Option<Membership>) {
        self.observed(|raft| raft.core.install(at, membership));
    }
}

impl Core {
    fn install(&mut self, at: Position, membership: Option<Membership>) {
        assert!(self.installing, "a state is made current after it was accepted");
        assert!(at.index > self.commit || mutant(Mutant::OldSnapshotTaken), "an accepted state is newer");
        self.installing = false;
        let membership = founded(&self.config, membership);
        if self.log.term_at(at.index) == Some(at.term) || mutant(Mutant::SnapshotKeepsLog) {
            mark(Mark::SnapshotMatchesLog);
            self.log.proven(at.index, membership);
        } else {
            mark(Mark::SnapshotDropsLog);
            let term = if mutant(Mutant::SnapshotTermForgotten) { crate::Term(0) } else { at.term };
            self.log.restart(Position { term, ..at }, membership);
            self.outbox.forget_above(at.index);
            self.restart = Some(at);
        }
        (self.commit, self.applying, self.applied) = (at.index, at.index, at.index);
        self.log.committed(self.commit);
        self.log.evict(self.applied, self.config.cache_bytes);
    }
}
