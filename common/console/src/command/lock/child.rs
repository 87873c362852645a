//! The command of a lock: its start, the signals that are passed on to it, and its end.
//!
//! At a terminal it is one of the processes that the terminal speaks to, as if it had been started there. Everywhere else it
//! leads a group of its own, and what it is told is told to all that it has started as well.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal as _},
    os::unix::{
        ffi::OsStrExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, Stdio},
};

use tokio::{
    signal::unix::{Signal as Listener, SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{command::watch::cannot_run, error::Failure, exit::Exit};

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Hangup => "-HUP",
            Self::Interrupt => "-INT",
            Self::Quit => "-QUIT",
            Self::Terminate => "-TERM",
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
        let Some((program, arguments)) = command.split_first() else {
            return Err(Failure::internal("no command was given to be run"));
        };
        let mut child = Command::new(program);
        child.args(arguments).env("KV_FENCE", fence.to_string());
        // An environment cannot hold every key.
        if key.as_bytes().contains(&0) {
            child.env_remove("KV_KEY");
        } else {
            child.env("KV_KEY", key);
        }
        let leads_group = !io::stdin().is_terminal();
        if leads_group {
            child.process_group(0);
        }
        let process = child.spawn().map_err(|error| cannot_run(program, &error))?;
        Ok(Self { process, leads_group })
    }

    /// With what it ended, if it has; a signal counts as for a shell.
    pub(super) fn ended(&mut self) -> Result<Option<u8>, Failure> {
        let status = self.process.try_wait().map_err(|error| unwaited(&error))?;
        let code = |status: std::process::ExitStatus| {
            let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
            code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
        };
        Ok(status.map(code))
    }

    /// Passes a signal on, unless the terminal has told the command already.
    pub(super) fn forward(&self, signal: Signal) {
        if self.leads_group || !signal.is_of_terminal() {
            self.send(signal.name());
        }
    }

    /// By the system's `kill`; the standard library can only kill one process, for good.
    fn send(&self, signal: &str) {
        let group = if self.leads_group { "-" } else { "" };
        let whom = format!("{group}{}", self.process.id());
        let words = [signal, "--", &whom];
        drop(Command::new("kill").args(words).stdin(Stdio::null()).stderr(Stdio::null()).status());
    }

    /// Tells it to end, and kills it where it has not by then. Returns when it is gone.
    pub(super) async fn stop(&mut self, kill: Instant, signals: &mut Signals) -> Result<(), Failure> {
        self.send(Signal::Terminate.name());
        while self.ended()?.is_none() {
            tokio::select! {
                _ = signals.next() => {}
                () = sleep_until(kill) => {
                    // At once, and then whatever it has started: another process takes its time to begin.
                    self.process.kill().map_err(|error| unwaited(&error))?;
                    self.send("-KILL");
                    self.process.wait().map_err(|error| unwaited(&error))?;
                }
            }
        }
        Ok(())
    }
}

fn unwaited(error: &io::Error) -> Failure {
    Failure::internal(format!("cannot wait for the command: {error}"))
}
