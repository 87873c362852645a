//! Which fault comes when. Each kind comes at random intervals around its mean; every few seconds some kinds rest and
//! others begin, so that a cluster is also seen to recover from one while another goes on.

use protocol::Request;
use testkit::disk::Weather;

use super::{Plan, World, calling::PROBER};
use crate::{
    network::{Cuts, partition},
    options::Options,
};

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Other kinds of faults from now on.
    Mood,
    /// The network parts.
    Partition,
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
    /// Bits of a log that is settled flip, as soon as there is one.
    RotSettled,
    /// A wall clock jumps.
    Jump,
    /// Somebody wants a log to be discarded.
    Compact,
    /// A server is cut off until the others have discarded what it lacks.
    Outgrow,
    /// Somebody wants another server to lead.
    Transfer,
    /// Somebody wants a server to leave leading to others, or not to any more.
    Drain,
    /// Somebody wants every log to be discarded.
    CompactAll,
    /// Somebody wants the members changed.
    Change,
}

/// Kinds with the option that gives their mean interval.
const KINDS: [(Harm, &str); 13] = [
    (Harm::Depose, "deposals"),
    (Harm::Partition, "partitions"),
    (Harm::Reset, "resets"),
    (Harm::Crash, "crashes"),
    (Harm::Blackout, "blackouts"),
    (Harm::Pause, "pauses"),
    (Harm::NoSpace, "no_space"),
    (Harm::Jump, "jumps"),
    (Harm::Compact, "compactions"),
    (Harm::Outgrow, "outgrowths"),
    (Harm::Transfer, "transfers"),
    (Harm::Drain, "drains"),
    (Harm::Change, "changes"),
];

/// Options that rest in some moods.
const MOODY: [&str; 22] = [
    "trips",
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
    "fetch_errors",
    "no_space",
    "jumps",
    "stream_cuts",
    "stream_damage",
    "upsets",
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
            Harm::RotSettled => self.rot_settled(),
            Harm::Compact => {
                let at = self.rng.index(self.servers.len());
                self.compact(at);
            }
            Harm::CompactAll => (0..self.servers.len()).for_each(|at| self.compact(at)),
            Harm::Outgrow => self.outgrow_one(),
            Harm::Transfer => self.wish_another(),
            Harm::Drain => self.wish_reluctance(),
            Harm::Change => self.wish_members(),
            Harm::Jump => {
                let (at, far) = (self.rng.index(self.servers.len()), self.rng.below(100_000_000_000));
                self.counts.add("clock: jumped");
                self.servers[at].clock.1 = far;
            }
        }
    }

    /// Cuts a server off, lets all discard their logs in the middle of that, and lets it come back.
    fn outgrow_one(&mut self) {
        let me = self.rng.index(self.servers.len());
        if self.leader() == Some(me) {
            return;
        }
        self.counts.add("server: outgrown");
        let time = self.rng.between(200_000, 3_000_000);
        self.isolate(me, true, time);
        self.agenda.after(time * 3 / 4, Plan::Harm(Harm::CompactAll));
    }

    fn compact(&mut self, at: usize) {
        let number = self.number();
        let deadline_ms = if self.rng.below(4) == 0 { 20 } else { 5000 };
        self.post(PROBER, at, number, deadline_ms, Request::CompactLog);
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
        let time = self.rng.between(100_000, self.options.partition_ms.max(100) * 1000);
        self.cut_for(cuts, time);
        if self.flapping.is_some() {
            self.counts.add("partition: flapping");
            self.agenda.after(1000, Plan::Harm(Harm::Flap));
        }
    }

    /// Cuts these pairs, and no others, for a while, or until others are cut.
    fn cut_for(&mut self, cuts: Cuts, time: u64) {
        self.network.cut(cuts);
        self.parted += 1;
        self.agenda.after(time, Plan::Whole(self.parted));
    }

    /// The cuts of this number end, if they are still those that there are.
    pub(super) fn make_whole(&mut self, parted: u64) {
        if self.calm || parted != self.parted {
            return;
        }
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
        let target = self.target(me);
        if self.rng.chance(self.options.stops) {
            return self.ask_to_stop(target);
        }
        if self.rng.chance(self.options.in_call) {
            self.trip(me, 30);
        } else if self.rng.below(2) == 0 {
            let actions = self.rng.between(1, 12);
            if let Some(process) = self.servers[me].process() {
                process.fuse = Some(actions);
            }
        } else {
            self.crash(me);
        }
    }

    /// Cuts what `me` sends, and what it is sent when `both`, for `time` microseconds.
    pub(super) fn isolate(&mut self, me: usize, both: bool, time: u64) {
        let others = (0..self.servers.len()).filter(|at| *at != me);
        let cuts =
            others.flat_map(|at| [(me, at), (at, me)]).filter(|(from, _)| both || *from == me).collect();
        self.flapping = None;
        self.cut_for(cuts, time);
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

    pub(super) fn pause(&mut self, me: usize) {
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
}
