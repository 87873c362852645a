//! What can happen to a node and what it can want done: two closed enums, the whole surface between the
//! deterministic [`Node`](crate::node::Node) and whatever drives it.

use std::time::Duration;

use protocol::{Member, RequestFrame, ResponseFrame};
use raft::{Envelope, Fetch, Fetched, NodeId, Persist, Ticket};

use crate::{
    log::{Discard, Discarded},
    members::Members,
    snapshot::{Head, Received, Receiver, Sending},
    state::{Flush, Flushed, Install, Installed, State, view::View},
};

/// Which request of which connection an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// Numbered by the driver, never used twice in a run.
    pub connection: u64,
    /// [`RequestFrame::id`].
    pub request: u64,
}

/// Which state that comes in from a peer: numbered by the driver, never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transfer(pub u64);

/// What happened.
pub enum Event {
    /// Time passed: one tick of the core.
    Tick(Time),
    /// It is so late, by the same clocks as those of a tick. What a client asked after this carries a stamp that is not of
    /// before it was asked: only so does nothing that is to last for a time end early.
    Time(Time),
    /// A peer said something. Sender and cluster were checked against its certificate.
    Peer(Envelope),
    /// A client asked something.
    Client {
        /// Where the answer goes.
        caller: Caller,
        /// What was asked.
        frame: RequestFrame,
    },
    /// A write of the log is durable.
    Persisted(Ticket),
    /// Older entries were read from the log.
    Fetched(Fetched),
    /// The state's flush is durable.
    Flushed(Flushed),
    /// Segments of the log that were not needed are gone.
    Discarded(Discarded),
    /// What came of [`Action::SendSnapshot`].
    SnapshotSent {
        /// To whom.
        peer: NodeId,
        /// In which attempt.
        session: u64,
        /// Whether the peer says that it made the state current.
        installed: bool,
    },
    /// A peer begins to send a state.
    SnapshotOffered {
        /// Which.
        transfer: Transfer,
        /// What it begins with.
        head: Head,
    },
    /// After [`Action::ReceiveSnapshot`]: the state is whole and durable, or there will be no more of it.
    SnapshotEnded {
        /// Which.
        transfer: Transfer,
        /// The state, when it is whole.
        received: Option<Box<Received>>,
    },
    /// After [`Action::Install`]: the state is current.
    Installed(Box<Installed>),
    /// Messages to this peer do not get through.
    Unreachable(NodeId),
    /// A write of the log found no room on the disk, or the one after [`Action::RetryLog`] did or did not. What found none waits,
    /// and [`Event::Persisted`] comes once it is durable.
    LogFull(bool),
    /// The state's flush waits for room on the disk, or does no more.
    StateFull(bool),
    /// The process is about to end: another server should lead by then. See [`Node::has_left`](crate::node::Node).
    Leave,
}

/// The clocks at one moment. Both are arguments, so that a simulator can hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Milliseconds since the process started; never goes back.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970; carried for display, never decided on.
    pub wall_ms: u64,
}

/// What is to be done. All of it may be done at once and in any order, except that the writes of the log keep
/// theirs.
pub enum Action {
    /// Make durable, then [`Event::Persisted`].
    Persist(Persist),
    /// Send to a peer; may be lost.
    Send(Envelope),
    /// Read from the log, then [`Event::Fetched`].
    Fetch(Fetch),
    /// Remove segments of the log, after the writes before this, then [`Event::Discarded`].
    Discard(Discard),
    /// Send a state to a peer, then [`Event::SnapshotSent`] whatever came of it.
    SendSnapshot {
        /// To whom.
        peer: NodeId,
        /// In which attempt.
        session: u64,
        /// The state.
        sending: Box<Sending>,
    },
    /// Take the state that is offered, then [`Event::SnapshotEnded`].
    ReceiveSnapshot {
        /// Which.
        transfer: Transfer,
        /// Where it goes.
        receiver: Box<Receiver>,
    },
    /// Tell the peer what became of its state.
    AnswerSnapshot {
        /// Which.
        transfer: Transfer,
        /// Whether it is current now.
        installed: bool,
    },
    /// Make a state current on the thread that writes the state, then [`Event::Installed`].
    Install(Box<Install>),
    /// A state that is not used any more: let it go on another thread, which may take a while.
    Retire(Box<State>),
    /// Answer a client; dropped when it has gone.
    Reply {
        /// The connection.
        connection: u64,
        /// The answer.
        frame: ResponseFrame,
    },
    /// Hand a view of the state to the client that asked for a scan; dropped when it has gone.
    View {
        /// Who asked.
        caller: Caller,
        /// The rows at this moment.
        view: Box<View>,
    },
    /// Hand the state to the client that saves a backup; dropped when it has gone.
    Save {
        /// Who asked.
        caller: Caller,
        /// The state as it is in its file.
        sending: Box<Sending>,
    },
    /// Write the state's frozen overlay on another thread, then [`Event::Flushed`].
    Flush(Flush),
    /// Try once more to write what found no room in the log, then [`Event::LogFull`].
    RetryLog,
    /// Something about the node's disk is worth an event.
    Notice(Notice),
    /// The members, or whom this node speaks to, are others than before.
    Members {
        /// As they are now.
        members: Box<Members>,
        /// To whom messages may go.
        peers: Vec<Member>,
    },
    /// The role or the known leader changed: worth a line in the log.
    Changed(Standing),
}

/// Where a node stands in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: raft::RoleName,
    /// Its term.
    pub term: raft::Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
}

/// What a node has to say of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is no room on it. The node leads no more, if it did.
    Full {
        /// Whether it led.
        led: bool,
        /// Whether it is the log's: if not, it is the state's.
        log: bool,
    },
    /// There is room again.
    Room {
        /// After so long.
        after_ms: u64,
    },
    /// It did not answer for so long that the node leads no more.
    Hangs,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { led, log } => {
                let what = if *log { "the log" } else { "the state" };
                let led = if *led { "it leads no more, and " } else { "" };
                write!(
                    f,
                    "the disk has no room for {what}: {led}takes no writes until there is; it tries again by itself"
                )
            }
            Self::Room { after_ms } => {
                let seconds = Duration::from_millis(*after_ms).as_secs_f64();
                write!(f, "the disk has room again, after {seconds:.1} s")
            }
            Self::Hangs => {
                write!(f, "the disk did not answer for two election timeouts: it leads no more")
            }
        }
    }
}
