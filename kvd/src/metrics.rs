//! What a node counts and measures, and who may look: `/metrics`, `/livez` and `/readyz` over plain HTTP, where the
//! configuration names an address for it.
//!
//! ```text
//!  loop, log, store, connections ── add to ──► Meters ◄── reads ── page ── text ──► serve ──► a scraper
//!  the node ── Figures, when it is asked ──────────────────────────►                 http reads the request
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `meter` | counters, gauges and histograms that any thread adds to, and nobody waits for |
//! | `exposition` | the text format of Prometheus, 0.0.4 |
//! | `page` | which metrics there are |
//! | `process` | what the system says of this process |
//! | `http` | a request as bytes: the first line, and a bound on all of it |
//! | `serve` | a thread of its own, and what one connection may cost |
//!
//! Invariants:
//! - Who counts never waits and never fails: an atomic addition, whether or not anybody looks.
//! - The node is looked at through its loop, at most once in [`serve::FRESH`]; whoever looks more often sees the same.
//! - Every label has a set of values that is fixed when the process starts: kinds, reasons, members.
//! - Nothing here names a key or a value.

pub(crate) mod exposition;
pub(crate) mod http;
pub(crate) mod meter;
mod page;
mod process;
pub(crate) mod serve;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use protocol::{Refused, Request};
use raft::{NodeId, RoleName};

use self::meter::{Counter, Gauge, Histogram};
use crate::{
    event::{Notice, Standing},
    journal::Journal,
};

/// Kinds of requests, as the label `kind` names them.
const KINDS: [&str; 5] = ["write", "get", "scan", "watch", "admin"];
/// Why requests are refused, as the label `reason` names it.
const REASONS: [&str; 9] = [
    "not_leader",
    "no_quorum",
    "lost",
    "busy",
    "expired",
    "bad_request_id",
    "unavailable",
    "invalid",
    "not_kept",
];
/// Why connections are refused.
const DOORS: [&str; 2] = ["handshake", "limit"];

/// Everything that is counted as it happens.
pub(crate) struct Meters {
    started: SystemTime,
    requests: [Counter; KINDS.len()],
    refused: [Counter; REASONS.len()],
    leader_changes: Counter,
    elections: Counter,
    /// The leader that was known last.
    leader: Gauge,
    pub(crate) applied_entries: Counter,
    pub(crate) apply: Histogram,
    pub(crate) log_sync: Histogram,
    pub(crate) log_bytes: Gauge,
    pub(crate) flush: Histogram,
    pub(crate) disk_full: Gauge,
    pub(crate) clients: Gauge,
    pub(crate) clients_accepted: Counter,
    pub(crate) watches: Gauge,
    turned_away: [Counter; DOORS.len()],
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    pub(crate) sent: Transfers,
    pub(crate) received: Transfers,
    /// What happened, for people: whoever counts and times it may also note it.
    pub(crate) journal: Journal,
}

/// The way to one peer.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) connected: Gauge,
    pub(crate) lost: Counter,
}

/// States that are sent, or received.
#[derive(Default)]
pub(crate) struct Transfers {
    pub(crate) underway: Gauge,
    pub(crate) done: Counter,
    pub(crate) failed: Counter,
    pub(crate) bytes: Counter,
}

impl Transfers {
    /// One has ended.
    pub(crate) fn ended(&self, well: bool) {
        if well { self.done.add(1) } else { self.failed.add(1) }
    }
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// Its handshake failed: certificates, roles, versions, silence.
    Handshake = 0,
    /// There are too many.
    Limit = 1,
}

impl Meters {
    /// All at zero, for a node without peers.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: SystemTime::now(),
            requests: Default::default(),
            refused: Default::default(),
            leader_changes: Counter::default(),
            elections: Counter::default(),
            leader: Gauge::default(),
            applied_entries: Counter::default(),
            apply: Histogram::default(),
            log_sync: Histogram::default(),
            log_bytes: Gauge::default(),
            flush: Histogram::default(),
            disk_full: Gauge::default(),
            clients: Gauge::default(),
            clients_accepted: Counter::default(),
            watches: Gauge::default(),
            turned_away: Default::default(),
            peers: RwLock::default(),
            sent: Transfers::default(),
            received: Transfers::default(),
            journal: Journal::default(),
        })
    }

    /// A request came to the node.
    pub(crate) fn asked(&self, request: &Request) {
        let kind = match request {
            Request::Write { .. } => 0,
            Request::Get { .. } => 1,
            Request::Scan(_) => 2,
            Request::Watch(_) => 3,
            _ => 4,
        };
        self.requests[kind].add(1);
    }

    /// A request was refused, by the node or by its connection.
    pub(crate) fn refused(&self, refused: &Refused) {
        let reason = match refused {
            Refused::NotLeader { .. } => 0,
            Refused::NoQuorum => 1,
            Refused::Lost => 2,
            Refused::Busy { .. } => 3,
            Refused::Expired => 4,
            Refused::BadRequestId(_) => 5,
            Refused::Unavailable(_) => 6,
            Refused::TooLarge { .. } | Refused::Invalid(_) | Refused::Unsafe(_) => 7,
            Refused::NotKept { .. } => 8,
        };
        self.refused[reason].add(1);
    }

    /// The node's standing changed.
    pub(crate) fn changed(&self, standing: &Standing) {
        if matches!(standing.role, RoleName::Candidate) {
            self.elections.add(1);
        }
        if let Some(NodeId(leader)) = standing.leader
            && self.leader.set(leader) != leader
        {
            self.leader_changes.add(1);
        }
    }

    /// The node has something to say of its disk.
    pub(crate) fn notice(&self, notice: Notice) {
        let (kind, took, what) = match notice {
            Notice::Full { .. } => ("disk-full", None, notice.to_string()),
            Notice::Room { after_ms } => {
                ("disk-room", Some(Duration::from_millis(after_ms)), notice.to_string())
            }
            Notice::Hangs => ("slow-disk", None, notice.to_string()),
        };
        match notice {
            Notice::Full { .. } => _ = self.disk_full.set(1),
            Notice::Room { .. } => _ = self.disk_full.set(0),
            Notice::Hangs => {}
        }
        tracing::warn!("{what}");
        self.journal.note(kind, None, took, what);
    }

    /// A connection was not let in.
    pub(crate) fn turned_away(&self, why: Door) {
        self.turned_away[why as usize].add(1);
    }

    /// The way to a peer; `None` where there is no such peer.
    pub(crate) fn peer(&self, peer: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    /// The ways to all peers.
    fn peers(&self) -> Vec<(NodeId, Arc<Peer>)> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().map(|(id, peer)| (*id, Arc::clone(peer))).collect()
    }

    /// These are the peers now; what was counted of them stays.
    pub(crate) fn follow(&self, now: impl Iterator<Item = NodeId>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *peers);
        peers.extend(now.map(|id| (id, before.remove(&id).unwrap_or_default())));
    }
}

#[cfg(test)]
mod tests {
    use raft::Term;

    use super::*;

    #[test]
    fn another_leader_counts_and_the_same_again_does_not() {
        let meters = Meters::new();
        let standing =
            |role, leader: Option<u64>| Standing { role, term: Term(1), leader: leader.map(NodeId) };
        for (role, leader) in [
            (RoleName::Follower, None),
            (RoleName::PreCandidate, None),
            (RoleName::Candidate, None),
            (RoleName::Leader, Some(1)),
            (RoleName::Follower, None),
            (RoleName::Follower, Some(1)),
            (RoleName::Follower, Some(2)),
        ] {
            meters.changed(&standing(role, leader));
        }
        assert_eq!((meters.leader_changes.get(), meters.elections.get()), (2, 1));
    }

    #[test]
    fn each_refusal_has_a_reason_of_its_own_or_is_the_requests_fault() {
        let meters = Meters::new();
        let word = String::new;
        let all = [
            Refused::NotLeader { leader: None, address: None },
            Refused::NoQuorum,
            Refused::Lost,
            Refused::Busy { what: word() },
            Refused::Expired,
            Refused::BadRequestId(word()),
            Refused::Unavailable(word()),
            Refused::Invalid(word()),
            Refused::TooLarge { what: word(), size: 2, limit: 1 },
            Refused::NotKept { oldest: 7, age_ms: None },
            Refused::Unsafe(word()),
        ];
        for refused in &all {
            meters.refused(refused);
        }
        assert_eq!(meters.refused.each_ref().map(Counter::get), [1, 1, 1, 1, 1, 1, 1, 3, 1]);
    }
}
