//! A leader: replicates its log, commits by counting, confirms reads, and gives up when it hears no majority
//! (thesis 3.5, 3.6.2, 6.2, 6.4, 10.2.1).
//!
//! It begins its term with an empty entry, for only an entry of its own term may be committed by counting (3.6.2);
//! everything before follows from that. Appends leave while its own disk still works; it counts itself only as far
//! as its disk holds the log. Proposals and reads are gathered and leave with the next `effects`, so that many become
//! one write, one append a follower, one round.
//!
//! What followers lack is sent from `replication`, changes of members are made in `change`, and leadership is handed over in
//! `transfer`.
//!
//! A heartbeat says that it leads and nothing about the log: its answer acknowledges a round, never entries.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    message::{AppendOutcome, Envelope, Message},
    progress::Progress,
    raft::{Next, Refusal},
    reads::{Asker, Rounds},
    shared::Core,
    status::PeerStatus,
    transfer::Transfer,
    types::{Entry, Index, NodeId, Payload, Position, ReadId},
};

mod replication;

/// The leader's own state.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    reads: Rounds,
    /// Bytes above the commit index.
    pub(crate) uncommitted: usize,
    since_heartbeat: u32,
    /// Apart from heartbeats: where reads come all the time, their rounds take the place of those.
    since_retry: u32,
    since_check: u32,
    /// Ticks for which the own disk has completed nothing of what it was given or asked, how far it was then, and whether
    /// it has answered since.
    disk_silent: u32,
    durable: Index,
    disk_answered: bool,
    pub(crate) transfer: Option<Transfer>,
    /// Who did not take over when it was to, last.
    pub(crate) declined: Option<NodeId>,
    /// Who is no member any more and yet to learn so, and for how many ticks more it is tried.
    pub(crate) leaving: Vec<NodeId>,
    pub(crate) farewell: u32,
    /// Whether this leader, which votes no more, has offered to hand over.
    pub(crate) offered: bool,
}

/// A leader whose own disk is silent for so many of the shortest election timeouts gives up: followers would go on committing
/// for it, and it could apply and answer nothing. It is the longest time that any follower waits for a leader that is
/// silent itself: a disk is not given more than a leader.
const DISK_TIMEOUTS: u32 = 2;

impl Leader {
    /// Begins to lead the present term: new sessions, and the term's first entry.
    pub(crate) fn new(core: &mut Core) -> Self {
        let last = core.log.last().index;
        let audience = core.log.memberships().audience(core.config.id);
        let leaving =
            audience.iter().copied().filter(|&peer| core.membership().role(peer).is_none()).collect();
        let peers = audience.into_iter().map(|peer| (peer, Progress::new(core.number(), last))).collect();
        let uncommitted = core.log.bytes_between(core.commit, last);
        let reads = Rounds::new(core.rng.numbering());
        let (since_heartbeat, since_retry, since_check, disk_silent) = (0, 0, 0, 0);
        let durable = core.log.persisted();
        let mut leader = Self {
            peers,
            reads,
            uncommitted,
            since_heartbeat,
            since_retry,
            since_check,
            disk_silent,
            durable,
            disk_answered: false,
            transfer: None,
            declined: None,
            leaving,
            farewell: core.config.election_ticks,
            offered: false,
        };
        if !mutant(Mutant::NoFirstEntry) {
            leader.append(core, Payload::Noop);
        }
        leader
    }

    /// Appends an entry of this term.
    pub(crate) fn append(&mut self, core: &mut Core, payload: Payload) -> Position {
        let position = Position { index: core.log.last().index.next(), term: core.term() };
        let entry = Entry { position, payload };
        self.uncommitted += entry.size();
        core.log.push(entry);
        position
    }

    /// Appends a command, unless too much is not committed yet; `urgent` for one for which there is room in a full queue.
    pub(crate) fn propose(
        &mut self,
        core: &mut Core,
        payload: Payload,
        urgent: bool,
    ) -> Result<Position, Refusal> {
        let waiting = usize::try_from(core.log.last().index.0 - core.commit.0).unwrap_or(usize::MAX);
        let full = if !urgent && waiting >= core.config.max_uncommitted_entries {
            Mark::ProposalBusyByEntries
        } else if !urgent && self.uncommitted >= core.config.max_uncommitted_bytes {
            Mark::ProposalBusyByBytes
        } else if core.is_full() {
            Mark::ProposalBusyByApplying
        } else if self.transfer.is_some() && !mutant(Mutant::ProposesWhileHandingOver) {
            return Err(Refusal::Transferring);
        } else {
            return Ok(self.append(core, payload));
        };
        mark(full);
        if mutant(Mutant::TakesAllProposals) { Ok(self.append(core, payload)) } else { Err(Refusal::Busy) }
    }

    /// Takes a read of the caller.
    pub(crate) fn read(&mut self, core: &Core, id: ReadId) -> Result<(), Refusal> {
        if !self.has_room(core) {
            mark(Mark::ReadBusyAtLeader);
            return Err(Refusal::Busy);
        }
        self.reads.add(Asker::Local(id));
        Ok(())
    }

    fn has_room(&self, core: &Core) -> bool {
        self.reads.len() + core.ready.len() < core.config.max_reads
    }

    /// Time passes: heartbeats leave, and a leader that hears no majority for an election timeout gives up
    /// (check-quorum, thesis 6.2).
    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        let patience = 2 * core.config.heartbeat_ticks;
        for peer in self.peers.values_mut() {
            peer.tick(patience);
        }
        if self.disk_hangs(core) && !core.is_alone() && !mutant(Mutant::LeadsWithoutDisk) {
            mark(Mark::DiskHangs);
            core.disk.hung = true;
            return Next::Follow(None);
        }
        self.peers.values_mut().for_each(|peer| peer.silence = peer.silence.saturating_add(1));
        self.since_check += 1;
        if self.since_check >= core.config.election_ticks {
            self.since_check = 0;
            let peers = &self.peers;
            let heard = peers.iter().filter(|(_, peer)| peer.heard).map(|(&id, _)| id);
            let quorum = core.membership().is_quorum(&heard.chain([core.config.id]).collect());
            if !quorum && !mutant(Mutant::LeadsWithoutQuorum) {
                mark(Mark::QuorumSilent);
                return Next::Follow(None);
            }
            self.peers.values_mut().for_each(|peer| peer.heard = false);
        }
        self.since_retry += 1;
        self.since_heartbeat += 1;
        let beats = self.since_heartbeat >= core.config.heartbeat_ticks;
        let waits = if mutant(Mutant::RetriesWhenIdle) {
            !beats
        } else {
            self.since_retry < core.config.heartbeat_ticks
        };
        if !waits {
            self.since_retry = 0;
            self.peers.values_mut().for_each(Progress::retry);
        }
        self.tick_transfer(!waits);
        self.finish_change(core);
        self.tick_leaving(core);
        if beats {
            self.round(core);
        }
        self.leave(core)
    }

    /// Whether the own disk has been silent for too long.
    fn disk_hangs(&mut self, core: &Core) -> bool {
        let durable = core.log.persisted();
        // Who is only asked to read may be as silent, and then followers get nothing.
        let reads = self.peers.values().any(|peer| peer.fetch().is_some());
        let asked = core.log.handed() > durable || reads && !mutant(Mutant::LeadsWithoutReads);
        let answered = durable != self.durable || core::mem::take(&mut self.disk_answered);
        let waits = asked && !answered;
        (self.disk_silent, self.durable) = (if waits { self.disk_silent + 1 } else { 0 }, durable);
        self.disk_silent >= DISK_TIMEOUTS.saturating_mul(core.config.election_ticks)
    }

    /// A message of this term.
    pub(crate) fn step(&mut self, core: &mut Core, envelope: &Envelope) -> Next {
        let from = envelope.from;
        match envelope.message {
            Message::AppendReply { session, round, outcome } if self.hear(from, session, round) => {
                self.replied(core, from, outcome);
                self.settle(core);
            }
            Message::HeartbeatReply { session, round } if self.hear(from, session, round) => {
                if mutant(Mutant::HeartbeatMovesMatch) {
                    let matched = self.peers[&from].next().previous();
                    self.replied(core, from, AppendOutcome::Accepted { matched });
                }
                self.settle(core);
            }
            Message::ReadIndex { id } => {
                if self.has_room(core) {
                    self.reads.add(Asker::Remote(from, id));
                } else {
                    mark(Mark::ReadBusyForFollower);
                    core.send(from, Message::ReadIndexReply { id, index: None });
                }
            }
            _ => {}
        }
        self.leave(core)
    }

    /// A follower answered in its present session; answers to rounds that never were are not believed.
    fn hear(&mut self, from: NodeId, session: u64, round: u64) -> bool {
        let latest = self.reads.latest();
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.session() == session) else {
            mark(Mark::AnswerOfOldSession);
            return false;
        };
        (peer.heard, peer.silence) = (true, 0);
        if round <= latest {
            peer.round = peer.round.max(round);
        }
        true
    }

    fn replied(&mut self, core: &mut Core, from: NodeId, outcome: AppendOutcome) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        match outcome {
            AppendOutcome::Accepted { matched } => {
                if matched <= core.log.last().index && peer.accepted(matched) {
                    self.advance(core);
                }
            }
            // Beyond the own log nothing was ever sent that could be refused.
            AppendOutcome::Rejected { previous, .. } if previous > core.log.last().index => {}
            AppendOutcome::Rejected { previous, hint } => {
                peer.rejected(previous, core.log.not_above(hint.index, hint.term));
            }
        }
    }

    /// The own disk moved.
    pub(crate) fn persisted(&mut self, core: &mut Core) -> Next {
        if !mutant(Mutant::CountsOnlyAnswers) {
            self.advance(core);
        }
        self.leave(core)
    }

    /// Commits what a majority's disks hold, if it is of this term (thesis 3.6.2; Figure 8).
    pub(crate) fn advance(&mut self, core: &mut Core) {
        let me = core.config.id;
        let durable =
            if mutant(Mutant::CountsItselfEarly) { core.log.last().index } else { core.log.persisted() };
        let matched = |node| {
            let counts = node == me || mutant(Mutant::RemovedLeaderCounts) && !core.membership().votes(me);
            if counts { durable } else { self.peers.get(&node).map_or(Index(0), Progress::matched) }
        };
        let reached = Index(core.membership().reached(|node| matched(node).0));
        if reached <= core.commit {
            return;
        }
        if core.log.term_at(reached) != Some(core.term()) && !mutant(Mutant::CommitsEarlierTerms) {
            mark(Mark::EarlierTermNotCounted);
            return;
        }
        if !mutant(Mutant::UncommittedLeaks) {
            self.uncommitted -= core.log.bytes_between(core.commit, reached);
        }
        core.commit_to(reached);
        self.finish_change(core);
    }

    /// Sends all that may leave: a round if reads want one, appends as far as the windows are open, and the commit
    /// index where nothing else would carry it.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        if self.reads.wants_round() {
            if may_read(core) {
                self.round(core);
                // Alone, the leader has just answered itself.
                self.settle(core);
            } else {
                mark(Mark::ReadWaitsForFirstCommit);
            }
        }
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.replicate(core, peer);
        }
        self.hand_over(core);
    }

    /// Begins a round and says so to everyone.
    fn round(&mut self, core: &mut Core) {
        self.since_heartbeat = 0;
        let index = may_read(core).then_some(core.commit);
        self.reads.begin(index);
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.heartbeat(core, peer);
        }
    }

    fn heartbeat(&mut self, core: &mut Core, to: NodeId) {
        let round = self.reads.latest();
        if let Some(peer) = self.peers.get_mut(&to) {
            let most = if mutant(Mutant::HeartbeatTellsTooMuch) { core.commit } else { peer.matched() };
            let commit = core.commit.min(most);
            peer.told = commit;
            core.send(to, Message::Heartbeat { session: peer.session(), commit, round });
        }
    }

    /// Serves the reads whose round a majority has answered.
    pub(crate) fn settle(&mut self, core: &mut Core) {
        let (me, latest) = (core.config.id, self.reads.latest());
        let answered = |node| {
            if node == me || mutant(Mutant::ReadsWithoutQuorum) {
                return latest;
            }
            let leased = |peer: &Progress| mutant(Mutant::ReadsByLease) && peer.heard;
            self.peers.get(&node).map_or(0, |peer| if leased(peer) { latest } else { peer.round })
        };
        let reached = core.membership().reached(answered);
        for round in self.reads.settle(reached) {
            for asker in round.askers {
                match asker {
                    Asker::Local(id) => core.ready.push((round.index, id)),
                    Asker::Remote(to, id) => {
                        core.send(to, Message::ReadIndexReply { id, index: Some(round.index) });
                    }
                }
            }
        }
    }

    /// The followers, for people.
    pub(crate) fn status(&self, core: &Core) -> Vec<(NodeId, PeerStatus)> {
        let view = |(&id, peer): (&NodeId, &Progress)| {
            let gone = !peer.is_sent_snapshot() && replication::is_gone(core, peer);
            let state = if gone { "behind" } else { peer.name() };
            let (role, answers) = (Self::role_of(core, id), peer.silence < core.config.election_ticks);
            (id, PeerStatus { role, matched: peer.matched(), answers, state })
        };
        self.peers.iter().map(view).collect()
    }

    /// The role ends: reads of the caller that no majority confirmed. Followers ask again by themselves.
    pub(crate) fn abandon(self) -> Vec<ReadId> {
        self.reads.abandon()
    }
}

/// Whether the first entry of the term is committed: before, the leader does not know what is (thesis 6.4).
fn may_read(core: &Core) -> bool {
    core.log.term_at(core.commit) == Some(core.term()) || mutant(Mutant::ReadsBeforeFirstCommit)
}
