//! The newest rows, in memory: an ordered persistent map in which a deleted key leaves a tombstone that hides the
//! row of the layer below.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use crate::state::row::Row;

/// What a layer says of a key it knows.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// The row.
    Row(Arc<Row>),
    /// Deleted at this revision, whatever lies below.
    Deleted(u64),
}

/// One layer. A clone is constant-time and shares everything.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    slots: OrdMap<Arc<[u8]>, Slot>,
    bytes: usize,
}

impl Overlay {
    /// What an entry costs beside key and value: its share of the tree's nodes, two reference counts, the row's
    /// numbers. An estimate, on the high side.
    const ENTRY_BYTES: usize = 160;

    /// What this layer says of `key`; `None` when it knows nothing.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// Puts a row or a tombstone over whatever was there.
    pub(crate) fn put(&mut self, key: &Arc<[u8]>, slot: Slot) {
        self.bytes += cost(key, &slot);
        if let Some(old) = self.slots.insert(Arc::clone(key), slot) {
            self.bytes -= cost(key, &old);
        }
    }

    /// Keys it knows, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it knows of the keys from `from` on, in their order.
    pub(crate) fn starting_at<'a>(
        &'a self,
        from: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a Slot)> + use<'a> {
        let bounds = (Bound::Included(from), Bound::Unbounded);
        self.slots.range::<_, [u8]>(bounds).map(|(key, slot)| (&**key, slot))
    }

    /// Everything in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Slot)> {
        self.slots.iter().map(|(key, slot)| (&**key, slot))
    }
}

fn cost(key: &[u8], slot: &Slot) -> usize {
    let value = match slot {
        Slot::Row(row) => row.value.len(),
        Slot::Deleted(_) => 0,
    };
    Overlay::ENTRY_BYTES + key.len() + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::row::Meta;

    #[test]
    fn an_overwrite_gives_back_what_the_old_row_cost() {
        let row = |length| {
            let meta = Meta { revision: 1, created: 1, version: 1, content: 1, lease: 0 };
            Slot::Row(Arc::new(Row { meta, value: vec![0; length] }))
        };
        let mut overlay = Overlay::default();
        let key = Arc::from(*b"key");
        overlay.put(&key, row(100));
        overlay.put(&key, row(10));
        assert_eq!((overlay.len(), overlay.bytes()), (1, Overlay::ENTRY_BYTES + 3 + 10));
        overlay.put(&key, Slot::Deleted(2));
        assert_eq!((overlay.len(), overlay.bytes()), (1, Overlay::ENTRY_BYTES + 3));
    }
}
