//! Standing for election: the pre-vote (thesis 9.6) and the vote (3.4, 3.6) are two rounds of one candidate.
//!
//! A pre-vote spends nothing: it asks whether a vote in the next term *would* succeed, and only then is that term
//! entered. So a server that was cut off does not come back with a high term and depose a leader that works. A round
//! that does not succeed within a randomised timeout starts over from the pre-vote.
//!
//! The candidate's own vote counts once it is on its own disk, like anyone's; and only if the candidate votes at all, by its
//! own membership, which also says whose votes are asked for and how many are enough.

use alloc::collections::BTreeSet;

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    message::{Envelope, Message},
    raft::Next,
    shared::Core,
    status::RoleName,
    types::{HardState, NodeId},
};

/// Which round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ballot {
    PreVote,
    Vote,
    /// A vote that the leader wants.
    Handed,
}

/// The candidate's own state.
#[derive(Debug)]
pub(crate) struct Candidate {
    ballot: Ballot,
    granted: BTreeSet<NodeId>,
    elapsed: u32,
    timeout: u32,
}

impl Candidate {
    /// Begins a round: for a vote the next term is entered and the own vote given.
    pub(crate) fn new(ballot: Ballot, core: &mut Core) -> Self {
        let (me, last) = (core.config.id, core.log.last());
        if ballot != Ballot::PreVote {
            core.outbox.set_hard(HardState { term: core.term().next(), vote: Some(me) });
        }
        for to in core.membership().electors(me) {
            match ballot {
                Ballot::PreVote => {
                    let (term, message) = (core.term().next(), Message::PreVote { last });
                    core.outbox.send_unbound(Envelope { from: me, to, term, message });
                }
                Ballot::Vote => core.send(to, Message::Vote { last, handed: false }),
                Ballot::Handed => core.send(to, Message::Vote { last, handed: true }),
            }
        }
        let timeout = core.rng.timeout(core.config.election_ticks);
        let mut granted = BTreeSet::new();
        if ballot == Ballot::PreVote {
            granted.insert(me);
        }
        Self { ballot, granted, elapsed: 0, timeout }
    }

    /// The round's name.
    pub(crate) fn name(&self) -> RoleName {
        match self.ballot {
            Ballot::PreVote => RoleName::PreCandidate,
            Ballot::Vote | Ballot::Handed => RoleName::Candidate,
        }
    }

    /// Time passes; a round that takes too long starts over. A round that still waits for this server's own disk has
    /// asked nobody yet, and starting it over would only give the disk more to do.
    pub(crate) fn tick(&mut self, core: &Core) -> Next {
        if !core.outbox.hard_is_durable() {
            mark(Mark::RoundWaitsForDisk);
            return Next::Stay;
        }
        self.elapsed += 1;
        if self.elapsed < self.timeout {
            return Next::Stay;
        }
        mark(Mark::RoundStartsOver);
        Next::Campaign(Ballot::PreVote)
    }

    /// An answer. A refusal ends nothing: others may still grant, and the timeout decides.
    pub(crate) fn step(&mut self, core: &Core, envelope: &Envelope) -> Next {
        let counts = match envelope.message {
            Message::PreVoteReply { granted } => {
                (granted || mutant(Mutant::PreVoteRefusalGrants)) && self.ballot == Ballot::PreVote
            }
            Message::VoteReply { granted } => {
                (granted || mutant(Mutant::RefusalGrants)) && self.ballot != Ballot::PreVote
            }
            _ => false,
        };
        if counts && !self.granted.insert(envelope.from) {
            mark(Mark::GrantDoubled);
            if mutant(Mutant::CountsAnswers) {
                self.granted.extend(core.membership().electors(envelope.from));
            }
        }
        self.verdict(core)
    }

    /// The disk moved: perhaps the own vote is durable now.
    pub(crate) fn persisted(&mut self, core: &Core) -> Next {
        if core.outbox.hard_is_durable() {
            self.granted.insert(core.config.id);
        }
        self.verdict(core)
    }

    /// What a majority of grants leads to.
    pub(crate) fn verdict(&self, core: &Core) -> Next {
        match self.ballot {
            _ if !core.membership().is_quorum(&self.granted) => Next::Stay,
            Ballot::PreVote => Next::Campaign(Ballot::Vote),
            Ballot::Vote | Ballot::Handed => Next::Lead,
        }
    }
}
