//! What a run is made of: every fault with its rate, every size with its bound.
//!
//! A seed expands into these numbers (a *swarm*: each fault is off in many runs, so that others are seen without it).
//! They are printed with every failure, and any of them can be set by hand to see whether a failure needs it; that is
//! all that shrinking does.

use std::fmt;

use testkit::rng::Rng;

macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident: $draw:expr;)*) => {
        /// See the module; rates are in a million, and zero turns a fault off.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options { $($(#[doc = $doc])+ pub $name: u64,)* }

        impl Options {
            /// All names, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// What `seed` stands for.
            pub fn of(seed: u64) -> Self {
                let root = Rng::new(seed).fork("options");
                $(let $name = { let mut rng = root.fork(stringify!($name)); let draw: fn(&mut Rng) -> u64 = $draw; draw(&mut rng) };)*
                Self { $($name,)* }
            }

            /// The option of this name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name { $(stringify!($name) => Some(self.$name),)* _ => None }
            }

            /// Sets the option of this name; false when there is none.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name { $(stringify!($name) => self.$name = value,)* _ => return false }
                true
            }
        }
    };
}

/// Off in half of the runs, otherwise between the bounds.
fn half(rng: &mut Rng, low: u64, high: u64) -> u64 {
    if rng.chance(500_000) { 0 } else { rng.between(low, high) }
}

/// Off in three quarters of the runs, otherwise between the bounds.
fn seldom(rng: &mut Rng, low: u64, high: u64) -> u64 {
    if rng.chance(750_000) { 0 } else { rng.between(low, high) }
}

/// One of these.
fn one_of(rng: &mut Rng, from: &[u64]) -> u64 {
    rng.pick(from).copied().unwrap_or(0)
}

options! {
    /// Servers.
    servers: |rng| one_of(rng, &[3, 3, 3, 3, 5, 5, 5, 4, 2, 1]);
    /// Seconds of faults.
    seconds: |rng| rng.between(60, 150);
    /// Whether the healed cluster is then watched idle for a thousand election timeouts.
    idle: |rng| u64::from(rng.chance(200_000));

    /// Longest time that healing waits for servers that are hard to unite, in seconds.
    discord: |rng| half(rng, 20, 60);
    /// Which: 0, a quorum of which the one with the newest log is behind in terms; 1, a leader that is behind in terms; 2,
    /// one that lacks what was discarded.
    discord_kind: |rng| rng.between(0, 2);
    /// Whether the healed cluster is also asked to read all the time.
    busy: |rng| rng.between(0, 1);
    /// Whether a cluster that is healed as a whole must then work over a bridge or along a chain.
    partial: |rng| u64::from(rng.chance(500_000));
    /// Whether the healed network loses everything: no seed says so; it is how a failure is tried out.
    hopeless: |_| 0;

    /// Clients.
    clients: |rng| rng.between(2, 6);
    /// Keys that they use.
    keys: |rng| one_of(rng, &[1, 3, 10, 40]);
    /// Longest pause of a client between two calls, in microseconds.
    think_us: |rng| one_of(rng, &[20_000, 100_000, 100_000, 500_000]);
    /// Reads among the calls, in a million.
    reads: |rng| one_of(rng, &[200_000, 500_000, 800_000]);
    /// Reads that may be stale among the reads.
    stale: |rng| half(rng, 100_000, 300_000);
    /// Scans among the calls.
    scans: |rng| half(rng, 20_000, 200_000);
    /// Calls that read the past, of the rest.
    past: |rng| half(rng, 20_000, 200_000);
    /// Calls that revert a key, of the rest.
    reverts: |rng| half(rng, 10_000, 100_000);
    /// Calls that change how much of the past is kept.
    windows: |rng| half(rng, 500, 20_000);
    /// Rows of a page.
    page_rows: |rng| one_of(rng, &[1, 2, 5]);
    /// Longest time between two pages, in microseconds.
    page_us: |rng| one_of(rng, &[500, 20_000, 200_000]);
    /// Deletes among the writes.
    deletes: |rng| half(rng, 50_000, 400_000);
    /// Bytes of a value.
    value_bytes: |rng| one_of(rng, &[8, 40, 40, 300, 2000]);
    /// Longest time a client waits for a call, in milliseconds.
    patience_ms: |rng| one_of(rng, &[300, 1000, 3000, 10_000]);
    /// Calls that a client abandons in their middle.
    abandons: |rng| half(rng, 10_000, 100_000);
    /// Writes of unknown outcome that are settled with the same request id.
    settles: |rng| half(rng, 300_000, 1_000_000);

    /// Calls that are writes under a condition.
    conditions: |rng| half(rng, 50_000, 400_000);
    /// Calls that are of counters that are only added to, of the rest.
    additions: |rng| half(rng, 20_000, 200_000);
    /// Calls that are of counters of every kind, of the rest.
    increments: |rng| half(rng, 20_000, 300_000);
    /// Calls that are of keys that are removed many at a time, of the rest.
    removals: |rng| half(rng, 20_000, 200_000);
    /// Calls that are transactions, of the rest.
    transactions: |rng| half(rng, 20_000, 300_000);

    /// Calls that are about leases.
    leases: |rng| seldom(rng, 20_000, 400_000);
    /// Longest time of a lease, in milliseconds.
    lease_ms: |rng| one_of(rng, &[200, 500, 2000, 8000]);

    /// Writes whose request id is wrong, and requests whose key is.
    lies: |rng| half(rng, 1000, 30_000);

    /// Shortest time on the way between two servers, in microseconds.
    latency_us: |rng| one_of(rng, &[30, 200, 1000, 5000]);
    /// Messages lost.
    loss: |rng| half(rng, 500, 50_000);
    /// Messages that arrive twice.
    duplicates: |rng| half(rng, 500, 50_000);
    /// Messages overtaken by later ones.
    reorders: |rng| half(rng, 500, 100_000);
    /// Messages late by far.
    spikes: |rng| half(rng, 100, 5000);
    /// How late, in milliseconds.
    spike_ms: |rng| rng.between(50, 3000);
    /// Most messages on the way to one server; more are lost. Zero: unbounded.
    link_queue: |rng| seldom(rng, 3, 40);
    /// Most messages that wait in a server for its loop.
    inbox: |rng| one_of(rng, &[4096, 4096, 64, 12]);
    /// Mean time between two partitions, in milliseconds.
    partitions: |rng| half(rng, 1500, 20_000);
    /// How long one lasts at most, in milliseconds.
    partition_ms: |rng| rng.between(300, 8000);
    /// Mean time between two resets of the connections of a server, in milliseconds.
    resets: |rng| half(rng, 1000, 20_000);

    /// Mean time between two ends of a server, in milliseconds.
    crashes: |rng| half(rng, 800, 15_000);
    /// New leaders that are hit at once: ended, paused or cut off.
    usurps: |rng| half(rng, 500_000, 1_000_000);
    /// How soon after their election, in microseconds at most.
    usurp_us: |rng| one_of(rng, &[1000, 10_000, 50_000, 300_000]);
    /// Mean time between two hits on whoever leads, in milliseconds.
    deposals: |rng| half(rng, 300, 6000);
    /// Ends that lose the power, and with it what was not synced; the others are a kill.
    power: |rng| rng.between(200_000, 1_000_000);
    /// Ends that come within a call of the disk.
    in_call: |rng| rng.between(100_000, 700_000);
    /// Starts that end within a call of the disk, or in which one fails.
    trips: |rng| half(rng, 50_000, 400_000);
    /// Ends that are asked for and waited for (SIGTERM).
    stops: |rng| half(rng, 50_000, 300_000);
    /// Longest time a server stays down, in milliseconds.
    down_ms: |rng| one_of(rng, &[20, 500, 2000, 10_000]);
    /// Mean time between two losses of the power of all servers at once, in milliseconds.
    blackouts: |rng| seldom(rng, 5000, 30_000);
    /// Mean time between two pauses of a server, in milliseconds.
    pauses: |rng| half(rng, 1000, 15_000);
    /// Longest pause, in milliseconds.
    pause_ms: |rng| one_of(rng, &[100, 600, 3000, 20_000]);

    /// Least time of a sync, in microseconds.
    sync_us: |rng| one_of(rng, &[50, 150, 1000, 5000]);
    /// Syncs that take far longer.
    stalls: |rng| half(rng, 200, 5000);
    /// How long, in milliseconds at most.
    stall_ms: |rng| one_of(rng, &[100, 500, 4000]);
    /// Syncs that fail.
    sync_errors: |rng| seldom(rng, 20, 500);
    /// Reads of the disk that fail.
    read_errors: |rng| seldom(rng, 20, 1000);
    /// Reads of the log for a follower that fail, and nothing else.
    fetch_errors: |rng| seldom(rng, 10_000, 500_000);
    /// Mean time between two moments in which the space of a server's disk ends, in milliseconds.
    no_space: |rng| seldom(rng, 5000, 30_000);
    /// Servers whose log loses bits, at most a minority.
    rot: |rng| seldom(rng, 1, 2);

    /// Largest deviation of a server's clock, in a million.
    drift: |rng| half(rng, 1000, 50_000);
    /// Mean time between two jumps of a server's wall clock, in milliseconds.
    jumps: |rng| half(rng, 1000, 20_000);

    /// Most messages that a server's loop takes at once; with one, what comes of each is judged before the next.
    turn: |rng| one_of(rng, &[1, 1024, 1024]);
    /// Longest time an event waits for the server's loop, in microseconds.
    loop_us: |rng| one_of(rng, &[10, 50, 300, 3000]);
    /// Whether the actions of a server are done in any order.
    shuffle: |rng| rng.between(0, 1);

    /// Request ids that the state remembers.
    request_ids: |rng| one_of(rng, &[20, 200, 5000, 5000]);
    /// Keys in the overlay when a flush is due.
    overlay_entries: |rng| one_of(rng, &[3, 30, 10_000]);
    /// Age of the overlay when a flush is due, in milliseconds.
    overlay_age_ms: |rng| one_of(rng, &[100, 1000, 10_000]);
    /// Bytes of a segment of the log.
    segment_bytes: |rng| one_of(rng, &[16 << 10, 64 << 10, 512 << 10]);
    /// Entries behind the last flush that stay in the log.
    keep_entries: |rng| one_of(rng, &[0, 5, 100, 100_000]);
    /// Bytes that the log may take before they go too.
    keep_bytes: |rng| one_of(rng, &[16 << 10, 100 << 10, 1 << 30]);
    /// Whether every other server keeps all of its log.
    uneven: |rng| rng.between(0, 1);
    /// Mean time between two wishes to discard the log of a server, in milliseconds.
    compactions: |rng| half(rng, 300, 10_000);
    /// Mean time between two moments in which a server is cut off until the others discard what it lacks, in milliseconds.
    outgrowths: |rng| half(rng, 1000, 8000);
    /// Mean time between two wishes that another server should lead, in milliseconds.
    transfers: |rng| half(rng, 300, 8000);
    /// Mean time between two wishes that a server should leave leading to others, in milliseconds.
    drains: |rng| seldom(rng, 1000, 10_000);
    /// Mean time between two wishes to change the members, in milliseconds.
    changes: |rng| seldom(rng, 200, 4000);
    /// Servers beyond the founders, where members change.
    spares: |rng| rng.between(0, 2);
    /// How many entries a server may lack that is made a voter.
    caught_up: |rng| one_of(rng, &[0, 3, 50]);
    /// Most followers that are sent the state at one time.
    snapshots: |rng| one_of(rng, &[1, 2, 2]);
    /// Longest time that a block of a state takes, and making it current, in microseconds.
    stream_us: |rng| one_of(rng, &[0, 0, 20_000, 400_000]);
    /// States that a server makes current and then ends, soon.
    upsets: |rng| half(rng, 300_000, 1_000_000);
    /// Blocks of a state at which its stream is cut.
    stream_cuts: |rng| half(rng, 10_000, 150_000);
    /// Blocks of a state that are damaged on their way.
    stream_damage: |rng| half(rng, 10_000, 100_000);
    /// Bytes of applied entries that the core keeps in memory.
    cache_bytes: |rng| one_of(rng, &[0, 2000, 100_000, 10_000_000]);
    /// Most entries of an append.
    append_entries: |rng| one_of(rng, &[1, 4, 1024]);
    /// Most bytes of an append.
    append_bytes: |rng| one_of(rng, &[100, 4000, 1_000_000]);
    /// Most appends on the way to a follower.
    window: |rng| one_of(rng, &[1, 4, 64]);
    /// Most entries that are not committed.
    uncommitted: |rng| one_of(rng, &[2, 20, 16_384]);
    /// Most bytes that are not committed.
    uncommitted_bytes: |rng| one_of(rng, &[1000, 20_000, 1 << 20]);
    /// Most reads that wait.
    waiting_reads: |rng| one_of(rng, &[2, 16_384, 16_384]);
}

impl Options {
    /// Founders and others.
    pub fn all_servers(&self) -> u64 {
        self.servers + if self.changes > 0 { self.spares } else { 0 }
    }

    /// Without what would be more than a cluster whose members change can bear: a log that is lost for good may be one of
    /// two that are left, and who is hard to unite is found by counting all servers.
    #[must_use]
    pub fn bearable(mut self) -> Self {
        if self.changes > 0 {
            (self.rot, self.discord) = (0, 0);
        }
        self
    }

    /// Bytes of a segment: as few as can be where what is in earlier ones is to be discarded soon.
    pub fn segment(&self) -> u64 {
        if self.outgrowths > 0 { self.segment_bytes.min(16 << 10) } else { self.segment_bytes }
    }

    /// Sets what `text` says, `name=value` each, apart by white space.
    pub fn adjust(&mut self, text: &str) -> Result<(), String> {
        for pair in text.split_whitespace() {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not name=value"))?;
            let value = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            if !self.set(name, value) {
                return Err(format!("there is no option `{name}`"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in Self::NAMES.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{name}={}", self.get(name).unwrap_or(0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_set_again() {
        let options = Options::of(3);
        let mut other = Options::of(4);
        assert_ne!(options, other);
        other.adjust(&options.to_string()).unwrap();
        assert_eq!(options, other);
        assert!(other.adjust("colour=1").is_err() && other.adjust("loss").is_err());
    }

    #[test]
    fn every_fault_is_off_in_some_seeds_and_on_in_others() {
        let faults =
            ["loss", "duplicates", "crashes", "partitions", "sync_errors", "rot", "pauses", "no_space"];
        for fault in faults {
            let on = (0..200).filter(|seed| Options::of(*seed).get(fault) != Some(0)).count();
            assert!((20..180).contains(&on), "{fault} is on in {on} of 200 seeds");
        }
    }
}
