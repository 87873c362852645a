//! Calls of the past: reads of an earlier revision or of what was there some time ago, lists of what a key held, keys
//! that get what they held, and changes of how much is kept. Their draws are of their own, so that they can be turned off
//! by themselves.

use client::retry::Retry;
use protocol::{Consistency, Operation, Request, RequestId, Scan, history::WindowChange, scan::Page};
use testkit::rng::Rng;

use super::World;
use crate::{options::Options, server::CLUSTER};

/// Keys of the family `t`, to which no history is kept.
const MANY: u64 = 8;

/// What a client has to do with the past.
pub(super) struct Remembering {
    rng: Rng,
    /// The key that is read now to be reverted, and what it held.
    reading: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// The key that is to be written now, or removed.
    restores: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Remembering {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, reading: None, restores: None }
    }

    /// A page came.
    pub(super) fn saw(&mut self, page: &Page) {
        if let (Some((_, value)), Some(row)) = (self.reading.as_mut(), page.rows.first()) {
            *value = Some(row.found.value.clone());
        }
    }

    /// The scan came to its end.
    pub(super) fn ended(&mut self) {
        self.restores = self.reading.take();
    }

    /// A revision or an age: mostly what is kept, also what is not, and what is not yet.
    fn when(&mut self, learned: u64, scan: Scan) -> Scan {
        let rng = &mut self.rng;
        match rng.below(10) {
            0..3 => Scan { age_ms: Some(rng.below(20_000)), ..scan },
            3 => Scan { at: Some(learned + rng.below(200)), ..scan },
            4..7 => Scan { at: Some(learned.saturating_sub(rng.below(30))), ..scan },
            _ => Scan { at: Some(rng.below(learned + 1)), ..scan },
        }
    }

    fn key(&mut self, options: &Options) -> Vec<u8> {
        let rng = &mut self.rng;
        match rng.below(3) {
            0 => format!("t{}", rng.below(MANY)).into_bytes(),
            1 => format!("n{}", rng.below(3)).into_bytes(),
            _ => format!("k{}", rng.below(options.keys)).into_bytes(),
        }
    }

    /// A read of the past, or a list of versions.
    fn scan(&mut self, options: &Options, learned: u64) -> Scan {
        let stale = self.rng.chance(options.stale);
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        let limit = self.rng.chance(200_000).then(|| self.rng.between(1, 6));
        let (key, kind) = (self.key(options), self.rng.below(8));
        let scan = match kind {
            // All of a key that is written often are many.
            0 if self.rng.below(8) == 0 => Scan { limit, ..Scan::versions(&key) },
            0..3 => Scan { limit: limit.or(Some(30)), ..Scan::versions(&key) },
            3..5 => self.when(learned, Scan::key(&key)),
            _ => self.when(learned, Scan { limit, ..Scan::default() }),
        };
        Scan { consistency, ..scan }
    }

    fn window(&mut self) -> WindowChange {
        let rng = &mut self.rng;
        let mut one_of = |from: &[u64]| if rng.below(2) == 0 { rng.pick(from).copied() } else { None };
        let changes = one_of(&[0, 3, 20, 200, 5000]);
        let age_ms = one_of(&[300, 5000, 60_000]);
        let bytes = one_of(&[1500, 20_000, 1 << 20]);
        match (changes, age_ms, bytes) {
            (None, None, None) => WindowChange { changes: Some(100), ..WindowChange::default() },
            _ => WindowChange { changes, age_ms, bytes },
        }
    }
}

impl World {
    /// Begins a call of the past instead of another, now and then.
    pub(super) fn begins_past(&mut self, me: usize) -> bool {
        let client = &mut self.clients[me];
        let learned = client.learned();
        let past = &mut client.past;
        past.reading = None;
        if let Some((key, value)) = past.restores.take() {
            self.counts.add("client: reverted a key");
            let operation = match value {
                Some(value) => Operation::Set { key, value },
                None => Operation::Delete { key },
            };
            return self.writes_of_the_past(me, operation);
        }
        if past.rng.chance(self.options.windows) {
            self.counts.add("client: changed how much is kept");
            let window = past.window();
            return self.writes_of_the_past(me, Operation::SetWindow(window));
        }
        let scan = if past.rng.chance(self.options.reverts) {
            let key = format!("t{}", past.rng.below(MANY)).into_bytes();
            past.reading = Some((key.clone(), None));
            past.when(learned, Scan::key(&key))
        } else if past.rng.chance(self.options.past) {
            past.scan(&self.options, learned)
        } else {
            return false;
        };
        self.counts.add("client: read the past");
        self.scans(me, scan);
        true
    }

    fn writes_of_the_past(&mut self, me: usize, operation: Operation) -> bool {
        let client = &mut self.clients[me];
        client.calls += 1;
        client.tells_the_truth();
        let retry = Retry::write(client.past.rng.bits(), None);
        let request = RequestId { token: [0; 16], learned: 0, cluster: CLUSTER };
        self.call(me, retry, None, Request::Write { request, operation }, None);
        true
    }
}
