//! What is said of a line that does not parse, and of one that asks for help.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
};

use clap::{CommandFactory as _, error::ErrorKind};

use crate::{
    command::{Line, check::unparsable},
    error::Failure,
    exit::Exit,
    render::{Color, Format, Screen},
};

/// Answers clap's refusal of these words (without the program's name), which may be a request for help, and says with
/// what to end.
pub fn answer<T: AsRef<OsStr>>(error: &clap::Error, words: &[T]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render().to_string();
        let written = io::stdout().lock().write_all(text.as_bytes());
        return written
            .map_or_else(|error| Failure::stream("cannot write to stdout", &error).exit, |()| Exit::Success);
    }
    if is_check(words) {
        // A plugin says on stdout what its caller shows, and has a code of its own for this.
        let format = if wants_json(words) { Format::Json } else { Format::Plain };
        let screen = Screen::of_process(Some(format), Color::Never, false);
        return screen.show(&Ok(unparsable(&failure(error).message)));
    }
    if wants_json(words) {
        let screen = Screen::of_process(Some(Format::Json), Color::Never, false);
        return screen.show(&Err(failure(error)));
    }
    // Where stderr is gone the exit code still tells.
    let _ = io::stderr().lock().write_all(error.render().to_string().as_bytes());
    Exit::Usage
}

/// The refusal as any other failure: its first paragraph, without clap's own label.
pub(crate) fn failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let message = words.join(" ");
    Failure::usage(message.strip_prefix("error: ").unwrap_or(&message)).hint("--help shows what there is")
}

/// Whether the words that did not parse are those of a check, as far as one can tell.
fn is_check<T: AsRef<OsStr>>(words: &[T]) -> bool {
    let words = words.iter().map(|word| OsString::from(word.as_ref()));
    let words = std::iter::once(OsString::from("kvctl")).chain(words);
    let matches = Line::command().ignore_errors(true).try_get_matches_from(words);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
}

/// Whether the words that did not parse ask for JSON, as far as one can tell.
fn wants_json<T: AsRef<OsStr>>(words: &[T]) -> bool {
    let json = |word: &OsStr| word == "json" || word == "ndjson";
    let named = |word: &T| {
        let word = word.as_ref().to_str().unwrap_or_default();
        let value = ["-o=", "-o", "--output=", "--format="].iter().find_map(|flag| word.strip_prefix(flag));
        value.is_some_and(|value| json(OsStr::new(value)))
    };
    let flag = |word: &T| ["-o", "--output", "--format"].iter().any(|form| word.as_ref() == *form);
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let apart = pairs.any(|(first, second)| flag(first) && json(second.as_ref()));
    apart || words.iter().any(named) || std::env::var_os("KVCTL_OUTPUT").is_some_and(|value| json(&value))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_refusal_is_a_failure_like_any_other() {
        let error = Line::try_parse_from(["kvctl", "get"]).unwrap_err();
        let failure = failure(&error);
        assert_eq!((failure.exit, failure.code), (Exit::Usage, "KV-0201"));
        assert!(failure.message.contains("<KEY>") && !failure.message.starts_with("error"), "{failure}");
    }

    #[test]
    fn a_check_that_does_not_parse_is_known_by_its_command() {
        for words in [
            &["check"][..],
            &["-o", "json", "check", "live", "-w", "x"],
            &["check", "nonsense"],
            &["-C", "prod", "check", "live", "--for", "0"],
            &["check", "key"],
        ] {
            assert!(is_check(words), "{words:?}");
        }
        for words in [&["set", "check"][..], &["get"], &["-C", "check"], &[]] {
            assert!(!is_check(words), "{words:?}");
        }
    }

    #[test]
    fn json_is_recognised_in_what_does_not_parse() {
        assert!(
            wants_json(&["get", "-o", "json"]) && wants_json(&["--output=json"]) && wants_json(&["-ondjson"])
        );
        assert!(!wants_json(&["get", "json"]) && !wants_json(&["-o", "plain"]));
    }
}
