//! Handing over: a successor is told to stand only when it holds all that the leader has, and only whom a leader has told
//! says so; while it is going on nothing is proposed, and it does not go on for longer than an election timeout.

use std::collections::BTreeSet;

use raft::{Envelope, Status};

use super::{Watch, place};
use crate::server::ELECTION_TICKS;

/// See the module.
pub(super) struct Handing {
    /// Whether every server is shown after each single thing that it takes in.
    singly: bool,
    /// Who was told to stand in which term.
    told: BTreeSet<(u64, u64)>,
    /// What each server is at.
    servers: Vec<Option<Under>>,
}

/// A hand-over that goes on.
struct Under {
    term: u64,
    to: u64,
    last: u64,
    began: u64,
}

impl Handing {
    pub(super) fn new(servers: usize, singly: bool) -> Self {
        Self { singly, told: BTreeSet::new(), servers: (0..servers).map(|_| None).collect() }
    }

    pub(super) fn restarted(&mut self, me: usize) {
        self.servers[me] = None;
    }
}

impl Watch {
    /// Leader `me` tells another to stand.
    pub(super) fn tells(&mut self, me: usize, envelope: &Envelope) {
        let leader = &self.servers[me];
        assert!(leader.leads && leader.term == envelope.term.0, "VIOLATION s{me} hands over what it has not");
        let latest = leader.handed.last().and_then(|place| place.members.as_deref());
        let votes = self.members.votes(latest, envelope.to.0);
        assert!(votes, "VIOLATION s{me} hands over to server {}, which does not vote", envelope.to);
        let to = usize::try_from(envelope.to.0 - 1).unwrap_or(usize::MAX);
        let last = leader.handed.len() as u64;
        let theirs = place(&self.servers[to].durable, last).map(|place| place.chain);
        let ours = leader.handed.last().map(|place| place.chain);
        assert_eq!(
            theirs, ours,
            "VIOLATION s{me} hands over to s{to}, which has not everything up to {last}"
        );
        self.handing.told.insert((envelope.term.0, envelope.to.0));
    }

    /// Server `me` says that its leader has told it to stand.
    pub(super) fn stands_as_told(&self, me: usize, term: u64) {
        let told = self.handing.told.contains(&(term - 1, me as u64 + 1));
        assert!(told, "VIOLATION s{me} stands in term {term} as if it had been told to");
    }

    /// Server `me` shows itself after `ticks` of its clock.
    pub fn hands_over(&mut self, me: usize, status: &Status, ticks: u64) {
        let (term, last) = (status.term.0, status.last.index.0);
        let singly = self.handing.singly;
        let under = &mut self.handing.servers[me];
        let Some(to) = status.transferring else {
            *under = None;
            return;
        };
        match under {
            Some(under) if singly && (under.term, under.to) == (term, to.0) => {
                assert_eq!(under.last, last, "VIOLATION s{me} takes entries while it hands over");
                let long = ticks - under.began;
                assert!(long <= u64::from(ELECTION_TICKS), "VIOLATION s{me} hands over for {long} ticks");
            }
            _ => *under = Some(Under { term, to: to.0, last, began: ticks }),
        }
    }

    /// Server `me` says who leads.
    pub fn names_leader(&self, me: usize, leader: Option<u64>, term: u64) {
        let known = self.elections.leader(term).map(|leader| leader as u64 + 1);
        assert!(
            leader.is_none() || leader == known,
            "VIOLATION s{me} says that {leader:?} leads term {term}, and that was {known:?}"
        );
    }
}
