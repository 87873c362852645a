//! A read that its server cannot confirm any more is refused at once: when the role ends under which it was asked, and
//! not only when its time has passed. (A read that is confirmed waits for no role, but for what it must see to be
//! applied.)

use kvd::event::Standing;

use super::Watch;

/// How each server stood at the end of its latest turn.
pub(super) struct Reading(Vec<Option<Turn>>);

#[derive(Clone, Copy)]
struct Turn {
    standing: Standing,
    applied: u64,
    /// How much was committed anywhere when it came to stand like that: no read that was confirmed before needs more.
    committed: u64,
}

impl Reading {
    pub(super) fn new(servers: usize) -> Self {
        Self(vec![None; servers])
    }

    pub(super) fn restarted(&mut self, me: usize) {
        self.0[me] = None;
    }
}

impl Watch {
    /// Server `me` ends a turn, and stands like that.
    pub fn turned(&mut self, me: usize, standing: Standing, applied: u64) {
        let committed = self.committed();
        let since = self.reading.0[me].filter(|turn| turn.standing == standing);
        let committed = since.map_or(committed, |turn| turn.committed);
        self.reading.0[me] = Some(Turn { standing, applied, committed });
    }

    /// Server `me` refuses a read because it knows of nobody who could confirm it, or its time has passed; it has waited
    /// since the server stood like that.
    ///
    /// # Panics
    /// When that could have been said before.
    pub fn gave_up(&self, me: usize, asked: Standing) {
        let Some(before) = self.reading.0[me] else { return };
        assert!(
            before.standing == asked || before.applied < before.committed,
            "VIOLATION s{me} lets a read wait that it was asked as {asked:?}, and is {:?}",
            before.standing
        );
    }
}
