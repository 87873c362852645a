//! The layers of the state in the order of their keys, as one: of a key, the newest layer that knows it decides.
//!
//! ```text
//!   changes that are worked out and not done ─┐ newest first; the first one is there only while a write is judged
//!   active overlay ───────────────────────────┤
//!   frozen overlay ───────────────────────────┼─► key by key, tombstones included
//!   the store ────────────────────────────────┘
//! ```

use std::{cmp::Ordering, iter::Peekable, sync::Arc};

use super::{StateError, history::Before, row::Meta};
use crate::{
    instruments::{Mutant, mutant},
    store::{Base, Rows, Stored, overlay::Slot},
};

/// What one layer in memory knows, in the order of the keys.
pub(super) type Layer<'a> = Box<dyn Iterator<Item = (&'a [u8], &'a Slot)> + 'a>;

/// See the module.
pub(super) struct Merge<'a> {
    layers: Vec<Peekable<Layer<'a>>>,
    rows: Rows<'a>,
    stored: Option<Stored>,
}

/// What there is of a key.
pub(super) enum Layered<'a> {
    /// In memory, with the number of the layer: 0 is the newest.
    Slot(usize, &'a [u8], &'a Slot),
    /// In the store.
    Stored(Stored),
}

impl<'a> Merge<'a> {
    /// From `from` on: the `layers`, newest first and each beginning there, over the rows of `base`.
    pub(super) fn new(layers: Vec<Layer<'a>>, base: &'a Base, from: &[u8]) -> Result<Self, StateError> {
        let mut rows = base.starting_at(from)?;
        let stored = rows.next()?;
        Ok(Self { layers: layers.into_iter().map(Iterator::peekable).collect(), rows, stored })
    }

    /// The next key.
    pub(super) fn next(&mut self) -> Result<Option<Layered<'a>>, StateError> {
        let Some(key) = self.layers.iter_mut().filter_map(|layer| Some(layer.peek()?.0)).min() else {
            return self.next_stored();
        };
        let stored = self.stored.as_ref().map(|stored| stored.key().cmp(key));
        if stored == Some(Ordering::Less) {
            return self.next_stored();
        }
        let slot = self.decisive(key);
        let hidden = if stored == Some(Ordering::Equal) { self.next_stored()? } else { None };
        if hidden.is_some()
            && matches!(slot, Some((_, Slot::Deleted(_))))
            && mutant(Mutant::ScanForgetsTombstones)
        {
            return Ok(hidden);
        }
        Ok(slot.map(|(layer, slot)| Layered::Slot(layer, key, slot)))
    }

    /// What the first of the layers says that knows `key`; all of them move on behind it.
    fn decisive(&mut self, key: &[u8]) -> Option<(usize, &'a Slot)> {
        let mut decisive = None;
        for (number, layer) in self.layers.iter_mut().enumerate() {
            if let Some((_, slot)) = layer.next_if(|(next, _)| *next == key) {
                decisive = decisive.or(Some((number, slot)));
            }
        }
        decisive
    }

    fn next_stored(&mut self) -> Result<Option<Layered<'a>>, StateError> {
        let Some(stored) = self.stored.take() else { return Ok(None) };
        self.stored = self.rows.next()?;
        Ok(Some(Layered::Stored(stored)))
    }
}

impl Layered<'_> {
    /// The key, and the row where there is one.
    pub(super) fn split(&self) -> (&[u8], Option<(Meta, &[u8])>) {
        match self {
            Self::Slot(_, key, Slot::Row(row)) => (key, Some((row.meta, &row.value))),
            Self::Slot(_, key, Slot::Deleted(_)) => (key, None),
            Self::Stored(stored) => (stored.key(), stored.split()),
        }
    }

    /// The same for a change of the key. A row that is planned and not done has no part in this.
    pub(super) fn before(&self) -> Before {
        match self {
            Self::Slot(_, _, Slot::Row(row)) => Before::Row(Arc::clone(row)),
            Self::Slot(_, _, Slot::Deleted(revision)) => Before::Nothing(*revision),
            Self::Stored(stored) => match stored.split() {
                Some((meta, value)) => Before::Stored(meta, value.len()),
                None => Before::Nothing(0),
            },
        }
    }
}
