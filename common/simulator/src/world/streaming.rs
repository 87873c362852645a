//! States that go from one server to another, as `kvd`'s streaming carries them: block by block, in order, over a
//! connection of their own. Such a stream is whole or cut: QUIC loses nothing and swaps nothing. It can be cut at any
//! block, either end can end, pause or find its disk failing, and a block can come damaged from the sender's own memory.

#![allow(clippy::single_match_else, reason = "both ways are of one rank")]

use kvd::{
    event::{Action, Event, Transfer},
    snapshot::{Progress, Receiver, Receiving, Sending, SnapshotError},
};
use raft::NodeId;

use super::{Plan, Target, World};
use crate::server::Process;

/// How long it takes until an end is noticed that cannot say so, in microseconds.
const NOTICED: u64 = 50_000;
/// A stream on which nothing moves is given up after so long.
pub(super) const PATIENCE: u64 = 10_000_000;

/// How often streams to one server are cut once faults have ended.
const MOST_CUTS: u64 = 5;

/// A state on its way.
pub(super) struct Stream {
    from: Target,
    to: Target,
    session: u64,
    at: u64,
    stage: Stage,
    sending: Box<Sending>,
    moved: u64,
}

enum Stage {
    /// Its first block has not arrived.
    Begun,
    /// The receiver has not said whether it takes it.
    Offered(Vec<u8>),
    /// It is being written.
    Coming(Box<Receiving>),
    /// It is whole, or of no use, and the receiver's node decides.
    Ended,
}

impl World {
    /// A server sends its state to another.
    pub(super) fn begin_stream(&mut self, from: Target, peer: NodeId, session: u64, sending: Box<Sending>) {
        let (now, to) = (self.agenda.now(), usize::try_from(peer.0 - 1).unwrap_or(0));
        let at = sending.head().at.index.0;
        self.trace.note(now, 60, at);
        self.trace.say(now, || format!("s{} sends its state at {at} to s{to}", from.server));
        self.counts.add("stream: begun");
        self.watch.sends_state(from.server, &sending.head());
        self.streamed += 1;
        let to = Target { server: to, boot: u64::MAX };
        let stream = Stream { from, to, session, at, stage: Stage::Begun, sending, moved: now };
        self.streams.insert(self.streamed, stream);
        self.go_on(self.streamed);
    }

    /// Tells the watch of a state that a process goes on from.
    pub(super) fn adopt(&mut self, target: Target, actions: &[Action]) {
        for action in actions {
            if let Action::AnswerSnapshot { transfer, installed: true } = action {
                let at = self.servers[target.server].installed.take();
                let at = at.expect("VIOLATION a state is said to be current and was never made so");
                self.watch.adopted(target.server, at);
                self.trace.note(self.agenda.now(), 62, transfer.0);
            }
            if matches!(action, Action::Install(_)) {
                self.watch.takes_state(target.server);
            }
        }
    }

    /// Whether blocks of a state come to this server.
    pub(super) fn receives(&self, me: usize) -> bool {
        let coming = |stream: &Stream| stream.to.server == me && matches!(stream.stage, Stage::Coming(_));
        self.streams.values().any(coming)
    }

    fn go_on(&mut self, number: u64) {
        let delay = self.options.latency_us + self.rng.below(self.options.latency_us);
        self.agenda.after(delay, Plan::Stream(number));
    }

    /// The next thing that happens to a stream.
    pub(super) fn stream(&mut self, number: u64) {
        let Some(mut stream) = self.streams.remove(&number) else { return };
        let now = self.agenda.now();
        let (from, to) = (stream.from.server, stream.to.server);
        if stream.to.boot == u64::MAX {
            stream.to.boot = self.servers[to].boot;
        }
        let live = |world: &Self, target: Target| {
            world.servers[target.server].boot == target.boot && world.servers[target.server].up().is_some()
        };
        let reaches = self.network.reaches(from, to) && self.network.reaches(to, from);
        let open = !matches!(stream.stage, Stage::Ended);
        let cut = open && self.cuts(to);
        if cut && reaches {
            self.counts.add("stream: cut");
        }
        if !live(self, stream.from) || !live(self, stream.to) || !reaches || cut {
            return self.cut_stream(number, stream);
        }
        if now - stream.moved > PATIENCE && !matches!(stream.stage, Stage::Ended) {
            self.counts.add("stream: stuck");
            return self.cut_stream(number, stream);
        }
        let paused = |world: &Self, at: usize| world.servers[at].up().is_none_or(|process| process.paused);
        if paused(self, from) || paused(self, to) || self.hung[to] {
            self.streams.insert(number, stream);
            return self.agenda.after(NOTICED, Plan::Stream(number));
        }
        self.move_on(number, stream);
    }

    /// Whether a stream to `to` is cut. Once faults have ended the first is, so that it must be sent again, and a few more
    /// may be: a state of many blocks would else never be whole.
    fn cuts(&mut self, to: usize) -> bool {
        if !self.calm {
            return self.rng.chance(self.mood.stream_cuts);
        }
        let severed = self.severed.get(&to).copied().unwrap_or(0);
        let cut = severed < MOST_CUTS && (self.rng.chance(self.mood.stream_cuts) || severed == 0);
        let cut = cut && self.mood.stream_cuts > 0;
        if cut {
            self.severed.insert(to, severed + 1);
        }
        cut
    }

    fn move_on(&mut self, number: u64, mut stream: Stream) {
        let now = self.agenda.now();
        match std::mem::replace(&mut stream.stage, Stage::Ended) {
            Stage::Begun => {
                stream.moved = now;
                let Some(block) = self.block_of(&mut stream) else { return self.cut_stream(number, stream) };
                let head = stream.sending.head();
                stream.stage = Stage::Offered(block);
                let event = Event::SnapshotOffered { transfer: Transfer(number), head };
                let to = stream.to.server;
                self.streams.insert(number, stream);
                self.tell(to, event);
                self.agenda.after(NOTICED, Plan::Stream(number));
            }
            Stage::Coming(receiving) => {
                stream.moved = now;
                if let Some(block) = self.block_of(&mut stream) {
                    self.take_block(number, stream, receiving, &block);
                } else {
                    stream.stage = Stage::Coming(receiving);
                    self.cut_stream(number, stream);
                }
            }
            waits @ (Stage::Offered(_) | Stage::Ended) => {
                stream.stage = waits;
                self.streams.insert(number, stream);
                self.agenda.after(NOTICED, Plan::Stream(number));
            }
        }
    }

    /// The sender's next block, as it arrives; none when there is none.
    fn block_of(&mut self, stream: &mut Stream) -> Option<Vec<u8>> {
        let mut block = stream.sending.next_block().ok().flatten();
        if self.notice_power(stream.from) {
            return None;
        }
        if let Some(block) = block.as_mut()
            && self.rng.chance(self.mood.stream_damage)
        {
            self.counts.add("stream: block damaged");
            let at = self.rng.index(block.len());
            block[at] ^= 1 << self.rng.below(8);
        }
        block
    }

    fn take_block(&mut self, number: u64, mut stream: Stream, receiving: Box<Receiving>, block: &[u8]) {
        let (to, target) = (stream.to.server, stream.to);
        let taken = receiving.take(block);
        if self.notice_power(target) {
            return self.cut_stream(number, stream);
        }
        let time = self.sync_time(to).saturating_add(self.rng.below(self.mood.stream_us + 1));
        match taken {
            Ok(Progress::More(receiving)) => {
                stream.stage = Stage::Coming(receiving);
                self.streams.insert(number, stream);
                self.agenda.after(time.min(PATIENCE), Plan::Stream(number));
            }
            Ok(Progress::Whole(received)) => {
                self.counts.add("stream: whole");
                self.streams.insert(number, stream);
                let transfer = Transfer(number);
                self.tell(to, Event::SnapshotEnded { transfer, received: Some(Box::new(received)) });
                self.agenda.after(NOTICED, Plan::Stream(number));
            }
            Err(error) => {
                self.counts.add(match error {
                    SnapshotError::Disk(_) => "stream: disk failed",
                    _ => "stream: found damaged",
                });
                self.streams.insert(number, stream);
                self.tell(to, Event::SnapshotEnded { transfer: Transfer(number), received: None });
                self.agenda.after(NOTICED, Plan::Stream(number));
            }
        }
    }

    /// The receiver's node takes the state.
    pub(super) fn take_stream(&mut self, target: Target, transfer: Transfer, receiver: Receiver) {
        let Transfer(number) = transfer;
        let Some(mut stream) = self.streams.remove(&number) else {
            return self.tell(target.server, Event::SnapshotEnded { transfer, received: None });
        };
        let Stage::Offered(first) = &stream.stage else { return self.cut_stream(number, stream) };
        let begun = receiver.begin(first);
        if self.notice_power(target) {
            return self.cut_stream(number, stream);
        }
        if let Ok(receiving) = begun {
            stream.stage = Stage::Coming(Box::new(receiving));
            self.streams.insert(number, stream);
            self.go_on(number);
        } else {
            stream.stage = Stage::Ended;
            self.streams.insert(number, stream);
            self.tell(target.server, Event::SnapshotEnded { transfer, received: None });
        }
    }

    /// The receiver's node has decided.
    pub(super) fn answer_stream(&mut self, me: usize, transfer: Transfer, installed: bool) {
        let Some(stream) = self.streams.remove(&transfer.0) else { return };
        let now = self.agenda.now();
        self.trace.note(now, 61, u64::from(installed));
        self.trace.say(now, || format!("s{me} has {} the state at {}", verdict(installed), stream.at));
        let heard = self.network.reaches(me, stream.from.server);
        let event = (stream.from, stream.to, stream.session, installed && heard);
        self.agenda.after(self.options.latency_us, Plan::Streamed(event.0, event.1.server, event.2, event.3));
    }

    /// Both ends find out that a stream is no more.
    fn cut_stream(&mut self, number: u64, stream: Stream) {
        let Stream { from, to, session, stage, .. } = stream;
        self.agenda.after(NOTICED, Plan::Streamed(from, to.server, session, false));
        let received = match stage {
            Stage::Coming(receiving) => receiving.cut().map(Box::new),
            Stage::Begun | Stage::Offered(_) | Stage::Ended => None,
        };
        // Whoever has it whole decides for itself; whoever was only asked is told when it takes it.
        if self.servers[to.server].boot == to.boot {
            self.tell(to.server, Event::SnapshotEnded { transfer: Transfer(number), received });
        }
    }

    /// A sender hears what came of its state.
    pub(super) fn streamed(&mut self, target: Target, to: usize, session: u64, installed: bool) {
        if self.servers[target.server].boot == target.boot {
            let peer = NodeId(to as u64 + 1);
            self.tell(target.server, Event::SnapshotSent { peer, session, installed });
        }
    }

    fn tell(&mut self, me: usize, event: Event) {
        let told = self.servers[me].process().map(|process: &mut Process| process.inbox.done.push(event));
        if told.is_some() {
            self.wake(me);
        }
    }
}

fn verdict(installed: bool) -> &'static str {
    if installed { "made current" } else { "not taken" }
}
