//! The command of a lock: its start, the signals that are passed on to it, and its end.
//!
//! At a terminal it is one of the processes that the terminal speaks to, as if it had been started there. Everywhere else it
//! leads a group of its own, and what it is told is told to all that it has started as well.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal as _},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    time::Duration,
};

use rustix::process::{Pid, Signal as Sent, kill_process, kill_process_group, test_kill_process_group};
use tokio::{
    signal::unix::{Signal as Listener, SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    command::exec::{about, cannot_run, code},
    error::Failure,
    exit::Exit,
};

/// Between two looks whether what the command has started is gone.
const LOOK: Duration = Duration::from_millis(10);

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Terminate,
}

impl Signal {
    fn sent(self) -> Sent {
        match self {
            Self::Hangup => Sent::HUP,
            Self::Interrupt => Sent::INT,
            Self::Quit => Sent::QUIT,
            Self::Terminate => Sent::TERM,
        }
    }

    /// Whether a terminal sends it to every process that it has, the command among them.
    fn is_of_terminal(self) -> bool {
        matches!(self, Self::Interrupt | Self::Quit)
    }

    /// The end of a wait by it.
    pub(super) fn failure(self) -> Failure {
        let exit = match self {
            Self::Interrupt => return Failure::interrupted(false),
            Self::Hangup => Exit::Chosen(129),
            Self::Quit => Exit::Chosen(131),
            Self::Terminate => Exit::Terminated,
        };
        Failure { exit, ..Failure::interrupted(false) }
    }
}

/// What this process is told while it waits and while its command runs.
pub(super) struct Signals {
    hangup: Listener,
    interrupt: Listener,
    quit: Listener,
    terminate: Listener,
    child: Listener,
}

impl Signals {
    /// From now on none of them ends this process.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::internal(format!("cannot listen to signals: {error}"));
        let listen = |kind| signal(kind).map_err(failed);
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            child: listen(SignalKind::child())?,
        })
    }

    /// The next signal; none where something has become of a child.
    pub(super) async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            _ = self.hangup.recv() => Some(Signal::Hangup),
            _ = self.interrupt.recv() => Some(Signal::Interrupt),
            _ = self.quit.recv() => Some(Signal::Quit),
            _ = self.terminate.recv() => Some(Signal::Terminate),
            _ = self.child.recv() => None,
        }
    }

    /// One that somebody has sent already.
    pub(super) async fn arrived(&mut self) -> Option<Signal> {
        tokio::select! {
            biased;
            signal = self.sent() => Some(signal),
            () = std::future::ready(()) => None,
        }
    }

    /// The next one that somebody sent.
    pub(super) async fn sent(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.next().await {
                return signal;
            }
        }
    }
}

/// The command.
pub(super) struct Child {
    process: std::process::Child,
    leads_group: bool,
}

impl Child {
    /// Starts it with what it holds in its environment.
    pub(super) fn spawn(command: &[OsString], key: &OsStr, fence: u64) -> Result<Self, Failure> {
        let (mut child, program) = about(command, key.as_bytes())?;
        child.env("KV_FENCE", fence.to_string());
        let leads_group = !io::stdin().is_terminal();
        if leads_group {
            child.process_group(0);
        }
        let process = child.spawn().map_err(|error| cannot_run(program, &error))?;
        Ok(Self { process, leads_group })
    }

    /// With what it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<u8>, Failure> {
        let status = self.process.try_wait().map_err(|error| unwaited(&error))?;
        Ok(status.map(code))
    }

    /// Passes a signal on, unless the terminal has told the command already.
    pub(super) fn forward(&self, signal: Signal) {
        if self.leads_group || !signal.is_of_terminal() {
            self.send(signal.sent());
        }
    }

    /// To the command and, where it leads a group, to all that it has started; nothing where they are gone.
    fn send(&self, signal: Sent) {
        let Some(id) = self.id() else { return };
        let _ = if self.leads_group { kill_process_group(id, signal) } else { kill_process(id, signal) };
    }

    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.process.id()).ok()?)
    }

    /// Whether something that it has started is there still, after its own end.
    fn leaves_some(&self) -> bool {
        self.leads_group && self.id().is_some_and(|id| test_kill_process_group(id).is_ok())
    }

    /// Tells it and all of its group to end, and kills what has not by then. Returns when all of it is gone.
    pub(super) async fn stop(&mut self, kill: Instant, signals: &mut Signals) -> Result<(), Failure> {
        self.send(Sent::TERM);
        while self.ended()?.is_none() {
            tokio::select! {
                _ = signals.next() => {}
                () = sleep_until(kill) => {
                    // Before it is waited for: until then its id is nobody else's.
                    self.send(Sent::KILL);
                    self.process.wait().map_err(|error| unwaited(&error))?;
                }
            }
        }
        // As long as one of a group is there, its id is nobody else's.
        while self.leaves_some() {
            if Instant::now() >= kill {
                self.send(Sent::KILL);
                break;
            }
            let look = Instant::now().checked_add(LOOK).unwrap_or(kill);
            sleep_until(look.min(kill)).await;
        }
        Ok(())
    }
}

fn unwaited(error: &io::Error) -> Failure {
    Failure::internal(format!("cannot wait for the command: {error}"))
}
