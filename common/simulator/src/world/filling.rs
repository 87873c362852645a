//! Disks without room: a server whose log finds none goes on without leading, and what waits is written once there is some.

use kvd::{event::Notice, log_thread::LogTask};

use super::World;

impl World {
    /// The log of `me` is about to write this, and all that waits for room, unless it waits on.
    pub(super) fn begins_to_write(&mut self, me: usize, batch: &[LogTask]) {
        let Some(process) = self.servers[me].process() else { return };
        let again = batch.iter().any(|task| matches!(task, LogTask::Retry));
        if process.without_room.is_full() && !again {
            return;
        }
        let writes = batch.iter().filter(|task| matches!(task, LogTask::Persist(_))).count();
        let all = process.without_room.waiting().saturating_add(writes);
        self.watch.writing(me, all);
    }

    /// It has, unless there was no room.
    pub(super) fn has_written(&mut self, me: usize) {
        if self.servers[me].up().is_some_and(|process| !process.without_room.is_full()) {
            self.watch.written(me);
        }
    }

    /// The node of `me` has something to say of its disk.
    pub(super) fn notices(&mut self, me: usize, notice: Notice) {
        self.trace.say(self.agenda.now(), || format!("s{me}: {notice}"));
        match notice {
            Notice::Full { led: true, .. } => self.counts.add("disk: leader without room"),
            Notice::Full { led: false, .. } => self.counts.add("disk: server without room"),
            Notice::Room { .. } => self.counts.add("disk: room again"),
            Notice::Hangs => self.counts.add("disk: leader gave up waiting"),
        }
    }
}
