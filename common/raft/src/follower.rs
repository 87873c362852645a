//! A follower: takes a leader's entries, acknowledges what its disk holds, and waits for a silence long enough to
//! stand itself (thesis 3.4, 3.5).
//!
//! What it acknowledges and what it commits is only ever what the message at hand has *verified*: the log up to
//! `previous` and the message's own entries. A tail that an earlier leader left may follow, and is nobody's business
//! until a conflict removes it. Nothing at or below the commit index is ever replaced; a peer that asks for that
//! is refused.

use alloc::vec::Vec;

use crate::{
    candidate::Ballot,
    instruments::{Mark, Mutant, mark, mutant},
    message::{AppendOutcome, Envelope, Message},
    raft::{Next, Refusal},
    reads::Questions,
    shared::Core,
    transfer::RELUCTANCE,
    types::{Entry, Index, NodeId, Position, ReadId},
};

/// A question to the leader is given up after this many attempts.
const MOST_TRIES: u32 = 20;

/// The follower's own state.
#[derive(Debug)]
pub(crate) struct Follower {
    leader: Option<NodeId>,
    elapsed: u32,
    timeout: u32,
    questions: Questions,
}

/// An append, taken apart.
struct Append {
    session: u64,
    round: u64,
    previous: Position,
    entries: Vec<Entry>,
    commit: Index,
}

impl Follower {
    /// Follows `leader`, or nobody yet, with a freshly drawn timeout.
    pub(crate) fn new(leader: Option<NodeId>, core: &mut Core) -> Self {
        let timeout = core.rng.timeout(core.config.election_ticks);
        Self { leader, elapsed: 0, timeout, questions: Questions::default() }
    }

    /// The leader of the present term, once it was heard.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether the leader was heard within the shortest election timeout.
    pub(crate) fn hears_leader(&self, core: &Core) -> bool {
        self.leader.is_some() && self.elapsed < core.config.election_ticks && !mutant(Mutant::LoyalToNobody)
    }

    /// The term's leader speaks. A second one in the same term is not believed; see `step`.
    pub(crate) fn hear(&mut self, leader: NodeId, core: &mut Core) {
        if *self.leader.get_or_insert(leader) == leader && !mutant(Mutant::HeartbeatsGiveNoRest) {
            self.rest(core);
        }
    }

    /// A vote was given: let the candidate win (Figure 2, "Followers").
    pub(crate) fn voted(&mut self, core: &mut Core) {
        self.rest(core);
    }

    fn rest(&mut self, core: &mut Core) {
        self.elapsed = 0;
        self.timeout = core.rng.timeout(core.config.election_ticks);
    }

    /// Time passes; too long a silence ends in a campaign, or where this server does not vote in that it knows of no leader any
    /// more. Alone, there is nobody to wait for.
    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        // Who never stands may wait for longer than there are numbers.
        self.elapsed = self.elapsed.saturating_add(1);
        let patience = if core.reluctant { self.timeout * RELUCTANCE } else { self.timeout };
        let due = self.elapsed >= patience || core.membership().is_alone(core.config.id);
        if due && !core.may_stand() {
            mark(Mark::StaysWithoutVote);
            if self.leader.is_some() {
                return Next::Follow(None);
            }
        } else if due && core.must_not_lead() {
            mark(Mark::StaysWithoutRoom);
            if self.leader.is_some() {
                return Next::Follow(None);
            }
        } else if due && !core.installing {
            let spends = mutant(Mutant::SpendsTermsAtOnce);
            return Next::Campaign(if spends { Ballot::Vote } else { Ballot::PreVote });
        }
        if self.questions.tick(core.config.heartbeat_ticks.max(2)) && !mutant(Mutant::QuestionAskedOnce) {
            if self.questions.tries() >= MOST_TRIES {
                mark(Mark::QuestionGivenUp);
                core.failed.append(&mut self.questions.abandon());
            } else {
                mark(Mark::QuestionAskedAgain);
                self.ask(core);
            }
        }
        Next::Stay
    }

    /// A message of this term.
    pub(crate) fn step(&mut self, core: &mut Core, envelope: Envelope) -> Next {
        if self.leader != Some(envelope.from) {
            if let Message::ReadIndex { id } = envelope.message {
                mark(Mark::QuestionMisdirected);
                core.send(envelope.from, Message::ReadIndexReply { id, index: None });
            }
            return Next::Stay;
        }
        match envelope.message {
            Message::Append { session, previous, entries, commit, round } => {
                append(core, envelope.from, Append { session, round, previous, entries, commit });
            }
            Message::Heartbeat { session, commit, round } => {
                // The leader knows that we match up to `commit`; what is not here cannot have been acknowledged.
                if commit <= core.log.last().index {
                    core.commit_to(commit);
                }
                core.send(envelope.from, Message::HeartbeatReply { session, round });
            }
            Message::ReadIndexReply { id, index } => self.answered(core, id, index),
            Message::TimeoutNow
                if core.installing || core.reluctant || core.must_not_lead() || !core.may_stand() =>
            {
                mark(Mark::LeadershipDeclined);
            }
            Message::TimeoutNow => {
                mark(Mark::LeadershipHanded);
                return Next::Campaign(Ballot::Handed);
            }
            Message::ReadIndex { id } => {
                core.send(envelope.from, Message::ReadIndexReply { id, index: None });
            }
            _ => {}
        }
        Next::Stay
    }

    /// Takes a read for the leader to confirm.
    pub(crate) fn read(&mut self, core: &Core, id: ReadId) -> Result<(), Refusal> {
        if self.leader.is_none() {
            mark(Mark::ReadWithoutLeader);
            return Err(Refusal::NotLeader { hint: None });
        }
        if self.questions.len() + core.ready.len() >= core.config.max_reads {
            mark(Mark::ReadBusyAtFollower);
            return Err(Refusal::Busy);
        }
        self.questions.add(id);
        Ok(())
    }

    /// Asks the leader, when reads wait and no question is under way.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        if self.questions.wants_question() {
            self.ask(core);
        }
    }

    fn ask(&mut self, core: &mut Core) {
        if let Some(leader) = self.leader {
            let id = core.number();
            self.questions.ask(id);
            core.send(leader, Message::ReadIndex { id });
        }
    }

    fn answered(&mut self, core: &mut Core, id: u64, index: Option<Index>) {
        let reads = self.questions.answered(id);
        if let Some(index) = index {
            let index = if mutant(Mutant::FollowerServesAtOnce) { Index(0) } else { index };
            core.ready.extend(reads.into_iter().map(|read| (index, read)));
        } else {
            mark(Mark::QuestionRefused);
            core.failed.extend(reads);
        }
    }

    /// The role ends: reads that no leader confirmed.
    pub(crate) fn abandon(mut self) -> Vec<ReadId> {
        self.questions.abandon()
    }
}

/// Figure 2, `AppendEntries` receiver.
fn append(core: &mut Core, leader: NodeId, mut append: Append) {
    if !is_sound(core, &append) {
        return;
    }
    if core.installing && !mutant(Mutant::AppliesWhileInstalling) {
        mark(Mark::AppendWhileInstalling);
        return;
    }
    if core.is_full() && !append.entries.is_empty() {
        mark(Mark::FollowerFull);
        return;
    }
    if core.disk.without_room && !append.entries.is_empty() {
        mark(Mark::FollowerWithoutRoom);
        return;
    }
    skip_committed(core, &mut append);
    let Append { session, round, previous, entries, commit } = append;
    let here = core.log.term_at(previous.index);
    if here != Some(previous.term) && !(here.is_some() && mutant(Mutant::PreviousUnchecked)) {
        mark(if here.is_some() { Mark::AppendConflicts } else { Mark::AppendLeavesGap });
        let hint = hint(core, previous);
        let outcome = AppendOutcome::Rejected { previous: previous.index, hint };
        return core.send(leader, Message::AppendReply { session, round, outcome });
    }
    let verified = entries.last().map_or(previous, |entry| entry.position).index;
    core.log.splice(entries, core.commit);
    let last = core.log.last().index;
    core.commit_to(commit.min(if mutant(Mutant::CommitsUnverified) { last } else { verified }));
    let matched = if mutant(Mutant::AcknowledgesAll) { last } else { verified };
    let outcome = AppendOutcome::Accepted { matched };
    core.send_after(leader, Message::AppendReply { session, round, outcome }, matched);
}

/// Whether the append could have been sent by an honest leader: contiguous, in order of term, not beyond the present
/// term, and in agreement with what is committed here.
fn is_sound(core: &Core, append: &Append) -> bool {
    let mut last = append.previous;
    if last.index.0 > u64::MAX / 4 {
        return false;
    }
    for entry in &append.entries {
        let at = entry.position;
        if at.index != last.index.next() || at.term < last.term {
            return false;
        }
        last = at;
    }
    let agrees =
        |at: Position| at.index > core.commit || core.log.term_at(at.index).is_none_or(|t| t == at.term);
    last.term <= core.term()
        && agrees(append.previous)
        && append.entries.iter().all(|entry| agrees(entry.position))
}

/// Leaves out what is committed here: it matches (Leader Completeness), and memory may hold it no more.
fn skip_committed(core: &Core, append: &mut Append) {
    let known = append.entries.iter().take_while(|entry| entry.position.index <= core.commit).count();
    append.entries.drain(..known);
    if append.previous.index < core.commit {
        mark(Mark::AppendOfCommitted);
        let verified = Index(append.previous.index.0 + known as u64);
        append.previous = core.log.position_at(verified).unwrap_or_else(|| core.log.base());
    }
}

/// Where the logs might still agree: before `previous`, in a term not above its own; surely at the commit index.
fn hint(core: &Core, previous: Position) -> Position {
    let at = core.log.not_above(previous.index.previous(), previous.term).max(core.commit);
    core.log.position_at(at).unwrap_or_else(|| core.log.base())
}
