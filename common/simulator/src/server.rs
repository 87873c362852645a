//! One simulated server: its disk, which outlives it, and its process, which does not.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use kvd::{
    disk::Disk,
    event::{Caller, Event, Time},
    log::{self, Log},
    log_thread::{self, LogTask, StoreTask},
    members::Members,
    node::Keeping,
    node::Node,
    opening::{self, OpenError, Place},
    state::{StateLimits, view::Cursor},
};
use protocol::{ClusterId, RequestFrame, Scan, response::Member};
use raft::{Envelope, NodeId};

use crate::{
    disk::Medium,
    options::Options,
    watch::{self, Moment},
    world::Plan,
};

/// The cluster's id in every run.
pub const CLUSTER: ClusterId = ClusterId([0x5e; 16]);
/// A tick of the core, in microseconds.
pub const TICK: u64 = 10_000;
/// The shortest election timeout, in ticks: the daemon's default of 200 ms.
pub const ELECTION_TICKS: u32 = 20;

/// A server.
pub struct Server {
    /// What is left when the process ends.
    pub medium: Medium,
    /// Counts the processes; what was planned for an earlier one is void.
    pub boot: u64,
    /// Whether there is a process.
    pub life: Life,
    /// Whether bits of its log were flipped.
    pub rotten: bool,
    /// How fast its clock runs, in a million, and how far its wall clock is off, in milliseconds.
    pub clock: (u64, u64),
    /// When its process began.
    pub began: u64,
    /// How far the state goes that its process has made current and not said so.
    pub installed: Option<u64>,
}

/// Whether a server has a process.
pub enum Life {
    /// It runs, or is paused.
    Up(Box<Process>),
    /// It will be started.
    Down,
    /// It refused to start for good.
    Broken,
}

/// A running `kvd`, without its threads and sockets.
pub struct Process {
    /// The deterministic node.
    pub node: Node,
    /// Its log, as the log's thread holds it.
    pub log: Log,
    /// What came for the loop.
    pub inbox: Inbox,
    /// Whether the loop is about to run.
    pub awake: bool,
    /// What waits for room on the disk.
    pub without_room: log_thread::Held,
    /// What waits for the log's thread.
    pub tasks: VecDeque<LogTask>,
    /// What the log's thread is at.
    pub log_work: Option<LogWork>,
    /// How many batches it did; the log is settled when none came for a while.
    pub batches: u64,
    /// What the state's thread is at.
    pub store_work: Option<StoreWork>,
    /// What waits for it.
    pub store_tasks: VecDeque<StoreTask>,
    /// Scans that it serves, by the attempts that asked for them.
    pub scans: BTreeMap<u64, Serving>,
    /// Whether it was stopped by a signal, until another one.
    pub paused: bool,
    /// What fell due meanwhile.
    pub held: Vec<Plan>,
    /// Since which tick it is told to end.
    pub leaving: Option<u64>,
    /// Ticks that it took in.
    pub ticks: u64,
    /// It ends after so many more actions.
    pub fuse: Option<u64>,
}

/// The queues of the loop, in the order in which it empties them.
#[derive(Default)]
pub struct Inbox {
    /// From its own threads.
    pub done: Vec<Event>,
    /// From other servers.
    pub peers: VecDeque<Envelope>,
    /// From clients, and when they asked.
    pub clients: VecDeque<(Caller, RequestFrame, u64)>,
}

impl Inbox {
    /// Whether the loop has something to take in.
    pub fn waits(&self) -> bool {
        !(self.done.is_empty() && self.peers.is_empty() && self.clients.is_empty())
    }

    /// What the loop takes in next where it takes in one thing at a time, if that is a message of another server.
    pub fn only_message(&self) -> Option<Envelope> {
        if self.done.is_empty() { self.peers.front().cloned() } else { None }
    }
}

/// A scan that is being served.
pub struct Serving {
    /// Over the view that it began with.
    pub cursor: Cursor,
    /// What was asked.
    pub scan: Scan,
    /// Rows that have left.
    pub sent: usize,
    /// Of which moment the view is.
    pub moment: Moment,
}

/// A batch of the log: done at its beginning or at its end, told at its end.
pub enum LogWork {
    /// It is done when it ends.
    Later(Vec<LogTask>),
    /// It is done.
    Done(Vec<Event>),
}

/// Work of the state's thread, likewise.
pub enum StoreWork {
    /// It is done when it ends.
    Later(Box<StoreTask>),
    /// It is done.
    Done(Option<Box<Event>>),
}

impl Server {
    /// A server whose directories were claimed, as `bootstrap` leaves them: there, durable and empty.
    ///
    /// # Panics
    /// When the disk refuses, which a new one does not.
    pub fn new(medium: Medium) -> Self {
        let (log, state) = directories();
        for dir in [&log, &state] {
            medium.sim.create_dir(dir).expect("a new disk works");
        }
        medium.sim.sync_dir(Path::new("/")).expect("a new disk works");
        Self {
            medium,
            boot: 0,
            life: Life::Down,
            rotten: false,
            clock: (1_000_000, 0),
            began: 0,
            installed: None,
        }
    }

    /// Its process, when there is one.
    pub fn process(&mut self) -> Option<&mut Process> {
        match &mut self.life {
            Life::Up(process) => Some(process),
            Life::Down | Life::Broken => None,
        }
    }

    /// Its process, to look at.
    pub fn up(&self) -> Option<&Process> {
        match &self.life {
            Life::Up(process) => Some(process),
            Life::Down | Life::Broken => None,
        }
    }

    /// Its clocks at `now`.
    pub fn time(&self, now: u64) -> Time {
        let passed = u128::from(now - self.began) * u128::from(self.clock.0) / 1_000_000;
        let monotonic_ms = u64::try_from(passed / 1000).unwrap_or(u64::MAX);
        Time { monotonic_ms, wall_ms: 1_700_000_000_000 + now / 1000 + self.clock.1 }
    }

    /// What its two directories hold.
    pub fn open(&self, options: &Options, seed: u64) -> Result<opening::Opened, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.medium.clone());
        let (log, state) = directories();
        let settings = log::Settings {
            segment_bytes: options.segment(),
            chunk_bytes: 4096,
            batch_bytes: 8 << 10,
            background: false,
            seed,
        };
        let limits = StateLimits {
            overlay_bytes: 1 << 20,
            overlay_entries: usize::try_from(options.overlay_entries).unwrap_or(usize::MAX),
            overlay_age_ms: options.overlay_age_ms,
            cache_bytes: 1 << 18,
            request_ids: usize::try_from(options.request_ids).unwrap_or(usize::MAX),
        };
        let place = Place { log: &log, state: &state, cluster: CLUSTER, limits, settings };
        opening::open(&disk, place)
    }
}

impl Process {
    /// A process that has just opened its directories.
    pub fn new(node: Node, log: Log) -> Self {
        Self {
            node,
            log,
            inbox: Inbox::default(),
            awake: false,
            without_room: log_thread::Held::default(),
            tasks: VecDeque::new(),
            log_work: None,
            batches: 0,
            store_work: None,
            store_tasks: VecDeque::new(),
            scans: BTreeMap::new(),
            paused: false,
            held: Vec::new(),
            leaving: None,
            ticks: 0,
            fuse: None,
        }
    }
}

/// The directories of log and state.
pub fn directories() -> (PathBuf, PathBuf) {
    (PathBuf::from("/log"), PathBuf::from("/state"))
}

/// The address of server `me`; it names the server and leads nowhere.
pub fn address(me: usize) -> String {
    format!("s{me}:1")
}

/// The server that an address names.
pub fn at_address(address: &str) -> usize {
    address.trim_start_matches('s').trim_end_matches(":1").parse().unwrap_or(0)
}

/// All servers as `me` knows them.
pub fn members(me: usize, servers: usize) -> Members {
    let member = |at: usize| Member {
        id: at as u64 + 1,
        name: format!("s{at}"),
        address: address(at),
        ..Member::default()
    };
    Members::new(CLUSTER, NodeId(me as u64 + 1), (0..servers).map(member).collect())
}

/// The core's settings for server `me`.
pub fn core(me: usize, options: &Options, seed: u64) -> raft::Config {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    raft::Config {
        id: NodeId(me as u64 + 1),
        // Who is no founder waits to be told who is in the cluster.
        voters: (1..=options.servers).map(NodeId).filter(|_| (me as u64) < options.servers).collect(),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: 5,
        max_append_entries: size(options.append_entries),
        max_append_bytes: size(options.append_bytes),
        max_inflight_appends: size(options.window),
        max_inflight_bytes: size(options.window.saturating_mul(options.append_bytes)),
        max_uncommitted_entries: size(options.uncommitted),
        max_uncommitted_bytes: size(options.uncommitted_bytes),
        max_reads: size(options.waiting_reads),
        max_snapshots: size(options.snapshots),
        cache_bytes: size(options.cache_bytes),
        seed,
    }
}

/// How much of its log server `me` keeps.
pub fn keeping(me: usize, options: &Options) -> Keeping {
    if options.uneven == 1 && me.is_multiple_of(2) {
        return Keeping { entries: u64::MAX, bytes: u64::MAX };
    }
    Keeping { entries: options.keep_entries, bytes: options.keep_bytes }
}

/// What a server with these options must keep within. A follower that applies slowly stops to take entries when memory
/// holds the cache and four times what a leader may have uncommitted. An append, and what was there uncommitted, come on
/// top: a leader's bound, an entry that passed it, and what a leader before it had left.
pub fn bounds(options: &Options) -> watch::Bounds {
    let entry = options.value_bytes + 200;
    let append = options.append_bytes + entry;
    watch::Bounds {
        // A change of members is taken beyond the bound, and is of two entries at most.
        uncommitted: options.uncommitted + if options.changes > 0 { 2 } else { 0 },
        // The end of leases, one at a time.
        urgent: u64::from(options.leases > 0),
        unapplied_bytes: options.cache_bytes + 6 * options.uncommitted_bytes + append + 2 * entry,
        // The mark of an idle log may begin one segment more, and nothing is discarded before the next flush.
        log_bytes: options.keep_bytes + 2 * options.segment(),
    }
}
