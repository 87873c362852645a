//! Command lines: the words of `kvctl` and `kvd`, and a line of `kvshell`.
//!
//! The first byte chooses. Words are separated by zero bytes, as the system hands them over; a line is what a person
//! types, cut and parsed as the shell does it.

use std::{cell::RefCell, ffi::OsString, os::unix::ffi::OsStringExt as _, thread::LocalKey};

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser as _};
use console::{Command, Line, script};
use kvd::cli::{Cli, Invocation};

pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 5 {
        0 => said(Line::try_parse_from(words("kvctl", rest)).map(accepted)),
        1 => said(Invocation::parse(words("kvd", rest)).map(|invocation| {
            let _ = invocation.log_format();
        })),
        // The same without building the grammar each time, which takes most of the time.
        2 => said(
            matched(&KVCTL, words("kvctl", rest))
                .and_then(|found| Line::from_arg_matches(&found))
                .map(accepted),
        ),
        3 => {
            said(matched(&KVD, words("kvd", rest)).and_then(|found| Cli::from_arg_matches(&found)).map(drop));
        }
        _ => {
            if let Ok(line) = std::str::from_utf8(rest) {
                typed(line);
            }
        }
    }
}

type Grammar = LocalKey<RefCell<clap::Command>>;

thread_local! {
    static KVCTL: RefCell<clap::Command> = RefCell::new(Line::command());
    static KVD: RefCell<clap::Command> = RefCell::new(Cli::command());
    /// As `kvshell` asks for it.
    static KVSHELL: RefCell<clap::Command> = RefCell::new(
        Line::command().no_binary_name(true).name("").bin_name("").disable_version_flag(true),
    );
}

fn matched<T: Into<OsString> + Clone>(
    grammar: &'static Grammar,
    words: Vec<T>,
) -> Result<ArgMatches, clap::Error> {
    grammar.with_borrow_mut(|grammar| grammar.try_get_matches_from_mut(words))
}

fn words(program: &str, bytes: &[u8]) -> Vec<OsString> {
    let program = std::iter::once(program.into());
    if bytes.is_empty() {
        return program.collect();
    }
    program.chain(bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()))).collect()
}

/// A refusal says something.
fn said(parsed: Result<(), clap::Error>) {
    if let Err(error) = parsed {
        assert_ne!(error.render().to_string(), "");
    }
}

fn accepted(mut line: Line) {
    // What a command checks by itself before it is run; one that names a file would read it.
    let reads = matches!(&line.command, Command::Set(set) if set.file.is_some());
    if !reads && let Err(failure) = line.prepare() {
        assert_ne!(failure.to_string(), "");
    }
}

fn typed(line: &str) {
    let steps = script::steps(line);
    let kept: usize =
        steps.iter().map(|step| step.command.len() + step.pipe.as_ref().map_or(0, String::len)).sum();
    assert!(kept <= line.len(), "a line is cut, never added to");
    let end = script::end(line);
    let places = line.get(end.step..end.word).zip(line.get(end.word..));
    assert!(places.is_some(), "the last word lies in the last step");
    assert!(!end.open || end.ours || line.contains('|'), "only what is ours or piped can be open");
    for step in steps {
        let Some(words) = shlex::split(&step.command) else { continue };
        said(matched(&KVSHELL, words).and_then(|found| Line::from_arg_matches(&found)).map(accepted));
    }
}
