//! What the line editor shows beside what is typed: TAB, hints in grey, colour, and whether a line goes on.
//!
//! Commands, flags and values come from the grammar, so that nothing is listed twice and nothing that does not exist.
//! Names of contexts come from their folder, keys and names of nodes from [`Live`], which never waits.

use std::{borrow::Cow, sync::Arc};

use console::{
    context::{Places, shelf},
    offer::{Place, Wanted},
    script::{self, End},
    text,
};
use rustyline::{
    Context, Helper, Result,
    highlight::{CmdKind, Highlighter},
    hint::{Hint, Hinter},
    validate::{ValidationContext, ValidationResult, Validator},
};

use crate::{
    live::{Live, Question},
    shell::{OWN, Shell, grammar},
};

/// Longest hint, so that it stays on the line of what it is about.
const HINT_CHARACTERS: usize = 60;
/// Words of the shell's that begin a line and are no commands.
const WORDS: [&str; 6] = ["help", "exit", "quit", "begin", "commit", "rollback"];

/// What the line editor asks.
pub(crate) struct Completer {
    grammar: clap::Command,
    places: Places,
    live: Option<Arc<Live>>,
    color: bool,
}

/// What could follow, shown in grey.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ghost {
    text: String,
    /// Whether the key to the right takes it.
    is_text: bool,
}

impl Hint for Ghost {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.is_text.then_some(&self.text)
    }
}

/// A line that is being typed: the whole words of its last command, and the word at the cursor.
struct Typed<'l> {
    words: Vec<String>,
    /// Without its quotes.
    word: String,
    raw: &'l str,
    start: usize,
}

impl<'l> Typed<'l> {
    /// `None` where nothing of ours is typed.
    fn of(line: &'l str) -> Option<Self> {
        let End { step, word: start, ours, .. } = script::end(line);
        let (earlier, raw) = (line.get(step..start)?, line.get(start..)?);
        // The backslash before a word of the shell's own escapes nothing.
        let own = if earlier.trim_start().starts_with('\\') { "\\" } else { "" };
        let words = shlex::split(&[own, earlier.trim_start()].concat()).filter(|_| ours)?;
        let word = match raw.strip_prefix(['\'', '"']) {
            Some(quoted) => quoted.to_owned(),
            None => raw.replace('\\', if raw.starts_with('\\') { "\\" } else { "" }),
        };
        Some(Self { words: Self::watched(words), word, raw, start })
    }

    /// What is watched is a command like any other.
    fn watched(mut words: Vec<String>) -> Vec<String> {
        if words.first().is_some_and(|word| word == "\\watch") {
            words.remove(0);
            let timed = words.first().is_some_and(|time| text::parse_duration(time).is_ok());
            words.drain(..usize::from(timed));
        }
        words
    }
}

impl Completer {
    /// With kvctl's grammar.
    pub(crate) fn new(places: Places, color: bool) -> Self {
        let mut grammar = grammar(None);
        // Global flags reach the commands only now.
        grammar.build();
        Self { grammar, places, live: None, color }
    }

    /// From now on keys and nodes are those of this cluster.
    pub(crate) fn follow(&mut self, live: Option<Arc<Live>>) {
        self.live = live;
    }

    /// Where the word before the cursor begins, and what it can become.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let Some(typed) = Typed::of(before) else { return (before.len(), Vec::new()) };
        // A word of the shell's own is known by its bare backslash; anywhere else one escapes.
        let own = typed.words.is_empty() && typed.word.starts_with('\\');
        let all = self.all(&typed).into_iter().filter(|candidate| candidate.starts_with(&typed.word));
        let all = all.map(|candidate| if own { candidate } else { quoted(&candidate) });
        (typed.start, all.collect())
    }

    /// Everything that the word could be.
    fn all(&self, typed: &Typed<'_>) -> Vec<String> {
        let words: Vec<&str> = typed.words.iter().map(String::as_str).collect();
        match words.first() {
            None if typed.word.starts_with('\\') => OWN.map(|(word, ..)| word.to_owned()).to_vec(),
            None | Some(&"help") => self.commands(),
            Some(word) if word.starts_with('\\') => {
                let own = OWN.iter().find(|(own, ..)| own == word).filter(|_| words.len() == 1);
                own.map_or_else(Vec::new, |(.., takes)| Shell::own_values(*takes, &self.places))
            }
            Some(_) => self.rest(&Place::after(&self.grammar, words), &typed.word),
        }
    }

    fn commands(&self) -> Vec<String> {
        let names = self.grammar.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases);
        names.chain(WORDS).map(str::to_owned).collect()
    }

    /// What can follow a command.
    fn rest(&self, place: &Place<'_>, word: &str) -> Vec<String> {
        if std::ptr::eq(place.command, &raw const self.grammar) && !place.of_flag {
            // Nothing but flags came so far, or nothing that is a command.
            return if place.given == 0 { self.commands() } else { Vec::new() };
        }
        if word.starts_with('-') && !place.of_flag {
            return flags(place.command);
        }
        let values = place.argument.map(clap::Arg::get_possible_values).unwrap_or_default();
        let values = values.iter().map(|value| value.get_name().to_owned());
        let commands = place.command.get_subcommands().map(|sub| sub.get_name().to_owned());
        let commands = commands.filter(|_| place.given == 0 && !place.of_flag);
        self.names(place.wanted, word).into_iter().chain(values).chain(commands).collect()
    }

    fn names(&self, wanted: Wanted, word: &str) -> Vec<String> {
        let ask = |question| self.live.as_ref().map(|live| live.names(question)).unwrap_or_default();
        match wanted {
            Wanted::Keys => {
                let mut keys = ask(Question::Keys(word.to_owned()));
                // It would be taken for a flag, also in quotes.
                keys.retain(|key| !key.starts_with('-'));
                keys
            }
            Wanted::Nodes => ask(Question::Nodes),
            Wanted::Contexts => shelf::names(&self.places),
            Wanted::Nothing => Vec::new(),
        }
    }

    /// The rest of a word where that is clear, else the arguments that are still to come.
    fn ghost(&self, line: &str) -> Option<Ghost> {
        let typed = Typed::of(line)?;
        if typed.words.is_empty() {
            let own = typed.word.starts_with('\\');
            let all: Vec<String> = if own { self.all(&typed) } else { self.commands() };
            let mut longer =
                all.iter().filter_map(|word| word.strip_prefix(&*typed.word).filter(|rest| !rest.is_empty()));
            let rest = longer.next().filter(|_| !typed.word.is_empty() && longer.next().is_none())?;
            return (!all.contains(&typed.word)).then(|| Ghost { text: rest.to_owned(), is_text: true });
        }
        if typed.words.first().is_some_and(|word| word.starts_with('\\') || word == "help") {
            return None;
        }
        let place = Place::after(&self.grammar, typed.words.iter().map(String::as_str));
        if std::ptr::eq(place.command, &raw const self.grammar) {
            return None;
        }
        // Asked for also where nothing of it is shown, so that it is there when TAB is pressed.
        let names = self.names(place.wanted, &typed.word);
        let is_longer = |name: &&String| name.len() > typed.word.len() && name.starts_with(&*typed.word);
        let whole = names.iter().find(is_longer).filter(|_| !typed.word.is_empty());
        // What is typed stays as it is, so the whole word must be one that needs no quotes.
        if let Some(whole) = whole.filter(|whole| typed.raw == typed.word && quoted(whole) == **whole) {
            return Some(Ghost { text: whole[typed.word.len()..].to_owned(), is_text: true });
        }
        let usage = usage(&place);
        if usage.is_empty() || typed.word.starts_with('-') {
            return None;
        }
        let text = if typed.raw.is_empty() { usage } else { format!("   ({usage})") };
        Some(Ghost { text, is_text: false })
    }
}

/// A word as it must be typed.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned)
}

fn flags(command: &clap::Command) -> Vec<String> {
    let mut flags: Vec<String> =
        command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    flags.sort();
    flags
}

/// The arguments that are still to come, and flags of this command alone: `VALUE [--if-absent] [--if-rev REV]`.
fn usage(place: &Place<'_>) -> String {
    let names = |argument: &clap::Arg| match argument.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    };
    if place.of_flag {
        return place.argument.map(names).unwrap_or_default();
    }
    let mut parts: Vec<String> = Vec::new();
    // Where the next argument cannot be there, no later one can.
    if place.argument.is_some() {
        let rest = place.command.get_positionals().skip(place.given);
        let rest = rest.map(|argument| {
            // What only flags can stand for must be there without them.
            let stands =
                argument.is_required_set() || !place.command.get_arg_conflicts_with(argument).is_empty();
            if stands { names(argument) } else { format!("[{}]", names(argument)) }
        });
        parts.extend(rest);
    }
    let is_given = |flag: &clap::Arg| place.flags.iter().any(|given| given.get_id() == flag.get_id());
    for flag in place.command.get_opts().filter(|flag| !flag.is_global_set() && !is_given(flag)) {
        let Some(long) = flag.get_long() else { continue };
        let value =
            if flag.get_action().takes_values() { [" ", &names(flag)].concat() } else { String::new() };
        let part = format!("[--{long}{value}]");
        let length: usize = parts.iter().map(|part| part.chars().count() + 1).sum();
        if length + part.chars().count() > HINT_CHARACTERS {
            parts.push("…".to_owned());
            break;
        }
        parts.push(part);
    }
    parts.join(" ")
}

impl Helper for Completer {}

impl rustyline::completion::Completer for Completer {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..at]))
    }
}

impl Hinter for Completer {
    type Hint = Ghost;

    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<Ghost> {
        // Without colour it could not be told from what is typed.
        if !self.color || at < line.len() {
            return None;
        }
        self.ghost(line)
    }
}

impl Highlighter for Completer {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let begin = line.len() - line.trim_start().len();
        let word = line[begin..].split([' ', '\t', ';', '|']).next().unwrap_or_default();
        let is_command = self.grammar.find_subcommand(word).is_some();
        if !self.color || !(is_command || WORDS.contains(&word) || OWN.iter().any(|(own, ..)| *own == word)) {
            return Cow::Borrowed(line);
        }
        let (before, after) = (&line[..begin], &line[begin + word.len()..]);
        Cow::Owned(format!("{before}\x1b[1m{word}\x1b[0m{after}"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.color && kind != CmdKind::MoveCursor
    }
}

impl Validator for Completer {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let open = script::end(typed.input()).open;
        Ok(if open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

#[cfg(test)]
mod tests;
