//! Which fault comes when. Each kind comes at random intervals around its mean; every few seconds some kinds rest and
//! others begin, so that a cluster is also seen to recover from one while another goes on.

use testkit::disk::Weather;

use super::{Plan, Target, World};
use crate::{
    network::{Cuts, partition},
    options::Options,
    server::directories,
};

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Other kinds of faults from now on.
    Mood,
    /// The network parts.
    Partition,
    /// The network is whole again.
    Whole,
    /// A cut that comes and goes.
    Flap,
    /// The connections of a server are reset.
    Reset,
    /// A server ends.
    Crash,
    /// All servers lose power.
    Blackout,
    /// A server is paused.
    Pause,
    /// The space of a disk ends.
    NoSpace,
    /// All disks have space again.
    Space,
    /// Whoever leads is hit.
    Depose,
    /// Bits of a log flip.
    Rot,
    /// A wall clock jumps.
    Jump,
}

/// Kinds with the option that gives their mean interval.
const KINDS: [(Harm, &str); 8] = [
    (Harm::Depose, "deposals"),
    (Harm::Partition, "partitions"),
    (Harm::Reset, "resets"),
    (Harm::Crash, "crashes"),
    (Harm::Blackout, "blackouts"),
    (Harm::Pause, "pauses"),
    (Harm::NoSpace, "no_space"),
    (Harm::Jump, "jumps"),
];

/// Options that rest in some moods.
const MOODY: [&str; 17] = [
    "deposals",
    "usurps",
    "loss",
    "duplicates",
    "reorders",
    "spikes",
    "link_queue",
    "partitions",
    "resets",
    "crashes",
    "blackouts",
    "pauses",
    "stalls",
    "sync_errors",
    "read_errors",
    "no_space",
    "jumps",
];

impl World {
    /// Plans the first of everything.
    pub(super) fn plan_harms(&mut self) {
        self.agenda.after(0, Plan::Harm(Harm::Mood));
        for (harm, _) in KINDS {
            self.again(harm);
        }
        for _ in 0..self.options.rot.min((self.options.servers - 1) / 2) {
            let delay = self.rng.below(self.options.seconds * 1_000_000);
            self.agenda.after(delay, Plan::Harm(Harm::Rot));
        }
        for at in 0..self.servers.len() {
            let drift = self.rng.between(0, 2 * self.options.drift);
            if drift != self.options.drift {
                self.counts.add("clock: drifts");
            }
            self.servers[at].clock.0 = 1_000_000 + drift - self.options.drift;
        }
    }

    /// Plans the next of a kind.
    fn again(&mut self, harm: Harm) {
        let name = KINDS.iter().find(|(kind, _)| *kind == harm).map_or("", |(_, name)| *name);
        let mean = self.options.get(name).unwrap_or(0) * 1000;
        if mean > 0 {
            let delay = self.rng.between(mean / 5, mean * 9 / 5);
            self.agenda.after(delay, Plan::Harm(harm));
        }
    }

    pub(super) fn harm(&mut self, harm: Harm) {
        if self.calm {
            if harm == Harm::Flap {
                self.flap();
            }
            return;
        }
        self.again(harm);
        let resting = KINDS.iter().any(|(kind, name)| *kind == harm && self.mood.get(name) == Some(0));
        if resting {
            return;
        }
        match harm {
            Harm::Mood => self.change_mood(),
            Harm::Partition => self.part(),
            Harm::Whole => self.make_whole(),
            Harm::Flap => self.flap(),
            Harm::Reset => {
                let at = self.rng.index(self.servers.len());
                self.counts.add("network: connection reset");
                self.network.reconnect(at);
                self.lose_connections(at);
            }
            Harm::Crash => self.end_one(),
            Harm::Blackout => self.black_out(),
            Harm::Pause => self.pause_one(),
            Harm::NoSpace => self.fill_one(),
            Harm::Space => self.servers.iter().for_each(|server| server.medium.sim.set_capacity(None)),
            Harm::Depose => {
                if let Some(leader) = self.leader() {
                    self.usurp(self.target(leader));
                }
            }
            Harm::Rot => self.rot_one(),
            Harm::Jump => {
                let (at, far) = (self.rng.index(self.servers.len()), self.rng.below(100_000_000_000));
                self.counts.add("clock: jumped");
                self.servers[at].clock.1 = far;
            }
        }
    }

    fn change_mood(&mut self) {
        let mut mood: Options = self.options.clone();
        for name in MOODY {
            if self.rng.chance(300_000) {
                mood.set(name, 0);
            }
        }
        self.set_mood(mood);
        let delay = self.rng.between(4_000_000, 20_000_000);
        self.agenda.after(delay, Plan::Harm(Harm::Mood));
    }

    pub(super) fn set_mood(&mut self, mood: Options) {
        let weather = Weather { read_errors: mood.read_errors, sync_errors: mood.sync_errors };
        for at in 0..self.servers.len() {
            let seed = self.rng.bits();
            self.servers[at].medium.sim.set_weather(weather, seed);
        }
        self.mood = mood;
    }

    fn part(&mut self) {
        let leader = self.leader().filter(|_| self.rng.below(2) == 0);
        let cuts = partition(self.servers.len(), leader, &mut self.rng, &mut self.counts);
        self.trace.say(self.agenda.now(), || format!("the network parts: {cuts:?}"));
        self.sides = (self.rng.below(3) == 0).then(|| self.rng.bits());
        self.flapping = (self.rng.below(4) == 0).then(|| cuts.clone());
        self.network.cut(cuts);
        let whole = self.rng.between(100_000, self.options.partition_ms.max(100) * 1000);
        self.agenda.after(whole, Plan::Harm(Harm::Whole));
        if self.flapping.is_some() {
            self.counts.add("partition: flapping");
            self.agenda.after(1000, Plan::Harm(Harm::Flap));
        }
    }

    fn make_whole(&mut self) {
        self.trace.say(self.agenda.now(), || "the network is whole");
        self.network.cut(Cuts::new());
        self.sides = None;
        self.flapping = None;
    }

    /// Cuts what is whole and mends what is cut.
    fn flap(&mut self) {
        let Some(cuts) = self.flapping.clone() else { return };
        let mut all = self.lasting.clone();
        all.extend(cuts);
        let whole = self.network.is_cut(&self.lasting);
        self.network.cut(if whole { all } else { self.lasting.clone() });
        let delay = self.rng.between(20_000, 400_000);
        self.agenda.after(delay, Plan::Harm(Harm::Flap));
    }

    /// A server that runs; none when all are down.
    fn any_up(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.servers.len()).filter(|at| self.servers[*at].up().is_some()).collect();
        let leader = self.leader().filter(|_| self.rng.below(3) == 0);
        leader.or_else(|| self.rng.pick(&up).copied())
    }

    fn end_one(&mut self) {
        let Some(me) = self.any_up() else { return };
        let target: Target = self.target(me);
        if self.rng.chance(self.options.stops) {
            return self.stop(target);
        }
        if self.rng.chance(self.options.in_call) {
            let disk = &self.servers[me].medium.sim;
            disk.cut_power_at(disk.calls() + self.rng.between(1, 30));
        } else if self.rng.below(2) == 0 {
            let actions = self.rng.between(1, 12);
            if let Some(process) = self.servers[me].process() {
                process.fuse = Some(actions);
            }
        } else {
            self.crash(me);
        }
    }

    /// Elections in quick succession, with logs that differ, are what the hardest rules of Raft are for: a new leader may
    /// be mute from its first word, so that its entries are its own, and is hit a little later.
    pub(super) fn greet_leader(&mut self, target: Target) {
        if self.calm || !self.rng.chance(self.mood.usurps) {
            return;
        }
        let mute = self.rng.below(2) == 0;
        if mute {
            self.counts.add("server: mute as it began to lead");
            self.isolate(target.server, false);
        }
        let soon = self.rng.below(if mute { 400_000 } else { self.options.usurp_us });
        self.agenda.after(soon, Plan::Usurp(target));
    }

    /// Hits a server that has just begun to lead, if it still runs.
    pub(super) fn usurp(&mut self, target: Target) {
        let me = target.server;
        if self.calm || self.servers[me].boot != target.boot || self.servers[me].up().is_none() {
            return;
        }
        self.counts.add("server: hit as it began to lead");
        match self.rng.below(4) {
            0 | 1 => self.crash(me),
            2 => self.isolate(me, true),
            _ => self.pause(me),
        }
    }

    /// Cuts what `me` sends, and what it is sent when `both`, for a while.
    fn isolate(&mut self, me: usize, both: bool) {
        let others = (0..self.servers.len()).filter(|at| *at != me);
        let cuts =
            others.flat_map(|at| [(me, at), (at, me)]).filter(|(from, _)| both || *from == me).collect();
        self.flapping = None;
        self.network.cut(cuts);
        let whole = self.rng.between(50_000, 1_000_000);
        self.agenda.after(whole, Plan::Harm(Harm::Whole));
    }

    fn black_out(&mut self) {
        self.counts.add("server: all powerless at once");
        for me in 0..self.servers.len() {
            if self.servers[me].up().is_some() {
                self.lose_power(me);
            }
        }
    }

    fn pause_one(&mut self) {
        if let Some(me) = self.any_up() {
            self.pause(me);
        }
    }

    fn pause(&mut self, me: usize) {
        let target = self.target(me);
        if let Some(process) = self.servers[me].process().filter(|process| !process.paused) {
            process.paused = true;
            self.counts.add("server: paused");
            self.trace.say(self.agenda.now(), || format!("s{me} is paused"));
            let time = self.rng.between(10_000, self.options.pause_ms * 1000);
            self.agenda.after(time, Plan::Resume(target));
        }
    }

    fn fill_one(&mut self) {
        let at = self.rng.index(self.servers.len());
        let disk = &self.servers[at].medium.sim;
        disk.set_capacity(Some(disk.used() + self.rng.below(100_000)));
        let time = self.rng.between(500_000, 5_000_000);
        self.agenda.after(time, Plan::Harm(Harm::Space));
    }

    /// Flips bits in what was written of a log, save for the last write (see `disk.rs`).
    fn rot_one(&mut self) {
        let sound: Vec<usize> = (0..self.servers.len()).filter(|at| !self.servers[*at].rotten).collect();
        let rotten = self.servers.len() - sound.len();
        let Some(&me) = self.rng.pick(&sound).filter(|_| 2 * (rotten + 1) < self.servers.len()) else {
            return;
        };
        let (log, _) = directories();
        let files = self.servers[me].medium.written(&log);
        let Some((path, length)) = self.rng.pick(&files).filter(|(_, length)| *length > 0) else { return };
        let at = usize::try_from(self.rng.below(*length)).unwrap_or(0);
        let mask = 1 << self.rng.below(8);
        self.servers[me].medium.sim.rot(path, at, mask);
        self.servers[me].rotten = true;
        self.counts.add("disk: bits flipped");
        self.trace
            .say(self.agenda.now(), || format!("s{me}: a bit of byte {at} of {} flips", path.display()));
    }
}
