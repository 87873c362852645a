//! Commands that are run for somebody, as `env` would run them: their environment, their status, and why they cannot be run.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{Command, ExitStatus},
};

use crate::{error::Failure, exit::Exit, text};

/// A command that is to be run about a key, which it has in its environment, and the name of its program.
pub(super) fn about<'a>(words: &'a [OsString], key: &[u8]) -> Result<(Command, &'a OsStr), Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::internal("no command was given to be run"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    // An environment cannot hold every key.
    if key.contains(&0) {
        command.env_remove("KV_KEY");
    } else {
        command.env("KV_KEY", OsStr::from_bytes(key));
    }
    Ok((command, program))
}

/// With what it ended; a signal counts as for a shell.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Why it did not even begin.
pub(super) fn cannot_run(program: &OsStr, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let message = format!("cannot run {}: {error}", text::key(program.as_bytes()));
    Failure::new(Exit::Chosen(exit), "KV-1231", "exec", message).hint("is it there, and may it be executed?")
}
