//! What the log forgets, and the state that takes its place: discarding, sending a state, receiving one.
//!
//! Every decision of these is here; drivers forward. The rules:
//! - The log is discarded at most up to what the state holds durably. A tail stays for followers that lag a little, and
//!   so does what follows a state that is on its way to one, unless the log takes more than it may.
//! - One state is received at a time. It is made current when it is whole, brings something new, and no flush of the old
//!   one is under way; no flush begins meanwhile, and the core applies nothing.
//! - The sender hears in every case what came of it.

use std::collections::{BTreeMap, VecDeque};

use protocol::{Refused, Response};
use raft::{Index, NodeId, Position};

use super::Node;
use crate::{
    event::{Action, Caller, Transfer},
    instruments::{Mark, Mutant, mark, mutant},
    log::{Discard, Discarded},
    snapshot::{Head, Received},
    state::{Install, Installed, StateError},
};

/// How much of the log stays although the state holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Entries behind the state's last flush.
    pub entries: u64,
    /// While the log takes more bytes than this, only what the state does not hold stays.
    pub bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 1024 * 1024 * 1024 }
    }
}

/// Most states that are on their way to others, those of lost leaderships among them.
const MOST_SENDING: usize = 8;
/// Most clients that wait for the log to be discarded.
const MOST_COMPACTING: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Forgetting {
    pub(super) keeping: Keeping,
    /// By whom a state is awaited, in which attempt, and how far it goes.
    pub(super) sending: BTreeMap<(NodeId, u64), Position>,
    incoming: Option<Incoming>,
    compacting: Vec<Compaction>,
    /// For each discarding that the log was told, who waits for it.
    discards: VecDeque<Vec<Caller>>,
}

struct Incoming {
    transfer: Transfer,
    stage: Stage,
}

enum Stage {
    Coming,
    Whole(Box<Received>),
    Installing,
}

/// A client that waits for everything up to `until` to be in the state's file, and then for the log.
struct Compaction {
    caller: Caller,
    until: Index,
    deadline_ms: u64,
}

impl Forgetting {
    /// Whether the state should be flushed though it is not due.
    pub(super) fn wants_flush(&self, flushed: Index) -> bool {
        self.compacting.iter().any(|compaction| compaction.until > flushed)
    }

    /// Whether no flush may begin: another state takes the place of this one.
    pub(super) fn forbids_flush(&self) -> bool {
        let taking = |incoming: &Incoming| !matches!(incoming.stage, Stage::Coming);
        self.incoming.as_ref().is_some_and(taking) && !mutant(Mutant::InstallsDuringFlush)
    }
}

impl Node {
    /// The same node, which keeps so much of its log.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.forgetting.keeping = keeping;
        self
    }

    /// The core wants a state to be sent.
    pub(super) fn send_snapshot(&mut self, peer: NodeId, session: u64) -> Result<(), StateError> {
        if self.forgetting.sending.len() >= MOST_SENDING {
            self.raft.snapshot_sent(peer, session, None);
            return Ok(());
        }
        let sending = self.state.sending()?;
        self.forgetting.sending.insert((peer, session), sending.head().at);
        self.actions.push(Action::SendSnapshot { peer, session, sending: Box::new(sending) });
        Ok(())
    }

    /// What came of a state that was sent.
    pub(super) fn snapshot_sent(&mut self, peer: NodeId, session: u64, installed: bool) {
        let at = self.forgetting.sending.remove(&(peer, session));
        let installed = at.filter(|_| installed).map(|at| at.index);
        self.raft.snapshot_sent(peer, session, installed);
    }

    /// A peer begins to send a state.
    pub(super) fn snapshot_offered(&mut self, transfer: Transfer, head: Head) {
        let status = self.raft.status();
        let wanted = self.forgetting.incoming.is_none()
            && head.cluster == self.members.cluster()
            && head.at.index > status.commit;
        if !wanted {
            mark(Mark::SnapshotUnwanted);
            return self.actions.push(Action::AnswerSnapshot { transfer, installed: false });
        }
        self.forgetting.incoming = Some(Incoming { transfer, stage: Stage::Coming });
        let receiver = Box::new(self.state.receiver());
        self.actions.push(Action::ReceiveSnapshot { transfer, receiver });
    }

    /// A state that came in is whole, or there will be no more of it.
    pub(super) fn snapshot_ended(&mut self, transfer: Transfer, received: Option<Box<Received>>) {
        let coming = |incoming: &&mut Incoming| {
            incoming.transfer == transfer && matches!(incoming.stage, Stage::Coming)
        };
        let Some(incoming) = self.forgetting.incoming.as_mut().filter(coming) else { return };
        match received {
            Some(received) if self.raft.accepts_snapshot(received.position()) => {
                incoming.stage = Stage::Whole(received);
            }
            received => {
                if received.is_none() {
                    mark(Mark::SnapshotCut);
                }
                self.forgetting.incoming = None;
                self.actions.push(Action::AnswerSnapshot { transfer, installed: false });
            }
        }
    }

    /// Makes a state current that waits for it, once nothing is written to the old one.
    pub(super) fn install_if_ready(&mut self) {
        if self.state.flushing() && !mutant(Mutant::InstallsDuringFlush) {
            return;
        }
        let Some(incoming) = &mut self.forgetting.incoming else { return };
        if let Stage::Whole(_) = incoming.stage
            && let Stage::Whole(received) = std::mem::replace(&mut incoming.stage, Stage::Installing)
        {
            self.actions.push(Action::Install(Box::new(Install::new(*received))));
        }
    }

    /// Another state took the place of this one.
    pub(super) fn installed(&mut self, installed: Installed) {
        let at = installed.position();
        let old = std::mem::replace(&mut self.state, installed.into_state());
        self.actions.push(Action::Retire(Box::new(old)));
        self.raft.snapshot_installed(at, self.state.membership().cloned());
        let is_last = self.raft.status().last == at;
        self.clock.install(self.state.stamp_ms(), is_last, self.now);
        if let Some(Incoming { transfer, .. }) = self.forgetting.incoming.take() {
            self.actions.push(Action::AnswerSnapshot { transfer, installed: true });
        }
    }

    /// The state holds more, so the log may hold less.
    pub(super) fn discard(&mut self) {
        let flushed = self.state.flushed().index;
        let durable = |compaction: &mut Compaction| compaction.until <= flushed;
        let asked: Vec<Caller> =
            self.forgetting.compacting.extract_if(.., durable).map(|compaction| compaction.caller).collect();
        let most = if mutant(Mutant::DiscardsBeyondState) { self.state.applied().index } else { flushed };
        if mutant(Mutant::DiscardsNothing) {
            return;
        }
        let keeping = self.forgetting.keeping;
        let mut to = Index(flushed.0.saturating_sub(keeping.entries));
        if !asked.is_empty() || mutant(Mutant::DiscardsBeyondState) {
            to = most;
        }
        if let Some(sent) = self.forgetting.sending.values().map(|at| at.index).min()
            && sent < to
        {
            mark(Mark::SnapshotHoldsLog);
            to = sent;
        }
        self.forgetting.discards.push_back(asked);
        self.actions.push(Action::Discard(Discard { to, most, bytes: keeping.bytes }));
    }

    /// The log was discarded.
    pub(super) fn discarded(&mut self, discarded: Discarded) {
        self.raft.discarded(discarded.position.index);
        let callers = self.forgetting.discards.pop_front().unwrap_or_default();
        for caller in callers {
            let (before, after) = discarded.bytes;
            let response = Response::Compacted {
                discarded: discarded.position.index.0,
                freed: before.saturating_sub(after),
                bytes: after,
            };
            self.reply(caller, Ok(response));
        }
    }

    /// Somebody asks for the log to be discarded as far as that goes.
    pub(super) fn compact(&mut self, caller: Caller, deadline_ms: u64) {
        if self.forgetting.compacting.len() >= MOST_COMPACTING {
            let what = "the queue of wishes to discard the log".to_owned();
            return self.reply(caller, Err(Refused::Busy { what }));
        }
        mark(Mark::CompactionAsked);
        let until = self.state.applied().index;
        self.forgetting.compacting.push(Compaction { caller, until, deadline_ms });
        if self.state.flushed().index >= until {
            self.discard();
        }
    }

    /// Time passes for those who wait.
    pub(super) fn expire_compactions(&mut self) {
        let now = self.now.monotonic_ms;
        let late = |compaction: &mut Compaction| compaction.deadline_ms <= now;
        for compaction in self.forgetting.compacting.extract_if(.., late).collect::<Vec<_>>() {
            let why = "the state could not be written in time, so the log stays".to_owned();
            self.reply(compaction.caller, Err(Refused::Unavailable(why)));
        }
        // A state that was received may hold what they wait for, without a flush.
        let flushed = self.state.flushed().index;
        if self.forgetting.compacting.iter().any(|compaction| compaction.until <= flushed) {
            self.discard();
        }
    }
}
