//! The proxy's thread: one poll over all sockets, and what waits for its time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::UdpSocket};

use super::{CLIENTS, FLOWS, HOLD, LATE, Shared, wire::Fate};

/// The token of the waker.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Kernel buffers of each socket, as far as the system allows: what a node sends at once arrives at once.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Longest datagram.
const DATAGRAM: usize = 64 * 1024;

/// A pair of places.
type Pair = (usize, usize);

/// Where a datagram leaves the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exit {
    /// Through the flow of this sender, to the node behind this front.
    Node(usize, SocketAddr),
    /// Through this front, to a sender.
    Sender(usize, SocketAddr),
}

/// A datagram that waits.
struct Late {
    pair: Pair,
    exit: Exit,
    bytes: Vec<u8>,
}

/// A sender's socket towards one node.
struct Flow {
    front: usize,
    sender: SocketAddr,
    place: usize,
    socket: UdpSocket,
    used: Instant,
}

/// See the module.
pub(super) struct Engine {
    poll: Poll,
    shared: Arc<Shared>,
    fronts: Vec<UdpSocket>,
    nodes: Vec<SocketAddr>,
    flows: Vec<Flow>,
    /// Places in `flows`, by front and sender.
    by_sender: HashMap<(usize, SocketAddr), usize>,
    /// By the moment they are due, and by a number, so that equal moments keep their order.
    late: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: HashMap<u64, Late>,
    /// What is held back on a wire: the number of it among those that wait.
    held: BTreeMap<Pair, u64>,
    number: u64,
}

/// A socket as the proxy wants them.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    // The system may allow less; the proxy then loses more than it is told to.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER);
    Ok(UdpSocket::from_std(socket))
}

impl Engine {
    pub(super) fn new(
        poll: Poll,
        shared: Arc<Shared>,
        mut fronts: Vec<UdpSocket>,
        nodes: Vec<SocketAddr>,
    ) -> io::Result<Self> {
        for (token, front) in fronts.iter_mut().enumerate() {
            poll.registry().register(front, Token(token), Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            shared,
            fronts,
            nodes,
            flows: Vec::new(),
            by_sender: HashMap::new(),
            late: BinaryHeap::new(),
            waiting: HashMap::new(),
            held: BTreeMap::new(),
            number: 0,
        })
    }

    /// Until the handle is dropped.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut buffer = vec![0; DATAGRAM];
        while !self.shared.stop.load(Relaxed) {
            let due = self.late.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, due) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled.expect("the sockets can be polled"),
            }
            self.rebind();
            for event in &events {
                match event.token() {
                    WAKE => {}
                    Token(front) if front < self.fronts.len() => self.read_front(front, &mut buffer),
                    Token(flow) => self.read_flow(flow - self.fronts.len(), &mut buffer),
                }
            }
            self.send_due();
        }
    }

    /// Takes what was sent to a front.
    fn read_front(&mut self, front: usize, buffer: &mut [u8]) {
        loop {
            match self.fronts[front].recv_from(buffer) {
                Ok((length, sender)) => {
                    let place = self.flow(front, sender);
                    self.relay((place, front + 1), Exit::Node(front, sender), &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The system reports here that an earlier datagram found nobody.
                Err(_) => {}
            }
        }
    }

    /// Takes what a node sent back to one sender.
    fn read_flow(&mut self, flow: usize, buffer: &mut [u8]) {
        loop {
            let flow = &self.flows[flow];
            match flow.socket.recv(buffer) {
                Ok(length) => {
                    let (pair, exit) = ((flow.front + 1, flow.place), Exit::Sender(flow.front, flow.sender));
                    self.relay(pair, exit, &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    /// Does to a datagram what its wire says. What is due goes first, however much comes.
    fn relay(&mut self, pair: Pair, exit: Exit, bytes: &[u8]) {
        self.send_due();
        let can_hold = !self.held.contains_key(&pair);
        let fate = self.shared.wires().wire(pair.0, pair.1).judge(can_hold);
        match fate {
            Fate::Lost => return,
            Fate::Hold => {
                if let Some(number) = self.wait(pair, exit, bytes, HOLD) {
                    self.held.insert(pair, number);
                }
                return;
            }
            Fate::Pass { after, again } => {
                for after in [Some(after), again].into_iter().flatten() {
                    if after.is_zero() {
                        self.send(pair, exit, bytes);
                    } else {
                        self.wait(pair, exit, bytes, after);
                    }
                }
            }
        }
        if let Some(late) = self.held.remove(&pair).and_then(|number| self.waiting.remove(&number)) {
            self.shared.wires().wire(pair.0, pair.1).counts.reordered += 1;
            self.send(late.pair, late.exit, &late.bytes);
        }
    }

    /// Keeps a datagram; its number, or `None` when there is no room and it is lost.
    fn wait(&mut self, pair: Pair, exit: Exit, bytes: &[u8], after: Duration) -> Option<u64> {
        if self.late.len() >= LATE {
            self.shared.wires().wire(pair.0, pair.1).counts.overflowed += 1;
            return None;
        }
        self.number += 1;
        self.late.push(Reverse((Instant::now() + after, self.number)));
        self.waiting.insert(self.number, Late { pair, exit, bytes: bytes.to_vec() });
        Some(self.number)
    }

    fn send_due(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((due, number))) = self.late.peek().copied()
            && due <= now
        {
            self.late.pop();
            // What was held back may have gone before its time.
            let Some(late) = self.waiting.remove(&number) else { continue };
            if self.held.get(&late.pair) == Some(&number) {
                self.held.remove(&late.pair);
            }
            self.send(late.pair, late.exit, &late.bytes);
        }
    }

    fn send(&mut self, pair: Pair, exit: Exit, bytes: &[u8]) {
        let mut wires = self.shared.wires();
        let wire = wires.wire(pair.0, pair.1);
        if wire.faults.cut {
            wire.counts.cut += 1;
            return;
        }
        let sent = match exit {
            Exit::Node(front, sender) => match self.by_sender.get(&(front, sender)) {
                Some(flow) => self.flows[*flow].socket.send(bytes),
                None => return,
            },
            Exit::Sender(front, sender) => self.fronts[front].send_to(bytes, sender),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wire.counts.overflowed += 1,
            // An error says that an earlier datagram found nobody: on a network this one would be sent and lost.
            _ => wire.counts.passed += 1,
        }
    }

    /// Makes sure that a sender has a flow; says who it is.
    fn flow(&mut self, front: usize, sender: SocketAddr) -> usize {
        let now = Instant::now();
        if let Some(flow) = self.by_sender.get(&(front, sender)) {
            let flow = &mut self.flows[*flow];
            flow.used = now;
            return flow.place;
        }
        let place = self.nodes.iter().position(|node| *node == sender).map_or(CLIENTS, |node| node + 1);
        let index = if self.flows.len() < FLOWS { self.flows.len() } else { self.oldest() };
        let socket = self.open(index, front);
        let flow = Flow { front, sender, place, socket, used: now };
        if index == self.flows.len() {
            self.flows.push(flow);
        } else {
            let old = std::mem::replace(&mut self.flows[index], flow);
            self.by_sender.remove(&(old.front, old.sender));
        }
        self.by_sender.insert((front, sender), index);
        place
    }

    fn oldest(&self) -> usize {
        let by_use = |index: &usize| self.flows[*index].used;
        (0..self.flows.len()).min_by_key(by_use).expect("there are flows when there are too many")
    }

    /// A new socket for the flow at `index`. The one it replaces leaves the poll by being closed.
    fn open(&self, index: usize, front: usize) -> UdpSocket {
        let mut socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
        socket.connect(self.nodes[front]).expect("loopback is there");
        let token = Token(self.fronts.len() + index);
        self.poll.registry().register(&mut socket, token, Interest::READABLE).expect("it can be polled");
        socket
    }

    fn rebind(&mut self) {
        let pairs = std::mem::take(&mut self.shared.wires().rebindings);
        for (from, to) in pairs {
            for index in 0..self.flows.len() {
                if (self.flows[index].place, self.flows[index].front + 1) == (from, to) {
                    self.flows[index].socket = self.open(index, to - 1);
                    self.shared.wires().wire(from, to).counts.rebound += 1;
                }
            }
        }
    }
}
