//! Who is in the cluster, changed by somebody's wish or because a learner has caught up.
//!
//! The core does the work (`common/raft/src/change.rs`); what it cannot know is decided here. A server is promoted once its log
//! has kept up with the leader's for an election timeout: from then on commits may wait for it. A change is refused when too
//! few of the voters that it leaves keep up, for then it would stop the cluster's writes, unless somebody insists. And
//! whoever asked is told when the change is done, which is when the new voters alone have committed it.
//!
//! All of it can be asked again: what is so already is done.

use std::collections::BTreeMap;

use protocol::{Intent, MemberChange, MemberEdit, Refused, Response};
use raft::{ChangeRefusal, Edit, Index, Membership, NodeId, Position, Refusal, RoleName, Status};

use super::{Node, refused};
use crate::{
    event::{Action, Caller},
    instruments::{Mark, Mutant, mark, mutant},
};

/// A server whose log ends so many entries before what is committed has caught up: under load the newest are on their way.
pub(crate) const CAUGHT_UP: u64 = 1024;
/// Most clients that wait for a change.
const MOST_ASKING: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Changing {
    asking: Vec<Asking>,
    /// What the list of members was made of.
    known: Option<Known>,
    /// For how many ticks each learner has kept up.
    steady: BTreeMap<NodeId, u32>,
}

/// A client that waits for a change.
struct Asking {
    caller: Caller,
    at: Position,
    deadline_ms: u64,
}

/// The membership's place, how often the book was changed, and how many servers the core sends something.
type Known = (Index, u64, usize);

impl Node {
    /// A client wants the members changed.
    pub(super) fn change_members(&mut self, caller: Caller, change: &MemberChange, deadline_ms: u64) {
        if let Err(error) = change.check() {
            mark(Mark::RequestInvalid);
            return self.reply(caller, Err(refused(&error)));
        }
        if !self.raft.is_leader() {
            let refused = self.not_leader();
            return self.reply(caller, Err(refused));
        }
        if self.changing.asking.len() >= MOST_ASKING {
            return self.refuse(caller, Refusal::Busy, "the queue of changes of members");
        }
        let edits: Vec<Edit> = change.edits.iter().copied().map(edit).collect();
        match self.begin_change(&edits, change.force) {
            Ok(at) => {
                mark(Mark::MembersChangeAsked);
                self.changing.asking.push(Asking { caller, at, deadline_ms });
            }
            Err(Ok(revision)) => self.reply(caller, Ok(Response::MembersChanged { revision })),
            Err(Err(refused)) => {
                mark(Mark::MembersChangeRefused);
                self.reply(caller, Err(refused));
            }
        }
    }

    /// Begins a change. The error is where it stands that all is so already, or why it was not begun.
    fn begin_change(&mut self, edits: &[Edit], force: bool) -> Result<Position, Result<u64, Refused>> {
        let status = self.raft.status();
        for edit in edits {
            if let Edit::Add(node) = edit
                && self.members.address(*node).is_none()
            {
                let why = format!("nobody has recorded where server {node} is reached");
                return Err(Err(Refused::Invalid(why)));
            }
        }
        if let Ok(target) = status.membership.edited(edits)
            && !force
            && let Some(why) = self.danger(&status, &target)
        {
            mark(Mark::MembersChangeUnsafe);
            return Err(Err(Refused::Unsafe(why)));
        }
        self.raft.change(edits).map_err(|refusal| match refusal {
            ChangeRefusal::NothingChanges => Ok(status.membership_at.0),
            ChangeRefusal::NotLeader { hint } => Err(self.redirect(hint)),
            ChangeRefusal::Transferring => Err(self.redirect(None)),
            ChangeRefusal::Pending | ChangeRefusal::NotReady => {
                Err(Refused::Busy { what: "another change of members, or an election".to_owned() })
            }
            ChangeRefusal::NoSuchMember { .. } | ChangeRefusal::NoVoter | ChangeRefusal::TooMany => {
                Err(Refused::Invalid(refusal.to_string()))
            }
        })
    }

    /// Why `target` must not be had now: somebody new votes who has not caught up, or too few of its voters have.
    fn danger(&self, status: &Status, target: &Membership) -> Option<String> {
        let behind = |voter: &&NodeId| !has_caught_up(status, **voter);
        let new = |voter: &&NodeId| !status.membership.voters().contains(voter);
        let voters = target.voters();
        if let Some(late) = voters.iter().filter(new).find(behind) {
            let name = self.members.name(*late);
            return Some(format!("{name} has not caught up: writes would wait for it"));
        }
        let (late, needed) = (voters.iter().filter(behind).count(), voters.len() / 2 + 1);
        let left = voters.len() - late;
        let why = || {
            let names: Vec<_> = voters.iter().filter(behind).map(|voter| self.members.name(*voter)).collect();
            let (all, names) = (voters.len(), names.join(", "));
            format!("of {all} voters only {left} would keep up and {needed} are needed: {names} do not")
        };
        (left < needed).then(why)
    }

    /// Tells those who wait what came of a change.
    pub(super) fn tell_of_changes(&mut self) {
        if self.changing.asking.is_empty() {
            return;
        }
        let status = self.raft.status();
        let settled = status.membership_committed && !status.membership.is_joint();
        for asking in std::mem::take(&mut self.changing.asking) {
            let leads = status.role == RoleName::Leader && status.term == asking.at.term;
            let done = leads && settled && status.membership_at >= asking.at.index;
            if done {
                mark(Mark::MembersChangeDone);
                let revision = status.membership_at.0;
                self.reply(asking.caller, Ok(Response::MembersChanged { revision }));
            } else if !leads || asking.deadline_ms <= self.now.monotonic_ms {
                mark(Mark::MembersChangeLost);
                self.reply(asking.caller, Err(Refused::Lost));
            } else {
                self.changing.asking.push(asking);
            }
        }
    }

    /// The list of members follows the membership in effect and what is recorded.
    pub(super) fn follow_members(&mut self, status: &Status) {
        let book = self.state.book();
        let known: Known = (status.membership_at, book.changes(), status.progress.len());
        if self.changing.known.replace(known) == Some(known) {
            return;
        }
        let before = (self.members.clone(), self.peers(status));
        self.members.follow(&status.membership, book.records());
        let peers = self.peers(status);
        if before != (self.members.clone(), peers.clone()) {
            self.actions.push(Action::Members { members: Box::new(self.members.clone()), peers });
        }
    }

    fn peers(&self, status: &Status) -> Vec<protocol::Member> {
        self.members.peers(status.progress.iter().map(|(peer, _)| *peer))
    }

    /// Whom this node speaks to.
    pub fn reached(&self) -> Vec<protocol::Member> {
        self.peers(&self.raft.status())
    }

    /// A tick has passed: perhaps a learner has caught up for long enough.
    pub(super) fn tick_changing(&mut self) {
        if !self.raft.is_leader() {
            self.changing.steady.clear();
            return;
        }
        if self.raft.membership().learners().is_empty() {
            return;
        }
        let status = self.raft.status();
        let learners = status.membership.learners().iter().copied();
        let intents = learners.map(|learner| (learner, self.state.book().intent(learner.0)));
        let willing: Vec<_> = intents.filter(|(_, intent)| *intent != Intent::Hold).collect();
        self.changing.steady.retain(|learner, _| willing.iter().any(|(willing, _)| willing == learner));
        for (learner, intent) in willing {
            if !has_caught_up(&status, learner) && !mutant(Mutant::PromotesLagging) {
                mark(Mark::LearnerBehind);
                self.changing.steady.insert(learner, 0);
                continue;
            }
            let ticks = self.changing.steady.entry(learner).or_default();
            *ticks = ticks.saturating_add(1);
            if *ticks >= self.raft.election_ticks() || mutant(Mutant::PromotesLagging) {
                self.promote(&status, learner, intent);
            }
        }
    }

    fn promote(&mut self, status: &Status, learner: NodeId, intent: Intent) {
        let mut edits = vec![Edit::Promote(learner)];
        if let Intent::Replace(old) = intent
            && status.membership.role(NodeId(old)).is_some()
        {
            edits.push(Edit::Remove(NodeId(old)));
        }
        // What stands in the way now is asked again at the next tick.
        if self.begin_change(&edits, mutant(Mutant::PromotesLagging)).is_ok() {
            mark(if edits.len() > 1 { Mark::LearnerReplaces } else { Mark::LearnerPromoted });
        }
    }
}

/// Whether a server answers and its log is durable up to close to what is committed, as far as this leader knows.
fn has_caught_up(status: &Status, node: NodeId) -> bool {
    let peer = status.progress.iter().find(|(peer, _)| *peer == node).map(|(_, peer)| peer);
    let close = |matched: Index| matched.0.saturating_add(CAUGHT_UP) >= status.commit.0;
    node == status.id || peer.is_some_and(|peer| peer.answers && close(peer.matched))
}

fn edit(edit: MemberEdit) -> Edit {
    match edit {
        MemberEdit::Add(id) => Edit::Add(NodeId(id)),
        MemberEdit::Promote(id) => Edit::Promote(NodeId(id)),
        MemberEdit::Demote(id) => Edit::Demote(NodeId(id)),
        MemberEdit::Remove(id) => Edit::Remove(NodeId(id)),
    }
}
