//! The only loop that knows time, threads and sockets. It decides nothing: events go into the node, actions come out.
//!
//! One thread runs this loop and every connection; the log has a thread, and so has the state's flush. A hand-off
//! between threads costs about 40 µs on an idle machine, so there are no more. Whatever queues while the node or
//! the disk is busy is taken as one batch next time: there are no timers but the tick.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{Refused, Request, RequestFrame, Response, ResponseFrame};
use raft::{Envelope, NodeId};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clients::{Replies, Streams},
    event::{Action, Caller, Event, Standing, Time, Transfer},
    journal,
    links::Links,
    log_thread::{LogTask, StoreTask},
    members::Members,
    metrics::Meters,
    node::{Figures, Node},
    saves,
    scans::Answer,
    snapshot::Head,
    state::StateError,
    streaming::{Coming, Streaming},
    supervisor::Watchdog,
    watches,
};

/// Most events handled before the node is asked what to do: a bound on how long a disk or a peer waits.
const BATCH: usize = 1024;

/// Most client requests waiting for the node; beyond it the connection answers `busy` itself.
pub(crate) const CLIENT_QUEUE: usize = 16 * 1024;
/// Most peer messages waiting for the node; beyond it they are lost, as on a network.
pub(crate) const PEER_QUEUE: usize = 4 * 1024;

/// Why the loop ended on its own. Each ends the process: a node that cannot trust its disk must not go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The state could not be read, written or applied to.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log could not be written, or its sync failed.
    #[error("the log failed: {0}")]
    Log(String),
    /// A thread this node cannot do without has ended.
    #[error("{0} has ended")]
    ThreadEnded(&'static str),
}

/// What the rest of the process tells the loop.
pub(crate) enum Input {
    /// Goes to the node.
    Event(Event),
    /// A client connected: its answers go here.
    Connected(u64, Replies),
    /// A client asks something since `at`.
    Asked { caller: Caller, frame: RequestFrame, at: Instant },
    /// A peer offers a state.
    Offered { transfer: Transfer, head: Head, coming: Coming },
    /// A client asks for a scan or a watch since `at`; the view with which that begins goes to `answer`.
    Scan { caller: Caller, frame: RequestFrame, at: Instant, answer: oneshot::Sender<Answer> },
    /// A client asks for a backup since `at`; what comes of it goes to `answer`.
    Save { caller: Caller, frame: RequestFrame, at: Instant, answer: oneshot::Sender<saves::Answer> },
    /// Another server says where it is reached.
    Heard { from: NodeId, address: String },
    /// Watches want a view of a moment after this revision, when there is one.
    WatchFrom(u64),
    /// Somebody wants to see the node's numbers.
    Look(oneshot::Sender<Figures>),
    /// The log or the store failed; the loop ends with this.
    Failed(DriverError),
}

/// The queues into the loop. Peers and clients are bounded apart, so that neither starves the other; what the log and
/// the store report is bounded by what they were asked.
pub(crate) struct Queues {
    pub(crate) done: mpsc::UnboundedReceiver<Input>,
    pub(crate) peers: mpsc::Receiver<Input>,
    pub(crate) clients: mpsc::Receiver<Input>,
}

/// What the loop hands work to.
pub(crate) struct Outputs {
    pub(crate) log: thread_channel::Sender<LogTask>,
    pub(crate) store: thread_channel::Sender<StoreTask>,
    pub(crate) watches: thread_channel::Sender<watches::Job>,
    /// Carries states to and from other servers.
    pub(crate) streaming: Streaming,
    pub(crate) links: Links,
    /// Where everything around the loop looks up who is in the cluster.
    pub(crate) directory: tokio::sync::watch::Sender<Arc<Members>>,
    /// What is counted and timed here.
    pub(crate) meters: Arc<Meters>,
    /// Told of every change of standing.
    pub(crate) changed: Box<dyn Fn(Standing) + Send>,
    /// Sees that the loop turns.
    pub(crate) watchdog: Watchdog,
    /// Fills in what only the process knows of itself.
    pub(crate) finish_status: Box<dyn Fn(&mut protocol::NodeStatus) + Send>,
    /// Tells new connections where the node stands.
    pub(crate) welcome: tokio::sync::watch::Sender<crate::clients::Greeting>,
}

/// Runs a node until `stop` says so or its disk fails.
pub(crate) struct Driver {
    node: Node,
    outputs: Outputs,
    clients: Streams,
    /// Scans and watches that the node has not answered; they have places, so there are not many.
    scans: HashMap<u64, oneshot::Sender<Answer>>,
    /// The same of backups.
    saves: HashMap<u64, oneshot::Sender<saves::Answer>>,
    /// Watches want a view of a moment after this revision.
    watched: Option<u64>,
    started: Instant,
    /// What the node takes for the present.
    ticked: Instant,
}

impl Driver {
    pub(crate) fn new(node: Node, outputs: Outputs) -> Self {
        let (clients, scans, saves) = (Streams::new(), HashMap::new(), HashMap::new());
        let started = Instant::now();
        Self { node, outputs, clients, scans, saves, watched: None, started, ticked: started }
    }

    /// The loop.
    pub(crate) async fn run(
        mut self,
        mut queues: Queues,
        tick: Duration,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), DriverError> {
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut done, mut peers, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        let mut leaving = false;
        while !(leaving && self.node.has_left()) {
            tokio::select! {
                biased;
                _ = &mut stop, if !leaving => {
                    leaving = true;
                    self.node.handle(Event::Leave)?;
                }
                _ = ticks.tick() => self.tick()?,
                count = queues.done.recv_many(&mut done, BATCH) => closed(count, "the log thread")?,
                count = queues.peers.recv_many(&mut peers, BATCH) => closed(count, "the peers' task")?,
                count = queues.clients.recv_many(&mut clients, BATCH) => closed(count, "the clients' task")?,
            }
            // What else came meanwhile belongs to the same batch.
            drain(&mut queues.peers, &mut peers);
            drain(&mut queues.clients, &mut clients);
            while let Ok(input) = queues.done.try_recv() {
                done.push(input);
            }
            for input in done.drain(..) {
                self.take(input)?;
            }
            // After all of it came: nothing gets a stamp of before it was asked or sent.
            if !peers.is_empty() || !clients.is_empty() {
                self.node.handle(Event::Time(self.now()))?;
            }
            for input in peers.drain(..) {
                self.take(input)?;
            }
            for input in clients.drain(..) {
                self.take(input)?;
            }
            self.act()?;
            self.outputs.watchdog.turned();
        }
        // What was answered in the last turn leaves before the connections are closed.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn take(&mut self, input: Input) -> Result<(), DriverError> {
        match input {
            Input::Event(event) => self.node.handle(event)?,
            Input::Connected(connection, replies) => {
                self.clients.connected(connection, replies);
            }
            Input::Asked { caller, frame, at } => {
                self.outputs.meters.asked(&frame.request);
                match frame.request {
                    Request::Status => self.status(caller),
                    _ => self.ask(caller, frame, at)?,
                }
            }
            Input::Scan { caller, frame, at, answer } => {
                self.outputs.meters.asked(&frame.request);
                self.scans.insert(caller.connection, answer);
                self.ask(caller, frame, at)?;
            }
            Input::Save { caller, frame, at, answer } => {
                self.outputs.meters.asked(&frame.request);
                self.saves.insert(caller.connection, answer);
                self.ask(caller, frame, at)?;
            }
            Input::Offered { transfer, head, coming } => {
                self.outputs.streaming.offered(transfer, coming);
                self.node.handle(Event::SnapshotOffered { transfer, head })?;
            }
            Input::Heard { from, address } => self.outputs.links.heard(from, address),
            Input::WatchFrom(above) => self.watched = Some(above),
            // Whoever asked may have gone.
            Input::Look(answer) => drop(answer.send(self.node.figures())),
            Input::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), StateError> {
        self.ticked = Instant::now();
        let now = self.now();
        self.node.handle(Event::Tick(now))
    }

    fn ask(&mut self, caller: Caller, mut frame: RequestFrame, at: Instant) -> Result<(), StateError> {
        let waited = u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX);
        frame.deadline_ms = frame.deadline_ms.saturating_sub(waited);
        // What the node takes for fresh is older by what has passed since it was last told the time.
        let late = millis(self.ticked.elapsed());
        match &mut frame.request {
            Request::Get { consistency, .. } => *consistency = consistency.after(late),
            Request::Scan(scan) => scan.consistency = scan.consistency.after(late),
            _ => {}
        }
        self.node.handle(Event::Client { caller, frame })
    }

    /// Whoever waits for a view or a backup hears of nothing else.
    fn reply(&mut self, connection: u64, frame: &ResponseFrame) {
        if let Err(refused) = &frame.result {
            self.outputs.meters.refused(refused);
        }
        match (self.scans.remove(&connection), self.saves.remove(&connection), &frame.result) {
            (Some(answer), _, Err(refused)) => drop(answer.send(Err(refused.clone()))),
            (_, Some(answer), Err(refused)) => drop(answer.send(Err(refused.clone()))),
            _ => self.clients.reply(connection, frame),
        }
    }

    fn act(&mut self) -> Result<(), DriverError> {
        for action in self.timed_actions()? {
            match action {
                Action::Persist(persist) => self.log(LogTask::Persist(persist))?,
                Action::Fetch(fetch) => self.log(LogTask::Fetch(fetch))?,
                Action::Send(envelope) => self.send(envelope)?,
                Action::Reply { connection, frame } => self.reply(connection, &frame),
                Action::View { caller, view } => {
                    if let Some(answer) = self.scans.remove(&caller.connection) {
                        let _ = answer.send(Ok(view));
                    }
                }
                Action::Save { caller, sending } => {
                    if let Some(answer) = self.saves.remove(&caller.connection) {
                        let _ = answer.send(Ok(sending));
                    }
                }
                Action::Flush(flush) => self.store(StoreTask::Flush(flush))?,
                Action::Install(install) => self.store(StoreTask::Install(install))?,
                Action::Retire(state) => self.store(StoreTask::Retire(state))?,
                Action::Discard(discard) => self.log(LogTask::Discard(discard))?,
                Action::SendSnapshot { peer, session, sending } => {
                    self.outputs.streaming.send(peer, session, *sending);
                }
                Action::ReceiveSnapshot { transfer, receiver } => {
                    self.outputs.streaming.receive(transfer, *receiver);
                }
                Action::AnswerSnapshot { transfer, installed } => {
                    self.outputs.streaming.answer(transfer, installed);
                }
                Action::RetryLog => self.log(LogTask::Retry)?,
                Action::Notice(notice) => self.outputs.meters.notice(notice),
                Action::Members { members, peers } => {
                    let members = Arc::new(*members);
                    let before = self.outputs.directory.send_replace(Arc::clone(&members));
                    if let Some(what) = journal::membership::change(before.list(), members.list()) {
                        let term = self.node.standing().term.0;
                        self.outputs.meters.journal.note("membership", Some(term), None, what);
                    }
                    self.outputs.links.follow(&peers);
                }
                Action::Changed(standing) => {
                    self.outputs.meters.changed(&standing);
                    (self.outputs.changed)(standing);
                }
            }
        }
        if self.watched.take_if(|above| self.node.applied() > *above).is_some() {
            let view = Box::new(self.node.look());
            let shown = self.outputs.watches.send(watches::Job::View(view));
            shown.map_err(|_| DriverError::ThreadEnded("the watch thread"))?;
        }
        let greeting = crate::clients::Greeting::of(&self.node);
        self.outputs.welcome.send_if_modified(|current| {
            let changed = *current != greeting;
            *current = greeting;
            changed
        });
        Ok(())
    }

    /// What is to be done. What the node took to find out is the time of applying, where it applied anything.
    fn timed_actions(&mut self) -> Result<Vec<Action>, StateError> {
        let (before, began) = (self.node.applied(), Instant::now());
        let actions = self.node.actions()?;
        let applied = self.node.applied().saturating_sub(before);
        if applied > 0 {
            self.outputs.meters.apply.observe(began.elapsed());
            self.outputs.meters.applied_entries.add(applied);
        }
        Ok(actions)
    }

    fn log(&self, task: LogTask) -> Result<(), DriverError> {
        self.outputs.log.send(task).map_err(|_| DriverError::ThreadEnded("the log thread"))
    }

    fn store(&self, task: StoreTask) -> Result<(), DriverError> {
        self.outputs.store.send(task).map_err(|_| DriverError::ThreadEnded("the store thread"))
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), DriverError> {
        let to = envelope.to;
        if self.outputs.links.send(envelope) {
            return Ok(());
        }
        if let Some(meter) = self.outputs.meters.peer(to) {
            meter.lost.add(1);
        }
        Ok(self.node.handle(Event::Unreachable(to))?)
    }

    fn status(&mut self, caller: Caller) {
        let mut status = self.node.status();
        (self.outputs.finish_status)(&mut status);
        let result: Result<Response, Refused> = Ok(Response::Status(Box::new(status)));
        self.clients.reply(caller.connection, &ResponseFrame { id: caller.request, result });
    }

    fn now(&self) -> Time {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { monotonic_ms: millis(self.started.elapsed()), wall_ms: millis(wall) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn closed(received: usize, who: &'static str) -> Result<(), DriverError> {
    if received == 0 { Err(DriverError::ThreadEnded(who)) } else { Ok(()) }
}

fn drain<T>(queue: &mut mpsc::Receiver<T>, into: &mut Vec<T>) {
    while into.len() < BATCH {
        match queue.try_recv() {
            Ok(item) => into.push(item),
            Err(_) => break,
        }
    }
}

/// Starts a named thread.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}
