//! What must hold of a server at all times, and between one step and the next: checked around every step in debug
//! builds, tests and the simulator, absent in release builds.
//!
//! These are this server's own promises; what only several servers together can break (one leader a term, matching
//! logs) is for the simulator to watch.

use crate::{
    raft::{Raft, Role},
    types::{HardState, Index, Position},
};

/// What a step may only move forward.
#[derive(Debug)]
pub(crate) struct Before(Option<Moment>);

#[derive(Debug)]
struct Moment {
    hard: HardState,
    commit: Index,
    applied: Index,
    applying: Index,
    leads: bool,
    last: Position,
}

impl Before {
    /// A server before a step.
    pub(crate) fn of(raft: &Raft) -> Self {
        Self(cfg!(any(debug_assertions, feature = "simulated")).then(|| Moment {
            hard: raft.core.outbox.hard(),
            commit: raft.core.commit,
            applied: raft.core.applied,
            applying: raft.core.applying,
            leads: matches!(raft.role, Role::Leader(_)),
            last: raft.core.log.last(),
        }))
    }

    /// The same server after it.
    pub(crate) fn check(&self, raft: &Raft) {
        if let Some(before) = &self.0 {
            before.check(raft);
            check(raft);
        }
    }
}

impl Moment {
    fn check(&self, raft: &Raft) {
        let (core, hard) = (&raft.core, raft.core.outbox.hard());
        assert!(hard.term >= self.hard.term, "terms never fall");
        let same_term = hard.term == self.hard.term;
        assert!(!same_term || self.hard.vote.is_none() || hard.vote == self.hard.vote, "one vote a term");
        assert!(core.commit >= self.commit, "what is committed stays committed");
        assert!(core.applied >= self.applied && core.applying >= self.applying, "nothing is applied twice");
        assert!(core.log.last().index >= self.commit, "what is committed stays in the log");
        let led = self.leads && same_term;
        assert!(!led || core.log.last().index >= self.last.index, "a leader only appends (Figure 3.2)");
    }
}

/// What holds at any moment.
fn check(raft: &Raft) {
    let (core, log) = (&raft.core, &raft.core.log);
    assert!(log.persisted() <= log.handed() && log.handed() <= log.last().index, "persisted ≤ handed ≤ last");
    assert!(log.base().index <= core.applied, "only what was applied leaves memory");
    assert!(core.applied <= core.applying, "only what was given was applied");
    assert!(core.applying <= core.commit, "only what is committed is applied");
    assert!(core.applying <= log.persisted(), "only what is durable here is applied here");
    assert!(core.commit <= log.last().index, "what is committed here is here");
    assert!(log.last().term <= core.term(), "no entry is of a later term");
    assert!(core.ready.len() <= core.config.max_reads, "reads are bounded");
    log.memberships().check(log.last().index, core.commit);
    if let Role::Leader(leader) = &raft.role {
        let mut others = core.membership().all().filter(|&node| node != core.config.id);
        assert!(others.all(|node| leader.peers.contains_key(&node)), "every member is sent the log");
        assert_eq!(core.outbox.hard().vote, Some(core.config.id), "a leader voted for itself");
        assert_eq!(
            leader.uncommitted,
            log.bytes_between(core.commit, log.last().index),
            "bytes not committed"
        );
        for peer in leader.peers.values() {
            peer.check(log.last());
        }
    }
}
