//! A writer that knows what it was promised: every acknowledged write must be there, and none twice.

use std::collections::BTreeMap;

use client::{Client, Outcome};
use protocol::Consistency;

/// Keys this writer goes around.
const KEYS: u64 = 7;

/// Writes a running number to a few keys, one write at a time.
pub(crate) struct Writer {
    client: Client,
    name: &'static str,
    next: u64,
    keys: BTreeMap<Vec<u8>, Promised>,
    unknown: u64,
}

/// What the cluster owes for one key.
#[derive(Default, Clone)]
struct Promised {
    acknowledged: u64,
    unknown: u64,
    /// The value of the last acknowledged write, and of those of unknown outcome after it.
    possible: Vec<Vec<u8>>,
    revision: u64,
}

impl Writer {
    pub(crate) fn new(client: Client, name: &'static str) -> Self {
        Self { client, name, next: 0, keys: BTreeMap::new(), unknown: 0 }
    }

    /// Writes of which nobody knows whether they took effect.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Does `count` writes; each must be acknowledged, or its outcome be unknown, within the client's deadline.
    pub(crate) async fn write(&mut self, count: u64) {
        for _ in 0..count {
            let key = format!("{}-{}", self.name, self.next % KEYS).into_bytes();
            let value = self.next.to_string().into_bytes();
            self.next += 1;
            let promised = self.keys.entry(key.clone()).or_default();
            match self.client.set(&key, &value, None).await {
                Ok(written) => {
                    assert!(written.revision > promised.revision, "revisions only grow");
                    promised.revision = written.revision;
                    promised.acknowledged += 1;
                    promised.possible = vec![value];
                }
                Err(error) if error.outcome() == Outcome::Unknown => {
                    promised.unknown += 1;
                    promised.possible.push(value);
                    self.unknown += 1;
                }
                Err(error) => {
                    panic!("a majority is up, yet a write was not applied: {error} ({:?})", self.client)
                }
            }
        }
    }

    /// Compares what `client` reads with what was promised.
    pub(crate) async fn check(&self, client: &Client) {
        for (key, promised) in &self.keys {
            let read = client.get(key, Consistency::Linearizable).await.unwrap();
            let found = read.found.expect("an acknowledged write is there");
            assert!(promised.possible.contains(&found.value), "{key:?} holds {:?}", found.value);
            let applied = promised.acknowledged..=promised.acknowledged + promised.unknown;
            assert!(
                applied.contains(&found.version),
                "{key:?}: {} writes applied, {applied:?} sent",
                found.version
            );
        }
    }
}
