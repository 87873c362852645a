//! Who votes, and all quorum arithmetic (thesis 3.4, 3.5, 6.4): nothing outside of this file counts a majority.
//!
//! Two majorities of the same voters share a server. Election safety, commitment and read rounds all rest on that
//! one fact, so the counting stands in one place, under an exhaustive test.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::{
    instruments::{Mutant, mutant},
    types::NodeId,
};

/// The voters.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    voters: Vec<NodeId>,
}

impl Membership {
    /// The given voters; the configuration was checked: none is listed twice.
    pub(crate) fn new(voters: &[NodeId]) -> Self {
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        voters.dedup();
        assert!(!voters.is_empty(), "a cluster has a voter");
        Self { voters }
    }

    /// Whether `node` votes.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok()
    }

    /// Everyone but `me`.
    pub(crate) fn others(&self, me: NodeId) -> Vec<NodeId> {
        self.voters.iter().copied().filter(|&node| node != me).collect()
    }

    /// How many make a majority: any two of this many among the voters overlap.
    fn quorum(&self) -> usize {
        if mutant(Mutant::HalfIsQuorum) { self.voters.len().div_ceil(2) } else { self.voters.len() / 2 + 1 }
    }

    /// Whether this server alone is a majority.
    pub(crate) fn is_single(&self) -> bool {
        self.quorum() == 1 && self.voters.len() == 1
    }

    /// Whether the servers in `these` that vote are a majority of the voters.
    pub(crate) fn is_quorum(&self, these: &BTreeSet<NodeId>) -> bool {
        self.voters.iter().filter(|node| these.contains(node)).count() >= self.quorum()
    }

    /// The highest value that a majority has reached, where `value` says how far each voter is.
    pub(crate) fn reached(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let mut values: Vec<u64> = self.voters.iter().map(|&node| value(node)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        let more = usize::from(mutant(Mutant::CountsOneTooMany) && self.quorum() < values.len());
        values[self.quorum() - 1 + more]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(count: u64) -> Membership {
        Membership::new(&(1..=count).map(NodeId).collect::<Vec<_>>())
    }

    #[test]
    fn a_majority_is_more_than_half_for_one_to_nine_voters() {
        for (count, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4), (8, 5), (9, 5)] {
            assert_eq!(voters(count).quorum(), quorum, "{count} voters");
        }
    }

    #[test]
    fn every_subset_of_one_to_nine_voters_is_judged_by_its_size_and_no_two_disjoint_ones_win() {
        for count in 1..=9_u64 {
            let members = voters(count);
            for mask in 0..(1_u64 << count) {
                let pick = |mask: u64| -> BTreeSet<NodeId> {
                    (1..=count).filter(|n| mask & (1 << (n - 1)) != 0).map(NodeId).collect()
                };
                let wins = members.is_quorum(&pick(mask));
                assert_eq!(wins, u64::from(mask.count_ones()) * 2 > count, "{count} voters, {mask:b}");
                let rest = !mask & ((1 << count) - 1);
                assert!(
                    !(wins && members.is_quorum(&pick(rest))),
                    "disjoint majorities of {count}: {mask:b}"
                );
            }
        }
    }

    #[test]
    fn strangers_do_not_count() {
        let these: BTreeSet<NodeId> = [1, 8, 9].map(NodeId).into();
        assert!(!voters(3).is_quorum(&these));
    }

    #[test]
    fn reached_is_the_highest_value_a_majority_has() {
        for count in 1..=5_u64 {
            let members = voters(count);
            for code in 0..4_u64.pow(u32::try_from(count).expect("small")) {
                let value = |node: NodeId| code / 4_u64.pow(u32::try_from(node.0 - 1).expect("small")) % 4;
                let oracle = (0..4)
                    .rev()
                    .find(|&v| (1..=count).filter(|&n| value(NodeId(n)) >= v).count() as u64 * 2 > count)
                    .expect("everyone has reached zero");
                assert_eq!(members.reached(value), oracle, "{count} voters, {code}");
            }
        }
    }
}
