//! Every bug on purpose that a change of members could have is seen by a script: with the bug on, the trace is another
//! one, or an assertion of the core falls. And the scripts pass every mark of changing members, one of which no seed passes.
//!
//! `cargo test -p raft --features mutants,simulated --test instruments`; the switch is the process's, so all are tried in
//! one test.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/script.rs"]
mod script;

use std::path::{Path, PathBuf};

use raft::instruments::{Mark, Mutant, count, switch_off, switch_on};
use script::Script;

/// Each with a script that sees it.
const SEEN_BY: &[(Mutant, &str)] = &[
    (Mutant::SessionOutlivesRemoval, "added_again_in_a_new_session"),
    (Mutant::CommitNotLookedAtAgain, "fewer_voters_commit_at_once"),
    (Mutant::MembershipOutlivesLog, "state_undoes_what_was_not_committed"),
    (Mutant::ChangesBeforeFirstCommit, "changes_are_refused"),
    (Mutant::EffectiveOnCommit, "effective_on_append_and_undone"),
    (Mutant::MembershipNotUndone, "effective_on_append_and_undone"),
    (Mutant::NewMajorityAlone, "new_ones_alone_commit_nothing"),
    (Mutant::OldMajorityAlone, "majority_of_both_commits"),
    (Mutant::JointSkipped, "one_replaces_another_in_one_change"),
    (Mutant::RestartForgetsMembership, "restart_within_a_joint_membership"),
    (Mutant::StateForgetsMembership, "state_carries_the_membership"),
    (Mutant::LearnerCounts, "learner_does_not_count"),
    (Mutant::LearnerStands, "learner_is_added_and_promoted"),
    (Mutant::LearnerRefusesVote, "new_voter_votes_before_it_knows"),
    (Mutant::HandsOverToLearner, "learner_does_not_count"),
    (Mutant::StrangersUnheard, "learner_is_added_and_promoted"),
    (Mutant::RemovedLeaderCounts, "leader_removes_itself_and_hands_over"),
    (Mutant::RemovedLeaderStays, "removed_leader_without_successor_follows"),
    (Mutant::RemovedNeverStands, "removed_leader_must_stand_again"),
    (Mutant::ChangesWhileChanging, "changes_are_refused"),
    (Mutant::JointForEver, "voter_is_removed_and_told"),
    (Mutant::FinishesWhileHandingOver, "change_waits_while_handed_over"),
];

/// What a change may be refused for, and what may become of one.
const PASSED: &[Mark] = &[
    Mark::TransferToNonVoter,
    Mark::ChangeOfVoters,
    Mark::ChangeOfLearners,
    Mark::ChangeElsewhere,
    Mark::ChangeWhileHandingOver,
    Mark::ChangePending,
    Mark::ChangeBeforeFirstCommit,
    Mark::ChangeOfNoMember,
    Mark::ChangeLeavesNoVoter,
    Mark::ChangeOfNothing,
    Mark::ChangeHasTooMany,
    Mark::JointLeft,
    Mark::RemovedTold,
    Mark::RemovedUntold,
    Mark::RemovedLeaderHandsOver,
    Mark::RemovedLeaderFollows,
    Mark::StaysWithoutVote,
    Mark::MembershipUndone,
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/members")
}

/// Whether the script gives the trace that stands in its file.
fn holds(name: &str) -> bool {
    let expected = std::fs::read_to_string(folder().join(name)).expect("the script is there");
    let trace = std::panic::catch_unwind(|| goldenscript::generate(&mut Script::default(), &expected).ok());
    trace.is_ok_and(|trace| trace.as_deref() == Some(&expected))
}

#[test]
fn every_mark_and_every_bug_that_a_change_could_have_is_seen_by_a_script() {
    for file in std::fs::read_dir(folder()).expect("the folder of scripts") {
        let name = file.expect("a script").file_name().to_string_lossy().into_owned();
        assert!(holds(&name), "{name} holds without a bug");
    }
    let silent: Vec<_> = PASSED.iter().filter(|&&mark| count(mark) == 0).collect();
    assert!(silent.is_empty(), "no script passes {silent:?}");

    std::panic::set_hook(Box::new(|_| {}));
    let mut alive = Vec::new();
    for &(mutant, script) in SEEN_BY {
        switch_on(mutant);
        if holds(script) {
            alive.push((mutant, script));
        }
        switch_off();
        assert!(holds(script), "{script} holds again without the bug");
    }
    let _ = std::panic::take_hook();
    assert!(alive.is_empty(), "not seen: {alive:?}");
}
