//! A backup takes the place of all keys while the cluster runs: its rows are staged beside the present ones, and one entry
//! switches (`protocol/src/restore.rs`).
//!
//! What is staged is state like the rows: it is in the overlays, in each commit, in the state's hash and in what a follower is
//! sent. A row is staged without a revision, for it will be that of the switch; the file never says it of each row but once for
//! all ([`Facts::restored`]), and a row counts in the hash as it was staged ([`Meta::element_since`](protocol::stored::Meta::element_since)).
//! So the switch neither reads nor sums nor writes the rows:
//!
//! ```text
//!   before           staged ─┐                     after    rows ◄── what was staged
//!   overlay ──► rows        ┌┘ overlay ──► staged            nothing staged
//! ```
//!
//! - on disk a table takes the name of another, by the commit that has the switch in it (`store/staging.rs`);
//! - until then reads go to the table `staged` where they went to `rows` ([`Base::switched`]);
//! - what the overlays have staged and no commit has yet, gets its revision then: two overlays at most, within their bounds.
//!
//! An overlay says beside its rows what becomes of the tables below it ([`Plan`]). That is known when it begins, and changes
//! only by a switch, a beginning or an abort: so any number of them fit into one commit, and none of them waits for a flush.
//!
//! What goes with the old rows: the history, whose floor is the switch, so that reads and watches of before are told that it is
//! no longer kept; and the holds of leases. Request memory, window, members and the leases themselves stay.

use std::sync::Arc;

use protocol::{Decided, Verdict, restore::Restore, stored::hash};

use super::{State, history::Occasion, row::Row};
use crate::store::{
    Base,
    overlay::{Overlay, Slot},
    recent::Recent,
    staging::StagingBatch,
};

/// From where a table comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is what it was in the commit before.
    #[default]
    Kept,
    /// It is what was staged there.
    Staged,
    /// It holds nothing.
    Empty,
}

/// What becomes of the tables of the layer below, before the rows of an overlay lie over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Of the rows.
    pub(crate) rows: Origin,
    /// Of what is staged; never [`Origin::Staged`].
    pub(crate) staged: Origin,
}

/// What a commit says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The revision of the last switch: what revision zero in a row stands for. Zero while there was none.
    pub(crate) restored: u64,
    /// The id of what was staged for it.
    pub(crate) restored_by: u128,
    /// The id of what is staged now; zero where nothing is.
    pub(crate) id: u128,
    /// How many rows that has.
    pub(crate) count: u64,
    /// The sum of their hashes.
    pub(crate) hash: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Staging {
    /// Where something was ever staged.
    facts: Option<Facts>,
    /// The key of the last row that is staged.
    last: Vec<u8>,
    /// What is staged and not in a flush, and what becomes of the tables below.
    rows: Overlay,
    plan: Plan,
    /// The same of the flush that is under way.
    frozen: Option<(Overlay, Plan)>,
    /// What a switch took out of memory: the next flush takes it apart, on its own thread.
    discarded: Vec<(Overlay, Recent)>,
}

impl Staging {
    /// That of the last commit, with the key of the last row.
    pub(crate) fn load(facts: Facts, last: Vec<u8>) -> Self {
        Self { facts: Some(facts), last, ..Self::default() }
    }

    /// What a commit says of it; nothing where nothing was ever staged.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.facts
    }

    /// The revision of the last switch, or zero.
    pub(super) fn restored(&self) -> u64 {
        self.facts.map_or(0, |facts| facts.restored)
    }

    /// Bytes and rows that the next flush takes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.bytes(), self.rows.len())
    }

    /// Its share of the state's hash.
    pub(super) fn hash(&self) -> u64 {
        self.facts.map_or(0, |facts| {
            let [by, id] = [facts.restored_by, facts.id].map(|id| hash::words(&id.to_be_bytes()));
            hash::element(&[facts.restored, by, id, facts.count, facts.hash])
        })
    }

    /// What the flush takes that begins now.
    pub(super) fn freeze(&mut self) -> StagingBatch {
        let (rows, plan) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.plan));
        self.frozen = Some((rows.clone(), plan));
        StagingBatch { plan, rows, discarded: std::mem::take(&mut self.discarded) }
    }

    /// The flush is done; returns the rows as they are now over what it left on the disk.
    pub(super) fn thaw(&mut self, base: Arc<Base>) -> Arc<Base> {
        self.frozen = None;
        match self.plan.rows {
            Origin::Kept => base,
            Origin::Staged => Arc::new(base.switched(self.restored(), true)),
            Origin::Empty => Arc::new(base.switched(self.restored(), false)),
        }
    }

    fn clear(&mut self, facts: Facts) {
        (self.rows, self.last) = (Overlay::default(), Vec::new());
        self.plan.staged = Origin::Empty;
        self.facts = Some(facts);
    }
}

impl State {
    /// Does a step.
    pub(super) fn restore(&mut self, occasion: Occasion, step: Restore) -> Decided {
        let facts = self.staging.facts.unwrap_or_default();
        let (verdict, number) = match step {
            Restore::Begin { id } if facts.restored_by == id => (Verdict::Unmet, facts.restored),
            Restore::Begin { id } if facts.id == id => (Verdict::Done, facts.count),
            Restore::Begin { id } => {
                // The format says so from now on, and that format has leases.
                self.leases.mark_used();
                self.staging.clear(Facts { id, count: 0, hash: 0, ..facts });
                (Verdict::Done, 0)
            }
            Restore::Rows { id, offset, rows } => self.stage(facts, (id, offset), rows),
            // Also where another has begun since: who repeats a step that was done hears so.
            Restore::Switch { id, .. } if facts.restored_by == id => (Verdict::Done, facts.restored),
            Restore::Switch { id, count, hash } => {
                if (id, count, hash) == (facts.id, facts.count, facts.hash) {
                    self.switch(occasion, facts);
                    (Verdict::Done, occasion.revision)
                } else {
                    (Verdict::Unmet, if facts.id == id { facts.count } else { 0 })
                }
            }
            Restore::Abort => {
                if facts.id != 0 {
                    self.staging.clear(Facts { id: 0, count: 0, hash: 0, ..facts });
                }
                (Verdict::Done, facts.count)
            }
        };
        let existed = facts.id != 0;
        Decided { revision: occasion.revision, verdict, number, existed, ..Decided::default() }
    }

    /// Adds the rows that are not there yet.
    fn stage(
        &mut self,
        facts: Facts,
        (id, offset): (u128, u64),
        rows: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> (Verdict, u64) {
        if facts.id != id {
            return (Verdict::Unmet, 0);
        }
        let Some(there) = facts.count.checked_sub(offset) else { return (Verdict::Unmet, facts.count) };
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        let mut new = rows.into_iter().skip(there).peekable();
        if new.peek().is_some_and(|(key, _)| *key <= self.staging.last) {
            return (Verdict::Unmet, facts.count);
        }
        let mut facts = facts;
        for (key, value) in new {
            let meta = protocol::restore::staged(&key, &value);
            facts.count += 1;
            facts.hash = facts.hash.wrapping_add(meta.element());
            self.staging.rows.put(&Arc::from(key.as_slice()), Slot::Row(Arc::new(Row { meta, value })));
            self.staging.last = key;
        }
        self.staging.facts = Some(facts);
        (Verdict::Done, facts.count)
    }

    /// What is staged is all there is from now on.
    fn switch(&mut self, occasion: Occasion, facts: Facts) {
        let revision = occasion.revision;
        let Plan { staged, .. } = self.staging.plan;
        let below = (staged == Origin::Kept).then_some(self.staging.frozen.as_ref());
        // Of the layers below only what was staged there counts, as far as nothing dropped it since.
        let frozen = below.flatten().map(|(rows, _)| resolved(rows, revision)).unwrap_or_default();
        let on_disk = below.is_some_and(|frozen| frozen.is_none_or(|(_, plan)| plan.staged == Origin::Kept));
        let base = Arc::new(self.base.switched(revision, on_disk));
        self.base = base;
        let active = std::mem::replace(&mut self.active, resolved(&self.staging.rows, revision));
        self.staging.discarded.push((active, std::mem::take(&mut self.recent)));
        if let Some(waiting) = &mut self.frozen {
            let rows = std::mem::replace(&mut waiting.rows, frozen);
            self.staging.discarded.push((rows, std::mem::take(&mut waiting.recent)));
        }
        self.rows_hash = facts.hash;
        self.history.begin_anew(revision, occasion.stamp_ms);
        self.leases.release();
        let rows = if staged == Origin::Kept { Origin::Staged } else { Origin::Empty };
        self.staging.clear(Facts { restored: revision, restored_by: facts.id, id: 0, count: 0, hash: 0 });
        self.staging.plan.rows = rows;
    }
}

/// The same rows with a revision.
fn resolved(rows: &Overlay, revision: u64) -> Overlay {
    let mut with = Overlay::default();
    for (key, slot) in rows.iter() {
        let Slot::Row(row) = slot else { continue };
        let row = Row { meta: row.meta.resolved(revision), value: row.value.clone() };
        with.put(&Arc::from(key), Slot::Row(Arc::new(row)));
    }
    with
}
