//! A running node: opens what is on disk, starts the threads, listens, and stops cleanly.

mod own;

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc as thread_channel},
    time::Duration,
};

use protocol::response::Member;
use raft::{NodeId, RoleName};
use tokio::sync::{mpsc, oneshot, watch};
use transport::{Accepting, CloseCode, Endpoint, Identity, Kind, TransportError};

use self::own::finish_status;
use crate::{
    bootstrap::Launch,
    clients::{self, Door, Greeting},
    config::Config,
    directory::Directory,
    disk::{Disk, Patience, PatientDisk, RealDisk},
    driver::{self, Driver, DriverError, Input, Outputs, Queues},
    event::Standing,
    journal::elections::{Elections, Note},
    links::Links,
    log::{self, Log},
    log_thread::{self, LogTask, StoreTask, run_log, run_store},
    members::Members,
    metrics::{
        self, Meters,
        meter::Held,
        serve::{About, Board, Limits, Serving},
    },
    node::Node,
    opening::{self, OpenError, Place},
    peers,
    recognition::{self, BootsError, Guard},
    saves::Saves,
    scans::{Job, Scans, run_scans},
    socket,
    state::StateLimits,
    streaming::{Gate, Streaming},
    supervisor::Supervisor,
    watches::{self, Teller, Watches},
};

/// Length of a tick. Timeouts are counted in ticks, so it bounds their precision.
const TICK: Duration = Duration::from_millis(10);
/// Most client connections at one time; one more is closed with a reason.
const CLIENT_CONNECTIONS: usize = 1000;

/// Most connections of other servers at one time: a few of each of the most members that there can be.
const SERVER_CONNECTIONS: usize = 512;

/// How long the log's last write may take when the node stops. A disk that hangs must not keep a process that has
/// failed, or was told to stop, from ending; what was not acknowledged may be lost then, as in a crash.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Why a node could not start or went down.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What is on disk could not be opened, or its core refused it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The starts on its directories could not be counted, or whom it knows not be read.
    #[error(transparent)]
    Boots(#[from] BootsError),
    /// The address could not be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, TransportError),
    /// The node stopped itself: its disk failed.
    #[error("stopped: {0}")]
    Driver(#[from] DriverError),
    /// A thread or a name could not be had from the operating system.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
}

/// What the process tells a running node.
pub struct Signals {
    /// Stop cleanly.
    pub stop: oneshot::Receiver<()>,
    /// Use these certificates for connections from now on.
    pub reload: mpsc::Receiver<Identity>,
}

/// Runs a node until it is told to stop. Must be called on a current-thread tokio runtime with everything enabled.
pub async fn run(launch: Launch, signals: Signals, supervisor: Supervisor) -> Result<(), ServeError> {
    supervisor.status("opening the log and the state");
    let (disk, patience) = PatientDisk::new(Arc::new(RealDisk));
    let (node, log) = open(&launch, &(Arc::new(disk) as Arc<dyn Disk>))?;

    let (endpoint, listen) = listen(&launch).await?;
    let endpoint = Arc::new(endpoint);
    let (done_sender, done) = mpsc::unbounded_channel();
    let (peer_inbox, peer_queue) = mpsc::channel(driver::PEER_QUEUE);
    let (client_inbox, client_queue) = mpsc::channel(driver::CLIENT_QUEUE);
    let (greeting_sender, greeting) = watch::channel(Greeting::of(&node));
    let (following, directory) = Directory::new(node.members().clone());
    let guard = guarded(&launch, &directory)?;
    let meters = Meters::new();
    note_start(&meters, &launch, node.standing());
    let threads = Threads::start((log, patience), &done_sender, &meters, greeting.clone())?;

    let (own, at, reports) = (launch.me.advertise.clone(), Arc::clone(&guard), done_sender.clone());
    let mut links = Links::new(Arc::clone(&endpoint), node.members(), own, at, reports, Arc::clone(&meters));
    links.follow(&node.reached());
    let (current_identity, identity) = watch::channel(launch.identity.clone());
    let (for_states, rate) = (Arc::clone(&endpoint), launch.config.log.snapshot_rate);
    let streaming =
        Streaming::new(for_states, directory.clone(), done_sender.clone(), rate, Arc::clone(&meters));
    let outputs = Outputs {
        log: threads.log,
        store: threads.store,
        watches: threads.watches.clone(),
        links,
        directory: following,
        streaming,
        meters: Arc::clone(&meters),
        changed: Box::new(announce(directory.clone(), supervisor.clone(), Arc::clone(&meters))),
        watchdog: supervisor.watchdog(),
        finish_status: Box::new(finish_status(&launch, identity.clone(), Arc::clone(&guard))?),
        welcome: greeting_sender,
    };
    let door = Door {
        inputs: client_inbox,
        greeting,
        directory,
        numbers: Arc::default(),
        scans: Scans::new(threads.scans),
        saves: Saves::new(rate),
        watches: Watches::new(threads.watches),
        meters: Arc::clone(&meters),
    };
    let inside = PeerDoor::new(peer_inbox, Gate::new(done_sender, Arc::clone(&meters)), guard);
    let _metrics = serve_metrics(&launch, &door, identity)?;
    let socket = socket::serve(&launch.me.data_dir, door.clone(), Arc::clone(&endpoint));
    let doorman = tokio::spawn(accept(Arc::clone(&endpoint), door, inside));
    let reloader = tokio::spawn(reload(
        Arc::clone(&endpoint),
        signals.reload,
        current_identity,
        (supervisor.clone(), Arc::clone(&meters)),
    ));

    tracing::info!(node = launch.me.name, %listen, cluster = %launch.cluster.short(), "ready");
    supervisor.started();
    let queues = Queues { done, peers: peer_queue, clients: client_queue };
    let outcome = Driver::new(node, outputs).run(queues, TICK, signals.stop).await;
    drop(socket);
    doorman.abort();
    reloader.abort();
    endpoint.close();
    leave(threads.log_thread, &launch.me.name).await;
    note_stop(&meters, &outcome);
    Ok(outcome?)
}

/// Counts this start, before anything is said, and reads whom this node knows.
fn guarded(launch: &Launch, directory: &Directory) -> Result<Arc<Guard>, BootsError> {
    let present = recognition::present(&launch.log_dir, launch.incarnation)?;
    let guard = Guard::open(&launch.log_dir, present, launch.anew, directory.clone())?;
    if guard.waits() {
        tracing::error!("not recognised: {}", guard.trouble());
    }
    Ok(Arc::new(guard))
}

/// Goes on with the journal of earlier processes.
fn note_start(meters: &Meters, launch: &Launch, standing: Standing) {
    meters.journal.keep_in(&launch.me.data_dir);
    let version = env!("CARGO_PKG_VERSION");
    meters.journal.note("start", Some(standing.term.0), None, format_args!("kvd {version}"));
}

/// The journal's last word.
fn note_stop(meters: &Meters, outcome: &Result<(), DriverError>) {
    let why = outcome.as_ref().map_or_else(ToString::to_string, |()| "it was told to".to_owned());
    meters.journal.note("stop", None, None, why);
    meters.journal.end();
}

/// What is left to do once the loop has ended.
async fn leave(log_thread: std::thread::JoinHandle<()>, node: &str) {
    // The loop has dropped its sender, so the log's thread ends after the write it is in.
    if !ends_within(log_thread, LAST_WRITE).await {
        tracing::error!("the disk does not answer; stopping without the log's last write");
    }
    // Lets the goodbye to every connection leave before the socket closes.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    tracing::info!(node, "stopped");
}

/// The threads under the loop, by what they are sent.
struct Threads {
    log: thread_channel::Sender<LogTask>,
    store: thread_channel::Sender<StoreTask>,
    scans: thread_channel::Sender<Job>,
    watches: thread_channel::Sender<watches::Job>,
    log_thread: std::thread::JoinHandle<()>,
}

impl Threads {
    fn start(
        (log, patience): (Log, Arc<Patience>),
        done: &mpsc::UnboundedSender<Input>,
        meters: &Arc<Meters>,
        greeting: watch::Receiver<Greeting>,
    ) -> Result<Self, ServeError> {
        let (log_sender, log_tasks) = thread_channel::channel();
        let (store_sender, store_tasks) = thread_channel::channel();
        let (log_done, store_done) = (done.clone(), done.clone());
        let (log_meters, store_meters) = (Arc::clone(meters), Arc::clone(meters));
        let log_thread =
            spawn("log", move || run_log(log, log_thread::IDLE, &log_tasks, &log_done, &log_meters))?;
        spawn("store", move || run_store(&store_tasks, &store_done, &store_meters, &patience))?;
        let (scan_sender, scan_jobs) = thread_channel::channel();
        let scan_done = done.clone();
        spawn("scan", move || run_scans(&scan_jobs, &scan_done))?;
        let (watch_sender, watch_jobs) = thread_channel::channel();
        let teller = Teller::new(done.clone(), greeting);
        spawn("watch", move || teller.run(&watch_jobs))?;
        let (log, store, scans, watches) = (log_sender, store_sender, scan_sender, watch_sender);
        Ok(Self { log, store, scans, watches, log_thread })
    }
}

/// Shows what is counted, where the configuration says so, until what is returned is dropped.
fn serve_metrics(
    launch: &Launch,
    door: &Door,
    identity: watch::Receiver<Identity>,
) -> Result<Option<Serving>, ServeError> {
    let Some(listen) = &launch.me.metrics else { return Ok(None) };
    let about = About {
        cluster_name: launch.config.name.clone(),
        directory: door.directory.clone(),
        state_dir: launch.state_dir.clone(),
        identity,
    };
    let board = Board::new(
        Limits::default(),
        Arc::clone(&door.meters),
        about,
        door.inputs.clone(),
        Arc::clone(&door.numbers),
    );
    let serving = metrics::serve::start(listen, board)
        .map_err(|error| ServeError::Listen(listen.clone(), TransportError::Io(error)))?;
    tracing::info!(listen = %serving.address, "serves metrics");
    Ok(Some(serving))
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, ServeError> {
    driver::spawn(name, work).map_err(|error| ServeError::System("cannot start a thread", error))
}

/// Whether the thread ends in time. If not, it is left behind for the end of the process.
async fn ends_within(thread: std::thread::JoinHandle<()>, patience: Duration) -> bool {
    let ended = tokio::task::spawn_blocking(move || thread.join());
    tokio::time::timeout(patience, ended).await.is_ok()
}

fn members(launch: &Launch) -> Members {
    let list = launch
        .config
        .servers
        .iter()
        .map(|server| Member {
            id: server.id,
            name: server.name.clone(),
            address: server.advertise.clone(),
            ..Member::default()
        })
        .collect();
    Members::new(launch.cluster, NodeId(launch.me.id), list)
}

fn open(launch: &Launch, disk: &Arc<dyn Disk>) -> Result<(Node, Log), OpenError> {
    let place = Place {
        log: &launch.log_dir,
        state: &launch.state_dir,
        cluster: launch.cluster,
        limits: StateLimits::default(),
        settings: log::Settings {
            segment_bytes: launch.config.log.segment_bytes,
            ..log::Settings::production()
        },
    };
    let opened = opening::open(disk, place)?;
    tracing::info!(
        applied = opened.state.applied().index.0,
        replay = opened.recovered.entries.len(),
        term = opened.recovered.hard.term.0,
        "opened log and state"
    );
    let (node, log) = opened.into_node(core_config(&launch.config, NodeId(launch.me.id)), members(launch))?;
    Ok((node.keeping(launch.config.log.keeping), log))
}

fn core_config(config: &Config, id: NodeId) -> raft::Config {
    let mut seed = [0; 8];
    // Without randomness the clock still tells two starts apart.
    if getrandom::fill(&mut seed).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        seed = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0).to_le_bytes();
    }
    let ticks = |duration: Duration| {
        u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
    };
    // A server that joins waits to be told who is in the cluster.
    let founders: Vec<_> = config.founders().into_iter().map(NodeId).collect();
    let founders = if founders.contains(&id) { founders } else { Vec::new() };
    raft::Config {
        id,
        voters: founders,
        election_ticks: ticks(config.timing.election_timeout),
        heartbeat_ticks: ticks(config.timing.heartbeat),
        max_append_entries: 1024,
        max_append_bytes: 1024 * 1024,
        max_inflight_appends: 64,
        max_inflight_bytes: 16 * 1024 * 1024,
        max_uncommitted_entries: 16 * 1024,
        max_uncommitted_bytes: 64 * 1024 * 1024,
        max_reads: 16 * 1024,
        max_snapshots: 2,
        cache_bytes: 64 * 1024 * 1024,
        seed: u64::from_le_bytes(seed),
    }
}

async fn listen(launch: &Launch) -> Result<(Endpoint, SocketAddr), ServeError> {
    let name = &launch.me.listen;
    let refused = |error| ServeError::Listen(name.clone(), error);
    let address = tokio::net::lookup_host(name)
        .await
        .map_err(|error| refused(TransportError::Io(error)))?
        .next()
        .ok_or_else(|| refused(TransportError::Io(std::io::Error::other("the name has no address"))))?;
    let settings = launch.transport_settings();
    let endpoint = Endpoint::server(address, &launch.identity, &settings).map_err(refused)?;
    let listen = endpoint.local_addr();
    Ok((endpoint, listen))
}

/// One line for every change of role, in words that scripts may look for; the supervisor's status says the same.
fn announce(directory: Directory, supervisor: Supervisor, meters: Arc<Meters>) -> impl Fn(Standing) + Send {
    let elections = std::cell::RefCell::new(Elections::starting(std::time::Instant::now()));
    move |standing| {
        let members = directory.now();
        let noticed = elections.borrow_mut().changed(standing, &members, std::time::Instant::now());
        if let Some(Note { kind, took, what }) = noticed {
            meters.journal.note(kind, Some(standing.term.0), took, what);
        }
        let term = standing.term.0;
        let node = members.name(members.me());
        supervisor.status(&match (standing.role, standing.leader) {
            (RoleName::Leader, _) => format!("leader in term {term}"),
            (RoleName::Follower, Some(leader)) => format!("follows {} in term {term}", members.name(leader)),
            (RoleName::Follower, None) => "waits for a leader".to_owned(),
            (RoleName::PreCandidate | RoleName::Candidate, _) => "no leader; asks to be elected".to_owned(),
        });
        match (standing.role, standing.leader) {
            (RoleName::Leader, _) => tracing::info!(node, term, role = "leader", "became leader"),
            (RoleName::Follower, Some(leader)) => {
                tracing::info!(node, term, role = "follower", leader = members.name(leader), "follows");
            }
            (RoleName::Follower, None) => tracing::info!(node, term, role = "follower", "waits for a leader"),
            (RoleName::PreCandidate, _) => {
                tracing::info!(node, term, role = "candidate", "asks whether it could win");
            }
            (RoleName::Candidate, _) => tracing::info!(node, term, role = "candidate", "stands for election"),
        }
    }
}

async fn reload(
    endpoint: Arc<Endpoint>,
    mut identities: mpsc::Receiver<Identity>,
    current: watch::Sender<Identity>,
    (supervisor, meters): (Supervisor, Arc<Meters>),
) {
    while let Some(identity) = identities.recv().await {
        match endpoint.reload(&identity) {
            Ok(()) => {
                let days = identity.days_left();
                tracing::info!(days_left = days, "certificates reloaded");
                meters.journal.note(
                    "certificates",
                    None,
                    None,
                    format_args!("reloaded, good for {days} days"),
                );
                current.send_replace(identity);
            }
            Err(error) => {
                tracing::error!(%error, "certificates not reloaded; the old ones stay in use");
                supervisor.status(&format!("certificates not reloaded: {error}"));
            }
        }
        supervisor.ready();
    }
}

/// Where what peers say goes.
#[derive(Clone)]
struct PeerDoor {
    inbox: mpsc::Sender<Input>,
    gate: Gate,
    guard: Arc<Guard>,
    places: Arc<tokio::sync::Semaphore>,
}

impl PeerDoor {
    fn new(inbox: mpsc::Sender<Input>, gate: Gate, guard: Arc<Guard>) -> Self {
        Self { inbox, gate, guard, places: Arc::new(tokio::sync::Semaphore::new(SERVER_CONNECTIONS)) }
    }
}

/// Lets everybody in who shows the right certificate.
async fn accept(endpoint: Arc<Endpoint>, door: Door, inside: PeerDoor) {
    let places = Arc::new(tokio::sync::Semaphore::new(CLIENT_CONNECTIONS));
    while let Some(accepting) = endpoint.accept().await {
        tokio::spawn(admit(accepting, door.clone(), inside.clone(), Arc::clone(&places)));
    }
}

async fn admit(accepting: Accepting, door: Door, inside: PeerDoor, places: Arc<tokio::sync::Semaphore>) {
    let accepted = match accepting.finish().await {
        Ok(accepted) => accepted,
        Err(error) => {
            door.meters.turned_away(metrics::Door::Handshake);
            tracing::warn!(%error, "connection refused");
            return;
        }
    };
    match accepted.kind {
        // A server may be added, and speak to this one, before this one hears of it: the certificate is what counts.
        Kind::Peer { node } => {
            let Ok(_place) = inside.places.try_acquire_owned() else {
                door.meters.turned_away(metrics::Door::Limit);
                return accepted.connection.close(CloseCode::Limit, "busy: too many connections of servers");
            };
            let PeerDoor { inbox, gate, guard, places: _ } = inside;
            peers::serve(accepted.connection, NodeId(node), door.directory, inbox, gate, guard).await;
        }
        Kind::Client => {
            let Ok(_place) = places.try_acquire_owned() else {
                door.meters.turned_away(metrics::Door::Limit);
                return accepted.connection.close(CloseCode::Limit, "busy: too many client connections");
            };
            door.meters.clients_accepted.add(1);
            let _open = Held::new(&door.meters, |meters| &meters.clients);
            clients::serve(accepted.connection, door).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_hangs_does_not_keep_the_process_from_ending() {
        let (release, hang) = thread_channel::channel::<()>();
        let thread = driver::spawn("hangs", move || while hang.recv().is_ok() {}).unwrap();
        assert!(!ends_within(thread, Duration::from_millis(1)).await);
        drop(release);
        let thread = driver::spawn("ends", || ()).unwrap();
        assert!(ends_within(thread, Duration::from_mins(1)).await);
    }
}
