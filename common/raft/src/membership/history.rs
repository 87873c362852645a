//! Which membership is in effect: the latest one in the log, committed or not (thesis 4.1).
//!
//! ```text
//!              known as committed │ not yet
//!        ─────┬───────────────────┼──────┬─────────┬───────  log
//!          first                  │   second      latest     in effect
//! ```
//!
//! A server uses a membership from the moment its entry stands in the log and goes back to the one before when that
//! entry is replaced. So the log keeps the memberships beside its entries: the latest one known as committed, which may
//! also be that of a state, and all that follow it. There are seldom more than two: a leader begins no change before the
//! last one is committed, and whoever has a third in its log only has yet to learn so.

use alloc::{collections::BTreeSet, sync::Arc, vec, vec::Vec};

use super::Membership;
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    types::{Index, NodeId},
};

/// The memberships of a log, in ascending order; there is always one.
#[derive(Clone, Debug)]
pub(crate) struct History(Vec<(Index, Arc<Membership>)>);

impl History {
    /// `membership` is that of a state at `at`.
    pub(crate) fn new(at: Index, membership: Arc<Membership>) -> Self {
        Self(vec![(at, membership)])
    }

    /// The membership in effect, and where it stands: its entry, or the position of the state that has it.
    pub(crate) fn latest(&self) -> (Index, &Arc<Membership>) {
        let list = &self.0;
        let latest = if mutant(Mutant::EffectiveOnCommit) { list.first() } else { list.last() };
        match latest {
            Some((at, membership)) => (*at, membership),
            None => unreachable!("there is always a membership"),
        }
    }

    /// The one before it, while it is not known whether the latest is committed.
    fn previous(&self) -> Option<&Membership> {
        self.0.iter().rev().nth(1).map(|(_, membership)| &**membership)
    }

    /// Whether all of them are committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.0.len() == 1
    }

    /// An entry with a membership was appended.
    pub(crate) fn push(&mut self, at: Index, membership: Arc<Membership>) {
        assert!(
            self.0.last().is_none_or(|(last, _)| *last < at),
            "memberships stand in the order of the log"
        );
        self.0.push((at, membership));
    }

    /// The entries from `from` on were replaced.
    pub(crate) fn truncate(&mut self, from: Index) {
        let undone = self.0.last().is_some_and(|(at, _)| *at >= from);
        if undone && !mutant(Mutant::MembershipNotUndone) {
            mark(Mark::MembershipUndone);
            self.0.retain(|(at, _)| *at < from);
        }
        assert!(!self.0.is_empty(), "what is committed is not replaced");
    }

    /// The log is committed up to `commit`.
    pub(crate) fn commit(&mut self, commit: Index) {
        let settled = self.0.iter().rposition(|(at, _)| *at <= commit).unwrap_or(0);
        self.0.drain(..settled);
    }

    /// Up to `at` a state takes the place of the log, which stays behind it.
    pub(crate) fn rebase(&mut self, at: Index, membership: Arc<Membership>) {
        self.0.retain(|(other, _)| *other > at);
        self.0.insert(0, (at, membership));
    }

    /// Whether `me` may stand for election. Who votes may; and who votes no longer, while that is not committed as far as
    /// it knows: it may be the only one whose log is new enough to win (thesis 4.2.2, Figure 4.6). A learner that never
    /// voted is never needed, for nobody who counts has to have its vote.
    pub(crate) fn may_stand(&self, me: NodeId) -> bool {
        let before = || self.previous().is_some_and(|previous| previous.votes(me));
        let (_, latest) = self.latest();
        latest.votes(me)
            || before() && !mutant(Mutant::RemovedNeverStands)
            || mutant(Mutant::LearnerStands) && latest.role(me).is_some()
    }

    /// Everyone but `me` who is sent the log: the members, and who was one before for as long as it is not committed that
    /// it no longer is.
    pub(crate) fn audience(&self, me: NodeId) -> Vec<NodeId> {
        let (_, latest) = self.latest();
        let before = self.previous().into_iter().flat_map(Membership::all);
        let all: BTreeSet<NodeId> = latest.all().chain(before).filter(|&node| node != me).collect();
        all.into_iter().collect()
    }

    /// What must always hold of a log that ends at `last` and is committed up to `commit`.
    pub(crate) fn check(&self, last: Index, commit: Index) {
        let mut known = self.0.iter().map(|(at, _)| *at);
        assert!(known.next().is_some_and(|at| at <= commit), "one membership is committed");
        assert!(
            known.all(|at| at > commit && at <= last),
            "the others are in the log and not known as committed"
        );
    }
}
