//! How often each thing happened in a run, by name: every fault and every way out of one. A name that stays at zero
//! over many seeds says that the instrument does not play that note, and fails the run.

use std::collections::BTreeMap;

/// Everything the simulator itself counts; the production crates have marks of their own. A run of many seeds in which
/// one of them stays at zero fails.
pub const NAMES: &[&str] = &[
    "network: lost",
    "network: doubled",
    "network: overtaken",
    "network: late",
    "network: queue full",
    "network: inbox full",
    "network: cut",
    "network: connection reset",
    "network: answer for an earlier process",
    "partition: in two",
    "partition: one-way",
    "partition: leader alone",
    "partition: leader deaf",
    "partition: leader mute",
    "partition: bridge",
    "partition: chain",
    "partition: flapping",
    "server: killed",
    "server: power lost",
    "server: ended within a disk call",
    "server: ended between two actions",
    "server: stopped",
    "server: ended by its disk",
    "server: restarted",
    "server: paused",
    "server: all powerless at once",
    "server: hit as it began to lead",
    "server: ended as it had voted",
    "server: ended as it had asked",
    "server: mute as it began to lead",
    "server: hit as it started",
    "server: cut off as it began to stand",
    "server: outgrown",
    "server: drained",
    "members: asked for a change",
    "members: server recorded",
    "members: changed",
    "liveness: members settled",
    "leader: asked to hand over",
    "leader: has handed over",
    "leader: could not hand over",
    "server: refused to start",
    "server: log found damaged",
    "disk: unsynced writes lost",
    "disk: unsynced write torn",
    "disk: unsynced writes reordered",
    "disk: unsynced names lost",
    "disk: sync failed",
    "disk: read failed",
    "disk: read for a follower failed",
    "disk: no space",
    "disk: leader without room",
    "disk: server without room",
    "disk: room again",
    "disk: leader gave up waiting",
    "disk: stalled",
    "disk: bits flipped",
    "disk: call failed",
    "disk: settled log damaged",
    "clock: drifts",
    "clock: jumped",
    "client: asked another while the first may answer",
    "client: lost its connection",
    "client: abandoned",
    "client: unknown outcome",
    "client: settled an unknown outcome",
    "client: answered from memory",
    "client: told again that it was not done",
    "client: judged and done",
    "client: condition did not hold",
    "client: nothing was added",
    "client: too many keys to remove",
    "client: transaction found too much",
    "client: asked about leases",
    "client: no lease, or no room for one",
    "lease: came to its end",
    "lease: was revoked",
    "client: lied in its request id",
    "client: asked for nonsense",
    "client: refused as expired",
    "client: refused as busy",
    "client: redirected",
    "client: not applied",
    "stream: begun",
    "stream: whole",
    "stream: cut",
    "stream: stuck",
    "stream: block damaged",
    "stream: found damaged",
    "stream: disk failed",
    "server: hit as it replaced its state",
    "server: hit as its state was replaced",
    "server: hit as its log began anew",
    "server: hit as its log was discarded",
    "disk: flush outlasts a state",
    "log: discarded on demand",
    "log: not discarded in time",
    "client: scanned",
    "client: could not go on with a scan",
    "client: read the past",
    "client: read a past that is not kept",
    "client: listed what a key held",
    "client: reverted a key",
    "client: changed how much is kept",
    "liveness: rest is down",
    "liveness: rest is cut off",
    "liveness: rest is heard and deaf",
    "liveness: rest flaps",
    "liveness: rest's disk hangs",
    "liveness: judged without allowance",
    "liveness: over a bridge",
    "liveness: in a chain",
    "liveness: newest log behind in terms",
    "liveness: leases have ended",
    "liveness: handed over",
    "liveness: one lacks what was discarded",
    "liveness: idle watched",
];

/// A history that was too hard for the search; the other checker has judged it.
pub const UNDECIDED: &str = "history: undecided by search";

/// What may happen and need not.
const RARE: &[&str] = &[UNDECIDED, "liveness: leader behind in terms"];

/// Whether a name is of something that is injected, not of what comes of it: a message into a cut or a full queue is not
/// one fault more.
pub fn is_fault(name: &str) -> bool {
    let follows = ["network: cut", "network: queue full", "network: inbox full"];
    let faults = [
        "network: ",
        "partition: ",
        "server: killed",
        "server: power",
        "server: paused",
        "disk: ",
        "clock: ",
    ];
    faults.iter().any(|fault| name.starts_with(fault)) && !follows.contains(&name)
}

/// The counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// One more.
    ///
    /// # Panics
    /// When the name is not among [`NAMES`].
    pub fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// So many more.
    ///
    /// # Panics
    /// As [`Counts::add`].
    pub fn add_many(&mut self, name: &'static str, many: u64) {
        assert!(NAMES.contains(&name) || RARE.contains(&name), "`{name}` is among the names");
        if many > 0 {
            *self.0.entry(name).or_default() += many;
        }
    }

    /// How often it happened.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All that happened.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
