//! Starts and ends of servers: by a kill, by a loss of power, by their own disk, or because they were asked to.

use kvd::{log::LogError, log_thread::perform, opening::OpenError};
use raft::NodeId;

use super::{Plan, Target, World};
use crate::server::{Life, Process, core, keeping, members};

impl World {
    /// Opens a server's directories and lets it run.
    pub(super) fn start(&mut self, target: Target) {
        let me = target.server;
        if self.servers[me].boot != target.boot || !matches!(self.servers[me].life, Life::Down) {
            return;
        }
        let now = self.agenda.now();
        let seed = self.rng.bits();
        let before = self.troubles(me);
        if !self.calm && self.rng.chance(self.mood.trips) {
            self.counts.add("server: hit as it started");
            self.trip(me, 90);
        }
        let opened = self.servers[me].open(&self.options, seed);
        if self.servers[me].medium.sim.is_off() {
            drop(opened);
            self.counts.add("server: ended within a disk call");
            return self.crash(me);
        }
        match opened {
            Ok(opened) => {
                self.watch.restarted(me, &opened.recovered);
                let seed = self.rng.bits();
                let node = opened.into_node(core(me, &self.options, seed), members(me, self.servers.len()));
                let node = node.map(|(node, log)| (self.set_up(me, node), log));
                let (node, log) =
                    node.unwrap_or_else(|error| panic!("VIOLATION s{me} cannot start: {error}"));
                let (hash, applied) = (node.state_hash(), node.applied());
                self.trace.note(now, 40 + me as u64, hash ^ applied);
                self.trace.say(now, || format!("s{me} starts with {applied} applied"));
                let server = &mut self.servers[me];
                server.began = now;
                server.life = Life::Up(Box::new(Process::new(node, log)));
                self.counts.add("server: restarted");
                let delay = self.rng.below(10_000);
                self.agenda.after(delay, Plan::Tick(target));
            }
            Err(error) => self.refuses_to_start(me, &error, before),
        }
    }

    fn set_up(&self, me: usize, node: kvd::node::Node) -> kvd::node::Node {
        node.keeping(keeping(me, &self.options)).promoting_within(self.options.caught_up)
    }

    /// A damaged log is a refusal for good, and only where bits were flipped; anything else must be the disk's doing at
    /// this moment, and is tried again.
    fn refuses_to_start(&mut self, me: usize, error: &OpenError, before: u64) {
        let now = self.agenda.now();
        self.trace.say(now, || format!("s{me} does not start: {error}"));
        let damaged = matches!(
            error,
            OpenError::Log(_, LogError::Damaged { .. } | LogError::Missing { .. } | LogError::Format { .. })
        );
        if damaged && self.servers[me].rotten {
            self.counts.add("server: log found damaged");
            self.servers[me].life = Life::Broken;
            self.lost[me] = true;
            return;
        }
        assert!(self.troubles(me) > before, "VIOLATION s{me} does not start: {error}");
        self.counts.add("server: refused to start");
        self.servers[me].medium.sim.restart();
        self.begin_again(me);
    }

    /// What the disk of `me` has done wrong so far.
    fn troubles(&self, me: usize) -> u64 {
        let failures = self.servers[me].medium.sim.failures();
        failures.reads + failures.syncs + failures.full + failures.cuts + failures.ordered
    }

    /// The process ends itself because its disk failed; what it leaves open is closed as at any end.
    pub(super) fn gives_up(&mut self, me: usize, why: &str) {
        if self.servers[me].medium.sim.is_off() {
            self.notice_power(self.target(me));
            return;
        }
        let now = self.agenda.now();
        self.trace.say(now, || format!("s{me} ends itself: {why}"));
        assert!(self.troubles(me) > 0, "VIOLATION s{me} ends itself for no reason of its disk's: {why}");
        self.counts.add("server: ended by its disk");
        self.servers[me].life = Life::Down;
        self.servers[me].medium.sim.restart();
        self.ended(me);
        self.begin_again(me);
    }

    /// Whether the process ended within a call of the disk: then the server is gone, its power too or not.
    pub(super) fn notice_power(&mut self, target: Target) -> bool {
        let me = target.server;
        if self.servers[me].boot != target.boot {
            return true;
        }
        if !self.servers[me].medium.sim.is_off() {
            return false;
        }
        self.counts.add("server: ended within a disk call");
        self.crash(me);
        true
    }

    /// The server ends here and now, by a kill or by a loss of power.
    pub(super) fn crash(&mut self, me: usize) {
        if self.rng.chance(self.options.power) {
            self.counts.add("server: power lost");
            self.lose_power(me);
        } else {
            self.counts.add("server: killed");
            self.servers[me].medium.sim.power_off();
            self.servers[me].life = Life::Down;
            self.servers[me].medium.sim.restart();
            self.trace.say(self.agenda.now(), || format!("s{me} is killed"));
            self.ended(me);
            self.begin_again(me);
        }
    }

    pub(super) fn lose_power(&mut self, me: usize) {
        let seed = self.rng.bits();
        let server = &mut self.servers[me];
        server.medium.sim.power_off();
        server.life = Life::Down;
        server.medium.sim.crash(seed);
        self.trace.say(self.agenda.now(), || format!("s{me} loses power"));
        self.ended(me);
        self.begin_again(me);
    }

    /// The server is told to stop: its log finishes what it was given.
    pub(super) fn stop(&mut self, target: Target) {
        let me = target.server;
        let Some(process) = self.servers[me].process() else { return };
        if process.paused {
            return;
        }
        let batch: Vec<_> = match process.log_work.take() {
            Some(crate::server::LogWork::Later(batch)) => {
                batch.into_iter().chain(process.tasks.drain(..)).collect()
            }
            _ => process.tasks.drain(..).collect(),
        };
        self.begins_to_write(me, &batch);
        let Some(process) = self.servers[me].process() else { return };
        if perform(&mut process.log, &mut process.without_room, batch).is_ok() {
            // A failure now is one of the disk, found at the next start.
            let _ = process.without_room.settle(&mut process.log);
            self.has_written(me);
        }
        if self.notice_power(target) {
            return;
        }
        self.counts.add("server: stopped");
        self.trace.say(self.agenda.now(), || format!("s{me} stops"));
        self.servers[me].life = Life::Down;
        if self.servers[me].medium.sim.is_off() {
            return self.lose_power(me);
        }
        self.servers[me].medium.sim.restart();
        self.ended(me);
        self.begin_again(me);
    }

    /// What others notice of an end, and what is void from now on.
    fn ended(&mut self, me: usize) {
        self.watch.ended(me);
        self.servers[me].boot += 1;
        self.trace.note(self.agenda.now(), 50, me as u64);
        self.network.reconnect(me);
        self.lose_connections(me);
    }

    /// Plans the next start, unless the server stays down for good.
    fn begin_again(&mut self, me: usize) {
        if !self.lost[me] {
            let target = self.target(me);
            // Waking up very quickly is a fault of its own kind: there is always some of it.
            let quick = self.rng.below(2) == 0;
            let most = if quick { self.options.down_ms.min(200) } else { self.options.down_ms };
            let most = if self.calm { 1 } else { most };
            let delay = 1000 + self.rng.below(most * 1000);
            self.agenda.after(delay, Plan::Start(target));
        }
    }

    /// Clients and servers that had a connection with `me` find it gone, sooner or later.
    pub(super) fn lose_connections(&mut self, me: usize) {
        for other in 0..self.servers.len() {
            if other != me && self.rng.below(2) == 0 {
                let (delay, target) = (self.rng.below(2_000_000), self.target(other));
                self.agenda.after(delay, Plan::Unreachable(target, NodeId(me as u64 + 1)));
            }
        }
        self.drop_clients(me);
    }

    pub(super) fn resume(&mut self, target: Target) {
        if self.servers[target.server].boot != target.boot {
            return;
        }
        self.trace.say(self.agenda.now(), || format!("s{} goes on", target.server));
        let Some(process) = self.servers[target.server].process() else { return };
        process.paused = false;
        for plan in std::mem::take(&mut process.held) {
            self.agenda.after(0, plan);
        }
    }
}
