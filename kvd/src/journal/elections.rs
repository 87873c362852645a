//! Standings made into events: who was elected, how long there was no leader, and why.
//!
//! The reason is what this node saw before. A candidate that asked first whether it could win had not heard its leader for an
//! election timeout; one that did not ask was told to stand by the leader itself, which handed over.

use std::time::{Duration, Instant};

use raft::{NodeId, RoleName};

use crate::{event::Standing, members::Members};

/// What is remembered between two standings.
pub(crate) struct Elections {
    /// The leader that was known last, whether it is known still or not.
    led_by: Option<NodeId>,
    /// Since when there is none.
    leaderless: Option<Instant>,
    /// Whether this node asked whether it could win before it stood.
    asked: bool,
    /// The last leader and its term that were told.
    told: Option<(u64, NodeId)>,
}

/// What is worth an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: &'static str,
    pub(crate) took: Option<Duration>,
    pub(crate) what: String,
}

impl Elections {
    /// The node starts now, and knows of nobody.
    pub(crate) fn starting(now: Instant) -> Self {
        Self { led_by: None, leaderless: Some(now), asked: false, told: None }
    }

    /// The standing has changed.
    pub(crate) fn changed(&mut self, standing: Standing, members: &Members, now: Instant) -> Option<Note> {
        let me = members.me();
        match (standing.role, standing.leader) {
            (RoleName::Leader, _) => {
                let note = self.won(members, now);
                self.follow(standing, me);
                Some(note)
            }
            (_, Some(leader)) => {
                let term = standing.term.0;
                let took = self.leaderless.map(|since| now.duration_since(since));
                let is_told = self.told == Some((term, leader));
                self.follow(standing, leader);
                let what = format!("{} leads", members.name(leader));
                (!is_told).then_some(Note { kind: "leader", took, what })
            }
            (role, None) => {
                self.asked |= role == RoleName::PreCandidate;
                if self.leaderless.is_some() {
                    return None;
                }
                self.leaderless = Some(now);
                let lost = self.led_by?;
                let what = if lost == me {
                    "leads no more: it has lost its quorum, was deposed or hands over".to_owned()
                } else if role == RoleName::Candidate && !self.asked {
                    format!("{} hands over to this node", members.name(lost))
                } else {
                    format!("{} is silent, or leads no more", members.name(lost))
                };
                Some(Note { kind: "no-leader", took: None, what })
            }
        }
    }

    fn won(&self, members: &Members, now: Instant) -> Note {
        let took = self.leaderless.map(|since| now.duration_since(since));
        let name = members.name(members.me());
        let why = match self.led_by {
            None => "the first leader since this node started".to_owned(),
            Some(lost) if lost == members.me() => "it led before".to_owned(),
            Some(lost) if self.asked => format!("{} was silent", members.name(lost)),
            Some(lost) => format!("{} handed over", members.name(lost)),
        };
        Note { kind: "election", took, what: format!("{name} leads: {why}") }
    }

    fn follow(&mut self, standing: Standing, leader: NodeId) {
        let told = Some((standing.term.0, leader));
        *self = Self { led_by: Some(leader), leaderless: None, asked: false, told };
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClusterId, response::Member};
    use raft::Term;

    use super::*;

    fn members() -> Members {
        let member =
            |id| Member { id, name: format!("n{id}"), address: format!("h:{id}"), ..Member::default() };
        Members::new(ClusterId::default(), NodeId(1), (1..=3).map(member).collect())
    }

    /// What the standings come to, each 100 ms after the one before.
    fn told(standings: &[(RoleName, u64, Option<u64>)]) -> Vec<(&'static str, Option<u128>, String)> {
        let began = Instant::now();
        let (mut elections, members) = (Elections::starting(began), members());
        let mut notes = Vec::new();
        for ((role, term, leader), step) in standings.iter().zip(0_u32..) {
            let standing = Standing { role: *role, term: Term(*term), leader: leader.map(NodeId) };
            let now = began + step * Duration::from_millis(100);
            notes.extend(elections.changed(standing, &members, now));
        }
        notes.into_iter().map(|note| (note.kind, note.took.map(|took| took.as_millis()), note.what)).collect()
    }

    use RoleName::{Candidate, Follower, Leader, PreCandidate};

    #[test]
    fn a_leader_that_fell_silent_is_the_reason() {
        let notes = told(&[
            (Follower, 4, Some(2)),
            (PreCandidate, 4, None),
            (Candidate, 5, None),
            (Leader, 5, Some(1)),
        ]);
        assert_eq!(
            notes,
            [
                ("leader", Some(0), "n2 leads".to_owned()),
                ("no-leader", None, "n2 is silent, or leads no more".to_owned()),
                ("election", Some(200), "n1 leads: n2 was silent".to_owned()),
            ]
        );
    }

    #[test]
    fn a_leader_that_handed_over_is_the_reason() {
        let notes = told(&[(Follower, 4, Some(2)), (Candidate, 5, None), (Leader, 5, Some(1))]);
        assert_eq!(notes[1].2, "n2 hands over to this node");
        assert_eq!(notes[2], ("election", Some(100), "n1 leads: n2 handed over".to_owned()));
    }

    #[test]
    fn the_first_election_has_no_reason_but_the_start() {
        let notes = told(&[(PreCandidate, 0, None), (Candidate, 1, None), (Leader, 1, Some(1))]);
        let want = ("election", Some(200), "n1 leads: the first leader since this node started".to_owned());
        assert_eq!(notes, [want]);
    }

    #[test]
    fn a_leader_that_steps_down_says_so_and_the_next_is_told_once() {
        let notes = told(&[
            (Leader, 1, Some(1)),
            (Follower, 2, None),
            (Follower, 2, Some(3)),
            (PreCandidate, 2, None),
            (Follower, 2, Some(3)),
        ]);
        let kinds: Vec<_> = notes.iter().map(|note| (note.0, note.1)).collect();
        let first = [("election", Some(0)), ("no-leader", None), ("leader", Some(100)), ("no-leader", None)];
        assert_eq!(kinds, first, "who came back after a moment is no other leader");
    }
}
