//! The rows of a range, while a write is judged.

use std::ops::{Bound, ControlFlow};

use protocol::KeyRange;

use super::{
    State, StateError,
    merge::{Layer, Layered, Merge},
    write::Changes,
};
use crate::instruments::{Mutant, mutant};

impl State {
    /// Shows the rows of a range to `see`, in the order of the keys, until it has seen enough. The `changes` are worked
    /// out and not done yet, and lie over everything else.
    pub(super) fn scan(
        &self,
        changes: &Changes,
        range: &KeyRange,
        mut see: impl FnMut(&Layered<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let from = range.from.as_slice();
        let changes = changes.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let changes = changes.map(|(key, change)| (key.as_slice(), &change.slot));
        let mut layers: Vec<Layer<'_>> = vec![Box::new(changes), Box::new(self.active.starting_at(from))];
        if let Some(frozen) = self.frozen.as_ref().filter(|_| !mutant(Mutant::StateScansOneLayer)) {
            layers.push(Box::new(frozen.rows.starting_at(from)));
        }
        let mut merge = Merge::new(layers, &self.base, from)?;
        while let Some(found) = merge.next()? {
            let (key, row) = found.split();
            if range.to.as_deref().is_some_and(|to| key >= to) {
                break;
            }
            if row.is_some() && see(&found).is_break() {
                break;
            }
        }
        Ok(())
    }
}
