//! Who is in the cluster as far as it is applied: the latest membership of the log, and what was recorded of servers that
//! are no founders. It is state as the rows are, in the hash and in what is sent; and small, so it is kept in memory whole
//! and written whole whenever it has changed.
//!
//! Invariants:
//! - The membership is that of the last entry of its kind that was applied. The core begins with it when the node opens, and
//!   follows it from there by the entries after it.
//! - A record that was made before its server was added outlives changes of others; one whose server has been a member goes
//!   when it is none any more, once that is decided by the new voters alone.

use std::collections::BTreeMap;

use protocol::{
    Intent, MemberRecord, Verdict,
    stored::{book::Page, hash},
};
use raft::{Membership, NodeId};

use crate::instruments::{Mark, Mutant, mark, mutant};

/// Most records: those of all members, and as many of servers that are about to be added.
pub(crate) const MOST_RECORDS: usize = 2 * Membership::MOST;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    membership: Option<Membership>,
    records: BTreeMap<u64, Noted>,
    /// How often it was changed since it was read; what it was made into is told by it.
    changes: u64,
    /// Whether what is on disk is another.
    unwritten: bool,
    hash: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    record: MemberRecord,
    joined: bool,
}

impl Book {
    /// What these pairs say; the error says what is wrong with them.
    pub(crate) fn load(pages: impl Iterator<Item = Page>) -> Result<Self, &'static str> {
        let mut book = Self::default();
        for page in pages {
            match page {
                Page::Membership(membership) => book.membership = Some(membership),
                Page::Record { record, joined } => {
                    book.records.insert(record.id, Noted { record, joined });
                }
            }
        }
        if book.records.len() > MOST_RECORDS {
            return Err("it has records of more servers than there can be");
        }
        book.hash = book.sum();
        Ok(book)
    }

    /// All of it, in the order of its keys; nothing where nothing is recorded.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Page> {
        let membership = self.membership.clone().map(Page::Membership);
        let records = self
            .records
            .values()
            .map(|Noted { record, joined }| Page::Record { record: record.clone(), joined: *joined });
        membership.into_iter().chain(records)
    }

    /// The latest membership that was applied; nothing while the founders are in effect.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// What is recorded, by ascending id.
    pub(crate) fn records(&self) -> impl Iterator<Item = &MemberRecord> {
        self.records.values().map(|noted| &noted.record)
    }

    /// What is to become of a learner that has caught up: whoever is not recorded was a founder, and was demoted.
    pub(crate) fn intent(&self, id: u64) -> Intent {
        self.records.get(&id).map_or(Intent::Hold, |noted| noted.record.intent)
    }

    /// Whether nothing was ever recorded or changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.membership.is_none() && self.records.is_empty()
    }

    /// How often it was changed since it was read.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Its share of the state's hash.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// An entry with a membership was applied.
    pub(crate) fn follow(&mut self, membership: &Membership) {
        mark(Mark::MembershipApplied);
        for (id, noted) in &mut self.records {
            noted.joined |= membership.role(NodeId(*id)).is_some();
        }
        if !membership.is_joint() {
            self.records.retain(|id, noted| !noted.joined || membership.role(NodeId(*id)).is_some());
        }
        self.membership = Some(membership.clone());
        self.changed();
    }

    /// Records a server, or what is new of it.
    pub(crate) fn record(&mut self, mut record: MemberRecord) -> Verdict {
        let others = || self.records.iter().filter(|(id, _)| **id != record.id);
        if others().any(|(_, noted)| noted.record.name == record.name) {
            return Verdict::Unmet;
        }
        if others().count() >= MOST_RECORDS {
            return Verdict::TooMany;
        }
        mark(Mark::MemberRecorded);
        // Another address or intent is nothing about which incarnation it is.
        let before = self.records.get(&record.id).and_then(|noted| noted.record.incarnation);
        record.incarnation = record.incarnation.or(before);
        let joined =
            self.membership.as_ref().is_some_and(|members| members.role(NodeId(record.id)).is_some());
        self.records.insert(record.id, Noted { record, joined });
        self.changed();
        Verdict::Done
    }

    /// Whether it must be written, which whoever asks does.
    pub(crate) fn take_unwritten(&mut self) -> bool {
        std::mem::take(&mut self.unwritten) && !mutant(Mutant::BookNotWritten)
    }

    fn changed(&mut self) {
        (self.changes, self.unwritten) = (self.changes + 1, true);
        self.hash = self.sum();
    }

    fn sum(&self) -> u64 {
        let element = |page: Page| {
            let (key, value) = page.encode();
            hash::element(&[hash::words(&key), hash::words(&value)])
        };
        self.pages().map(element).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> MemberRecord {
        let (name, address) = (format!("n{id}"), "h:1".into());
        MemberRecord { id, name, address, intent: Intent::Promote, incarnation: None }
    }

    fn membership(voters: &[u64], learners: &[u64]) -> Membership {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        Membership::new(&nodes(voters), &nodes(learners)).unwrap()
    }

    fn ids(book: &Book) -> Vec<u64> {
        book.records().map(|record| record.id).collect()
    }

    #[test]
    fn a_record_waits_for_its_server_and_goes_with_it() {
        let mut book = Book::default();
        assert_eq!(book.hash(), 0, "nothing recorded is nothing in the hash");
        assert_eq!([book.record(record(4)), book.record(record(5))], [Verdict::Done; 2]);
        book.follow(&membership(&[1, 2, 3], &[4]));
        book.follow(&membership(&[1, 2, 3, 4], &[]));
        assert_eq!(ids(&book), [4, 5], "5 was not added yet");
        book.follow(&membership(&[1, 2, 3], &[]));
        assert_eq!(ids(&book), [5]);
        assert_eq!((book.intent(5), book.intent(2)), (Intent::Promote, Intent::Hold));
    }

    #[test]
    fn a_name_is_one_servers_and_records_are_bounded() {
        let mut book = Book::default();
        assert_eq!(book.record(record(4)), Verdict::Done);
        assert_eq!(book.record(MemberRecord { id: 5, ..record(4) }), Verdict::Unmet);
        let moved = MemberRecord { address: "h:2".into(), ..record(4) };
        assert_eq!(book.record(moved.clone()), Verdict::Done);
        assert_eq!(book.records().collect::<Vec<_>>(), [&moved]);
        for id in 5..4 + MOST_RECORDS as u64 {
            assert_eq!(book.record(record(id)), Verdict::Done);
        }
        assert_eq!(book.record(record(4 + MOST_RECORDS as u64)), Verdict::TooMany);
        assert_eq!(book.record(record(4)), Verdict::Done, "what is there can be changed");
    }

    #[test]
    fn an_incarnation_stays_recorded_until_another_is_or_its_server_goes() {
        let mut book = Book::default();
        let known = |book: &Book| book.records().find_map(|record| record.incarnation);
        let incarnation = |byte| Some([byte; 16]);
        book.record(MemberRecord { incarnation: incarnation(1), ..record(4) });
        let before = book.hash();
        book.record(MemberRecord { address: "h:2".into(), ..record(4) });
        assert_eq!(known(&book), incarnation(1));
        book.record(MemberRecord { incarnation: incarnation(2), ..record(4) });
        assert_eq!(known(&book), incarnation(2));
        assert_ne!(book.hash(), before);
        assert_eq!(known(&Book::load(book.pages()).unwrap()), incarnation(2));
        book.follow(&membership(&[1, 2, 3, 4], &[]));
        book.follow(&membership(&[1, 2, 3], &[]));
        assert_eq!(known(&book), None);
    }

    #[test]
    fn it_is_the_same_after_it_was_written_and_read() {
        let mut book = Book::default();
        book.record(record(4));
        book.follow(&membership(&[1, 2, 3], &[4]));
        assert!(book.take_unwritten() && !book.take_unwritten());
        let read = Book::load(book.pages()).unwrap();
        assert_eq!((read.hash(), read.membership(), ids(&read)), (book.hash(), book.membership(), vec![4]));
        let before = read.hash();
        let mut read = read;
        read.follow(&membership(&[1, 2, 3], &[]));
        assert_ne!(read.hash(), before);
        assert_eq!(ids(&read), [0; 0], "that it was a member is remembered too");
    }
}
