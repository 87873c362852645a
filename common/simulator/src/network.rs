//! The network between servers: messages take time, and may be lost, doubled, overtaken or late; links may be cut.
//!
//! A link carries messages in order, as a QUIC stream does, save for those that a fault lets be overtaken (a new
//! connection beside an old one does that). Bytes cross, not values: what the production codec cannot carry does not
//! arrive.

use std::collections::BTreeSet;

use testkit::rng::Rng;

use crate::{counts::Counts, options::Options};

/// Which servers cannot reach which: pairs of sender and receiver.
pub type Cuts = BTreeSet<(usize, usize)>;

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after so many microseconds, at each of these.
    Arrives(Vec<u64>),
    /// It is lost and nobody is told.
    Lost,
    /// It found a full queue: the sender is told.
    Full,
}

/// All links.
pub struct Network {
    rng: Rng,
    cuts: Cuts,
    links: Vec<Link>,
    servers: usize,
}

#[derive(Clone, Default)]
struct Link {
    /// When the latest message arrives that others may not overtake.
    latest: u64,
    on_the_way: u64,
}

impl Network {
    /// Whole links between `servers` servers.
    pub fn new(servers: usize, rng: Rng) -> Self {
        Self { rng, cuts: Cuts::new(), links: vec![Link::default(); servers * servers], servers }
    }

    /// Cuts these pairs and no others.
    pub fn cut(&mut self, cuts: Cuts) {
        self.cuts = cuts;
    }

    /// Whether these pairs are cut and no others.
    pub fn is_cut(&self, cuts: &Cuts) -> bool {
        self.cuts == *cuts
    }

    /// Whether what `from` sends reaches `to`.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// A message leaves at `now`.
    pub fn send(&mut self, from: usize, to: usize, now: u64, options: &Options, counts: &mut Counts) -> Fate {
        if !self.reaches(from, to) {
            counts.add("network: cut");
            return Fate::Lost;
        }
        let rng = &mut self.rng;
        let link = &mut self.links[from * self.servers + to];
        if options.link_queue > 0 && link.on_the_way >= options.link_queue {
            counts.add("network: queue full");
            return Fate::Full;
        }
        if rng.chance(options.loss) {
            counts.add("network: lost");
            return Fate::Lost;
        }
        let mut delay = options.latency_us + rng.below(options.latency_us);
        if rng.chance(options.spikes) {
            counts.add("network: late");
            delay += rng.between(10_000, options.spike_ms.max(10) * 1000);
        }
        let mut arrivals = Vec::with_capacity(2);
        if rng.chance(options.reorders) {
            counts.add("network: overtaken");
            arrivals.push(delay + rng.below(30_000));
        } else {
            link.latest = link.latest.max(now + delay);
            arrivals.push(link.latest - now);
        }
        if rng.chance(options.duplicates) {
            counts.add("network: doubled");
            arrivals.push(delay + rng.below(200_000));
        }
        link.on_the_way += arrivals.len() as u64;
        Fate::Arrives(arrivals)
    }

    /// Server `me` has new connections: nothing waits behind what was late on the old ones.
    pub fn reconnect(&mut self, me: usize) {
        for other in 0..self.servers {
            self.links[me * self.servers + other].latest = 0;
            self.links[other * self.servers + me].latest = 0;
        }
    }

    /// A message is at its end.
    pub fn arrived(&mut self, from: usize, to: usize) {
        let link = &mut self.links[from * self.servers + to];
        link.on_the_way = link.on_the_way.saturating_sub(1);
    }
}

/// All pairs of different servers.
fn pairs(servers: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..servers).flat_map(move |from| (0..servers).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// Two sides that only one server reaches both of.
fn bridge(servers: usize, rng: &mut Rng) -> Cuts {
    let (bridge, sides) = (rng.index(servers), rng.bits());
    let side = |server: usize| sides >> server & 1;
    pairs(servers).filter(|(from, to)| *from != bridge && *to != bridge && side(*from) != side(*to)).collect()
}

/// Each server reaches the one before it and the one behind it, in some order.
fn chain(servers: usize, rng: &mut Rng) -> Cuts {
    let mut order: Vec<usize> = (0..servers).collect();
    rng.shuffle(&mut order);
    let place = |server: usize| order.iter().position(|other| *other == server).unwrap_or(0);
    pairs(servers).filter(|(from, to)| place(*from).abs_diff(place(*to)) > 1).collect()
}

/// Draws a partition in which some server still reaches a majority in both directions.
pub fn in_part(servers: usize, rng: &mut Rng, counts: &mut Counts) -> Cuts {
    let quorum = servers / 2 + 1;
    let reaches = |cuts: &Cuts, me: usize| servers - cuts.iter().filter(|(from, _)| *from == me).count();
    if rng.below(2) == 0 {
        let cuts = chain(servers, rng);
        if (0..servers).any(|me| reaches(&cuts, me) >= quorum) {
            counts.add("liveness: in a chain");
            return cuts;
        }
    }
    counts.add("liveness: over a bridge");
    bridge(servers, rng)
}

/// Draws a partition; `leader` is who leads, if anybody.
pub fn partition(servers: usize, leader: Option<usize>, rng: &mut Rng, counts: &mut Counts) -> Cuts {
    let all = || pairs(servers);
    let victim = leader.unwrap_or_else(|| rng.index(servers));
    match rng.below(8) {
        0 => {
            counts.add("partition: leader alone");
            all().filter(|(from, to)| *from == victim || *to == victim).collect()
        }
        1 => {
            counts.add("partition: leader deaf");
            all().filter(|(_, to)| *to == victim).collect()
        }
        2 => {
            counts.add("partition: leader mute");
            all().filter(|(from, _)| *from == victim).collect()
        }
        3 => {
            counts.add("partition: one-way");
            all().filter(|_| rng.chance(300_000)).collect()
        }
        4 => {
            counts.add("partition: bridge");
            bridge(servers, rng)
        }
        5 => {
            counts.add("partition: chain");
            chain(servers, rng)
        }
        _ => {
            counts.add("partition: in two");
            let sides = rng.bits();
            let side = |server: usize| sides >> server & 1;
            all().filter(|(from, to)| side(*from) != side(*to)).collect()
        }
    }
}
