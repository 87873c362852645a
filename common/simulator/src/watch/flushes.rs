//! What the state promises of its flushes: one that was reported is there after any crash; one is begun when the overlay
//! is full or old; and while one runs, what is applied behind it stays within a bound.
//!
//! The overlay that fills up is judged from outside: by the keys that committed commands changed since the flush began.

use std::collections::BTreeSet;

/// See the module.
pub(super) struct Flushes {
    /// How many keys an overlay may have before nothing more is applied.
    most: usize,
    servers: Vec<Progress>,
}

#[derive(Default)]
struct Progress {
    /// What is in the state's file, whatever happens.
    durable: u64,
    /// The keys changed since a flush was begun last.
    changed: BTreeSet<Vec<u8>>,
    runs: bool,
    /// Another's state is about to take the place of this one, and nothing is written to this one any more.
    yields: bool,
}

impl Flushes {
    pub(super) fn new(servers: usize, most: usize) -> Self {
        Self { most, servers: (0..servers).map(|_| Progress::default()).collect() }
    }

    pub(super) fn begun(&mut self, me: usize) {
        let server = &mut self.servers[me];
        (server.changed, server.runs) = (BTreeSet::new(), true);
    }

    /// Server `me` wants nothing to be written now.
    pub(super) fn not_begun(&self, me: usize) {
        let Progress { changed, runs, yields, .. } = &self.servers[me];
        let due = !runs && !yields && changed.len() >= self.most;
        assert!(!due, "VIOLATION s{me} has an overlay of {} keys and flushes nothing", changed.len());
    }

    /// Server `me` says that everything up to `index` is in its file.
    pub(super) fn ended(&mut self, me: usize, index: u64) {
        let server = &mut self.servers[me];
        (server.durable, server.runs) = (index, false);
    }

    /// How far the file of `me` goes, whatever happens.
    pub(super) fn durable(&self, me: usize) -> u64 {
        self.servers[me].durable
    }

    /// Server `me` has another's state in its file, up to `index`.
    pub(super) fn installed(&mut self, me: usize, index: u64) {
        let server = &mut self.servers[me];
        (server.durable, server.runs) = (index, false);
    }

    /// Another's state is made current at `me` from now on.
    pub(super) fn yields(&mut self, me: usize) {
        self.servers[me].yields = true;
    }

    /// Server `me` goes on from another's state.
    pub(super) fn adopted(&mut self, me: usize) {
        let server = &mut self.servers[me];
        (server.changed, server.yields) = (BTreeSet::new(), false);
    }

    /// Server `me` was idle for long and has applied everything up to `index`.
    pub(super) fn rested(&self, me: usize, index: u64) {
        let durable = self.servers[me].durable;
        assert!(
            durable == index,
            "VIOLATION s{me} has applied {index}, is idle, and has {durable} in its file"
        );
    }

    /// Server `me` begins with what its file holds.
    pub(super) fn restarted(&mut self, me: usize, index: u64) {
        let durable = self.servers[me].durable;
        assert!(index >= durable, "VIOLATION s{me}'s state holds {index} and once had {durable} for good");
        self.servers[me] = Progress { durable: index, ..Progress::default() };
    }

    /// Server `me` has applied what changed these keys.
    pub(super) fn applied(&mut self, me: usize, keys: impl Iterator<Item = Vec<u8>>) {
        let Progress { changed, runs, .. } = &mut self.servers[me];
        let mut keys = keys.peekable();
        let full = *runs && changed.len() >= self.most && keys.peek().is_some();
        assert!(!full, "VIOLATION s{me} applies to an overlay of {} keys behind a flush", changed.len());
        changed.extend(keys);
    }
}
