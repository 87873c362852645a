//! A view of the store as blocks.

use protocol::snapshot::{End, Filling, Head, SAVED};
use ring::digest::{Context, SHA256};

use super::Table;
use crate::{
    instruments::{Mutant, mutant},
    state::StateError,
    store::view::View,
};

/// A block is closed when it has so many bytes; one pair always fits.
const BLOCK: usize = 128 * 1024;

/// What is to be sent of a state: ask for one block after another.
pub struct Sending {
    view: View,
    stage: Stage,
    digest: Context,
    blocks: u64,
    pairs: u64,
    saved_ms: Option<u64>,
}

enum Stage {
    Head,
    /// In this table, after this key.
    Table(Table, Option<Vec<u8>>),
    End,
    Done,
}

impl Sending {
    pub(crate) fn new(view: View) -> Self {
        let digest = Context::new(&SHA256);
        Self { view, stage: Stage::Head, digest, blocks: 0, pairs: 0, saved_ms: None }
    }

    /// The same as a backup, which says when it was begun.
    #[must_use]
    pub fn saved_at(mut self, wall_ms: u64) -> Self {
        self.saved_ms = Some(wall_ms);
        self
    }

    /// What it begins with.
    pub fn head(&self) -> Head {
        self.view.head()
    }

    /// The next block; nothing after the last.
    ///
    /// # Errors
    /// The store cannot be read. What was sent so far is no state, and nobody takes it for one.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        let (block, next) = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Head => (self.head().encode(), Stage::Table(Table::Meta, None)),
            Stage::Table(table, after) => {
                let mut filling = Filling::new(table);
                let before = self.pairs;
                let last = self.fill(table, after.as_deref(), &mut filling)?;
                let next = last.map_or_else(|| after_table(table), |last| Stage::Table(table, Some(last)));
                if self.pairs == before {
                    self.stage = next;
                    return self.next_block();
                }
                (filling.seal(), next)
            }
            Stage::End => {
                let (blocks, pairs) = (self.blocks, self.pairs);
                let sum = self.digest.clone().finish();
                let mut end = End { blocks, pairs, sum: [0; 32] };
                end.sum.copy_from_slice(sum.as_ref());
                (end.encode(), Stage::Done)
            }
            Stage::Done => return Ok(None),
        };
        self.stage = next;
        self.digest.update(&block);
        self.blocks = self.blocks.saturating_add(1);
        Ok(Some(block))
    }

    /// Fills a block; returns the key after which the next one begins, or nothing when the table is at its end.
    fn fill(
        &mut self,
        table: Table,
        after: Option<&[u8]>,
        filling: &mut Filling,
    ) -> Result<Option<Vec<u8>>, StateError> {
        if table == Table::Requests && mutant(Mutant::SnapshotDropsRequests) {
            return Ok(None);
        }
        let history = [Table::Changes, Table::Deleted, Table::Spans].contains(&table);
        let forgets = history && mutant(Mutant::SnapshotForgetsHistory)
            || table == Table::Deleted && mutant(Mutant::SnapshotForgetsTombstones);
        let leases = [Table::Leases, Table::Leased].contains(&table);
        if forgets || leases && mutant(Mutant::SnapshotDropsLeases) {
            return Ok(None);
        }
        let pairs = &mut self.pairs;
        let mut saved = self.saved_ms.filter(|_| table == Table::Meta);
        self.view.visit(table, after, |key, value| {
            // In its place among the facts, which have an order.
            if let Some(wall_ms) = saved.take_if(|_| key > SAVED.as_bytes()) {
                filling.push(SAVED.as_bytes(), &u128::from(wall_ms).to_le_bytes());
                *pairs = pairs.saturating_add(1);
            }
            filling.push(key, value);
            *pairs = pairs.saturating_add(1);
            filling.len() < BLOCK
        })
    }
}

fn after_table(table: Table) -> Stage {
    match table {
        Table::Meta => Stage::Table(Table::Rows, None),
        Table::Rows => Stage::Table(Table::Requests, None),
        Table::Requests => Stage::Table(Table::Changes, None),
        Table::Changes => Stage::Table(Table::Deleted, None),
        Table::Deleted => Stage::Table(Table::Spans, None),
        Table::Spans => Stage::Table(Table::Leases, None),
        Table::Leases => Stage::Table(Table::Leased, None),
        Table::Leased => Stage::Table(Table::Members, None),
        Table::Members => Stage::Table(Table::Staged, None),
        Table::Staged => Stage::End,
    }
}
