//! From a prepared node to the end of its process: the runtime, and the signals.
//!
//! SIGTERM and SIGINT stop cleanly, SIGHUP reads the certificates again. Handlers are in place before the node
//! listens, so a signal is never lost. Whoever supervises the process is told of both when they come.

use std::{
    io::{self, Read},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    bootstrap::{Launch, Reloader},
    cli::Exit,
    opening::OpenError,
    server::{self, ServeError},
    supervisor::Supervisor,
};

/// Why a node went down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime or its signals could not be had.
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
    /// The node could not start or stopped itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl RunError {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Serve(ServeError::Listen(..) | ServeError::Open(OpenError::Core(_))) => Exit::Usage,
            Self::System(_) | Self::Serve(_) => Exit::Disk,
        }
    }
}

/// Runs a node until it is told to stop.
pub fn run(launch: Launch, until_stdin_closes: bool) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(launch, until_stdin_closes));
    // A thread that waits for standard input would wait for ever.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(launch: Launch, until_stdin_closes: bool) -> Result<(), RunError> {
    let (stop_sender, stop) = oneshot::channel();
    let (reload_sender, reload) = mpsc::channel(1);
    let (interrupts, terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let closed = if until_stdin_closes { Some(stdin_closed()?) } else { None };
    let supervisor = Supervisor::of_process();
    tokio::spawn(stop_on(interrupts, terminations, closed, stop_sender, supervisor.clone()));
    let hangups = signal(SignalKind::hangup())?;
    tokio::spawn(reload_on(hangups, launch.reloader(), reload_sender, supervisor.clone()));
    server::run(launch, server::Signals { stop, reload }, supervisor).await?;
    Ok(())
}

async fn stop_on(
    mut interrupts: Signal,
    mut terminations: Signal,
    closed: Option<oneshot::Receiver<()>>,
    stop: oneshot::Sender<()>,
    supervisor: Supervisor,
) {
    let closed = async {
        match closed {
            // An error too says that the reader is gone.
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        _ = interrupts.recv() => "SIGINT",
        _ = terminations.recv() => "SIGTERM",
        () = closed => "standard input closed",
    };
    tracing::info!(why, "stopping");
    supervisor.stopping();
    let _ = stop.send(());
}

/// What was read is taken up by the server, which tells the supervisor that it is ready again; what could not be read ends
/// here.
async fn reload_on(
    mut hangups: Signal,
    reloader: Reloader,
    identities: mpsc::Sender<transport::Identity>,
    supervisor: Supervisor,
) {
    while hangups.recv().await.is_some() {
        supervisor.reloading();
        match reloader.reload() {
            Ok(identity) => {
                if identities.send(identity).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "certificates not reloaded; the old ones stay in use");
                supervisor.status(&format!("certificates not reloaded: {error}"));
                supervisor.ready();
            }
        }
    }
}

/// Tells when standard input ends, from a thread of its own: reading it blocks.
fn stdin_closed() -> io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut ignored = [0; 256];
        while matches!(io::stdin().read(&mut ignored), Ok(1..)) {}
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
