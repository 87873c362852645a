//! Majorities, of one set of voters and of two at once.

use alloc::{string::ToString, vec::Vec};

use super::*;

fn nodes(mask: u64) -> Vec<NodeId> {
    (1..=9).filter(|n| mask & (1 << (n - 1)) != 0).map(NodeId).collect()
}

fn set(mask: u64) -> BTreeSet<NodeId> {
    nodes(mask).into_iter().collect()
}

fn voters(count: u64) -> Membership {
    Membership::new(&(1..=count).map(NodeId).collect::<Vec<_>>(), &[]).expect("a membership")
}

/// All pairs of sets of voters among so many servers.
fn joints(servers: u64) -> impl Iterator<Item = (u64, u64, Membership)> {
    let masks = move || 1..(1_u64 << servers);
    masks().flat_map(move |old| {
        masks().map(move |new| {
            (old, new, Membership { voters: nodes(new), outgoing: nodes(old), learners: nodes(0) })
        })
    })
}

fn wins(of: u64, mask: u64) -> bool {
    (of & mask).count_ones() * 2 > of.count_ones()
}

#[test]
fn a_majority_is_more_than_half_for_one_to_nine_voters() {
    for (count, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4), (8, 5), (9, 5)] {
        assert_eq!(super::quorum(&voters(count).voters), quorum, "{count} voters");
    }
}

#[test]
fn every_subset_of_one_to_nine_voters_is_judged_by_its_size_and_no_two_disjoint_ones_win() {
    for count in 1..=9_u64 {
        let members = voters(count);
        for mask in 0..(1_u64 << count) {
            let wins = members.is_quorum(&set(mask));
            assert_eq!(wins, u64::from(mask.count_ones()) * 2 > count, "{count} voters, {mask:b}");
            let rest = !mask & ((1 << count) - 1);
            assert!(!(wins && members.is_quorum(&set(rest))), "disjoint majorities of {count}: {mask:b}");
        }
    }
}

#[test]
fn section_4_3_a_joint_majority_is_one_of_both_and_overlaps_every_majority_of_either() {
    for (old, new, joint) in joints(5) {
        for mask in 0..32 {
            let quorum = joint.is_quorum(&set(mask));
            assert_eq!(quorum, wins(old, mask) && wins(new, mask), "{joint}: {mask:b}");
            let rest = !mask & 31;
            assert!(!quorum || !wins(old, rest) && !wins(new, rest), "{joint} overlaps: {mask:b}");
        }
    }
}

#[test]
fn strangers_and_learners_do_not_count() {
    let these: BTreeSet<NodeId> = [1, 4, 5, 8, 9].map(NodeId).into();
    let members = Membership { learners: nodes(0b1_1000), ..voters(3) };
    assert!(!members.is_quorum(&these));
    assert_eq!(members.reached(|node| u64::from(these.contains(&node))), 0);
    let joint = Membership { outgoing: nodes(0b111), learners: nodes(0b1), ..voters(3) };
    assert!(joint.is_quorum(&set(0b11)), "an outgoing voter counts though it will be a learner");
}

#[test]
fn of_nobody_nothing_is_a_majority() {
    let nobody = Membership::nobody();
    assert!(!nobody.is_quorum(&set(0b111)) && !nobody.is_alone(NodeId(1)));
    assert_eq!((nobody.role(NodeId(1)), nobody.electors(NodeId(1))), (None, Vec::new()));
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

#[test]
fn reached_of_two_sets_is_what_a_majority_of_each_has() {
    for (_, _, joint) in joints(4) {
        for code in 0..81_u64 {
            let value = |node: NodeId| code / 3_u64.pow(u32::try_from(node.0 - 1).expect("small")) % 3;
            let has = |v: u64| (1..=4).map(NodeId).filter(|&node| value(node) >= v).collect();
            let oracle = (0..3).rev().find(|&v| joint.is_quorum(&has(v))).expect("everyone has reached zero");
            assert_eq!(joint.reached(value), oracle, "{joint}, {code}");
        }
    }
}

#[test]
fn a_membership_is_shown_as_lists() {
    let member = |voters, outgoing, learners| Membership {
        voters: nodes(voters),
        outgoing: nodes(outgoing),
        learners: nodes(learners),
    };
    assert_eq!(member(0b111, 0, 0).to_string(), "[1 2 3]");
    assert_eq!(member(0b1011, 0b111, 0b100).to_string(), "[1 2 3]→[1 2 4]+[3]");
    let joint = member(0b1011, 0b111, 0b100);
    let roles = (1..=5).map(|id| joint.role(NodeId(id)).map_or("none", MemberRole::name));
    assert_eq!(roles.collect::<Vec<_>>(), ["voter", "voter", "outgoing", "voter", "none"]);
    assert_eq!(joint.finished().to_string(), "[1 2 4]+[3]");
    assert_eq!(joint.finished().role(NodeId(3)), Some(MemberRole::Learner));
}

#[test]
fn learners_alone_change_without_a_joint_phase() {
    let target = Membership { learners: nodes(0b1000), ..voters(3) };
    assert_eq!(voters(3).toward(target.clone()), target);
    assert_eq!(voters(3).toward(voters(2)).to_string(), "[1 2 3]→[1 2]");
}
