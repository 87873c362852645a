//! Which keys differ: a stretch of keys at a time, as one node lists them, is hashed by every node, and read from all of them
//! only where the hashes differ. Memory holds the keys of one stretch and the differences that are shown.

use std::collections::BTreeMap;

use client::NodePart;
use protocol::{
    Consistency, Scan,
    scan::{Digest, Row, Want, successor},
};
use serde_json::{Value, json};

use crate::{connect::Session, error::Failure, text};

/// Keys of one stretch, as the node lists them that has more to its end.
const STRETCH: u64 = 1024;
/// Most keys that are shown.
pub(super) const MOST: usize = 100;

/// A key that nodes do not hold alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    key: Vec<u8>,
    /// Each node's name and the hash of what it holds there, if anything.
    held: Vec<(String, Option<u64>)>,
}

impl Difference {
    pub(super) fn finding(&self) -> String {
        let held = self.held.iter().map(|(name, hash)| match hash {
            Some(hash) => format!("{name} {hash:016x}"),
            None => format!("{name} nothing"),
        });
        format!("{}: {}", text::key(&self.key), held.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn to_json(&self) -> Value {
        let nodes: serde_json::Map<String, Value> = self
            .held
            .iter()
            .map(|(name, hash)| (name.clone(), hash.map(|hash| format!("{hash:016x}")).into()))
            .collect();
        match std::str::from_utf8(&self.key) {
            Ok(key) => json!({"key": key, "nodes": nodes}),
            Err(_) => json!({"key_b64": text::base64(&self.key), "nodes": nodes}),
        }
    }
}

/// The keys that differ at a revision, at most [`MOST`], and whether there are more. `nodes` are names and addresses.
pub(super) async fn differences(
    session: &Session,
    nodes: &[(String, String)],
    index: u64,
) -> Result<(Vec<Difference>, bool), Failure> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    loop {
        let scan =
            Scan { from: from.clone(), at: Some(index), consistency: Consistency::Stale, ..Scan::default() };
        let (scan, next) = stretch(session, nodes, scan).await?;
        if differ(session, nodes, &scan).await? {
            let mut held: BTreeMap<Vec<u8>, Vec<Option<u64>>> = BTreeMap::new();
            for (place, (_, address)) in nodes.iter().enumerate() {
                read(session, address, &scan, |row| {
                    let slots = held.entry(row.key.clone()).or_insert_with(|| vec![None; nodes.len()]);
                    if let Some(slot) = slots.get_mut(place) {
                        *slot = Some(row.element());
                    }
                })
                .await?;
            }
            for (key, hashes) in held {
                if hashes.windows(2).all(|pair| matches!(pair, [a, b] if a == b)) {
                    continue;
                }
                if found.len() == MOST {
                    return Ok((found, true));
                }
                let held = nodes.iter().map(|(name, _)| name.clone()).zip(hashes).collect();
                found.push(Difference { key, held });
            }
        }
        match next {
            Some(next) => from = next,
            None => return Ok((found, false)),
        }
    }
}

/// The scan of one stretch: no node has more than [`STRETCH`] keys in it. With it where the next one begins.
async fn stretch(
    session: &Session,
    nodes: &[(String, String)],
    scan: Scan,
) -> Result<(Scan, Option<Vec<u8>>), Failure> {
    let mut to: Option<Vec<u8>> = None;
    for (_, address) in nodes {
        let keys = Scan { want: Want::Keys, limit: Some(STRETCH), to: to.clone(), ..scan.clone() };
        let (mut count, mut last) = (0_u64, None);
        read(session, address, &keys, |row| (count, last) = (count.saturating_add(1), Some(row.key))).await?;
        if count == STRETCH {
            to = last.map(|last| successor(&last));
        }
    }
    Ok((Scan { to: to.clone(), ..scan }, to))
}

async fn differ(session: &Session, nodes: &[(String, String)], scan: &Scan) -> Result<bool, Failure> {
    let addresses: Vec<String> = nodes.iter().map(|(_, address)| address.clone()).collect();
    let hash = Scan { want: Want::Hash, ..scan.clone() };
    let mut digests: Vec<Digest> = Vec::new();
    for digest in session.client().digests(&addresses, &hash).await {
        digests.push(digest?);
    }
    Ok(digests.windows(2).any(|pair| matches!(pair, [a, b] if (a.hash, a.count) != (b.hash, b.count))))
}

async fn read(
    session: &Session,
    address: &str,
    scan: &Scan,
    mut see: impl FnMut(Row),
) -> Result<(), Failure> {
    let mut rows = session.client().scan_at(address, scan.clone()).await?;
    while let NodePart::Rows(page) = rows.next().await? {
        page.into_iter().for_each(&mut see);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_key_and_nodes() {
        let held = vec![("n1".to_owned(), Some(0xab)), ("n2".to_owned(), None)];
        let difference = Difference { key: b"app/mode".to_vec(), held };
        assert_eq!(difference.finding(), "app/mode: n1 00000000000000ab, n2 nothing");
        let want = json!({"key": "app/mode", "nodes": {"n1": "00000000000000ab", "n2": null}});
        assert_eq!(difference.to_json(), want);
        let bytes = Difference { key: vec![0xff], ..difference };
        assert_eq!(bytes.to_json()["key_b64"], "/w==");
    }
}
