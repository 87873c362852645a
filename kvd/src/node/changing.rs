//! Who is in the cluster, changed by somebody's wish or because a learner has caught up.
//!
//! The core does the work (`common/raft/src/change.rs`); what it cannot know is decided here. A server is promoted once its log
//! has kept up with the leader's for an election timeout: from then on commits may wait for it. A change is refused when too
//! few of the voters that it leaves keep up, for then it would stop the cluster's writes, unless somebody insists. And
//! whoever asked is told when the change is done, which is when the new voters alone have committed it.
//!
//! All of it can be asked again: what is so already is done.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{Intent, MemberChange, MemberEdit, Refused, Response, limits};
use raft::{ChangeRefusal, Edit, Entry, Index, Membership, NodeId, Position, Refusal, RoleName, Status};

use super::{Node, refused};
use crate::{
    event::{Action, Caller},
    instruments::{Mark, Mutant, mark, mutant},
};

/// Most clients that wait for a change.
const MOST_ASKING: usize = 64;
/// For so many times as long a change waits that is unsafe: somebody may just be starting.
const PATIENCE: u32 = 2;

/// See the module.
pub(super) struct Changing {
    caught_up: u64,
    /// Changes that wait until it is known who keeps up.
    wishes: Vec<Wish>,
    asking: Vec<Asking>,
    /// What the list of members was made of.
    known: Option<Known>,
    /// For how many ticks each learner has kept up.
    steady: BTreeMap<NodeId, u32>,
    /// How many clients were sent to a member by this server, which is none.
    referred: usize,
}

impl Default for Changing {
    fn default() -> Self {
        let (wishes, asking, steady) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { caught_up: limits::CAUGHT_UP, wishes, asking, known: None, steady, referred: 0 }
    }
}

/// A change that is to be begun once it has been safe for two election timeouts: who died just before it was asked for is
/// silent by then.
struct Wish {
    caller: Caller,
    edits: Vec<Edit>,
    deadline_ms: u64,
    /// For how many ticks it has waited, and has been safe.
    ticks: u32,
    safe: u32,
}

/// A client that waits for a change.
struct Asking {
    caller: Caller,
    at: Position,
    deadline_ms: u64,
}

/// The membership, how often the book was changed, and how many servers the core sends something.
type Known = (Arc<Membership>, u64, usize);

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
        if self.changing.asking.len() + self.changing.wishes.len() >= MOST_ASKING {
            return self.refuse(caller, Refusal::Busy, "the queue of changes of members");
        }
        let edits: Vec<Edit> = change.edits.iter().copied().map(edit).collect();
        let stranger =
            |edit: &&Edit| matches!(edit, Edit::Add(node) if self.members.address(*node).is_none());
        if let Some(Edit::Add(node)) = edits.iter().find(stranger) {
            mark(Mark::MembersChangeRefused);
            let why = format!("nobody has recorded where server {node} is reached");
            return self.reply(caller, Err(Refused::Invalid(why)));
        }
        if change.force {
            return self.begin_change(caller, &edits, deadline_ms);
        }
        self.changing.wishes.push(Wish { caller, edits, deadline_ms, ticks: 0, safe: 0 });
    }

    /// Begins a change, and says at once where that is done already or refused.
    fn begin_change(&mut self, caller: Caller, edits: &[Edit], deadline_ms: u64) {
        let edits = open(self.raft.membership(), edits);
        let refused = match self.raft.change(&edits) {
            Ok(at) => {
                mark(Mark::MembersChangeAsked);
                return self.changing.asking.push(Asking { caller, at, deadline_ms });
            }
            Err(ChangeRefusal::NothingChanges) => {
                let revision = self.raft.status().membership_at.0;
                return self.reply(caller, Ok(Response::MembersChanged { revision }));
            }
            Err(ChangeRefusal::NotLeader { hint }) => self.redirect(hint),
            Err(ChangeRefusal::Transferring) => self.redirect(None),
            Err(ChangeRefusal::Pending | ChangeRefusal::NotReady) => {
                Refused::Busy { what: "another change of members, or an election".to_owned() }
            }
            Err(
                why @ (ChangeRefusal::NoSuchMember { .. } | ChangeRefusal::NoVoter | ChangeRefusal::TooMany),
            ) => Refused::Invalid(why.to_string()),
        };
        mark(Mark::MembersChangeRefused);
        self.reply(caller, Err(refused));
    }

    /// A tick has passed for changes that wait.
    fn tick_wishes(&mut self) {
        if self.changing.wishes.is_empty() {
            return;
        }
        let status = self.raft.status();
        // Twice the time after which a server counts as silent: what it sent before it died may come after the wish.
        let patience = 2 * self.raft.election_ticks();
        for mut wish in std::mem::take(&mut self.changing.wishes) {
            let target = status.membership.edited(&open(&status.membership, &wish.edits)).ok();
            let same = target.as_ref().is_none_or(|target| *target == *status.membership);
            let danger = target.and_then(|target| self.danger(&status, &target));
            (wish.ticks, wish.safe) = (wish.ticks + 1, if danger.is_none() { wish.safe + 1 } else { 0 });
            if same || wish.safe >= patience || status.role != RoleName::Leader {
                self.begin_change(wish.caller, &wish.edits, wish.deadline_ms);
            } else if let Some(why) = danger.filter(|_| wish.ticks >= patience.saturating_mul(PATIENCE)) {
                mark(Mark::MembersChangeUnsafe);
                self.reply(wish.caller, Err(Refused::Unsafe(why)));
            } else if wish.deadline_ms <= self.now.monotonic_ms {
                mark(Mark::MembersChangeRefused);
                self.reply(wish.caller, Err(too_short()));
            } else {
                self.changing.wishes.push(wish);
            }
        }
    }

    /// Why `target` must not be had now: somebody new votes who has not caught up, or too few of its voters have.
    fn danger(&self, status: &Status, target: &Membership) -> Option<String> {
        let behind = |voter: &&NodeId| !self.has_caught_up(status, **voter);
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

    /// Whether a server answers and its log is durable up to close to what is committed, as far as this leader knows.
    fn has_caught_up(&self, status: &Status, node: NodeId) -> bool {
        let peer = status.progress.iter().find(|(peer, _)| *peer == node).map(|(_, peer)| peer);
        let close = |matched: Index| matched.0.saturating_add(self.changing.caught_up) >= status.commit.0;
        node == status.id
            || peer.is_some_and(|peer| peer.answers && peer.matched.0 > 0 && close(peer.matched))
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
        if self.members.applied(self.state.applied().index) {
            self.changing.known = None;
        }
        let book = self.state.book();
        let now = (book.changes(), status.progress.len());
        let known = self.changing.known.as_ref();
        if known.is_some_and(|known| known.0 == status.membership && (known.1, known.2) == now) {
            return;
        }
        self.changing.known = Some((status.membership.clone(), now.0, now.1));
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

    /// A server that is no member (any more) hears no leader: it sends clients to the members, one after the other.
    pub(super) fn refer(&mut self) -> Option<Refused> {
        let members = self.members.list();
        if members.is_empty() || members.iter().any(|member| member.id == self.members.me().0) {
            return None;
        }
        mark(Mark::Referred);
        let address = members[self.changing.referred % members.len()].address.clone();
        self.changing.referred = self.changing.referred.wrapping_add(1);
        Some(Refused::NotLeader {
            leader: None,
            address: Some(address).filter(|address| !address.is_empty()),
        })
    }

    /// The same node, which takes a server that lacks so many entries for one that has caught up.
    #[must_use]
    pub fn promoting_within(mut self, entries: u64) -> Self {
        self.changing.caught_up = entries;
        self
    }

    /// Whether a change of members waits, or a learner is to be promoted.
    pub fn awaits_members(&self) -> bool {
        let learners = self.raft.membership().learners();
        let willing = |learner: &NodeId| self.state.book().intent(learner.0) != Intent::Hold;
        !self.changing.wishes.is_empty() || learners.iter().any(willing)
    }

    /// Whom this node speaks to.
    pub fn reached(&self) -> Vec<protocol::Member> {
        self.peers(&self.raft.status())
    }

    /// The log takes entries: what they record of servers counts before they are applied.
    pub(super) fn look_for_members(&mut self, entries: &[Entry]) {
        if self.members.look_at(entries) {
            self.changing.known = None;
        }
    }

    /// A tick has passed: perhaps a change is known to be safe, or a learner has caught up for long enough.
    pub(super) fn tick_changing(&mut self) {
        self.tick_wishes();
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
            if !self.has_caught_up(&status, learner) && !mutant(Mutant::PromotesLagging) {
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
        let target = status.membership.edited(&edits).ok();
        let safe = target.is_some_and(|target| self.danger(status, &target).is_none());
        // What stands in the way now may be gone at the next tick.
        if (safe || mutant(Mutant::PromotesLagging)) && self.raft.change(&edits).is_ok() {
            mark(if edits.len() > 1 { Mark::LearnerReplaces } else { Mark::LearnerPromoted });
        }
    }
}

/// Its time was over before it was known whether it is safe.
fn too_short() -> Refused {
    let why = "a change is begun after it has been safe for two election timeouts, which this request had no time for";
    Refused::Unavailable(format!("{why}: give it more (--timeout), or insist (--force)"))
}

/// What is left to be done of these: who has gone already need not be removed.
fn open(membership: &Membership, edits: &[Edit]) -> Vec<Edit> {
    let gone = |edit: &&Edit| matches!(edit, Edit::Remove(node) if membership.role(*node).is_none());
    edits.iter().filter(|edit| !gone(edit)).copied().collect()
}

fn edit(edit: MemberEdit) -> Edit {
    match edit {
        MemberEdit::Add(id) => Edit::Add(NodeId(id)),
        MemberEdit::Promote(id) => Edit::Promote(NodeId(id)),
        MemberEdit::Demote(id) => Edit::Demote(NodeId(id)),
        MemberEdit::Remove(id) => Edit::Remove(NodeId(id)),
    }
}
