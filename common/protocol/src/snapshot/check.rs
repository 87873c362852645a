//! Judges a state as its blocks come: whether it is sound, and what it is.
//!
//! Beyond the checksums of the blocks and the sum at the end it looks at what they hold: the order of the keys, each row
//! against the hash of its key and value, all rows and all changes against the hashes that the state keeps of them. So it
//! also sees what was damaged before it was sent, on the disk of the node. Only a row's key, a few facts and counts are kept
//! in memory.

use ring::digest::{Context, SHA256};

use super::{Block, BlockError, Head, Pairs, RESTORED, SAVED, Table};
use crate::{
    history::Window,
    limits::{KEY_BYTES, NUMBER},
    restore,
    stored::{Meta, Replaced, StoredLease, book::Page, hash},
    version::{STATE_FORMAT, STATE_FORMAT_PLAIN, knows_state_format},
};

/// Most facts that a state may have of its own.
const MOST_FACTS: usize = 64;
/// The value of a tombstone and the key of a span of history: a revision.
const REVISION_BYTES: usize = 8;
/// The value of a span of history: six numbers.
const SPAN_BYTES: usize = 48;

/// See the module.
pub struct Checker {
    head: Option<Head>,
    digest: Context,
    facts: Vec<(String, u128)>,
    summary: Tally,
    rows_hash: u64,
    changes_hash: u64,
    leases_hash: u64,
    /// How many rows are staged, and the sum of their hashes.
    staged: (u64, u64),
    /// Table and key of the pair before.
    last: Option<(Table, Vec<u8>)>,
    ended: bool,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    blocks: u64,
    pairs: u64,
    bytes: u64,
    keys: u64,
    row_bytes: u64,
    changes: u64,
    leases: u64,
    wall_ms: u64,
}

/// What a state says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The newest stamp in it.
    pub stamp_ms: u64,
    /// How much of the past it keeps at most.
    pub window: Window,
    /// The oldest revision that can be read of it.
    pub oldest: u64,
    /// How many request ids it remembers at most.
    pub memory: u64,
    /// When it was saved, in milliseconds since 1970; nothing of a state that was sent to a follower.
    pub saved_ms: Option<u64>,
}

/// What a whole state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose, and up to where.
    pub head: Head,
    /// What it says of itself.
    pub facts: Facts,
    /// How many keys it has.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub row_bytes: u64,
    /// How many changes of the past it has.
    pub changes: u64,
    /// How many leases.
    pub leases: u64,
    /// When the newest of these was made, by the clock of its leader, in milliseconds since 1970; zero where there is none.
    pub wall_ms: u64,
    /// All its bytes, the end included.
    pub bytes: u64,
    /// The SHA-256 at its end.
    pub sum: [u8; 32],
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// Nothing has come.
    pub fn new() -> Self {
        Self {
            head: None,
            digest: Context::new(&SHA256),
            facts: Vec::new(),
            summary: Tally::default(),
            rows_hash: 0,
            changes_hash: 0,
            leases_hash: 0,
            staged: (0, 0),
            last: None,
            ended: false,
        }
    }

    /// The sum that the end of these blocks has to carry.
    pub fn sum(blocks: &[Vec<u8>]) -> [u8; 32] {
        let mut digest = Context::new(&SHA256);
        for block in blocks {
            digest.update(block);
        }
        let mut sum = [0; 32];
        sum.iter_mut().zip(digest.finish().as_ref()).for_each(|(byte, digested)| *byte = *digested);
        sum
    }

    /// What the first block said, once it has come.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Keys and bytes so far.
    pub fn so_far(&self) -> (u64, u64) {
        (self.summary.keys, self.summary.bytes)
    }

    /// The facts of the state's own, once they have come.
    pub fn facts(&self) -> &[(String, u128)] {
        &self.facts
    }

    /// Takes the next block. The block that is the end gives the sum of all.
    ///
    /// # Errors
    /// It is no state, and nothing that came before it is of use.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<(Block<'a>, Option<Summary>), BlockError> {
        if self.ended {
            return Err(BlockError::Content("something follows its end"));
        }
        let block = Block::decode(bytes)?;
        let mut whole = None;
        match (&block, self.head) {
            (Block::Head(head), None) => {
                if !knows_state_format(head.state_format.into()) {
                    let (found, known) = (head.state_format, STATE_FORMAT);
                    return Err(BlockError::Format { found, known });
                }
                self.head = Some(*head);
            }
            (_, None) => return Err(BlockError::Content("the first block is not a head")),
            (Block::Head(_), Some(_)) => return Err(BlockError::Content("a second head")),
            (Block::Pairs(table, pairs), Some(head)) => self.pairs(*table, pairs, head)?,
            (Block::End(end), Some(head)) => {
                let sum = self.digest.clone().finish();
                let told = (end.blocks, end.pairs, end.sum.as_slice());
                if told != (self.summary.blocks, self.summary.pairs, sum.as_ref()) {
                    return Err(BlockError::Content("its end does not match what came before"));
                }
                self.ended = true;
                whole = Some((head, end.sum));
            }
        }
        self.digest.update(bytes);
        self.summary.blocks = self.summary.blocks.saturating_add(1);
        self.summary.bytes = self.summary.bytes.saturating_add(bytes.len() as u64);
        let summary = whole.map(|(head, sum)| self.finish(head, sum)).transpose()?;
        Ok((block, summary))
    }

    /// There will be no more.
    ///
    /// # Errors
    /// The end has not come.
    pub fn close(&self) -> Result<(), BlockError> {
        if self.ended { Ok(()) } else { Err(BlockError::Content("it ends without its end: it was cut off")) }
    }

    fn pairs(&mut self, table: Table, pairs: &Pairs<'_>, head: Head) -> Result<(), BlockError> {
        for pair in pairs.clone() {
            let (key, value) = pair?;
            let before = self.last.as_ref().map(|(table, key)| (*table, key.as_slice()));
            // The keys of the request memory are little-endian, so their bytes have no order.
            let ordered = match before {
                Some((last, _)) if last == table && table == Table::Requests => true,
                Some(before) => before < (table, key),
                None => true,
            };
            if !ordered {
                return Err(BlockError::Content("its keys are not in order"));
            }
            let mut kept = self.last.take().map(|(_, key)| key).unwrap_or_default();
            kept.clear();
            kept.extend_from_slice(key);
            self.last = Some((table, kept));
            self.summary.pairs = self.summary.pairs.saturating_add(1);
            match table {
                Table::Meta => self.fact(key, value)?,
                Table::Rows => self.row(key, value, head)?,
                Table::Changes => self.change(key, value, head)?,
                Table::Deleted if value.len() != REVISION_BYTES => {
                    return Err(BlockError::Content("a tombstone is none"));
                }
                Table::Spans if (key.len(), value.len()) != (REVISION_BYTES, SPAN_BYTES) => {
                    return Err(BlockError::Content("a span of history is none"));
                }
                Table::Members
                    if head.state_format == STATE_FORMAT_PLAIN || Page::decode(key, value).is_err() =>
                {
                    return Err(BlockError::Content("what is known of a member is damaged"));
                }
                Table::Staged => self.stage(key, value, head)?,
                Table::Requests | Table::Deleted | Table::Spans | Table::Members => {}
                Table::Leases | Table::Leased => self.lease(table, key, value, head)?,
            }
        }
        Ok(())
    }

    fn lease(&mut self, table: Table, key: &[u8], value: &[u8], head: Head) -> Result<(), BlockError> {
        if head.state_format == STATE_FORMAT_PLAIN {
            return Err(BlockError::Content("it has leases, and its format has none"));
        }
        let read = match table {
            Table::Leases => key.try_into().ok().map(u64::from_be_bytes).zip(StoredLease::decode(value)),
            _ => None,
        };
        let element = match (table, read, StoredLease::split(key)) {
            (Table::Leases, Some((id, lease)), _) => (id, lease.element(id)),
            (Table::Leased, _, Some((id, key))) if value.is_empty() => {
                (id, StoredLease::key_element(id, key))
            }
            _ => return Err(BlockError::Content("a lease is none, or a key that one holds")),
        };
        let (id, element) = element;
        if id == 0 || id > head.at.index.0 {
            return Err(BlockError::Content("a lease is of a later revision than the state"));
        }
        self.leases_hash = self.leases_hash.wrapping_add(element);
        self.summary.leases = self.summary.leases.saturating_add(u64::from(table == Table::Leases));
        Ok(())
    }

    fn fact(&mut self, name: &[u8], value: &[u8]) -> Result<(), BlockError> {
        let name = std::str::from_utf8(name).map_err(|_| BlockError::Content("the name of a fact"))?;
        let value = value.try_into().map_err(|_| BlockError::Content("the value of a fact"))?;
        if self.facts.len() >= MOST_FACTS {
            return Err(BlockError::Content("it has more facts of its own than any state"));
        }
        self.facts.push((name.to_owned(), u128::from_le_bytes(value)));
        Ok(())
    }

    fn row(&mut self, key: &[u8], row: &[u8], head: Head) -> Result<(), BlockError> {
        let (meta, value) = Meta::split(row).ok_or(BlockError::Content("a row is too short"))?;
        if key.is_empty() || key.len() > KEY_BYTES {
            return Err(BlockError::Content("the key of a row has a length that no key has"));
        }
        if hash::content(key, value) != meta.content {
            return Err(BlockError::Content(
                "a row does not match its own hash: its node's disk had damaged it",
            ));
        }
        let restored = self.find(RESTORED).and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let resolved = meta.resolved(restored);
        if !resolved.is_possible() {
            return Err(BlockError::Content("a row has numbers that no row has"));
        }
        if resolved.revision > head.at.index.0 {
            return Err(BlockError::Content("a row is of a later revision than the state"));
        }
        self.rows_hash = self.rows_hash.wrapping_add(meta.element_since(restored));
        self.summary.keys = self.summary.keys.saturating_add(1);
        let bytes = key.len().saturating_add(value.len());
        self.summary.row_bytes = self.summary.row_bytes.saturating_add(bytes as u64);
        Ok(())
    }

    fn stage(&mut self, key: &[u8], row: &[u8], head: Head) -> Result<(), BlockError> {
        let (meta, value) = Meta::split(row).ok_or(BlockError::Content("a staged row is too short"))?;
        let sound = !key.is_empty() && key.len() <= KEY_BYTES && meta == restore::staged(key, value);
        if head.state_format != STATE_FORMAT || !sound {
            return Err(BlockError::Content("a staged row does not match its own hash, or is none"));
        }
        let (count, sum) = self.staged;
        self.staged = (count.saturating_add(1), sum.wrapping_add(meta.element()));
        Ok(())
    }

    fn change(&mut self, place: &[u8], value: &[u8], head: Head) -> Result<(), BlockError> {
        let read = Replaced::split(place).zip(Replaced::decode(value));
        let ((revision, key), change) = read.ok_or(BlockError::Content("a change is none"))?;
        if let Ok((meta, value)) = change.before
            && hash::content(key, value) != meta.content
        {
            let why = "a replaced row does not match its own hash: its node's disk had damaged it";
            return Err(BlockError::Content(why));
        }
        if change.before.is_ok_and(|(meta, _)| !meta.is_possible()) {
            return Err(BlockError::Content("a replaced row has numbers that no row has"));
        }
        if revision > head.at.index.0 {
            return Err(BlockError::Content("a change is of a later revision than the state"));
        }
        self.changes_hash = self.changes_hash.wrapping_add(change.element(revision, key));
        self.summary.changes = self.summary.changes.saturating_add(1);
        self.summary.wall_ms = self.summary.wall_ms.max(change.wall_ms);
        Ok(())
    }

    fn finish(&self, head: Head, sum: [u8; 32]) -> Result<Summary, BlockError> {
        let expected = [
            ("cluster", u128::from_be_bytes(head.cluster.0)),
            ("format", u128::from(head.state_format)),
            ("index", u128::from(head.at.index.0)),
            ("term", u128::from(head.at.term.0)),
            ("rows_hash", u128::from(self.rows_hash)),
            ("changes_hash", u128::from(self.changes_hash)),
        ];
        if expected.iter().any(|(name, value)| self.find(name) != Some(*value)) {
            return Err(BlockError::Content("its facts contradict what it holds"));
        }
        let leases_hash = self.find("leases_hash").or((head.state_format == STATE_FORMAT_PLAIN).then_some(0));
        if leases_hash != Some(u128::from(self.leases_hash)) {
            return Err(BlockError::Content("its leases are not those it was written with"));
        }
        let staged = [("staged", self.staged.0), ("staged_hash", self.staged.1)];
        if staged.iter().any(|(name, value)| self.find(name).unwrap_or(0) != u128::from(*value)) {
            return Err(BlockError::Content("what it has staged is not what it was written with"));
        }
        let number = |name| {
            let value = self.find(name).and_then(|value| u64::try_from(value).ok());
            value.ok_or(BlockError::Content("a fact of its own is missing or out of range"))
        };
        let floor = number("history_floor")?;
        let saved = self.find(SAVED).map(|_| number(SAVED)).transpose()?;
        if floor > NUMBER {
            return Err(BlockError::Content("a fact of its own is missing or out of range"));
        }
        let facts = Facts {
            stamp_ms: number("stamp")?,
            window: Window {
                changes: number("window_changes")?,
                age_ms: number("window_age")?,
                bytes: number("window_bytes")?,
            },
            oldest: floor,
            memory: number("memory")?,
            saved_ms: saved,
        };
        let Tally { bytes, keys, row_bytes, changes, leases, wall_ms, .. } = self.summary;
        Ok(Summary { head, facts, keys, row_bytes, changes, leases, wall_ms, bytes, sum })
    }

    fn find(&self, name: &str) -> Option<u128> {
        self.facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1)
    }
}

#[cfg(test)]
mod tests;
