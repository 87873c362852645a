//! Bits that flip in what a log has on disk, save for the last write, where nobody could tell it from a torn one.

use std::path::{Path, PathBuf};

use super::{Plan, World, harming::Harm};
use crate::server::directories;

/// Bytes of a segment's header.
const HEADER: u64 = 96;
/// How far before its end the end of a log begins.
const END: u64 = 600;

impl World {
    /// Damages one log: anywhere, in a header, or, where damage is hardest to tell from a torn write, at the end of one
    /// that is settled.
    pub(super) fn rot_one(&mut self) {
        let kind = self.rng.below(4);
        if kind == 3 {
            return self.rot_settled();
        }
        let sound = self.may_rot();
        let Some(&me) = self.rng.pick(&sound) else { return };
        let files = self.servers[me].medium.written(&directories().0);
        let Some((path, length)) = self.rng.pick(&files).filter(|(_, length)| *length > 0) else { return };
        let at = self.rng.below(if kind == 0 { HEADER.min(*length) } else { *length });
        self.rot(me, path, at);
        if self.rng.below(2) == 0 && self.servers[me].up().is_some() {
            self.crash(me);
        }
    }

    /// Damages the last bytes of a log that was idle and says that nothing in it can be taken for torn; the server ends
    /// before it writes more. Waits until there is one.
    pub(super) fn rot_settled(&mut self) {
        let log = directories().0;
        let ends = |me: usize| -> Option<(usize, PathBuf, u64)> {
            let (path, end) = self.servers[me].medium.settled_end(&log)?;
            self.servers[me].up().is_some().then_some((me, path, end))
        };
        let sound = self.may_rot();
        let settled: Vec<_> = sound.iter().filter_map(|me| ends(*me)).collect();
        let Some((me, path, end)) = self.rng.pick(&settled).cloned() else {
            if !sound.is_empty() {
                self.agenda.after(20_000, Plan::Harm(Harm::RotSettled));
            }
            return;
        };
        let content = self.servers[me].medium.sim.content(&path).unwrap_or_default();
        let holds =
            |at: &u64| usize::try_from(*at).is_ok_and(|at| content.get(at).is_some_and(|byte| *byte != 0));
        let bytes: Vec<u64> = (end.saturating_sub(END)..end).filter(holds).collect();
        let Some(&at) = self.rng.pick(&bytes) else { return };
        self.counts.add("disk: settled log damaged");
        self.rot(me, &path, at);
        self.crash(me);
    }

    /// The servers whose log is sound, unless a majority would lose its own.
    fn may_rot(&self) -> Vec<usize> {
        let sound: Vec<usize> = (0..self.servers.len()).filter(|at| !self.servers[*at].rotten).collect();
        let rotten = self.servers.len() - sound.len();
        if 2 * (rotten + 1) < self.servers.len() { sound } else { Vec::new() }
    }

    fn rot(&mut self, me: usize, path: &Path, at: u64) {
        let mask = 1 << self.rng.below(8);
        self.servers[me].medium.sim.rot(path, usize::try_from(at).unwrap_or(0), mask);
        self.servers[me].rotten = true;
        self.counts.add("disk: bits flipped");
        self.trace
            .say(self.agenda.now(), || format!("s{me}: a bit of byte {at} of {} flips", path.display()));
    }
}
