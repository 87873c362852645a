//! Faults that wait for their moment: what is hit has just begun to lead, voted, asked, or has to do with its disk what
//! can go wrong in more than one way.

use std::sync::Arc;

use kvd::log_thread::LogTask;
use raft::Message;

use super::{Plan, Target, World};

/// A message that the network keeps back.
pub(super) struct Withheld {
    /// The process that it is for.
    boot: u64,
    frame: Arc<[u8]>,
}

/// Longest time that such a fault holds up a disk, in microseconds.
pub(super) const SLOWEST: u64 = 1_500_000;

impl World {
    /// Ends `me` within one of its next calls of the disk, by a loss of power or because the call fails.
    pub(super) fn trip(&mut self, me: usize, within: u64) {
        let disk = &self.servers[me].medium.sim;
        let call = disk.calls() + self.rng.between(1, within);
        if self.rng.below(3) == 0 {
            disk.fail_at(call, std::io::ErrorKind::Other);
        } else {
            disk.cut_power_at(call);
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
            let time = self.rng.between(50_000, 1_000_000);
            self.isolate(target.server, false, time);
        }
        let soon = self.rng.below(if mute { 400_000 } else { self.options.usurp_us });
        self.agenda.after(soon, Plan::Usurp(target));
        // What waits for a disk meanwhile may be replaced before it is written.
        if self.rng.below(4) == 0 {
            let slow = self.rng.index(self.servers.len());
            self.sluggish[slow] = self.rng.between(200_000, SLOWEST);
        }
    }

    /// Who has just entered a term may be alone in it: nobody hears it ask, and a leader that slept wakes up in the term
    /// before.
    pub(super) fn greet_candidate(&mut self, target: Target) {
        if self.calm || !self.rng.chance(self.mood.usurps / 3) {
            return;
        }
        self.counts.add("server: cut off as it began to stand");
        let time = self.rng.between(100_000, 2_000_000);
        self.isolate(target.server, true, time);
        if let Some(leader) = self.leader() {
            self.resume(self.target(leader));
        }
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
            2 => {
                let time = self.rng.between(50_000, 1_000_000);
                self.isolate(me, true, time);
            }
            _ => self.pause(me),
        }
    }

    /// A server that makes another's state current may end within one of the calls that this takes.
    pub(super) fn hit_state(&mut self, me: usize) {
        if !self.calm && self.rng.chance(self.mood.upsets / 2) {
            self.counts.add("server: hit as it replaced its state");
            self.trip(me, 12);
        }
    }

    /// A server whose state was replaced drops its log next; it is hit before, while, or after it does.
    pub(super) fn greet_state(&mut self, me: usize) {
        if self.calm || !self.rng.chance(self.mood.upsets) {
            return;
        }
        self.counts.add("server: hit as its state was replaced");
        if self.rng.below(2) == 0 {
            return self.trip(me, 14);
        }
        let actions = self.rng.between(1, 4);
        if let Some(process) = self.servers[me].process() {
            process.fuse = Some(actions);
        }
    }

    /// A batch of the log that removes segments is hit within that: what was removed may be back after the next loss of
    /// power, while what was removed later is not.
    pub(super) fn greet_batch(&mut self, me: usize, batch: &[LogTask]) {
        if self.calm {
            return;
        }
        let anew = |task: &LogTask| matches!(task, LogTask::Persist(persist) if persist.restart.is_some());
        let discards = |task: &LogTask| matches!(task, LogTask::Discard(_));
        if batch.iter().any(anew) && self.rng.chance(self.mood.upsets) {
            self.counts.add("server: hit as its log began anew");
            self.hit_removal(me, 12);
        } else if batch.iter().any(discards) && self.rng.chance(self.mood.trips / 10) {
            self.counts.add("server: hit as its log was discarded");
            self.hit_removal(me, 4);
        }
    }

    /// What has to do with a removal fails, mostly, and the power is lost when more was removed.
    fn hit_removal(&mut self, me: usize, within: u64) {
        if self.rng.below(3) == 0 {
            return self.trip(me, within);
        }
        let disk = &self.servers[me].medium.sim;
        disk.fail_at(disk.calls() + self.rng.between(1, within), std::io::ErrorKind::Other);
        let later = self.rng.between(300_000, 6_000_000);
        self.agenda.after(later, Plan::Unplug(me));
    }

    /// A server loses its power, if it runs.
    pub(super) fn unplug(&mut self, me: usize) {
        if !self.calm && self.servers[me].up().is_some() {
            self.lose_power(me);
        }
    }

    /// How much longer a flush takes that a state may overtake, in microseconds.
    pub(super) fn greet_flush(&mut self, me: usize) -> u64 {
        if self.calm || !self.receives(me) || !self.rng.chance(self.mood.upsets) {
            return 0;
        }
        self.counts.add("disk: flush outlasts a state");
        self.rng.between(100_000, SLOWEST)
    }

    /// What a server promised by its vote is put to the test when it starts again while others still ask for it.
    pub(super) fn greet_voter(&mut self, target: Target) {
        if !self.calm && self.rng.chance(self.mood.usurps / 4) {
            self.counts.add("server: ended as it had voted");
            let soon = self.rng.below(2000);
            self.agenda.after(soon, Plan::Blink(target));
        }
    }

    /// Who asked its leader where to read is soon another process, and the answer to the first one comes when that asks:
    /// they must not take their questions for the same, as the first few of each would be if all numbered alike.
    pub(super) fn greet_asker(&mut self, target: Target, leader: usize, question: u64) {
        let asker = target.server;
        if let Some(withheld) = self.withheld.remove(&(leader, asker)) {
            if withheld.boot == target.boot {
                self.withheld.insert((leader, asker), withheld);
            } else {
                self.counts.add("network: answer for an earlier process");
                self.carry(leader, asker, &withheld.frame);
            }
            return;
        }
        let among_its_first = question % (1 << 32) < 4;
        let share = if among_its_first { 8 } else { 100 };
        if !self.calm && self.rng.chance(self.mood.usurps / share) {
            self.counts.add("server: ended as it had asked");
            self.late_answers.insert((leader, asker));
            let soon = 2 * self.options.latency_us + self.rng.below(2000);
            self.agenda.after(soon, Plan::Blink(target));
        }
    }

    /// Keeps back this message if it is the answer that is to be late.
    pub(super) fn withholds(&mut self, from: usize, to: usize, message: &Message, frame: &Arc<[u8]>) -> bool {
        let answers = matches!(message, Message::ReadIndexReply { index: Some(_), .. });
        let withheld = answers && self.late_answers.remove(&(from, to));
        if withheld {
            let (boot, frame) = (self.servers[to].boot, Arc::clone(frame));
            self.withheld.insert((from, to), Withheld { boot, frame });
        }
        withheld
    }

    /// Ends a server that has just voted or asked; it is back within milliseconds.
    pub(super) fn blink(&mut self, target: Target) {
        let me = target.server;
        if self.calm || self.servers[me].boot != target.boot || self.servers[me].up().is_none() {
            return;
        }
        self.crash(me);
        let (delay, target) = (1000 + self.rng.below(5000), self.target(me));
        self.agenda.after(delay, Plan::Start(target));
    }
}
