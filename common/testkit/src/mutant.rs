//! Bugs in the checkers themselves, switched on one at a time: a checker that nothing can break checks nothing.
//!
//! Without the feature `mutants` the switch is a constant and nothing of this is in the program. With it, the switch
//! belongs to a thread, so that tests run beside each other. `tests/checkers.rs` shows that every mutant is noticed.

/// A bug that a checker can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Replay: writes need not follow what ended before they were asked.
    WritesIgnoreTime,
    /// Replay: reads need not reflect what ended before they were asked.
    ReadsIgnoreTime,
    /// Replay: only writes bind what comes later, not what was read.
    ReadsBindNothing,
    /// Replay: two writes may have one revision.
    SharedRevisions,
    /// Replay: an acknowledged write may be seen under any revision.
    AnyRevision,
    /// Replay: an unknown write may be seen under several revisions.
    SeenTwice,
    /// Replay: a value that was refused may be read.
    RefusedShows,
    /// Replay: a row may be newer than the state it was read from.
    ReadsOfTheFuture,
    /// Replay: the newest write is looked for below the revision of a read instead of up to it.
    OffByOne,
    /// Replay: stale reads are not looked at.
    StaleUnread,
    /// Replay: the first read of a key is not looked at.
    FirstReadUnread,
    /// Replay: reads that found nothing are not looked at.
    AbsenceUnread,
    /// Replay: versions are not counted.
    VersionUncounted,
    /// Replay: a row may have been created at any revision.
    CreatedUnread,
    /// Replay: whether a write found its key there is not looked at.
    ExistedUnread,
    /// Replay: an unknown write explains any number of things.
    ExplainsTwice,
    /// Replay: an unknown write may have taken effect before it was asked.
    ExplainsEarlier,
    /// Replay: an unknown write may have taken a revision that another write has.
    ExplainsWithoutRoom,
    /// Replay: whether a condition was judged rightly is not looked at.
    ConditionUnread,
    /// Replay: which write a conditional write found is not looked at.
    FoundUnread,
    /// Both: writes of unknown outcome never took effect.
    UnknownFailed,
    /// Linearizability: no write of a known outcome ever ends.
    NothingEnds,
    /// Linearizability: what ends at one moment comes before what is asked at the same.
    MomentsTouch,
    /// Linearizability: a write of unknown outcome took effect, if at all, before its client gave up.
    UnknownEnds,
    /// Linearizability: a write of unknown outcome may take effect again and again.
    UnknownRepeats,
    /// Linearizability: what was refused may have taken effect.
    RefusedApplies,
    /// Linearizability: whether a write found its key there is not looked at.
    ExistedIgnored,
    /// Linearizability: two configurations are the same when the same operations are done, whatever the state.
    StateForgotten,
    /// Linearizability: two configurations are the same when the state is, whatever is done.
    DoneForgotten,
    /// Linearizability: a configuration that used more writes of unknown outcome is kept instead of one that used fewer.
    WastefulKept,
    /// Linearizability: a value is left as if nobody would read it any more.
    ValueForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::WritesIgnoreTime,
        Self::ReadsIgnoreTime,
        Self::ReadsBindNothing,
        Self::SharedRevisions,
        Self::AnyRevision,
        Self::SeenTwice,
        Self::RefusedShows,
        Self::ReadsOfTheFuture,
        Self::OffByOne,
        Self::StaleUnread,
        Self::FirstReadUnread,
        Self::AbsenceUnread,
        Self::VersionUncounted,
        Self::CreatedUnread,
        Self::ExistedUnread,
        Self::ExplainsTwice,
        Self::ExplainsEarlier,
        Self::ExplainsWithoutRoom,
        Self::ConditionUnread,
        Self::FoundUnread,
        Self::UnknownFailed,
        Self::NothingEnds,
        Self::MomentsTouch,
        Self::UnknownEnds,
        Self::UnknownRepeats,
        Self::RefusedApplies,
        Self::ExistedIgnored,
        Self::StateForgotten,
        Self::DoneForgotten,
        Self::WastefulKept,
        Self::ValueForgotten,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static LIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether the checkers have this bug now.
    pub fn is(mutant: Mutant) -> bool {
        LIVE.get() == Some(mutant)
    }

    /// Gives the checkers a bug, or takes it away, for this thread.
    pub fn set(mutant: Option<Mutant>) {
        LIVE.set(mutant);
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// Whether the checkers have this bug now: never, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
pub const fn is(_: Mutant) -> bool {
    false
}
