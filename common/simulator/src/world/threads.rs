//! The two threads under a server's loop, as `kvd`'s log thread and store thread work: a batch of the log takes as long as
//! a sync does; what it does to the disk is done at its beginning or at its end, so that a crash in between finds either.

use kvd::{
    event::Event,
    log_thread::{self, BATCH, LogTask, StoreTask, perform},
};
use raft::Position;

use super::{Plan, Target, World};
use crate::server::{LogWork, StoreWork, directories};

/// The server did not survive it.
struct Gone;

impl World {
    pub(super) fn queue_log(&mut self, target: Target, task: LogTask) {
        if let Some(process) = self.servers[target.server].process() {
            process.tasks.push_back(task);
        }
        self.begin_log(target);
    }

    /// Lets the log's thread take up what waits, if it is free.
    fn begin_log(&mut self, target: Target) {
        let early = self.rng.below(2) == 0;
        let Some(process) = self.servers[target.server].process() else { return };
        if process.log_work.is_some() || process.tasks.is_empty() {
            return;
        }
        let count = process.tasks.len().min(BATCH);
        let batch: Vec<LogTask> = process.tasks.drain(..count).collect();
        let work = if early {
            match self.write_log(target, batch) {
                Some(events) => LogWork::Done(events),
                None => return,
            }
        } else {
            LogWork::Later(batch)
        };
        if let Some(process) = self.servers[target.server].process() {
            process.log_work = Some(work);
        }
        let slow = std::mem::take(&mut self.sluggish[target.server]);
        let time = self.sync_time(target.server).saturating_add(if self.calm { 0 } else { slow });
        self.agenda.after(time, Plan::LogDone(target));
    }

    /// Does a batch; none when the server did not survive it.
    fn write_log(&mut self, target: Target, batch: Vec<LogTask>) -> Option<Vec<Event>> {
        self.begins_to_write(target.server, &batch);
        self.greet_batch(target.server, &batch);
        let process = self.servers[target.server].process()?;
        process.batches += 1;
        match perform(&mut process.log, &mut process.without_room, batch) {
            Ok(mut events) => {
                self.has_written(target.server);
                for event in &events {
                    if let Event::Discarded(discarded) = event {
                        self.watch.discarded(target.server, discarded);
                    }
                }
                for event in &mut events {
                    self.spoil(target.server, event);
                }
                if self.notice_power(target) { None } else { Some(events) }
            }
            Err(error) => {
                self.gives_up(target.server, &error.to_string());
                None
            }
        }
    }

    /// Lets a read for a follower fail, as the log's thread tells it. The first for each after faults have ended fails too:
    /// it must be asked for again.
    fn spoil(&mut self, me: usize, event: &mut Event) {
        let Event::Fetched(fetched) = event else { return };
        let first = self.calm && self.starved.insert((me, fetched.fetch.peer.0));
        if first || self.rng.chance(self.mood.fetch_errors) {
            self.counts.add("disk: read for a follower failed");
            fetched.previous = Position::ZERO;
            fetched.entries.clear();
        }
    }

    pub(super) fn log_done(&mut self, target: Target) {
        let Some(process) = self.serving(target, Plan::LogDone(target)) else { return };
        let events = match process.log_work.take() {
            Some(LogWork::Done(events)) => events,
            Some(LogWork::Later(batch)) => match self.write_log(target, batch) {
                Some(events) => events,
                None => return,
            },
            None => return,
        };
        let Some(process) = self.servers[target.server].process() else { return };
        process.inbox.done.extend(events);
        let (idle, batches) = (process.tasks.is_empty(), process.batches);
        self.wake(target.server);
        if idle {
            let pause = u64::try_from(log_thread::IDLE.as_micros()).unwrap_or(u64::MAX);
            self.agenda.after(pause, Plan::Idle(target, batches));
        } else {
            self.begin_log(target);
        }
    }

    pub(super) fn idle(&mut self, target: Target, batches: u64) {
        let end = self.servers[target.server].medium.end(&directories().0);
        let Some(process) = self.serving(target, Plan::Idle(target, batches)) else { return };
        if process.batches != batches || process.log_work.is_some() {
            return;
        }
        let settled = process.without_room.settle(&mut process.log);
        let full = process.without_room.is_full();
        match settled {
            Ok(None) if !full => {
                if let Some(end) = end {
                    self.servers[target.server].medium.settled(end);
                }
            }
            Ok(full) => {
                process.inbox.done.extend(full);
                self.wake(target.server);
            }
            Err(error) => self.gives_up(target.server, &error.to_string()),
        }
        self.notice_power(target);
    }

    pub(super) fn queue_store(&mut self, target: Target, task: StoreTask) {
        if let Some(process) = self.servers[target.server].process() {
            process.store_tasks.push_back(task);
        }
        self.begin_store(target);
    }

    /// Lets the state's thread take up what waits, if it is free.
    fn begin_store(&mut self, target: Target) {
        let (me, early) = (target.server, self.rng.below(2) == 0);
        let Some(process) = self.servers[me].process().filter(|process| process.store_work.is_none()) else {
            return;
        };
        let Some(task) = process.store_tasks.pop_front() else { return };
        let (slow, flush) = (matches!(task, StoreTask::Install(_)), matches!(task, StoreTask::Flush(_)));
        let work = if early {
            let Ok(event) = self.write_store(target, task) else { return };
            StoreWork::Done(event.map(Box::new))
        } else {
            StoreWork::Later(Box::new(task))
        };
        if let Some(process) = self.servers[me].process() {
            process.store_work = Some(work);
        }
        let pause = if slow { self.rng.below(self.mood.stream_us + 1) } else { 0 };
        let pause = if flush { self.greet_flush(me) } else { pause };
        let time = self.sync_time(me).saturating_add(self.sync_time(me)).saturating_add(pause);
        self.agenda.after(time, Plan::StoreDone(target));
    }

    /// Does the work of the state's thread.
    fn write_store(&mut self, target: Target, task: StoreTask) -> Result<Option<Event>, Gone> {
        let me = target.server;
        if let StoreTask::Install(install) = &task {
            self.watch.installing(me, install.position().index.0);
            self.hit_state(me);
        }
        match task.perform() {
            Ok(event) => {
                if let Some(Event::Installed(installed)) = &event {
                    self.watch.installed(me, installed.position().index.0);
                    self.servers[me].installed = Some(installed.position().index.0);
                }
                if self.notice_power(target) {
                    return Err(Gone);
                }
                if matches!(event, Some(Event::Installed(_))) {
                    self.greet_state(me);
                }
                Ok(event)
            }
            Err(error) => {
                self.gives_up(me, &error.to_string());
                Err(Gone)
            }
        }
    }

    pub(super) fn store_done(&mut self, target: Target) {
        let Some(process) = self.serving(target, Plan::StoreDone(target)) else { return };
        let event = match process.store_work.take() {
            Some(StoreWork::Done(event)) => event.map(|event| *event),
            Some(StoreWork::Later(task)) => match self.write_store(target, *task) {
                Ok(event) => event,
                Err(Gone) => return,
            },
            None => return,
        };
        if let Some(Event::Flushed(flushed)) = &event {
            self.watch.flush_ended(target.server, flushed.position().index.0);
        }
        if let Some(process) = self.servers[target.server].process() {
            process.inbox.done.extend(event);
        }
        self.wake(target.server);
        self.begin_store(target);
    }

    /// How long a sync takes.
    pub(super) fn sync_time(&mut self, me: usize) -> u64 {
        if self.hung[me] {
            return u64::MAX;
        }
        let usual = self.options.sync_us + self.rng.below(self.options.sync_us);
        if self.rng.chance(self.mood.stalls) {
            self.counts.add("disk: stalled");
            return usual + self.rng.below(self.options.stall_ms * 1000);
        }
        usual
    }
}
