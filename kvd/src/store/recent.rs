//! The newest changes, in memory, in the order of revision and key: a persistent sequence beside the overlay that has the
//! rows they made.

use imbl::Vector;

use crate::state::history::Change;

/// Some changes in a row. A clone is constant-time and shares everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    changes: Vector<Change>,
    bytes: usize,
}

impl Recent {
    /// Adds the next.
    ///
    /// # Panics
    /// In tests, when it does not come after all the others.
    pub(crate) fn push(&mut self, change: Change) {
        debug_assert!(
            self.changes
                .back()
                .is_none_or(|last| (last.revision, &last.key) < (change.revision, &change.key)),
            "changes come in order"
        );
        self.bytes += change.memory();
        self.changes.push_back(change);
    }

    /// Drops those at or below a revision, at most so many.
    pub(crate) fn forget(&mut self, floor: u64, most: usize) {
        for _ in 0..most {
            match self.changes.front() {
                Some(change) if change.revision <= floor => self.bytes -= change.memory(),
                _ => break,
            }
            self.changes.pop_front();
        }
    }

    /// The change of a key at a revision.
    pub(crate) fn get(&self, revision: u64, key: &[u8]) -> Option<&Change> {
        let order = |change: &Change| (change.revision, &*change.key).cmp(&(revision, key));
        self.changes.get(self.changes.binary_search_by(order).ok()?)
    }

    /// Those from a revision on, in order.
    pub(crate) fn starting_at(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let order = |change: &Change| {
            if change.revision < revision { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        };
        let from = self.changes.binary_search_by(order).unwrap_or_else(|from| from);
        (from..self.changes.len()).filter_map(|at| self.changes.get(at))
    }

    /// About how much memory they take, beside the rows that they share with others.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::history::Before;

    fn change(revision: u64, key: &[u8]) -> Change {
        let before = Before::Nothing(0);
        Change {
            revision,
            key: Arc::from(key),
            stamp_ms: 0,
            wall_ms: 0,
            deleted: false,
            expired: false,
            before,
        }
    }

    #[test]
    fn changes_are_found_by_revision_and_key_and_forgotten_in_order() {
        let mut recent = Recent::default();
        let all = [(3, &b"a"[..]), (5, b"a"), (5, b"b"), (9, b"a")];
        for (revision, key) in all {
            recent.push(change(revision, key));
        }
        assert!(all.iter().all(|(revision, key)| recent.get(*revision, key).is_some()));
        assert!(recent.get(4, b"a").is_none() && recent.get(5, b"c").is_none());
        let from = |revision| recent.starting_at(revision).map(|change| change.revision).collect::<Vec<_>>();
        assert_eq!((from(0).len(), from(5), from(6), from(10)), (4, vec![5, 5, 9], vec![9], vec![]));
        recent.forget(5, 2);
        assert_eq!(recent.len(), 2, "no more than were to be");
        recent.forget(5, 2);
        assert_eq!((recent.len(), recent.bytes()), (1, change(9, b"a").memory()));
    }
}
