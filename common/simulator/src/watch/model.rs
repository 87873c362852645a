//! The key-value store as its specification has it, in the plainest form: every committed command is applied to a map,
//! and every row that ever was is kept, so that any read at any revision can be judged.
//!
//! Exactly once is judged twice: by the rule of the request memory, written here a second time, and by the promise
//! behind it, that no request id ever takes effect at two revisions.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::{Command, Operation, response::Found};

/// What a command should have been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect here.
    Done {
        /// Whether the key was there before.
        existed: bool,
    },
    /// It had taken effect before.
    Known {
        /// Where.
        revision: u64,
        /// Whether the key was there before that.
        existed: bool,
    },
    /// It must not take effect.
    Refused,
}

/// See the module.
pub struct Model {
    rows: BTreeMap<Vec<u8>, Vec<(u64, Option<Found>)>>,
    memory: VecDeque<(u64, [u8; 16])>,
    limit: usize,
    floor: u64,
    known: HashMap<[u8; 16], Once>,
    executed: HashMap<[u8; 16], u64>,
}

struct Once {
    revision: u64,
    existed: bool,
    operation: Operation,
}

impl Model {
    /// An empty store that remembers so many request ids.
    pub fn new(limit: usize) -> Self {
        Self {
            rows: BTreeMap::new(),
            memory: VecDeque::new(),
            limit,
            floor: 0,
            known: HashMap::new(),
            executed: HashMap::new(),
        }
    }

    /// Applies the command committed at `index`.
    ///
    /// # Panics
    /// When a request id would take effect a second time.
    pub fn apply(&mut self, index: u64, command: &Command) -> Verdict {
        let token = command.request.token;
        if let Some(once) = self.known.get(&token) {
            let same = once.operation == command.operation && command.request.learned < index;
            let Once { revision, existed, .. } = *once;
            return if same { Verdict::Known { revision, existed } } else { Verdict::Refused };
        }
        if command.request.learned >= index || command.request.learned < self.floor {
            return Verdict::Refused;
        }
        let before = self.executed.insert(token, index);
        assert_eq!(before, None, "VIOLATION a request took effect at {before:?} and again at {index}");
        let existed = self.change(index, &command.operation);
        self.known.insert(token, Once { revision: index, existed, operation: command.operation.clone() });
        self.memory.push_back((index, token));
        if self.memory.len() > self.limit
            && let Some((revision, oldest)) = self.memory.pop_front()
        {
            self.known.remove(&oldest);
            self.floor = revision;
        }
        Verdict::Done { existed }
    }

    fn change(&mut self, revision: u64, operation: &Operation) -> bool {
        let (key, value) = match operation {
            Operation::Set { key, value } => (key, Some(value)),
            Operation::Delete { key } => (key, None),
        };
        let rows = self.rows.entry(key.clone()).or_default();
        let before = rows.last().and_then(|(_, row)| row.as_ref());
        let (created, version) = before.map_or((revision, 1), |row| (row.created, row.version + 1));
        let existed = before.is_some();
        let row = value.map(|value| Found { value: value.clone(), revision, created, version });
        rows.push((revision, row));
        existed
    }

    /// The row of `key` as it was at `revision`.
    pub fn at(&self, key: &[u8], revision: u64) -> Option<&Found> {
        let rows = self.rows.get(key)?;
        let count = rows.partition_point(|(changed, _)| *changed <= revision);
        rows.get(count.checked_sub(1)?)?.1.as_ref()
    }

    /// Every key that ever was.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.keys().map(Vec::as_slice)
    }
}
