//! What TAB offers: which argument comes next, by the grammar, and what it can be, by asking the cluster. kvshell asks off
//! its input thread; for the completion scripts of kvctl a run of the program itself answers ([`answer`]).
//!
//! Invariants:
//! - A dead cluster costs a completion script `PATIENCE` at most, and shows nothing.
//! - What is fetched is bounded: [`CANDIDATES`] keys or folders, in at most `ROUNDS` requests.
//! - Only what can be typed is offered: text without control characters.

use std::{collections::BTreeSet, future::Future, io::Write as _, path::Path, time::Duration};

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};
use client::Client;
use protocol::{
    Consistency, Scan,
    scan::{Want, after_prefix, successor},
};

use crate::{
    command::{CONTEXT_NAME, Line},
    connect::Session,
    context::{Connection, Places, shelf},
    text,
};

/// The variable by which a completion script hands over the line up to the cursor.
pub const VARIABLE: &str = "_KVCTL_OFFER";
/// What a script may wait for a cluster; with the start of the process it stays below 300 ms.
const PATIENCE: Duration = Duration::from_millis(250);
/// Most keys and folders of one answer.
pub const CANDIDATES: usize = 256;
/// Keys of one request.
const PAGE: u64 = 128;
/// Most requests for one answer.
const ROUNDS: usize = 16;
/// Longest line that a script can ask about.
const LINE_BYTES: usize = 64 * 1024;

/// What a word can be that the grammar does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A key, or its beginning.
    Keys,
    /// A node's name.
    Nodes,
    /// A context's name.
    Contexts,
    /// Nothing of that kind.
    Nothing,
}

/// Where a line stands after some whole words.
#[derive(Clone, Debug)]
pub struct Place<'g> {
    /// The innermost command that was named; the grammar itself where none was.
    pub command: &'g Command,
    /// The argument that the next word belongs to.
    pub argument: Option<&'g Arg>,
    /// Positional arguments that are there already.
    pub given: usize,
    /// Flags that are there already.
    pub flags: Vec<&'g Arg>,
    /// Whether the next word is the value of a flag, and so cannot be one itself.
    pub of_flag: bool,
    /// What is wanted there.
    pub wanted: Wanted,
}

impl<'g> Place<'g> {
    /// After these words, of which the program's name is none. The grammar must be built.
    pub fn after<'w>(grammar: &'g Command, words: impl IntoIterator<Item = &'w str>) -> Self {
        let (mut command, mut given, mut literal) = (grammar, 0_usize, false);
        let (mut flags, mut open, mut last) = (Vec::new(), 0_usize, "");
        for word in words {
            if open > 0 {
                open = open.saturating_sub(1);
                continue;
            }
            match flag(command, word).filter(|_| !literal) {
                Some((flag, wants)) => {
                    flags.push(flag);
                    open = wants;
                }
                None if word == "--" && !literal => literal = true,
                None => {
                    if let Some(sub) = command.find_subcommand(word).filter(|_| given == 0) {
                        command = sub;
                    } else {
                        given = given.saturating_add(1);
                        last = word;
                    }
                }
            }
        }
        let of_flag = open > 0;
        let free = |argument: &&Arg| {
            let conflicts = |one: &Arg, other: &Arg| {
                command.get_arg_conflicts_with(one).iter().any(|is| is.get_id() == other.get_id())
            };
            let local = |flag: &&&Arg| command.get_arguments().any(|is| is.get_id() == flag.get_id());
            let is_command = !std::ptr::eq(command, grammar);
            is_command
                && !flags
                    .iter()
                    .filter(local)
                    .any(|flag| conflicts(flag, argument) || conflicts(argument, flag))
        };
        let argument = match flags.last().filter(|_| of_flag) {
            Some(flag) => Some(*flag),
            None => positional(command, given).filter(free),
        };
        let wanted = argument.map_or(Wanted::Nothing, |argument| wanted(argument, given, last));
        Self { command, argument, given, flags, of_flag, wanted }
    }
}

/// This word as a flag, and how many words it wants after it; `None` where it is no flag that there is.
fn flag<'g>(command: &'g Command, word: &str) -> Option<(&'g Arg, usize)> {
    let wants = |flag: &Arg| {
        let takes = flag.get_action().takes_values();
        if takes { flag.get_num_args().map_or(1, |range| range.max_values()) } else { 0 }
    };
    if let Some(name) = word.strip_prefix("--") {
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(name))?;
        return Some((flag, if value.is_some() { 0 } else { wants(flag) }));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let mut last = None;
    while let Some(letter) = letters.next() {
        let flag = command.get_arguments().find(|flag| flag.get_short() == Some(letter))?;
        last = Some((flag, 0));
        if wants(flag) > 0 {
            // The rest of the word is its value.
            return Some((flag, if letters.as_str().is_empty() { wants(flag) } else { 0 }));
        }
    }
    last
}

fn positional(command: &Command, given: usize) -> Option<&Arg> {
    let many = |argument: &&Arg| argument.get_num_args().is_some_and(|range| range.max_values() > 1);
    let mut arguments = command.get_positionals();
    arguments.nth(given).or_else(|| command.get_positionals().last().filter(many))
}

fn wanted(argument: &Arg, given: usize, last: &str) -> Wanted {
    let named =
        |name: &str| argument.get_value_names().is_some_and(|names| names.iter().any(|is| is == name));
    match argument.get_id().as_str() {
        // `wait leader` and `check live` have no key; a first argument that is a key has nothing before it.
        "key" if given > 0 && last != "key" => Wanted::Nothing,
        "key" | "prefix" | "range" | "after" => Wanted::Keys,
        CONTEXT_NAME | "context" | "confirm" => Wanted::Contexts,
        _ if named("NODE") => Wanted::Nodes,
        _ => Wanted::Nothing,
    }
}

/// Keys that begin so, and in the place of those that have a slash after that, the folder they are in.
pub async fn keys(client: &Client, prefix: &str) -> Vec<String> {
    let (mut found, mut from) = (BTreeSet::new(), prefix.as_bytes().to_vec());
    for _ in 0..ROUNDS {
        let scan = Scan {
            from,
            to: after_prefix(prefix.as_bytes()),
            limit: Some(PAGE),
            want: Want::Keys,
            consistency: Consistency::Stale,
            ..Scan::default()
        };
        let mut pages = client.scan(scan);
        let mut last = None;
        // What was found before a failure is offered all the same.
        while let Ok(Some(page)) = pages.next().await {
            for row in page.rows {
                let name = folded(&row.key, prefix.len());
                if let Some(name) =
                    std::str::from_utf8(name).ok().filter(|name| text::printable(name) == **name)
                    && found.len() < CANDIDATES
                {
                    found.insert(name.to_owned());
                }
                last = Some(row.key);
            }
        }
        let more = pages.end().is_some_and(|end| end.more) && found.len() < CANDIDATES;
        let Some(last) = last.filter(|_| more) else { break };
        let name = folded(&last, prefix.len());
        let next = if name.ends_with(b"/") { after_prefix(name) } else { Some(successor(&last)) };
        let Some(next) = next else { break };
        from = next;
    }
    found.into_iter().collect()
}

/// The key up to the first slash that follows so many bytes.
fn folded(key: &[u8], prefix: usize) -> &[u8] {
    let slash = key.get(prefix..).and_then(|rest| rest.iter().position(|byte| *byte == b'/'));
    let end = slash.map(|at| prefix.saturating_add(at).saturating_add(1));
    end.and_then(|end| key.get(..end)).unwrap_or(key)
}

/// The names of all nodes that anybody knows.
pub async fn nodes(client: &Client) -> Vec<String> {
    let mut names = BTreeSet::new();
    for view in client.status().await {
        names.extend(view.name);
        if let Ok(status) = view.status {
            names.extend(status.members.into_iter().map(|member| member.name));
        }
    }
    names.into_iter().filter(|name| text::printable(name) == *name).take(CANDIDATES).collect()
}

/// Answers a completion script, where one asks: what the last word of the line can be, one a line. Says whether one did.
pub fn answer() -> bool {
    let Some(line) = std::env::var_os(VARIABLE) else { return false };
    let candidates =
        line.to_str().filter(|line| line.len() <= LINE_BYTES).map(candidates).unwrap_or_default();
    let text = candidates.into_iter().fold(String::new(), |text, candidate| text + &candidate + "\n");
    // A script that is gone needs no answer.
    let _ = std::io::stdout().write_all(text.as_bytes());
    true
}

/// What the last word of a line can be, the program's name being its first.
fn candidates(line: &str) -> Vec<String> {
    let (mut words, word) = cut(line);
    let mut grammar = Line::command();
    grammar.build();
    // `sudo kvctl …` and `TZ=UTC kvctl …` are lines of kvctl too.
    let is_program = |word: &String| Path::new(word).file_name().is_some_and(|name| name == "kvctl");
    let words = words.split_off(words.iter().position(is_program).unwrap_or(0));
    let place = Place::after(&grammar, words.iter().skip(1).map(String::as_str));
    if word.starts_with('-') && !place.of_flag {
        return Vec::new();
    }
    let all = match place.wanted {
        Wanted::Contexts => shelf::names(&Places::of_process()),
        Wanted::Keys => fetch(words, async |client| keys(&client, &word).await),
        Wanted::Nodes => fetch(words, async |client| nodes(&client).await),
        // Not every shell's script knows the values of arguments that are no flags.
        Wanted::Nothing => {
            let values = place.argument.filter(|_| !place.of_flag).map(Arg::get_possible_values);
            values.unwrap_or_default().iter().map(|value| value.get_name().to_owned()).collect()
        }
    };
    all.into_iter().filter(|candidate| candidate.starts_with(&word)).collect()
}

/// The whole words of a line and the one that is being typed, whose quote may be open.
fn cut(line: &str) -> (Vec<String>, String) {
    let closed = ["", "'", "\""].iter().find_map(|end| shlex::split(&[line, end].concat()));
    let mut words = closed.unwrap_or_default();
    let fresh = shlex::split(&[line, "x"].concat()).is_some_and(|longer| longer.len() > words.len());
    let word = if fresh { String::new() } else { words.pop().unwrap_or_default() };
    (words, word)
}

/// Asks the cluster that these words mean; nothing where there is none or it takes too long.
fn fetch<F: Future<Output = Vec<String>>>(words: Vec<String>, ask: impl FnOnce(Client) -> F) -> Vec<String> {
    let matches = Line::command().ignore_errors(true).try_get_matches_from(words);
    let connection = matches.ok().and_then(|matches| Connection::from_arg_matches(&matches).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(connection), Ok(runtime)) = (connection, runtime) else { return Vec::new() };
    // The first answers of a status are of use even where the last node is silent.
    let each = PATIENCE.mul_f32(0.8);
    let connection = Connection { timeout: Some(each), connect_timeout: each, ..connection };
    let Ok(session) = Session::open(&connection, &Places::of_process()) else { return Vec::new() };
    let asked = ask(session.client().clone());
    let found = runtime.block_on(async {
        let found = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_default();
        session.close().await;
        found
    });
    // A name that is still being resolved is nobody's concern any more.
    runtime.shutdown_background();
    found
}

#[cfg(test)]
mod tests;
