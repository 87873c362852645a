//! The command that `kvd dev -- CMD…` runs against its cluster.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{DevError, Happening};

/// How often the command is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long it may take to heed a signal.
const HEED_WITHIN: Duration = Duration::from_secs(2);

/// Runs it and gives its exit status: its own, or 128 + signal, or 126 and 127 as `env` gives them.
pub(super) fn run(
    program: &OsStr,
    arguments: &[OsString],
    context: &Path,
    happenings: &Receiver<Happening>,
) -> Result<u8, DevError> {
    let spawned =
        Command::new(program).args(arguments).env("KVCTL_CONTEXT", context).env("PATH", path()).spawn();
    match spawned {
        Ok(child) => watch(child, happenings).map_err(|error| DevError::disk(program, &error)),
        Err(error) => {
            tracing::error!("{}: {error}", program.display());
            Ok(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// Ours first, so that the tools beside this program are found.
fn path() -> OsString {
    let own = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let all = own.into_iter().chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).unwrap_or(inherited)
}

fn watch(mut child: Child, happenings: &Receiver<Happening>) -> io::Result<u8> {
    let mut killed_at = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(code(status));
        }
        if killed_at.is_some_and(|at| Instant::now() >= at) {
            child.kill()?;
        }
        let name = match happenings.recv_timeout(LOOK) {
            // A terminal has told the command already, and what follows is the command's affair: a shell goes on.
            Ok(Happening::Interrupted) if io::stdin().is_terminal() => continue,
            Ok(Happening::Interrupted) => "-INT",
            Ok(Happening::Terminated) => "-TERM",
            Ok(_) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(LOOK);
                continue;
            }
        };
        forward(name, child.id());
        killed_at.get_or_insert(Instant::now() + HEED_WITHIN);
    }
}

/// Signals the command by the system's `kill`; the standard library can only kill for good.
fn forward(signal: &str, process: u32) {
    let told = Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status();
    // When there is no `kill`, the deadline ends the command.
    drop(told);
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
