//! Who voted for whom, remembered outside the servers, and who led: a server votes once a term, and a term has one leader.
//! Whose votes make one is counted in `watch/members.rs`.

use std::collections::{BTreeMap, HashMap};

/// See the module.
#[derive(Default)]
pub(super) struct Elections {
    leaders: BTreeMap<u64, usize>,
    /// The candidate's id by voter and term.
    votes: HashMap<(usize, u64), u64>,
}

impl Elections {
    /// A vote of `me` is on its disk, or was said to be.
    pub(super) fn vote(&mut self, me: usize, term: u64, candidate: u64) {
        let first = *self.votes.entry((me, term)).or_insert(candidate);
        assert_eq!(first, candidate, "VIOLATION s{me} votes twice in term {term}");
    }

    /// Who led `term`, if anybody did.
    pub(super) fn leader(&self, term: u64) -> Option<usize> {
        self.leaders.get(&term).copied()
    }

    /// Server `me` says that it leads.
    pub(super) fn leads(&mut self, me: usize, term: u64) {
        let first = *self.leaders.entry(term).or_insert(me);
        assert_eq!(first, me, "VIOLATION two leaders in term {term}: s{first} and s{me}");
    }

    /// For whom `voter` voted in `term`, by id.
    pub(super) fn voted(&self, voter: usize, term: u64) -> Option<u64> {
        self.votes.get(&(voter, term)).copied()
    }
}
