//! What a server may say to another: nothing that its disk does not hold yet, and nothing of a term that it has left.

use raft::{AppendOutcome, Envelope, Message};

use super::{Watch, place};

/// Pre-votes and their grants speak of a term that nobody has entered.
fn binds(message: &Message) -> bool {
    !matches!(message, Message::PreVote { .. } | Message::PreVoteReply { granted: true })
}

impl Watch {
    /// Server `me` wants to say something now.
    pub fn meant(&self, me: usize, envelope: &Envelope) {
        let hard = self.servers[me].hard;
        assert!(
            !binds(&envelope.message) || envelope.term >= hard.term,
            "VIOLATION s{me} speaks for term {}, which it has left: on disk is {hard:?}",
            envelope.term
        );
        if let Message::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } = envelope.message {
            self.acknowledges(me, matched.0, envelope);
        }
    }

    /// Judged before anything that was emitted with it is done: a later leader's entries, which are to take the place of what is
    /// acknowledged to an earlier one, may reach the disk before this leaves.
    fn acknowledges(&self, me: usize, matched: u64, envelope: &Envelope) {
        let held = place(&self.servers[me].durable, matched).map(|place| place.chain);
        assert!(
            matched == 0 || held.is_some(),
            "VIOLATION s{me} acknowledges {matched}, which is not on its disk: {envelope:?}"
        );
        let leader = usize::try_from(envelope.to.0 - 1).unwrap_or(usize::MAX);
        let leader = &self.servers[leader];
        if leader.leads && leader.term == envelope.term.0 && matched > 0 {
            let theirs = place(&leader.handed, matched).map(|place| place.chain);
            assert_eq!(held, theirs, "VIOLATION s{me} acknowledges {matched}, which its leader has not");
        }
    }

    /// Server `me` says something to another.
    pub fn sent(&mut self, me: usize, envelope: &Envelope) {
        let term = envelope.term.0;
        let hard = self.servers[me].hard;
        assert!(
            !binds(&envelope.message) || term <= hard.term.0,
            "VIOLATION s{me} speaks for term {term}, on disk is {hard:?}"
        );
        match envelope.message {
            Message::TimeoutNow => self.tells(me, envelope),
            Message::Vote { handed, .. } => {
                if handed {
                    self.stands_as_told(me, term);
                }
                self.elections.vote(me, term, me as u64 + 1);
                assert!(
                    hard.term.0 > term || hard.vote == Some(envelope.from),
                    "VIOLATION s{me} asks before its own vote is durable"
                );
            }
            Message::VoteReply { granted: true } => {
                self.elections.vote(me, term, envelope.to.0);
                assert!(
                    hard.term.0 > term || hard.vote == Some(envelope.to),
                    "VIOLATION s{me} grants before its vote is durable"
                );
            }
            _ => {}
        }
    }
}
