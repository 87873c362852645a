//! For the simulator: which branches a run went through, and bugs that can be switched on to see them found.
//!
//! A *mark* stands at every refusal and every way of recovery; a run of many seeds in which one stays at zero has not
//! tested it, and fails. A *mutant* is a bug, one for each kind that Raft implementations are known to have had (its
//! number is that of `docs/bugs.md`); one that survives the simulator says that the simulator is blind there. Both are
//! names here, and calls where they belong. In an ordinary build [`mark`] does nothing and [`mutant`] is `false`, so the compiler removes them: marks
//! exist with the feature `simulated`, mutants with the feature `mutants`.
//!
//! Counts and switch are those of the process: one simulated cluster a process.

/// Makes the instruments of a crate: `Mark`, `Mutant`, and the functions over them.
#[macro_export]
macro_rules! instruments {
    (
        marks { $($mark:ident: $shows:literal,)* }
        mutants { $($mutant:ident: $bug:literal,)* }
    ) => {
        /// A branch that the simulator must see taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $(#[doc = $shows] $mark,)* }

        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $(#[doc = $bug] $mutant,)* }

        impl Mark {
            /// All of them, with what each shows.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$mark, stringify!($mark), $shows)),*];
        }

        impl Mutant {
            /// All of them, with the bug that each is.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$mutant, stringify!($mutant), $bug)),*];
        }

        #[cfg(feature = "simulated")]
        static COUNTS: [core::sync::atomic::AtomicU64; Mark::ALL.len()] =
            [const { core::sync::atomic::AtomicU64::new(0) }; Mark::ALL.len()];

        /// One more than the number of the mutant that is on; zero for none.
        #[cfg(feature = "mutants")]
        static ON: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

        /// The run came by here.
        #[inline]
        pub fn mark(mark: Mark) {
            #[cfg(feature = "simulated")]
            COUNTS[mark as usize].fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            #[cfg(not(feature = "simulated"))]
            let _ = mark;
        }

        /// How often the process came by there.
        #[cfg(feature = "simulated")]
        pub fn count(mark: Mark) -> u64 {
            COUNTS[mark as usize].load(core::sync::atomic::Ordering::Relaxed)
        }

        /// Whether this bug is on.
        #[inline]
        pub fn mutant(mutant: Mutant) -> bool {
            #[cfg(feature = "mutants")]
            return ON.load(core::sync::atomic::Ordering::Relaxed) == mutant as usize + 1;
            #[cfg(not(feature = "mutants"))]
            {
                let _ = mutant;
                false
            }
        }

        /// Switches this bug on, and every other of this crate off, for the rest of the process.
        #[cfg(feature = "mutants")]
        pub fn switch_on(mutant: Mutant) {
            ON.store(mutant as usize + 1, core::sync::atomic::Ordering::Relaxed);
        }

        /// Switches every bug of this crate off.
        #[cfg(feature = "mutants")]
        pub fn switch_off() {
            ON.store(0, core::sync::atomic::Ordering::Relaxed);
        }
    };
}

instruments! {
    marks {
        HigherTermEntered: "a higher term is entered",
        OldTermAnswered: "who speaks for an old term is told the present one",
        PreVoteForOldTerm: "a pre-vote is refused: its term is not above ours",
        PreVoteAgainstLeader: "a pre-vote is refused: a leader is heard",
        PreVoteWithOldLog: "a pre-vote is refused: the candidate's log is older",
        PreVoteWithoutDisk: "a pre-vote is refused: a vote would wait for a disk that does not answer",
        PreVoteTooLate: "a granted pre-vote comes when its term is past",
        VoteIgnored: "a vote is ignored, its term too: a leader is heard",
        VoteAlreadyGiven: "a vote is refused: it was given, or the term has its leader",
        VoteWithOldLog: "a vote is refused: the candidate's log is older",
        GrantDoubled: "a grant comes twice",
        RoundWaitsForDisk: "a candidate's timeout waits for its own disk",
        RoundStartsOver: "a round that is not decided in time starts over",
        CandidateFollows: "a candidate hears the leader of its term",
        QuorumSilent: "a leader gives up: a majority is silent",
        DiskHangs: "a leader gives up: its own disk is silent",
        LeaderWithoutRoom: "a leader gives up: its disk has no room",
        CandidateWithoutRoom: "a candidate gives up: its disk has no room",
        StaysWithoutRoom: "a server does not stand: its disk has no room",
        FollowerWithoutRoom: "a follower takes no entries: its disk has no room",
        AppendLeavesGap: "an append is rejected: the log ends before it",
        AppendConflicts: "an append is rejected: an entry of another term stands there",
        AppendOfCommitted: "an append begins in what is committed",
        EntryMatches: "an entry comes that is there already",
        TailReplaced: "a conflicting tail is replaced",
        WriteProvesLess: "a write under way no longer proves what was replaced",
        FollowerFull: "a follower takes no entries: it applies too slowly",
        HeldDiscarded: "a new term discards what still waits for the disk",
        EarlierTermNotCounted: "a majority holds an entry of an earlier term, which does not commit it",
        Refused: "a follower's refusal moves the leader back",
        OldRefusal: "a refusal is older than what was acknowledged since",
        Stalled: "appends that nobody answers are taken as lost",
        PeerUnreachable: "the caller says that a follower is not reached",
        WindowFull: "an append waits because the window is full",
        ProbeWithoutEntries: "a probe of a silent follower carries no entries",
        FetchAsked: "entries that memory lacks are asked of the disk",
        FetchedLate: "entries come from disk when they are wanted no more",
        FetchUnanswered: "entries could not be read from disk",
        ProposalAtFollower: "a proposal is refused by a follower",
        ProposalAtCandidate: "a proposal is refused by a candidate",
        ProposalBusyByEntries: "a proposal is refused: too many entries are not committed",
        ProposalBusyByBytes: "a proposal is refused: too many bytes are not committed",
        ProposalBusyByApplying: "a proposal is refused: applying is slow",
        ReadAtCandidate: "a read is refused by a candidate",
        ReadWithoutLeader: "a read is refused by a follower without a leader",
        ReadBusyAtLeader: "a read is refused: too many wait at the leader",
        ReadBusyAtFollower: "a read is refused: too many wait at the follower",
        ReadBusyForFollower: "a follower's question is refused: too many reads wait",
        ReadWaitsForFirstCommit: "a read waits for the first commit of the term",
        ReadWaitsForRound: "a read waits for the end of the round before its own",
        ReadWaitsForState: "a confirmed read waits for the state to reach its index",
        ReadsFail: "reads fail because the role ended",
        QuestionMisdirected: "a question reaches a server that does not lead",
        QuestionRefused: "a question is answered: cannot say",
        QuestionAskedAgain: "a question is asked again",
        QuestionGivenUp: "a question is given up",
        QuestionReplaced: "a follower's new question replaces the one that waits",
        AnswerTooLate: "an answer comes to a question that is not under way",
        SnapshotBegun: "a follower needs what was discarded and is sent the state",
        SnapshotWaits: "a follower waits to be sent the state: others are",
        SnapshotArrived: "a follower says that it made the state current",
        SnapshotFailed: "a follower did not make the state current",
        SnapshotNewsLate: "what came of a state that was sent is told when nobody waits for it",
        SnapshotOld: "a state is refused: it brings nothing new",
        SnapshotRefused: "a state is refused: it cannot be made current now",
        SnapshotMatchesLog: "a state is made current and the log, which holds its last entry, stays",
        SnapshotDropsLog: "a state is made current and the log, which does not hold its last entry, goes",
        AppendWhileInstalling: "an append comes while a state is made current",
        AnswerOfOldSession: "an answer to an earlier session of a follower is not believed",
        TransferBegun: "a leader begins to hand over",
        TransferTold: "a leader tells its successor to stand",
        TransferGivenUp: "a leader gives up handing over",
        TransferUnderWay: "a leader is asked to hand over and already does",
        TransferToNobody: "a leader is asked to hand over and nobody can be told",
        LeadershipHanded: "a follower is told to stand and does",
        LeadershipDeclined: "a follower is told to stand and does not",
        TransferToNonVoter: "a leader is asked to hand over to a server that does not vote",
        ChangeOfVoters: "a leader begins to change the voters",
        ChangeOfLearners: "a leader changes the learners alone",
        ChangeElsewhere: "a change is refused: this server does not lead",
        ChangeWhileHandingOver: "a change is refused: leadership is being handed over",
        ChangePending: "a change is refused: the last one is not done",
        ChangeBeforeFirstCommit: "a change is refused: nothing of the leader's term is committed",
        ChangeOfNoMember: "a change is refused: it names no member",
        ChangeLeavesNoVoter: "a change is refused: nobody would vote",
        ChangeOfNothing: "a change is refused: all is so already",
        ChangeHasTooMany: "a change is refused: there would be too many members",
        JointLeft: "a joint membership is committed and its leader ends it",
        RemovedTold: "who is no member any more was told that this is committed",
        RemovedUntold: "who is no member any more is let go without having learned so",
        RemovedLeaderHandsOver: "a leader that votes no more begins to hand over",
        RemovedLeaderFollows: "a leader that votes no more gives up",
        StaysWithoutVote: "a server that does not vote hears no leader and does not stand",
        MembershipUndone: "a membership that was replaced gives way to the one before",
        ApplyHeld: "committed entries wait for the caller to have room",
        ApplyWaitsForDisk: "committed entries wait for the own disk",
    }
    mutants {
        VoteAloneUnwritten: "1: a vote in a term that is on disk already is not written",
        GrantsBeforeDurable: "2: a vote is granted before it is on disk",
        AsksBeforeDurable: "2: a candidate asks before its own vote is on disk",
        SnapshotBeforeTerm: "2: a state is made current before its term is on disk",
        SpeaksBeforeDurable: "2: a server speaks for a term before it is on disk",
        VotesTwice: "3: a server votes for whoever asks",
        RestartForgetsVote: "3: a restart forgets the vote",
        VoteOutlivesTerm: "3: the vote of a term counts in the next",
        JudgesByIndex: "4: the longer log is the newer, whatever its terms",
        JudgesByTerm: "4: of two logs that end in one term each is as new as the other",
        RefusalGrants: "5: any answer to a vote counts as a grant",
        PreVoteRefusalGrants: "5: any answer to a pre-vote counts as a grant",
        CountsAnswers: "5: a grant that comes twice counts as another server's",
        PreVoteRefusalSilent: "6: a refused pre-vote is not answered, so the term does not spread",
        SpendsTermsAtOnce: "6: there is no pre-vote",
        LeadsWithoutQuorum: "7: a leader that hears no majority goes on",
        LoyalToNobody: "7: who hears a leader helps to depose it",
        LeaderHelpsOthers: "7: a leader helps to depose itself",
        VoteAlwaysHeard: "7: a vote is heard though a leader is",
        RefusedGiveRest: "8: candidates that are refused put the others off",
        HeartbeatsGiveNoRest: "8: a heartbeat does not begin the election timeout anew",
        NoJitter: "8: all election timeouts are equal",
        HigherReplyIgnored: "9: a reply of a higher term is ignored",
        OldTermUnanswered: "9: who speaks for an old term is not told",
        LeadsOn: "9: a leader that enters a higher term leads there too",
        CandidateIgnoresLeader: "9: a candidate does not follow the leader of its term",
        CommitsEarlierTerms: "10: a leader commits entries of earlier terms by counting",
        NoFirstEntry: "10: a leader begins its term without an entry",
        RestartCommits: "10: what is found on disk counts as committed",
        CommitsUnverified: "11: a follower commits beyond what an append verified",
        HeartbeatTellsTooMuch: "11: a heartbeat tells a commit index beyond the follower's match",
        PreviousUnchecked: "11: an append is taken after an entry of another term",
        HeartbeatMovesMatch: "12: a heartbeat's answer moves the follower's match",
        AcknowledgesAll: "12: a follower acknowledges its whole log, not what an append verified",
        ConflictStays: "12: a conflicting entry stays where it is",
        AcknowledgesBeforeDurable: "13: a follower acknowledges entries before they are on its disk",
        CountsItselfEarly: "13: a leader counts itself before its own disk is done",
        AppliesBeforeDurable: "13: entries are applied before they are durable here",
        WritesProveTooMuch: "13: a write proves entries that were replaced under it",
        HeldOutlivesTerm: "13: an acknowledgement outlives its term and then speaks of other entries",
        TruncatesMatching: "14: an append replaces also what matches",
        LateFetchCounts: "15: entries that come late from disk are sent all the same",
        FetchAskedOnce: "15: entries that could not be read are never asked for again",
        ReplacementUnwritten: "16: what replaces a tail is not written",
        TermAtBaseForgotten: "17: the term before the first entry in memory counts as zero",
        OldRefusalCounts: "18: an old refusal moves the leader back below the match",
        CountsOnlyAnswers: "19: the own disk's progress commits nothing",
        HalfIsQuorum: "20: half of an even number is a majority",
        CountsOneTooMany: "20: one server more than a majority is needed to commit",
        CommitFalls: "21: a commit index that comes late moves ours back",
        ReadsBeforeFirstCommit: "37: a read does not wait for the first commit of the term",
        ServesBeforeApplied: "37: a read is served before the state has reached its index",
        FollowerServesAtOnce: "37: a follower serves a read at whatever its state has reached",
        JoinsRunningRound: "38: a read joins the round that is under way",
        RoundsShareNumber: "38: all rounds of a leader have one number",
        LateAnswerCounts: "38: the answer to an earlier question confirms later reads",
        NumbersStartOver: "38: numbers are used again after a restart",
        ReadsWithoutQuorum: "39: a leader confirms reads by itself",
        ReadsByLease: "40: who was heard lately confirms reads without being asked",
        UncommittedLeaks: "54: what is committed stays counted as uncommitted",
        TakesAllProposals: "54: proposals have no bound",
        SettledStayCounted: "54: reads that were settled stay counted",
        QuestionAskedOnce: "38: a follower's question is never asked again",
        LostIsNeverSentAgain: "appends that are lost are never sent again",
        ProbesOnce: "a probe that is lost is never sent again",
        LeadsWithoutDisk: "57: a leader whose disk is silent goes on",
        LeadsWithoutReads: "57: a leader whose disk is silent goes on where it was only asked to read",
        NeverFull: "55: a follower takes entries however slowly it applies",
        SnapshotTermForgotten: "17: the term of the last entry of a state is forgotten",
        SentCountsAsMatched: "18: a state that was sent counts as acknowledged, whatever came of it",
        SnapshotKeepsLog: "22: a log stays though it does not hold the last entry of the state",
        OldSnapshotTaken: "24: a state of an older index is made current",
        AppliesWhileInstalling: "25: entries are applied while a state is made current",
        SnapshotNeverRetried: "58: a follower that did not get the state is never sent it again",
        RetriesWhenIdle: "58: what was lost is sent again only while no reads come",
        TransferNeverEnds: "58: a leader that cannot hand over never gives up",
        HandsOverEarly: "58: a successor is told to stand before it has everything",
        HandedVoteIgnored: "58: who hears the leader does not listen to the successor it wants",
        ProposesWhileHandingOver: "58: proposals are taken while leadership is handed over",
        SessionOutlivesRemoval: "18: a server that is added again keeps its old session",
        CommitNotLookedAtAgain: "19: what fewer voters have already is committed only with the next answer",
        MembershipOutlivesLog: "23: the membership of a log that goes stays in effect",
        ChangesBeforeFirstCommit: "30: a change is taken before a commit of the leader's term",
        EffectiveOnCommit: "30: a membership is in effect only once it is committed",
        MembershipNotUndone: "30: a membership stays in effect when its entry is replaced",
        NewMajorityAlone: "30: while voters change, a majority of the new ones is enough",
        OldMajorityAlone: "30: while voters change, a majority of the old ones is enough",
        JointSkipped: "30: voters change without a phase in which both sets decide",
        RestartForgetsMembership: "32: memberships that only the log has are forgotten by a restart",
        StateForgetsMembership: "32: the membership of a state is not taken with it",
        LearnerCounts: "34: a learner counts for a majority",
        LearnerStands: "34: a learner stands for election",
        LearnerRefusesVote: "34: a server that does not know yet that it votes refuses its vote",
        HandsOverToLearner: "34: leadership is handed to a learner",
        StrangersUnheard: "35: who is no member here is not heard",
        RemovedLeaderCounts: "35: a leader counts itself though it votes no more",
        RemovedLeaderStays: "35: a leader that votes no more leads on",
        RemovedNeverStands: "35: who votes no more never stands, though nobody else could win",
        ChangesWhileChanging: "36: a second change is taken while one is under way",
        JointForEver: "36: a joint membership never ends",
        FinishesWhileHandingOver: "58: a change is finished, and an entry appended, while leadership is handed over",
        ReadsForgotten: "39: reads of a role that ended are neither served nor failed",
    }
}
