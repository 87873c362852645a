//! Named ways in which a store can be wrong, and which checker claims to see each.
//!
//! A story happens to keys of its own, in the middle of clients who see nothing wrong. So it is known of every story what
//! either checker must say: the rule that the replay must name, or that it must accept, as for the search.

use testkit::{
    history::{Call, Expects, Outcome, Seen},
    replay::Rule,
};

use crate::store::Store;

/// One way to be wrong.
pub(crate) struct Corruption {
    pub(crate) name: &'static str,
    pub(crate) story: fn(&mut Store),
    /// What the replay must call it.
    pub(crate) replay: Rule,
    /// Whether the search must see it too; if not it must accept.
    pub(crate) search: bool,
}

const fn seen_by_both(name: &'static str, replay: Rule, story: fn(&mut Store)) -> Corruption {
    Corruption { name, story, replay, search: true }
}

const fn seen_by_replay(name: &'static str, replay: Rule, story: fn(&mut Store)) -> Corruption {
    Corruption { name, story, replay, search: false }
}

/// All of them.
pub(crate) const CORRUPTIONS: &[Corruption] = &[
    seen_by_both("a write is lost", Rule::Newest, |store| {
        store.there();
        let outcome = Outcome::Written { revision: store.skip(1), existed: true };
        let call = store.set(KEY);
        store.told(call, outcome);
        store.does(get(KEY));
    }),
    seen_by_both("a delete is lost", Rule::Newest, |store| {
        store.there();
        let outcome = Outcome::Written { revision: store.skip(1), existed: true };
        store.told(delete(KEY), outcome);
        store.does(get(KEY));
    }),
    seen_by_both("a write is done again later", Rule::OneRevision, |store| {
        let first = store.set(KEY);
        store.does(first.clone());
        store.does(get(KEY));
        store.sets(KEY);
        store.apply(&first);
        store.does(get(KEY));
    }),
    seen_by_replay("a write is done twice at once", Rule::Version, |store| {
        store.there();
        let call = store.set(KEY);
        store.apply(&call);
        store.does(call);
        store.does(get(KEY));
    }),
    seen_by_both("a stale read", Rule::Time, |store| {
        let (old, revision) = store.there();
        store.sets(KEY);
        store.reads(get(KEY), Some(old), revision);
    }),
    seen_by_both("a new value and then the old one", Rule::Time, |store| {
        let (old, revision) = store.there();
        let call = store.set(KEY);
        let at = store.ask(STORYTELLER, call.clone());
        let outcome = store.perform(&call);
        store.does(get(KEY));
        store.reads(get(KEY), Some(old), revision);
        store.tell(at, outcome);
    }),
    seen_by_both("a value is read before it is written", Rule::Time, |store| {
        let call = store.set(KEY);
        let revision = store.skip(1);
        let row = Seen { value: value(&call), revision, created: revision, version: 1 };
        store.reads(get(KEY), Some(row.clone()), revision);
        store.told(call, Outcome::Written { revision, existed: false });
        store.put(KEY, row);
    }),
    seen_by_replay("a row is newer than the state it is read from", Rule::Newest, |store| {
        let (row, _) = store.there();
        store.reads(stale(KEY), Some(row.clone()), row.revision - 1);
    }),
    seen_by_both("a refused write shows", Rule::Refused, |store| {
        let call = store.set(KEY);
        store.told(call.clone(), Outcome::NotApplied);
        store.apply(&call);
        store.does(get(KEY));
    }),
    seen_by_replay("a refused write counts", Rule::Version, |store| {
        store.sets(KEY);
        let call = store.set(KEY);
        store.told(call.clone(), Outcome::NotApplied);
        store.apply(&call);
        store.sets(KEY);
        store.does(get(KEY));
    }),
    seen_by_both("a delete found what was not there", Rule::Existed, |store| {
        let outcome = Outcome::Written { revision: store.skip(1), existed: true };
        store.told(delete(KEY), outcome);
    }),
    seen_by_both("a delete did not find what was there", Rule::Existed, |store| {
        store.there();
        let (revision, _) = store.apply(&delete(KEY));
        store.told(delete(KEY), Outcome::Written { revision, existed: false });
    }),
    seen_by_both("a set found what was not there", Rule::Existed, |store| {
        let call = store.set(KEY);
        let (revision, _) = store.apply(&call);
        store.told(call, Outcome::Written { revision, existed: true });
    }),
    seen_by_both("a set did not find what was there", Rule::Existed, |store| {
        store.there();
        let call = store.set(KEY);
        let (revision, _) = store.apply(&call);
        store.told(call, Outcome::Written { revision, existed: false });
    }),
    seen_by_replay("two writes with one revision", Rule::OwnRevision, |store| {
        let (one, other) = (store.set(KEY), store.set(OTHER));
        let first = store.ask(STORYTELLER, one);
        let second = store.ask(STORYTELLER + 1, other);
        let outcome = Outcome::Written { revision: store.skip(1), existed: false };
        store.tell(first, outcome.clone());
        store.tell(second, outcome);
    }),
    seen_by_replay("revisions against the order in time", Rule::Time, |store| {
        let revision = store.skip(2);
        let (one, other) = (store.set(KEY), store.set(OTHER));
        store.told(one, Outcome::Written { revision, existed: false });
        store.told(other, Outcome::Written { revision: revision - 1, existed: false });
    }),
    seen_by_replay("a read that goes back behind another", Rule::Time, |store| {
        let revision = store.skip(3);
        store.reads(get(KEY), None, revision);
        store.reads(get(OTHER), None, revision - 1);
    }),
    seen_by_replay("a read behind a write of another key", Rule::Time, |store| {
        store.skip(1);
        store.sets(OTHER);
        store.reads(get(KEY), None, store.revision - 1);
    }),
    seen_by_replay("a version one too high", Rule::Version, |store| {
        store.sets(KEY);
        store.sets(KEY);
        store.amend(|row| row.version += 1);
        store.does(get(KEY));
    }),
    seen_by_replay("a version one too low", Rule::Version, |store| {
        store.sets(KEY);
        store.sets(KEY);
        store.sets(KEY);
        store.amend(|row| row.version -= 1);
        store.does(get(KEY));
    }),
    seen_by_replay("a row that names itself as its creation", Rule::Created, |store| {
        store.sets(KEY);
        store.sets(KEY);
        store.amend(|row| row.created = row.revision);
        store.does(get(KEY));
    }),
    seen_by_replay("a row that names another key's write as its creation", Rule::Created, |store| {
        store.sets(KEY);
        store.sets(OTHER);
        let other = store.revision;
        store.sets(KEY);
        store.amend(|row| row.created = other);
        store.does(get(KEY));
    }),
    seen_by_replay("a creation that outlives a delete", Rule::Created, |store| {
        let (old, _) = store.there();
        store.does(delete(KEY));
        store.sets(KEY);
        store.amend(|row| (row.created, row.version) = (old.created, old.version + 1));
        store.does(get(KEY));
    }),
    seen_by_replay("a version that outlives a delete", Rule::Version, |store| {
        let (old, _) = store.there();
        store.does(delete(KEY));
        store.sets(KEY);
        store.amend(|row| row.version = old.version + 1);
        store.does(get(KEY));
    }),
    seen_by_both("a value that nobody wrote", Rule::Written, |store| {
        store.there();
        let value = store.value();
        store.amend(|row| row.value = value);
        store.does(get(KEY));
    }),
    seen_by_both("a value of another key", Rule::Written, |store| {
        store.there();
        let call = store.set(OTHER);
        store.does(call.clone());
        store.amend(|row| row.value = value(&call));
        store.does(get(KEY));
    }),
    seen_by_replay("a write under another revision than its client was told", Rule::OneRevision, |store| {
        let call = store.set(KEY);
        let revision = store.skip(1);
        let at = store.ask(STORYTELLER, call.clone());
        store.apply(&call);
        store.does(get(KEY));
        store.tell(at, Outcome::Written { revision, existed: false });
    }),
    seen_by_both("nothing is read while something is there", Rule::Newest, |store| {
        let (_, revision) = store.there();
        store.reads(get(KEY), None, revision);
    }),
    seen_by_both("the first read of a key misses its write", Rule::Newest, |store| {
        store.sets(KEY);
        store.reads(get(KEY), None, store.revision);
    }),
    seen_by_replay("a stale read misses what was there", Rule::Newest, |store| {
        let (_, revision) = store.there();
        store.reads(stale(KEY), None, revision);
    }),
    seen_by_replay("a stale read of an old row from a state that has a new one", Rule::Newest, |store| {
        let (old, _) = store.there();
        store.sets(KEY);
        store.reads(stale(KEY), Some(old), store.revision);
    }),
    seen_by_both("a write of unknown outcome is done twice", Rule::OneRevision, |store| {
        let call = store.unknown_set(KEY);
        store.apply(&call);
        store.does(get(KEY));
        store.does(delete(KEY));
        store.apply(&call);
        store.does(get(KEY));
    }),
    seen_by_replay("a write of unknown outcome moves", Rule::OneRevision, |store| {
        store.sets(KEY);
        let call = store.unknown_set(KEY);
        store.apply(&call);
        store.does(get(KEY));
        let revision = store.skip(1);
        store.amend(|row| row.revision = revision);
        store.does(get(KEY));
    }),
    seen_by_replay("a write of unknown outcome is done before it is asked", Rule::Time, |store| {
        let revision = store.skip(2);
        store.reads(get(OTHER), None, revision);
        let call = store.unknown_set(KEY);
        let row = Seen { value: value(&call), revision: revision - 1, created: revision - 1, version: 1 };
        store.put(KEY, row);
        store.does(get(KEY));
    }),
    seen_by_both("one unknown delete and two that are needed", Rule::Newest, |store| {
        store.there();
        store.unknown_delete(KEY);
        store.apply(&delete(KEY));
        store.does(get(KEY));
        store.sets(KEY);
        let revision = store.skip(1);
        store.reads(get(KEY), None, revision);
    }),
    seen_by_both("one unknown set and two that are needed", Rule::Existed, |store| {
        store.unknown_set(KEY);
        for _ in 0..2 {
            store.skip(1);
            let outcome = Outcome::Written { revision: store.skip(1), existed: true };
            store.told(delete(KEY), outcome);
        }
    }),
    seen_by_both("the only delete is asked too late", Rule::Newest, |store| {
        store.sets(KEY);
        let revision = store.skip(1);
        store.reads(get(KEY), None, revision);
        store.unknown_delete(KEY);
        store.rows.remove(KEY);
    }),
    seen_by_replay("no revision is left for the delete", Rule::Existed, |store| {
        store.unknown_delete(KEY);
        for _ in 0..2 {
            let call = store.set(KEY);
            let outcome = Outcome::Written { revision: store.skip(1), existed: false };
            store.told(call, outcome);
        }
    }),
    seen_by_both("two writes that both found nothing", Rule::Existed, |store| {
        store.does(create(KEY, b"one"));
        let revision = store.skip(1);
        store.told(create(KEY, b"other"), Outcome::Judged { revision, is_met: true, found: None });
    }),
    seen_by_both("a write that was not to be done shows", Rule::Refused, |store| {
        store.sets(KEY);
        let (call, found) = (create(KEY, b"one"), Some(store.revision));
        let revision = store.skip(1);
        store.told(call, Outcome::Judged { revision, is_met: false, found });
        store.amend(|row| row.value = b"one".to_vec());
        store.does(get(KEY));
    }),
    seen_by_replay("a condition that does not hold and a write that is done", Rule::Condition, |store| {
        store.sets(KEY);
        let (found, value) = (Some(store.revision), store.value());
        let expects = Expects::Revision(store.revision + 1);
        let call = Call::Conditional { key: KEY.to_vec(), value: Some(value), expects };
        let revision = store.skip(1);
        store.told(call, Outcome::Judged { revision, is_met: true, found });
    }),
    seen_by_replay("a value that is there and is said not to be", Rule::Condition, |store| {
        store.sets(KEY);
        let (found, expected) = (Some(store.revision), store.rows[KEY].value.clone());
        let expects = Expects::Value(expected);
        let revision = store.skip(1);
        let call = Call::Conditional { key: KEY.to_vec(), value: None, expects };
        store.told(call, Outcome::Judged { revision, is_met: false, found });
    }),
    seen_by_replay("a condition judged by what was overwritten", Rule::Newest, |store| {
        store.sets(KEY);
        let old = store.revision;
        store.sets(KEY);
        let revision = store.skip(1);
        let call = Call::Conditional { key: KEY.to_vec(), value: None, expects: Expects::Revision(old) };
        store.told(call, Outcome::Judged { revision, is_met: true, found: Some(old) });
    }),
    seen_by_replay("a failed condition that raises the version", Rule::Version, |store| {
        store.there();
        let found = Some(store.revision);
        let revision = store.skip(1);
        store.told(create(KEY, b"one"), Outcome::Judged { revision, is_met: false, found });
        store.sets(KEY);
        store.amend(|row| row.version += 1);
        store.does(get(KEY));
    }),
    seen_by_replay("one revision is left for two deletes", Rule::Newest, |store| {
        store.unknown_delete(KEY);
        store.unknown_delete(OTHER);
        for key in [KEY, OTHER] {
            let call = store.set(key);
            let outcome = Outcome::Written { revision: store.skip(1), existed: false };
            store.told(call, outcome);
        }
        let revision = store.skip(1);
        store.reads(get(KEY), None, revision);
        store.reads(get(OTHER), None, revision);
    }),
];

const KEY: &[u8] = b"story";
const OTHER: &[u8] = b"other";
const STORYTELLER: u64 = 100;

fn get(key: &[u8]) -> Call {
    Call::Get { key: key.to_vec() }
}

fn stale(key: &[u8]) -> Call {
    Call::StaleGet { key: key.to_vec() }
}

fn create(key: &[u8], value: &[u8]) -> Call {
    Call::Conditional { key: key.to_vec(), value: Some(value.to_vec()), expects: Expects::Absent }
}

fn delete(key: &[u8]) -> Call {
    Call::Delete { key: key.to_vec() }
}

fn value(call: &Call) -> Vec<u8> {
    let Call::Set { value, .. } = call else { panic!("not a set: {call}") };
    value.clone()
}

/// What stories are made of. Each step begins after the one before has ended.
impl Store {
    /// A client is told this, whatever is true.
    fn told(&mut self, call: Call, outcome: Outcome) {
        self.clock += 1;
        let at = self.ask(STORYTELLER, call);
        self.clock += 1;
        self.tell(at, outcome);
        self.clock += 1;
    }

    /// It is done as it should be.
    fn does(&mut self, call: Call) {
        let outcome = self.perform(&call);
        self.told(call, outcome);
    }

    fn reads(&mut self, call: Call, found: Option<Seen>, revision: u64) {
        self.told(call, Outcome::Read { found, revision });
    }

    fn set(&mut self, key: &[u8]) -> Call {
        Call::Set { key: key.to_vec(), value: self.value() }
    }

    fn sets(&mut self, key: &[u8]) {
        let call = self.set(key);
        self.does(call);
    }

    /// The key is there and was read: its row, and the revision at which it was.
    fn there(&mut self) -> (Seen, u64) {
        for _ in 0..=self.rng.below(3) {
            self.sets(KEY);
        }
        self.does(get(KEY));
        (self.rows[KEY].clone(), self.revision)
    }

    /// Revisions that no client was told of go by. The last of them.
    fn skip(&mut self, revisions: u64) -> u64 {
        self.revision += revisions;
        self.revision
    }

    /// The row of the story's key is changed by nobody.
    fn amend(&mut self, change: impl FnOnce(&mut Seen)) {
        let mut row = self.rows[KEY].clone();
        change(&mut row);
        self.put(KEY, row);
    }

    /// A set that nobody is told of; it is not done.
    fn unknown_set(&mut self, key: &[u8]) -> Call {
        let call = self.set(key);
        self.clock += 1;
        self.ask(STORYTELLER, call.clone());
        self.clock += 1;
        call
    }

    fn unknown_delete(&mut self, key: &[u8]) {
        self.clock += 1;
        self.ask(STORYTELLER, delete(key));
        self.clock += 1;
    }
}
