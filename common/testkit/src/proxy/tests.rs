//! Every kind of fault, between plain sockets: two or three "nodes" and a client.

use std::{collections::BTreeSet, net::UdpSocket, time::Instant};

use super::*;

/// Longer than anything takes here, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Datagrams sent before the receiver takes what came: they fit into any socket's buffer.
const BURST: u64 = 50;

struct Rig {
    proxy: Proxy,
    /// The node of id i is `nodes[i - 1]`.
    nodes: Vec<UdpSocket>,
    client: UdpSocket,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (u64, SocketAddr) {
    let mut bytes = [0; 8];
    let (_, from) = socket.recv_from(&mut bytes).unwrap();
    (u64::from_be_bytes(bytes), from)
}

fn is_empty(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let nothing = socket.recv_from(&mut [0; 8]).is_err();
    socket.set_nonblocking(false).unwrap();
    nothing
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

impl Rig {
    fn new(seed: u64) -> Self {
        let nodes: Vec<_> = (0..2).map(|_| socket()).collect();
        let addresses: Vec<_> = nodes.iter().map(|node| node.local_addr().unwrap()).collect();
        Self { proxy: Proxy::start(seed, &addresses, || 0).unwrap(), nodes, client: socket() }
    }

    fn node(&self, id: usize) -> &UdpSocket {
        &self.nodes[id - 1]
    }

    /// Node 1 sends `count` numbered datagrams to node 2, which takes all that arrive.
    fn run(&self, count: u64) -> Vec<u64> {
        let mut got = Vec::new();
        for number in 0..count {
            self.node(1).send_to(&number.to_be_bytes(), self.proxy.front(2)).unwrap();
            if (number + 1) % BURST == 0 || number + 1 == count {
                let sent = number + 1;
                until("every datagram meets its fate", || {
                    let counts = self.proxy.counts(1, 2);
                    counts.passed + counts.lost + counts.cut + counts.overflowed >= sent + counts.duplicated
                });
                while (got.len() as u64) < self.proxy.counts(1, 2).passed {
                    got.push(receive(self.node(2)).0);
                }
            }
        }
        assert!(is_empty(self.node(2)), "what is counted as passed is all that came");
        got
    }
}

fn inversions(numbers: &[u64]) -> usize {
    numbers.windows(2).filter(|pair| pair[0] > pair[1]).count()
}

#[test]
fn without_faults_everything_passes_in_order() {
    let rig = Rig::new(1);
    assert_eq!(rig.run(500), (0..500).collect::<Vec<_>>());
    assert_eq!(rig.proxy.counts(1, 2), Counts { passed: 500, ..Counts::default() });
    assert_eq!(rig.proxy.total(), rig.proxy.counts(1, 2), "and on no other wire");
}

#[test]
fn loss_takes_its_share_and_a_seed_repeats_it() {
    let lossy = |seed| {
        let rig = Rig::new(seed);
        rig.proxy.set(1, 2, Faults { loss: 300_000, ..Faults::NONE });
        let got = rig.run(1000);
        assert_eq!(rig.proxy.counts(1, 2).lost, 1000 - got.len() as u64);
        assert!((600..800).contains(&got.len()), "{} of 1000 at 30 % loss", got.len());
        assert_eq!(inversions(&got), 0);
        got
    };
    assert_eq!(lossy(7), lossy(7));
    assert_ne!(lossy(7), lossy(8));
}

#[test]
fn duplicates_arrive_twice() {
    let rig = Rig::new(2);
    rig.proxy.set(1, 2, Faults { duplicate: 200_000, ..Faults::NONE });
    let got = rig.run(1000);
    let different: BTreeSet<_> = got.iter().copied().collect();
    assert_eq!(different.len(), 1000);
    let twice = got.len() - different.len();
    assert!((120..280).contains(&twice), "{twice} of 1000 at 20 %");
    assert_eq!(rig.proxy.counts(1, 2).duplicated, twice as u64);
}

#[test]
fn reordering_lets_the_next_overtake_and_loses_nothing() {
    let rig = Rig::new(3);
    rig.proxy.set(1, 2, Faults { reorder: 200_000, ..Faults::NONE });
    let mut got = rig.run(1000);
    let inverted = inversions(&got);
    assert_eq!(rig.proxy.counts(1, 2).reordered, inverted as u64, "each is overtaken by one");
    assert!((120..220).contains(&inverted), "{inverted} of 1000 at 20 %");
    got.sort_unstable();
    assert_eq!(got, (0..1000).collect::<Vec<_>>());

    rig.proxy.set(1, 2, Faults { reorder: 1_000_000, ..Faults::NONE });
    let sent = Instant::now();
    rig.node(1).send_to(&7_u64.to_be_bytes(), rig.proxy.front(2)).unwrap();
    assert_eq!(receive(rig.node(2)).0, 7, "the last is not held for ever");
    assert!(sent.elapsed() >= HOLD);
}

#[test]
fn a_delay_is_kept_and_jitter_reorders() {
    let rig = Rig::new(4);
    let delay = Duration::from_millis(30);
    rig.proxy.set(1, 2, Faults { delay, ..Faults::NONE });
    let sent = Instant::now();
    assert_eq!(rig.run(BURST), (0..BURST).collect::<Vec<_>>(), "equal delays keep the order");
    assert!(sent.elapsed() >= delay);
    assert_eq!(rig.proxy.counts(1, 2).delayed, BURST);

    let rig = Rig::new(4);
    rig.proxy.set(1, 2, Faults { jitter: Duration::from_millis(10), ..Faults::NONE });
    let mut got = rig.run(500);
    assert!(inversions(&got) > 50, "{} inversions", inversions(&got));
    got.sort_unstable();
    assert_eq!(got, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_cut_is_one_way_and_for_every_connection() {
    let rig = Rig::new(5);
    let tell = |from: usize, to: SocketAddr, number: u64| {
        rig.node(from).send_to(&number.to_be_bytes(), to).unwrap();
    };
    // Each node knows the other by the flow of a connection that the other dialled.
    tell(1, rig.proxy.front(2), 1);
    let (_, flow_of_1) = receive(rig.node(2));
    tell(2, rig.proxy.front(1), 2);
    let (_, flow_of_2) = receive(rig.node(1));
    rig.proxy.set(2, 1, Faults::CUT);
    tell(2, rig.proxy.front(1), 3);
    tell(2, flow_of_1, 4);
    until("both are cut", || rig.proxy.counts(2, 1).cut == 2);
    tell(1, rig.proxy.front(2), 5);
    tell(1, flow_of_2, 6);
    let mut heard = [receive(rig.node(2)).0, receive(rig.node(2)).0];
    heard.sort_unstable();
    assert_eq!(heard, [5, 6], "the other direction is open, whoever dialled");
    assert!(is_empty(rig.node(1)));

    rig.client.send_to(&8_u64.to_be_bytes(), rig.proxy.front(1)).unwrap();
    let (number, flow) = receive(rig.node(1));
    assert_eq!(number, 8, "clients are another place");
    tell(1, flow, 9);
    assert_eq!(receive(&rig.client), (9, rig.proxy.front(1)), "answers come from where it was asked");
    rig.proxy.set(1, CLIENTS, Faults::CUT);
    tell(1, flow, 10);
    until("the answer is cut", || rig.proxy.counts(1, CLIENTS).cut == 1);

    rig.proxy.heal();
    tell(2, flow_of_1, 11);
    assert_eq!(receive(rig.node(1)), (11, rig.proxy.front(2)));
}

#[test]
fn nodes_are_isolated_in_either_direction_and_joined_again() {
    let rig = Rig::new(6);
    let cuts = || (rig.proxy.faults(1, 2).cut, rig.proxy.faults(2, 1).cut);
    rig.proxy.isolate(1, true, false);
    assert_eq!(cuts(), (false, true));
    rig.proxy.isolate(1, false, true);
    assert_eq!(cuts(), (true, true));
    assert!(!rig.proxy.faults(CLIENTS, 1).cut, "clients still reach it");
    rig.proxy.join(1, &[1, 2]);
    assert_eq!(cuts(), (false, false));
}

#[test]
fn what_was_delayed_does_not_pass_a_cut() {
    let rig = Rig::new(7);
    rig.proxy.set(1, 2, Faults { delay: Duration::from_millis(50), ..Faults::NONE });
    rig.node(1).send_to(&1_u64.to_be_bytes(), rig.proxy.front(2)).unwrap();
    until("it waits", || rig.proxy.counts(1, 2).delayed == 1);
    rig.proxy.set(1, 2, Faults::CUT);
    until("it is lost", || rig.proxy.counts(1, 2).cut == 1);
    assert!(is_empty(rig.node(2)));
    rig.proxy.set(1, 2, Faults { delay: Duration::from_hours(1), ..Faults::CUT });
    rig.node(1).send_to(&2_u64.to_be_bytes(), rig.proxy.front(2)).unwrap();
    until("what comes to a cut is lost at once", || rig.proxy.counts(1, 2).cut == 2);
}

#[test]
fn rebinding_gives_another_port_and_closes_the_old_one() {
    let rig = Rig::new(8);
    let ask = |number: u64| {
        rig.node(1).send_to(&number.to_be_bytes(), rig.proxy.front(2)).unwrap();
        let (got, flow) = receive(rig.node(2));
        assert_eq!(got, number);
        flow
    };
    let (before, same) = (ask(1), ask(2));
    assert_eq!(before, same);
    rig.proxy.rebind(1, 2);
    until("it is rebound", || rig.proxy.counts(1, 2).rebound == 1);
    let after = ask(3);
    assert_ne!(before, after);
    let _ = rig.node(2).send_to(&4_u64.to_be_bytes(), before);
    rig.node(2).send_to(&5_u64.to_be_bytes(), after).unwrap();
    assert_eq!(receive(rig.node(1)), (5, rig.proxy.front(2)), "only the new port leads back");
}

#[test]
fn what_waits_and_who_is_known_is_bounded() {
    let rig = Rig::new(9);
    rig.proxy.set(1, 2, Faults { delay: Duration::from_hours(1), ..Faults::NONE });
    for number in 1..=LATE as u64 + 10 {
        rig.node(1).send_to(&number.to_be_bytes(), rig.proxy.front(2)).unwrap();
        until("it is taken", || rig.proxy.counts(1, 2).delayed == number);
    }
    // A datagram's delay is counted before its want of room.
    until("ten found no room", || rig.proxy.counts(1, 2).overflowed == 10);

    let first = socket();
    let ask = |socket: &UdpSocket| {
        socket.send_to(&[0; 8], rig.proxy.front(1)).unwrap();
        receive(rig.node(1)).1
    };
    let before = ask(&first);
    assert_eq!(before, ask(&first));
    let others: Vec<_> = (0..FLOWS).map(|_| socket()).collect();
    for other in &others {
        ask(other);
    }
    assert_ne!(before, ask(&first), "the one that was silent for longest gave way");
}
