//! A network that fails on purpose: a UDP proxy in user space with faults for each directed pair of places.
//!
//! ```text
//!  node i ──► front j ──► flow (i, j) ──► node j          what i sends obeys the wire i → j,
//!  node i ◄── front j ◄── flow (i, j) ◄── node j          what j sends back obeys the wire j → i
//! ```
//!
//! Before every node stands a **front**, which is the address that the node advertises. Who sends to a front is told by
//! the source address: nodes dial from the socket they listen on, and everybody else is a client ([`CLIENTS`]). Each
//! sender has a socket of its own towards the node, its **flow**, as behind a translation of addresses; a rebinding
//! exchanges that socket. So each datagram between two places, whichever of the two dialled the connection it belongs
//! to, passes exactly one **wire**, and a cut wire is silent for all connections.
//!
//! Invariants:
//! - The fate of the n-th datagram on a wire is a function of the seed, the wire, n and the faults set at that moment.
//!   Only which datagram is the n-th depends on real time.
//! - Nothing passes a wire while it is cut, not even what was delayed before the cut.
//! - Every queue is bounded: [`LATE`] datagrams wait at a time, [`FLOWS`] senders are known.
//! - Every fault that happened is counted, so that a test can show that it tested something.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use mio::{Poll, Waker};

mod engine;
mod wire;

use self::{engine::Engine, wire::Wires};

/// The place where everybody is who is not a node. Nodes are places 1, 2, ….
pub const CLIENTS: usize = 0;
/// Most datagrams that wait because they are delayed or held back; one more is lost.
pub const LATE: usize = 8 * 1024;
/// Most senders that have a flow; the one that was silent for longest gives way.
pub const FLOWS: usize = 512;
/// How long a datagram is held back when nothing comes that could overtake it.
pub const HOLD: Duration = Duration::from_millis(20);

/// What happens to datagrams on one wire. Rates are in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Everything is lost.
    pub cut: bool,
    /// So many are lost.
    pub loss: u64,
    /// So many arrive twice.
    pub duplicate: u64,
    /// So many are held back until the next one has overtaken them, or for [`HOLD`] when none comes.
    pub reorder: u64,
    /// Each takes this long.
    pub delay: Duration,
    /// And up to this much longer, each copy for itself, so that they overtake one another.
    pub jitter: Duration,
}

impl Faults {
    /// No fault but a cut.
    pub const CUT: Self = Self { cut: true, ..Self::NONE };
    /// None at all.
    pub const NONE: Self =
        Self { cut: false, loss: 0, duplicate: 0, reorder: 0, delay: Duration::ZERO, jitter: Duration::ZERO };
}

/// What happened on one wire, or on several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that were sent on, each copy for itself.
    pub passed: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the wire was cut.
    pub cut: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Told to wait.
    pub delayed: u64,
    /// Overtaken by the next.
    pub reordered: u64,
    /// Lost because too many waited or a socket had no room.
    pub overflowed: u64,
    /// Times a flow got another port.
    pub rebound: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            lost: self.lost + other.lost,
            cut: self.cut + other.cut,
            duplicated: self.duplicated + other.duplicated,
            delayed: self.delayed + other.delayed,
            reordered: self.reordered + other.reordered,
            overflowed: self.overflowed + other.overflowed,
            rebound: self.rebound + other.rebound,
        }
    }
}

/// A running proxy. Dropping it ends its thread and closes its sockets.
pub struct Proxy {
    fronts: Vec<SocketAddr>,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread both see.
struct Shared {
    wires: Mutex<Wires>,
    stop: AtomicBool,
}

impl Shared {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Stands before the nodes that listen (or will) at these addresses; all on loopback. A front gets a port that
    /// `port` gives, tried until one is free.
    pub fn start(seed: u64, nodes: &[SocketAddr], mut port: impl FnMut() -> u16) -> io::Result<Self> {
        let mut front = || loop {
            match engine::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port()))) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        };
        let sockets = (0..nodes.len()).map(|_| front()).collect::<io::Result<Vec<_>>>()?;
        let fronts = sockets.iter().map(mio::net::UdpSocket::local_addr).collect::<io::Result<_>>()?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), engine::WAKE)?;
        let wires = Mutex::new(Wires::new(seed, nodes.len() + 1));
        let shared = Arc::new(Shared { wires, stop: AtomicBool::new(false) });
        let engine = Engine::new(poll, Arc::clone(&shared), sockets, nodes.to_vec())?;
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || engine.run())?;
        Ok(Self { fronts, shared, waker, thread: Some(thread) })
    }

    /// The address at which node `id` is reached through the proxy.
    pub fn front(&self, id: usize) -> SocketAddr {
        self.fronts[id - 1]
    }

    /// Sets the faults of the wire `from` → `to`.
    pub fn set(&self, from: usize, to: usize, faults: Faults) {
        self.shared.wires().wire(from, to).faults = faults;
    }

    /// The faults of the wire `from` → `to`.
    pub fn faults(&self, from: usize, to: usize) -> Faults {
        self.shared.wires().wire(from, to).faults
    }

    /// Cuts the wires between node `id` and all other nodes, in the directions that are asked for. Clients still reach
    /// it.
    pub fn isolate(&self, id: usize, inbound: bool, outbound: bool) {
        for other in (1..=self.fronts.len()).filter(|other| *other != id) {
            let mut wires = self.shared.wires();
            wires.wire(other, id).faults.cut |= inbound;
            wires.wire(id, other).faults.cut |= outbound;
        }
    }

    /// Joins node `id` again to the nodes in `with`, whatever was wrong between them.
    pub fn join(&self, id: usize, with: &[usize]) {
        for other in with.iter().filter(|other| **other != id) {
            self.set(*other, id, Faults::NONE);
            self.set(id, *other, Faults::NONE);
        }
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.wires().all().for_each(|wire| wire.faults = Faults::NONE);
    }

    /// Gives what `from` sends to `to` another source port, as a translation of addresses does that lost its table.
    /// What is on its way back to the old port is lost.
    pub fn rebind(&self, from: usize, to: usize) {
        self.shared.wires().rebindings.insert((from, to));
        self.wake();
    }

    /// What happened on the wire `from` → `to` so far.
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        self.shared.wires().wire(from, to).counts
    }

    /// What happened on all wires together.
    pub fn total(&self) -> Counts {
        self.shared.wires().all().map(|wire| wire.counts).fold(Counts::default(), std::ops::Add::add)
    }

    fn wake(&self) {
        // It fails only when the thread is gone, which is noticed at the end.
        let _ = self.waker.wake();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.wake();
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the proxy's thread failed");
    }
}

#[cfg(test)]
mod tests;
