//! Wishes that another server should lead, and ends that are announced.

use protocol::Request;

use super::{Target, World, calling::PROBER, healing::TIMEOUT};
use crate::server::ELECTION_TICKS;

/// A hand-over between healthy servers takes at most so many election timeouts.
const HANDED_WITHIN: u64 = 3;
/// A server that is told to end tries twice to hand over, and then to hear of its successor; what waits in its queues
/// comes on top.
const LEFT_WITHIN: u64 = 2 * (ELECTION_TICKS as u64 + 1) + 30 + 200;

impl World {
    /// Somebody wants another server to lead: one that is named, whoever follows, or one that does not exist.
    pub(super) fn wish_another(&mut self) {
        let servers = self.servers.len();
        let asked = self.leader().filter(|_| self.rng.below(4) > 0);
        let asked = asked.unwrap_or_else(|| self.rng.index(servers));
        let to = (self.rng.below(3) > 0).then(|| self.rng.between(1, servers as u64 + 1));
        let deadline_ms = if self.rng.below(4) == 0 { 20 } else { 5000 };
        let number = self.number();
        self.counts.add("leader: asked to hand over");
        self.post(PROBER, asked, number, deadline_ms, Request::Transfer { to });
    }

    /// Somebody wants a server to leave leading to others, or not to any more.
    pub(super) fn wish_reluctance(&mut self) {
        let (at, number) = (self.rng.index(self.servers.len()), self.number());
        let undo = self.rng.below(2) == 0;
        self.counts.add("server: drained");
        self.post(PROBER, at, number, 5000, Request::Drain { undo });
    }

    /// Nobody is reluctant any more.
    pub(super) fn make_willing(&mut self, core: &[usize]) {
        for &me in core {
            let number = self.number();
            self.post(PROBER, me, number, 5000, Request::Drain { undo: true });
        }
    }

    /// A server is told to end, and does once another leads, or once it is clear that it did not lead.
    pub(super) fn ask_to_stop(&mut self, target: Target) {
        let Some(process) = self.servers[target.server].process().filter(|process| process.leaving.is_none())
        else {
            return;
        };
        process.leaving = Some(process.ticks);
        process.inbox.done.push(kvd::event::Event::Leave);
        self.wake(target.server);
    }

    /// Ends a server that was told to and has nothing to wait for.
    pub(super) fn stop_if_left(&mut self, target: Target) {
        let server = &self.servers[target.server];
        let Some(process) = server.up().filter(|_| server.boot == target.boot) else { return };
        let Some(since) = process.leaving else { return };
        if process.node.has_left() {
            return self.stop(target);
        }
        let ticks = process.ticks - since;
        assert!(ticks <= LEFT_WITHIN, "VIOLATION s{} was told to end {ticks} ticks ago", target.server);
    }

    /// What was told to end has ended by now.
    pub(super) fn stop_all_that_leave(&mut self) {
        for me in 0..self.servers.len() {
            if self.servers[me].up().is_some_and(|process| process.leaving.is_some()) {
                self.crash(me);
            }
        }
    }

    /// In a cluster that works, leadership goes where it is wanted, and goes on there.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn must_hand_over(&mut self, core: &[usize]) {
        let leader = self.leader().expect("VIOLATION a cluster that works has a leader");
        let others: Vec<usize> = core.iter().copied().filter(|at| *at != leader).collect();
        let Some(to) = self.rng.pick(&others).copied() else { return };
        let (number, began) = (self.number(), self.agenda.now());
        self.post(PROBER, leader, number, 5000, Request::Transfer { to: Some(to as u64 + 1) });
        let until = began + HANDED_WITHIN * TIMEOUT;
        self.run_until(until, |world| world.leader() == Some(to));
        assert_eq!(self.leader(), Some(to), "VIOLATION s{leader} was to hand over to s{to}");
        self.counts.add("liveness: handed over");
        self.must_work(core, 0);
    }
}
