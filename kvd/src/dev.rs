//! `kvd dev`: a whole cluster of real `kvd run` processes on this machine, for as long as this process lives.
//!
//! The nodes are children. Each one's standard input is a pipe held here and nowhere else, and a node stops when it
//! closes: however this process ends, kill -9 included, no node outlives it. A node's log lines come through its
//! standard error, which says when it is ready and who leads; they are kept beside its data.
//!
//! Without a command the context `dev` is selected for `kvctl` and `kvshell` and the former selection comes back at
//! the end. With one no file of the user's is touched: the command finds the cluster through `KVCTL_CONTEXT`.

mod cluster;
mod command;
mod folder;
mod selection;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use self::{cluster::Cluster, folder::Folder, selection::Selection};
use crate::{cli, config::ConfigError, pki::PkiError};

/// How long the nodes may take to listen and to elect a leader.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// A port noted here may be taken by another process before its node listens on it; then others are drawn.
const ATTEMPTS: usize = 3;
/// Most events that wait for the main thread.
const QUEUE: usize = 1024;

/// What the main thread waits for.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A node listens.
    Ready,
    /// A node won an election.
    Leads(String),
    /// A node's process is ending; what it said last.
    Ended { node: String, last: String },
    /// SIGINT.
    Interrupted,
    /// SIGTERM or SIGHUP.
    Terminated,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// What was asked cannot be.
    #[error("{0}")]
    Usage(String),
    /// The kept configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A node did not come up.
    #[error("{node} did not come up: {last}\n  try: read {}", log.display())]
    Ended {
        /// The node.
        node: String,
        /// What it said last.
        last: String,
        /// Its log.
        log: PathBuf,
    },
    /// Nobody was elected.
    #[error("no leader within {} s\n  try: read the logs in {}", READY_WITHIN.as_secs(), .0.display())]
    NoLeader(PathBuf),
    /// Stopped by a signal before it was ready.
    #[error("stopped before the cluster was ready")]
    Stopped(u8),
    /// The operating system refused.
    #[error("{}: {why}", path.display())]
    Disk {
        /// The path.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

impl DevError {
    pub(crate) fn disk(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Disk { path: path.into(), why: error.to_string() }
    }

    /// What the program ends with: as everywhere, and 4 when nobody leads.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => cli::Exit::Usage as u8,
            Self::Pki(error) => error.exit() as u8,
            Self::Ended { .. } | Self::Disk { .. } => cli::Exit::Disk as u8,
            Self::NoLeader(_) => 4,
            Self::Stopped(status) => *status,
        }
    }
}

/// Runs the cluster until a signal, or around a command; gives the exit status. What people read goes to `out`.
pub fn run(arguments: &cli::Dev, out: &mut dyn Write) -> Result<u8, DevError> {
    let (events, happenings) = mpsc::sync_channel(QUEUE);
    watch_signals(events.clone()).map_err(|error| DevError::disk("signals", &error))?;
    let mut folder = Folder::open(arguments)?;
    let begun = Instant::now();
    let (mut cluster, leader) = start(&mut folder, &events, &happenings)?;
    if let Some((program, rest)) = arguments.command.split_first() {
        let status = command::run(program, rest, &folder.context(), &happenings)?;
        cluster.stop();
        return Ok(status);
    }
    let selection = Selection::make(&folder.context());
    announce(out, &folder, &leader, begun.elapsed(), selection.as_ref().err());
    wait(out, &folder, &happenings);
    if let Ok(selection) = selection {
        selection.restore();
    }
    cluster.stop();
    Ok(0)
}

fn start(
    folder: &mut Folder,
    events: &mpsc::SyncSender<Happening>,
    happenings: &mpsc::Receiver<Happening>,
) -> Result<(Cluster, String), DevError> {
    let mut attempt = 1;
    loop {
        let mut cluster = Cluster::start(folder, events)?;
        match ready(folder, happenings) {
            Ok(leader) => return Ok((cluster, leader)),
            Err(DevError::Ended { .. }) if attempt < ATTEMPTS => {
                attempt += 1;
                cluster.stop();
                // What the stopped nodes still said is about the past.
                while happenings.try_recv().is_ok() {}
                folder.draw_ports()?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until all nodes listen and one leads.
fn ready(folder: &Folder, happenings: &mpsc::Receiver<Happening>) -> Result<String, DevError> {
    let deadline = Instant::now() + READY_WITHIN;
    let (mut listening, mut leader) = (0, None);
    loop {
        if let Some(leader) = leader.clone().filter(|_| listening == folder.names().len()) {
            return Ok(leader);
        }
        match happenings.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Happening::Ready) => listening += 1,
            Ok(Happening::Leads(node)) => leader = Some(node),
            Ok(Happening::Ended { node, last }) => {
                let log = folder.log(&node);
                return Err(DevError::Ended { node, last, log });
            }
            Ok(Happening::Interrupted) => return Err(DevError::Stopped(130)),
            Ok(Happening::Terminated) => return Err(DevError::Stopped(143)),
            Err(_) => return Err(DevError::NoLeader(folder.path().to_owned())),
        }
    }
}

fn announce(out: &mut dyn Write, folder: &Folder, leader: &str, took: Duration, problem: Option<&io::Error>) {
    let number = folder.names().len();
    let nodes = if number == 1 { "node" } else { "nodes" };
    let seconds = took.as_secs_f64();
    let keep = if folder.is_kept() { "kept" } else { "ephemeral" };
    // Nobody to read it is no reason to stop.
    let _ = match problem {
        None => writeln!(
            out,
            "✓ {number} {nodes} up in {seconds:.1}s   leader {leader}   context \"dev\" selected ({keep})\n  \
             try: kvctl set hello world · kvctl status · kvshell          Ctrl-C stops"
        ),
        Some(problem) => writeln!(
            out,
            "✓ {number} {nodes} up in {seconds:.1}s   leader {leader}   ({keep}; no context selected: {problem})\n  \
             try: kvctl -C {} status          Ctrl-C stops",
            folder.context().display()
        ),
    };
    let _ = out.flush();
}

/// Until a signal, or until nobody is left.
fn wait(out: &mut dyn Write, folder: &Folder, happenings: &mpsc::Receiver<Happening>) {
    let mut alive = folder.names().len();
    while alive > 0 {
        match happenings.recv() {
            Ok(Happening::Ended { node, last }) => {
                alive -= 1;
                let _ = writeln!(out, "! {node} ended: {last}");
            }
            Ok(Happening::Leads(node)) => {
                let _ = writeln!(out, "  leader {node}");
            }
            Ok(Happening::Ready) => {}
            Ok(Happening::Interrupted | Happening::Terminated) | Err(_) => return,
        }
    }
}

/// Turns signals into happenings, on a thread of its own.
fn watch_signals(events: mpsc::SyncSender<Happening>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupts, mut terminations, mut hangups) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let watch = async move {
        loop {
            let happening = tokio::select! {
                Some(()) = interrupts.recv() => Happening::Interrupted,
                Some(()) = terminations.recv() => Happening::Terminated,
                Some(()) = hangups.recv() => Happening::Terminated,
            };
            if events.send(happening).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(watch))?;
    Ok(())
}
