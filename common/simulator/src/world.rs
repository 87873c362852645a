//! Everything there is in a run, and the loop that makes it happen: one thread, one seed.
//!
//! | file | what |
//! | --- | --- |
//! | `world/serving.rs` | the loop of a server |
//! | `world/threads.rs` | the two threads under it |
//! | `world/streaming.rs` | states that go from one server to another |
//! | `world/living.rs` | starts and ends of servers |
//! | `world/scanning.rs` | scans, page by page |
//! | `world/calling.rs` | clients, decided by the production client's own rules |
//! | `world/lying.rs` | clients that are wrong |
//! | `world/leasing.rs` | leases as clients use them |
//! | `world/harming.rs` | which fault comes when |
//! | `world/changing.rs` | wishes that others should be members |
//! | `world/leading.rs` | wishes that another should lead, ends that are announced |
//! | `world/rotting.rs` | which bits flip |
//! | `world/healing.rs` | the end of faults, and what must then come true |

mod calling;
mod changing;
mod filling;
mod greeting;
mod harming;
mod healing;
mod leading;
mod leasing;
mod living;
mod lying;
mod remembering;
mod rotting;
mod scanning;
mod serving;
mod streaming;
mod threads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kvd::event::Caller;
use protocol::{RequestFrame, ResponseFrame};
use raft::NodeId;
use testkit::{history::Operation, rng::Rng};

pub use self::calling::Client;
use crate::{
    agenda::Agenda,
    counts::Counts,
    network::{Cuts, Network},
    options::Options,
    server::Server,
    trace::Trace,
    watch::Watch,
    world::{calling::Attempt, greeting::Withheld, harming::Harm},
};

/// Anything planned.
pub enum Plan {
    /// A tick of a server's clock.
    Tick(Target),
    /// A server's loop runs.
    Loop(Target),
    /// A batch of the log ends.
    LogDone(Target),
    /// A flush of the state ends.
    StoreDone(Target),
    /// The log was idle since so many batches.
    Idle(Target, u64),
    /// A frame arrives from another server.
    Arrives {
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// What the codec made of the message.
        frame: Arc<[u8]>,
    },
    /// A server learns that a peer does not get its messages.
    Unreachable(Target, NodeId),
    /// A request arrives at a server.
    Request {
        /// Where.
        to: usize,
        /// Whose.
        caller: Caller,
        /// What.
        frame: Box<RequestFrame>,
    },
    /// The next page of a scan is made, for this attempt.
    Page(Target, u64),
    /// An answer arrives at a client.
    Answer {
        /// The server.
        from: usize,
        /// The answer; its connection is the client.
        client: usize,
        /// The frame.
        frame: Box<ResponseFrame>,
    },
    /// A client's connection to a server is found to be gone, with the attempts that it then had.
    Dropped(usize, Vec<u64>),
    /// A client's time has come for something, if it is still at this step.
    Client(usize, u64, calling::Timer),
    /// The next thing happens to a state on its way.
    Stream(u64),
    /// A sender hears what came of its state: to whom, in which attempt, and whether it is current there.
    Streamed(Target, usize, u64, bool),
    /// A server is started.
    Start(Target),
    /// A paused server goes on.
    Resume(Target),
    /// A new leader is hit.
    Usurp(Target),
    /// A server that has just voted ends, and is soon back.
    Blink(Target),
    /// A server loses its power.
    Unplug(usize),
    /// The network is whole again, if its cuts are still those of this number.
    Whole(u64),
    /// A fault is due.
    Harm(Harm),
}

/// A server's process: what is planned for one is void for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: usize,
    /// [`Server::boot`](crate::server::Server) of the process.
    pub boot: u64,
}

/// See the module.
pub struct World {
    /// What this run is made of.
    pub options: Options,
    /// Clock and plans.
    pub agenda: Agenda<Plan>,
    /// The servers.
    pub servers: Vec<Server>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Between the servers.
    pub network: Network,
    /// Judges.
    pub watch: Watch,
    /// Records.
    pub trace: Trace,
    /// Counts.
    pub counts: Counts,
    /// What clients did and saw.
    pub history: Vec<Operation>,
    /// What they did to counters.
    ledger: calling::Ledger,
    /// What clients know of leases.
    granted: leasing::Granted,
    streams: BTreeMap<u64, streaming::Stream>,
    streamed: u64,
    moment: u64,
    attempts: BTreeMap<u64, Attempt>,
    attempted: u64,
    rng: Rng,
    /// Whether faults are over.
    calm: bool,
    /// Servers whose disks complete nothing any more.
    hung: Vec<bool>,
    /// Servers that stay broken when the others are healed.
    lost: Vec<bool>,
    /// While a partition is on, the side of each client and, above 32 bits, of each server.
    sides: Option<u64>,
    /// The options as they are at this moment: some faults rest.
    mood: Options,
    /// A cut that comes and goes, and what is cut also while it is gone.
    flapping: Option<Cuts>,
    lasting: Cuts,
    /// How often the network was cut.
    parted: u64,
    /// How much longer the next batch of each server's log takes, in microseconds.
    sluggish: Vec<u64>,
    /// Leaders and askers of whom the next answer is withheld.
    late_answers: BTreeSet<(usize, usize)>,
    /// What is withheld of them.
    withheld: BTreeMap<(usize, usize), Withheld>,
    /// How often a state was cut off on its way to a server since faults ended.
    severed: BTreeMap<usize, u64>,
    /// Servers, and those for whom a read of theirs has failed since then.
    starved: BTreeSet<(usize, u64)>,
    /// Whether a write of the healed cluster was acknowledged, and how many reads of the end are not answered.
    probed: bool,
    reads_due: u64,
    /// Servers of the healed cluster that have not served a linearizable read.
    unread: BTreeSet<usize>,
}

impl World {
    /// A cluster that is about to be started.
    pub fn new(seed: u64, options: Options, aloud: bool) -> Self {
        let (root, options) = (Rng::new(seed), options.bearable());
        let servers = usize::try_from(options.all_servers()).unwrap_or(1);
        let clients = usize::try_from(options.clients).unwrap_or(1);
        let mut world = Self {
            agenda: Agenda::new(),
            servers: (0..servers).map(|_| Server::new(crate::disk::Medium::default())).collect(),
            clients: (0..clients).map(|me| Client::new(root.fork(&format!("client {me}")))).collect(),
            network: Network::new(servers, root.fork("network")),
            watch: Watch::new(&options, crate::server::bounds(&options)),
            trace: Trace::new(aloud),
            counts: Counts::default(),
            history: Vec::new(),
            ledger: calling::Ledger::default(),
            granted: leasing::Granted::default(),
            streams: BTreeMap::new(),
            streamed: 0,
            moment: 0,
            attempts: BTreeMap::new(),
            attempted: 0,
            rng: root.fork("world"),
            calm: false,
            hung: vec![false; servers],
            sluggish: vec![0; servers],
            lost: vec![false; servers],
            sides: None,
            mood: options.clone(),
            flapping: None,
            lasting: Cuts::new(),
            parted: 0,
            late_answers: BTreeSet::new(),
            withheld: BTreeMap::new(),
            severed: BTreeMap::new(),
            starved: BTreeSet::new(),
            probed: false,
            reads_due: 0,
            unread: BTreeSet::new(),
            options,
        };
        for server in 0..servers {
            let delay = world.rng.below(50_000);
            world.agenda.after(delay, Plan::Start(Target { server, boot: 0 }));
        }
        for client in 0..clients {
            world.rest(client);
        }
        world.plan_harms();
        world
    }

    /// Lets everything happen that is planned until `until`.
    pub fn run(&mut self, until: u64) {
        while let Some(plan) = self.agenda.next(until) {
            self.happen(plan);
        }
    }

    fn happen(&mut self, plan: Plan) {
        let now = self.agenda.now();
        self.watch.it_is(now);
        match plan {
            Plan::Tick(target) => self.tick(target),
            Plan::Loop(target) => self.run_loop(target),
            Plan::LogDone(target) => self.log_done(target),
            Plan::StoreDone(target) => self.store_done(target),
            Plan::Idle(target, batches) => self.idle(target, batches),
            Plan::Arrives { from, to, frame } => self.arrives(from, to, &frame),
            Plan::Unreachable(target, peer) => self.unreachable(target, peer),
            Plan::Request { to, caller, frame } => self.request(to, caller, *frame),
            Plan::Page(target, number) => self.page(target, number),
            Plan::Answer { from, client, frame } => self.answer(from, client, *frame),
            Plan::Dropped(client, attempts) => self.dropped(client, &attempts),
            Plan::Client(client, step, timer) => self.timer(client, step, timer),
            Plan::Stream(number) => self.stream(number),
            Plan::Streamed(target, to, session, installed) => self.streamed(target, to, session, installed),
            Plan::Start(target) => self.start(target),
            Plan::Resume(target) => self.resume(target),
            Plan::Usurp(target) => self.usurp(target),
            Plan::Blink(target) => self.blink(target),
            Plan::Unplug(me) => self.unplug(me),
            Plan::Whole(parted) => self.make_whole(parted),
            Plan::Harm(harm) => {
                self.trace.note(now, 20, harm as u64);
                self.harm(harm);
            }
        }
    }

    /// The server that leads the highest term, as far as the running ones say.
    pub fn leader(&self) -> Option<usize> {
        let leads = |server: &Server| {
            let standing = server.up()?.node.standing();
            (standing.role == raft::RoleName::Leader).then_some(standing.term)
        };
        (0..self.servers.len()).filter_map(|at| Some((leads(&self.servers[at])?, at))).max().map(|(_, at)| at)
    }
}
