//! Finds the leader and retries within a deadline, exactly once.
//!
//! A [`Client`] takes the addresses of some nodes and asks the cluster through whichever answers. Each call has one
//! budget of time for everything: connecting, redirects, pauses, retries. It ends in one of three ways: the write
//! is applied (or the value is here), it is certainly not applied, or its outcome is unknown; [`Error::outcome`]
//! tells the latter two apart and [`Error::Unknown`] carries the request id with which a later call, even of
//! another process, settles it.
//!
//! | module | what |
//! | --- | --- |
//! | [`mod@retry`] | decides after each event what to do next; pure |
//! | `call` | does so: one call from the first attempt to its end |
//! | `nodes` | what is known of the cluster: addresses, links, leader, applied index |
//! | `writes` | one method for each write |
//! | `race` | endpoints race, so that a dead one costs a head start |
//! | `dial`, `link` | one connection: resolve, shake hands, requests multiplexed by number |
//! | `local` | the same over the socket of a node on this machine |
//! | `stream` | a request that is answered by more than a frame |
//! | `scan` | many rows of one revision, page by page |
//! | `exact` | a scan of exactly one node, and the hashes of many |
//! | `watch` | what happens to the keys of a range, without a gap |
//! | `status` | every node's own view, at once |
//! | [`mod@events`] | what happened, as every node tells it |
//! | `probe` | one question to exactly one node, once |
//! | [`mod@bench`] | the closed loop that measures |
//!
//! What is not here: how things look, and any decision of the cluster. Everything runs on the caller's tokio
//! runtime, a `current_thread` one being the fastest.

pub mod bench;
mod call;
mod dial;
mod error;
pub mod events;
mod exact;
mod leases;
mod link;
mod local;
mod members;
mod nodes;
mod probe;
mod race;
mod restoring;
pub mod retry;
mod save;
mod scan;
mod status;
mod stream;
mod watch;
mod writes;

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    Consistency, Request, RequestId, Response, Scan, Watch, command::check_key, response::Found, scan::Digest,
};
use tokio::time::Instant;

use crate::{call::Call, nodes::Nodes};

pub use error::{EndpointError, EndpointFailure, Error, Outcome};
pub use exact::{NodePart, NodeScan};
pub use save::Saving;
pub use scan::Pages;
pub use status::NodeView;
pub use watch::{Batch, Watching};
pub use writes::{Judged, Written};

/// How to reach a cluster.
#[derive(Clone)]
pub struct Settings {
    /// `host:port` of some nodes, or `unix:` and the path of the socket of one on this machine; the others are learned.
    pub endpoints: Vec<String>,
    /// Certificate and key of this client, and the CA of the cluster. Without it nodes are reached through a socket alone,
    /// which carries to the others as well.
    pub identity: Option<transport::Identity>,
    /// The whole budget of a call.
    pub timeout: Duration,
    /// What one node may take of it to be reached.
    pub connect_timeout: Duration,
    /// Connections to the leader over which calls are spread; one is right for everything but a load generator.
    pub connections: usize,
}

impl Settings {
    /// Five seconds a call, one to connect, one connection.
    pub fn new(endpoints: Vec<String>, identity: transport::Identity) -> Self {
        let (timeout, connect_timeout) = (Duration::from_secs(5), Duration::from_secs(1));
        Self { endpoints, identity: Some(identity), timeout, connect_timeout, connections: 1 }
    }
}

/// A read that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The entry, or `None` where the key is absent.
    pub found: Option<Found>,
    /// The applied index of the state that was read.
    pub revision: u64,
    /// The node that served it.
    pub served_by: u64,
    /// No write is missing that was acknowledged more than so many milliseconds before; `None` where the node cannot say.
    pub staleness_ms: Option<u64>,
}

/// What a node did when it was asked to discard its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Its log now begins after this index.
    pub discarded: u64,
    /// Bytes that this gave back.
    pub freed: u64,
    /// Bytes that its log takes now.
    pub bytes: u64,
}

/// Who leads after leadership was to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leads {
    /// The leader, if the node that was asked has heard of it.
    pub leader: Option<u64>,
    /// The term of that node.
    pub term: u64,
}

/// A client of one cluster; clones share connections and what was learned.
#[derive(Clone)]
pub struct Client {
    nodes: Arc<Nodes>,
    timeout: Duration,
    connect_timeout: Duration,
    seed: Arc<AtomicU64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.nodes.addresses()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has done nothing yet: no socket, no connection.
    pub fn new(settings: Settings) -> Self {
        let (timeout, connect_timeout) = (settings.timeout, settings.connect_timeout);
        let seed = Arc::new(AtomicU64::new(RandomState::new().build_hasher().finish()));
        Self { nodes: Arc::new(Nodes::new(settings)), timeout, connect_timeout, seed }
    }

    /// Reads a key.
    pub async fn get(&self, key: &[u8], consistency: Consistency) -> Result<Read, Error> {
        self.read(key, consistency, false).await
    }

    /// Reads whether a key is there, without its value.
    pub async fn exists(&self, key: &[u8], consistency: Consistency) -> Result<Read, Error> {
        self.read(key, consistency, true).await
    }

    /// Reads many keys, in their order, all at one revision however long it takes. Nothing is asked before the first
    /// [`Pages::next`]; memory is bounded by a few pages, however many keys there are.
    ///
    /// The budget of a call is for the first page, and again for each further one. A node serves few scans at a time and
    /// ends one that takes five minutes: that is [`Error::Cut`], as is a stream that broke where no node can still serve
    /// the same revision.
    pub fn scan(&self, scan: Scan) -> Pages {
        Pages::new(&self.nodes, scan, self.timeout, self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// The whole state at one revision, as blocks of a backup, which are checked as they come. Nothing is asked before the
    /// first [`Saving::next`]; memory is bounded by a block.
    ///
    /// The budget of a call is for the first block, before which the node writes its state, and again for each further one.
    pub fn save(&self) -> Saving {
        Saving::new(&self.nodes, self.timeout, self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// Follows what happens to the keys of a range: every change once, in the order in which they happened, and those of one
    /// revision together. From a revision on that is named, or from now: then everything is seen that was not acknowledged
    /// before the first [`Watching::next`] was called. Nothing is asked before that.
    ///
    /// A watch goes on by itself at another node, or at the same one after its restart, where the node that serves it goes or
    /// loses its leader. It has no end of its own.
    ///
    /// ```no_run
    /// # async fn follow(client: client::Client) -> Result<(), client::Error> {
    /// let mut watching = client.watch(protocol::Watch::prefix(b"app/"));
    /// loop {
    ///     let batch = watching.next().await?;
    ///     for event in batch.events {
    ///         println!("{} {}", event.revision, String::from_utf8_lossy(&event.key));
    ///     }
    ///     // Whoever keeps `batch.through` can go on after it at any time, with another client.
    /// }
    /// # }
    /// ```
    pub fn watch(&self, watch: Watch) -> Watching {
        Watching::new(&self.nodes, watch, self.timeout, self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// Every endpoint and every member learned of, each with its own view of itself, asked in parallel. A node that
    /// cannot be reached is a row with its error and takes at most the connect timeout.
    pub async fn status(&self) -> Vec<NodeView> {
        status::status(&self.nodes, self.connect_timeout).await
    }

    /// One node's view of itself, asked at exactly this address and nowhere else. Takes at most the connect timeout.
    pub async fn status_at(&self, address: &str) -> NodeView {
        status::status_at(&self.nodes, address, self.connect_timeout).await
    }

    /// What happened, as every node tells it of itself, asked in parallel: of each, by its id where that is known, since the moment
    /// that `since_ms` says, in milliseconds since 1970.
    pub async fn events(&self, since_ms: impl Fn(Option<u64>) -> u64) -> Vec<events::Told> {
        events::events(&self.nodes, since_ms, self.connect_timeout).await
    }

    /// Reads whether a key is there through exactly this node: one attempt, no redirect, no other node. It answers
    /// whether that node can serve a read, where [`Client::exists`] answers whether the cluster can.
    pub async fn exists_at(&self, address: &str, key: &[u8]) -> Result<Read, Error> {
        check_key(key)?;
        probe::exists(&self.nodes, address, key, Instant::now() + self.timeout).await
    }

    /// What exactly this node shows of a scan; nobody goes on with it where it breaks off.
    pub async fn scan_at(&self, address: &str, scan: Scan) -> Result<NodeScan, Error> {
        NodeScan::open(&self.nodes, address, scan, self.timeout).await
    }

    /// The hash of what each of these nodes holds in the range of the scan, which must want one
    /// ([`Want::Hash`](protocol::scan::Want)), in their order; asked of all at once. A node that is not at the scan's revision
    /// yet is asked again within the budget of a call.
    pub async fn digests(&self, addresses: &[String], scan: &Scan) -> Vec<Result<Digest, Error>> {
        exact::digests(&self.nodes, addresses, scan, self.timeout).await
    }

    /// Has exactly this node discard of its log what its state holds: one attempt.
    pub async fn compact_log(&self, address: &str) -> Result<Compacted, Error> {
        probe::compact_log(&self.nodes, address, Instant::now() + self.timeout).await
    }

    /// Has exactly this node, which must lead, hand leadership over to the node `to`, or to the one that follows most
    /// closely; returns when somebody else leads. One attempt: a node that does not lead is
    /// [`Refused::NotLeader`](protocol::Refused), a hand-over that did not succeed
    /// [`Refused::Unavailable`](protocol::Refused), and then the same node leads on.
    pub async fn transfer(&self, address: &str, to: Option<u64>) -> Result<Leads, Error> {
        let until = Instant::now() + self.timeout;
        probe::leads(&self.nodes, address, Request::Transfer { to }, until).await
    }

    /// Has exactly this node leave leading to others until its process ends, or, to `undo` that, lead again if it is
    /// elected. Returns when it does not lead. One attempt.
    pub async fn drain(&self, address: &str, undo: bool) -> Result<Leads, Error> {
        let until = Instant::now() + self.timeout;
        probe::leads(&self.nodes, address, Request::Drain { undo }, until).await
    }

    /// Says goodbye to the nodes and lets that leave; does not wait for their reaction, which would take 80 ms.
    pub async fn close(self) {
        self.nodes.close();
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    async fn read(&self, key: &[u8], consistency: Consistency, without_value: bool) -> Result<Read, Error> {
        check_key(key)?;
        let done = self.call(Request::Get { key: key.to_vec(), consistency, without_value }, None).await?;
        let Response::Value { found, revision, staleness_ms } = done.response else {
            unreachable!("a call lets only a fitting answer through");
        };
        let staleness_ms = if consistency == Consistency::Linearizable { Some(0) } else { staleness_ms };
        Ok(Read { found, revision, served_by: done.served_by, staleness_ms })
    }

    async fn call(&self, request: Request, given: Option<RequestId>) -> Result<call::Done, Error> {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        Call::new(&self.nodes, request, given, seed, Instant::now() + self.timeout).run().await
    }
}
