//! The identity record: who a directory belongs to. The same text lies in both directories and, as the mark, beside
//! the node's certificate.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::fmt::Write;

use protocol::ClusterId;
use ring::digest;
use serde::Deserialize;

/// Format of the record. A newer one is refused by name.
const FORMAT: u32 = 1;
/// Format of the record of a node that was restored from a backup, so that a version that knows nothing of it refuses.
const FORMAT_RESTORED: u32 = 2;
/// Format of the record of a node that began again where one had run, for the same reason.
const FORMAT_ANEW: u32 = 3;

/// How far the first start came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// A restore from a backup is under way: what the directories hold is not whole.
    Restoring,
    /// The first start is under way; this node has not voted.
    Starting,
    /// The node may have voted: its directories are needed from now on.
    Started,
}

/// Who a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) phase: Phase,
    pub(crate) cluster: ClusterId,
    pub(crate) node: u64,
    pub(crate) incarnation: [u8; 16],
    /// Sorted.
    pub(crate) voters: Vec<u64>,
    /// Makes QUIC's stateless resets recognisable after a restart.
    pub(crate) reset_key: [u8; 64],
    /// What it was restored from, where it was: part of what makes the cluster's id.
    pub(crate) origin: Option<Origin>,
    /// Whether it began again where a node of its name had run and lost its directories: it waits to be recognised.
    pub(crate) anew: bool,
}

/// What a cluster was restored from: a digest of the backup's sum and of the name that was given to the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) [u8; 32]);

impl Origin {
    /// Of a backup with this sum.
    pub(crate) fn new(sum: &[u8; 32], name: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"kvd origin 1\0");
        context.update(sum);
        context.update(name.as_bytes());
        let mut origin = [0; 32];
        origin.iter_mut().zip(context.finish().as_ref()).for_each(|(byte, digested)| *byte = *digested);
        Self(origin)
    }

    /// The id of the cluster that is restored from it where a new one would have the id `plain`: the same on every server,
    /// and another for another backup, name, CA or list of servers.
    pub(crate) fn cluster(self, plain: ClusterId) -> ClusterId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"kvd restored cluster 1\0");
        context.update(&plain.0);
        context.update(&self.0);
        first_16(context)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    phase: Phase,
    cluster: String,
    node: u64,
    incarnation: String,
    voters: Vec<u64>,
    reset_key: String,
    origin: Option<String>,
    #[serde(default)]
    anew: bool,
}

/// The cluster's id: the same on every node that has the same CA and the same first voters. Addresses may change and
/// are not part of it.
pub(crate) fn cluster_id(ca_fingerprint: &[u8; 32], voters: &[u64]) -> ClusterId {
    let mut sorted = voters.to_vec();
    sorted.sort_unstable();
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"kvd cluster 1\0");
    context.update(ca_fingerprint);
    for id in sorted {
        context.update(&id.to_be_bytes());
    }
    first_16(context)
}

fn first_16(context: digest::Context) -> ClusterId {
    let mut id = [0; 16];
    for (byte, digested) in id.iter_mut().zip(context.finish().as_ref()) {
        *byte = *digested;
    }
    ClusterId(id)
}

impl Record {
    /// The record of a first start.
    pub(crate) fn fresh(cluster: ClusterId, node: u64, voters: Vec<u64>) -> Result<Self, getrandom::Error> {
        let (mut incarnation, mut reset_key) = ([0; 16], [0; 64]);
        getrandom::fill(&mut incarnation)?;
        getrandom::fill(&mut reset_key)?;
        Ok(Self {
            phase: Phase::Starting,
            cluster,
            node,
            incarnation,
            voters,
            reset_key,
            origin: None,
            anew: false,
        })
    }

    /// The record of a node that begins again under this one's name.
    pub(crate) fn anew(&self) -> Result<Self, getrandom::Error> {
        let fresh = Self::fresh(self.cluster, self.node, self.voters.clone())?;
        Ok(Self { origin: self.origin, anew: true, ..fresh })
    }

    pub(crate) fn with(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }

    /// Whether both speak of the same first start, however far it came.
    pub(crate) fn same_start(&self, other: &Self) -> bool {
        self.with(Phase::Started) == other.with(Phase::Started)
    }

    pub(crate) fn encode(&self) -> String {
        let format = format(self.origin.is_some(), self.anew);
        let anew = if self.anew { "anew = true\n" } else { "" };
        let origin =
            self.origin.map(|origin| format!("origin = \"{}\"\n", hex(&origin.0))).unwrap_or_default();
        let phase = match self.phase {
            Phase::Restoring => "restoring",
            Phase::Starting => "starting",
            Phase::Started => "started",
        };
        format!(
            "# Written by kvd at the first start of this node. Do not edit, copy or remove.\n\
             format = {format}\nphase = \"{phase}\"\ncluster = \"{}\"\nnode = {}\nincarnation = \"{}\"\n\
             voters = {:?}\nreset_key = \"{}\"\n{origin}{anew}",
            self.cluster,
            self.node,
            hex(&self.incarnation),
            self.voters,
            hex(&self.reset_key),
        )
    }

    /// Reads a record; the error says what is wrong with it.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if text.format != format(text.origin.is_some(), text.anew) {
            return Err(format!("its format is {}, this kvd knows {FORMAT_ANEW}", text.format));
        }
        let origin = text.origin.map(|origin| unhex(&origin).ok_or("its origin is damaged")).transpose()?;
        Ok(Self {
            phase: text.phase,
            cluster: text.cluster.parse().map_err(|_| "its cluster id is damaged")?,
            node: text.node,
            incarnation: unhex(&text.incarnation).ok_or("its incarnation is damaged")?,
            voters: text.voters,
            reset_key: unhex(&text.reset_key).ok_or("its reset key is damaged")?,
            origin: origin.map(Origin),
            anew: text.anew,
        })
    }
}

/// The lowest format that has what is in a record.
fn format(is_restored: bool, is_anew: bool) -> u32 {
    match (is_restored, is_anew) {
        (_, true) => FORMAT_ANEW,
        (true, false) => FORMAT_RESTORED,
        (false, false) => FORMAT,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_text() {
        let record = Record::fresh(ClusterId([7; 16]), 3, vec![1, 2, 3]).unwrap();
        assert_eq!(Record::decode(&record.encode()), Ok(record.clone()));
        let started = record.with(Phase::Started);
        assert_eq!(Record::decode(&started.encode()), Ok(started.clone()));
        assert!(started.same_start(&record) && started != record);
        assert!(!Record::fresh(ClusterId([7; 16]), 3, vec![1, 2, 3]).unwrap().same_start(&record));
        assert!(Record::decode(&record.encode().replace("format = 1", "format = 2")).is_err());
        assert!(Record::decode("").is_err());
    }

    #[test]
    fn the_record_of_a_restored_node_survives_its_text_and_has_a_format_of_its_own() {
        let mut record = Record::fresh(ClusterId([7; 16]), 3, vec![1, 2, 3]).unwrap();
        record.origin = Some(Origin([0xab; 32]));
        let text = record.with(Phase::Restoring).encode();
        assert!(text.contains("format = 2") && text.contains("phase = \"restoring\""), "{text}");
        assert_eq!(Record::decode(&text), Ok(record.with(Phase::Restoring)));
        assert!(Record::decode(&text.replace("format = 2", "format = 1")).is_err());
        assert!(Record::decode(&text.replace("abab", "ab")).is_err());
    }

    #[test]
    fn the_record_of_a_node_that_begins_again_has_a_format_of_its_own() {
        let mut before = Record::fresh(ClusterId([7; 16]), 3, vec![1, 2, 3]).unwrap();
        for origin in [None, Some(Origin([0xab; 32]))] {
            before.origin = origin;
            let record = before.anew().unwrap();
            assert!(record.incarnation != before.incarnation && record.origin == origin);
            let text = record.encode();
            assert!(text.contains("format = 3") && text.ends_with("anew = true\n"), "{text}");
            assert_eq!(Record::decode(&text), Ok(record));
            assert!(Record::decode(&text.replace("format = 3", "format = 2")).is_err());
            assert!(Record::decode(&text.replace("anew = true\n", "")).is_err());
        }
    }

    #[test]
    fn a_restored_cluster_is_its_backup_its_name_and_what_any_cluster_is() {
        let plain = ClusterId([7; 16]);
        let id = Origin::new(&[1; 32], "").cluster(plain);
        assert_eq!(id.to_string(), "a061137a19175a3779a2d7220e3bf2df");
        assert_ne!(id, plain);
        assert_ne!(id, Origin::new(&[2; 32], "").cluster(plain), "another backup");
        assert_ne!(id, Origin::new(&[1; 32], "drill").cluster(plain), "another name");
        assert_ne!(id, Origin::new(&[1; 32], "").cluster(ClusterId([8; 16])), "another CA or other servers");
    }

    #[test]
    fn the_cluster_is_its_ca_and_its_first_voters_in_any_order() {
        let id = cluster_id(&[1; 32], &[1, 2, 3]);
        assert_eq!(id, cluster_id(&[1; 32], &[3, 1, 2]));
        assert_ne!(id, cluster_id(&[2; 32], &[1, 2, 3]));
        assert_ne!(id, cluster_id(&[1; 32], &[1, 2]));
    }
}
