//! A range of keys through all layers: the newest that knows a key decides.

use std::{iter::Peekable, ops::ControlFlow};

use protocol::KeyRange;

use super::{State, StateError, row::Meta, write::Changes};
use crate::{
    instruments::{Mutant, mutant},
    store::overlay::{Slot, bounds},
};

/// What one layer knows of a range.
type Layer<'a> = Box<dyn Iterator<Item = (&'a [u8], &'a Slot)> + 'a>;

impl State {
    /// Shows the rows of a range to `see`, in the order of the keys, until it has seen enough. The `changes` are worked
    /// out and not done yet, and lie over everything else.
    pub(super) fn scan(
        &self,
        changes: &Changes,
        range: &KeyRange,
        mut see: impl FnMut(&[u8], Meta, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let changes = changes.range::<[u8], _>(bounds(range));
        let changes = changes.map(|(key, change)| (key.as_slice(), &change.slot));
        let mut newest_first: Vec<Layer<'_>> = vec![Box::new(changes), Box::new(self.active.range(range))];
        if let Some(frozen) = self.frozen.as_ref().filter(|_| !mutant(Mutant::StateScansOneLayer)) {
            newest_first.push(Box::new(frozen.rows.range(range)));
        }
        let mut layers: Vec<_> = newest_first.into_iter().map(Iterator::peekable).collect();
        let mut stored = self.base.range(range)?;
        let mut below = stored.next().transpose()?;
        loop {
            let above = layers.iter_mut().filter_map(|layer| Some(layer.peek()?.0)).min();
            let enough = match (above, &below) {
                (None, None) => return Ok(()),
                (Some(key), at) if at.as_ref().is_none_or(|(stored, _)| key <= stored.value()) => {
                    if at.as_ref().is_some_and(|(stored, _)| stored.value() == key) {
                        below = stored.next().transpose()?;
                    }
                    match decisive(&mut layers, key) {
                        Some(Slot::Row(row)) => see(key, row.meta, &row.value),
                        Some(Slot::Deleted) | None => ControlFlow::Continue(()),
                    }
                }
                (_, Some((key, row))) => {
                    let (meta, value) = self.base.split(row.value())?;
                    let enough = see(key.value(), meta, value);
                    below = stored.next().transpose()?;
                    enough
                }
                (Some(_), None) => unreachable!("a key above goes first where there is none below"),
            };
            if enough.is_break() {
                return Ok(());
            }
        }
    }
}

/// What the first of the layers says that knows `key`; all of them move on behind it.
fn decisive<'a>(layers: &mut [Peekable<Layer<'a>>], key: &[u8]) -> Option<&'a Slot> {
    let mut decisive = None;
    for layer in layers {
        if let Some((_, slot)) = layer.next_if(|(next, _)| *next == key) {
            decisive = decisive.or(Some(slot));
        }
    }
    decisive
}
