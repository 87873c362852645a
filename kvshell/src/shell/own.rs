//! The words of the shell's own, which begin with a backslash: they say how it behaves and ask no cluster. `\watch` is
//! one of them, for only a shell that stays can run a command again and again.

use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use console::{
    Exit, Failure,
    context::{Connection, shelf},
    protect::{self, Asking},
    render::Format,
    text,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Shell, grammar, say};

/// How often `\watch` runs a command where no time is given.
const EVERY: Duration = Duration::from_secs(2);

/// What can follow a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing that could be listed.
    Nothing,
    /// One of these.
    One(&'static [&'static str]),
    /// The name of a context.
    Context,
    /// A command, perhaps after a time.
    Command,
}

/// Each word: how it is written, what it does, what can follow.
pub(crate) const OWN: [(&str, &str, &str, Takes); 8] = [
    ("\\consistency", "[LEVEL]", "how fresh reads are: linearizable or stale", LEVELS),
    ("\\context", "[NAME|FILE]", "which cluster this shell asks; a selection stays as it is", Takes::Context),
    ("\\format", "[FORMAT]", "how results look: auto, table, plain, json or ndjson", FORMATS),
    ("\\timing", "[on|off]", "tell how long each command took", Takes::One(&["on", "off"])),
    ("\\watch", "[TIME] COMMAND", "run it again and again, every 2s; Ctrl-C ends it", Takes::Command),
    ("\\writable", "[NAME]", "let a protected context be changed", Takes::Context),
    ("\\readonly", "", "only read it again", Takes::Nothing),
    ("\\help", "", "these words; `help` lists the commands", Takes::Nothing),
];

const LEVELS: Takes = Takes::One(&["linearizable", "stale"]);
const FORMATS: Takes = Takes::One(&["auto", "table", "plain", "json", "ndjson"]);

impl Shell {
    /// Does what a word of the shell's own says.
    pub(super) fn own(&mut self, line: &str, pipe: Option<&str>) -> Exit {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let rest = line.get(word.len()..).unwrap_or_default().trim();
        if word == "\\watch" {
            return self.watch(rest, pipe).unwrap_or_else(|failure| self.screen().show(&Err(failure)));
        }
        let result = match (word, words.next(), words.next()) {
            _ if pipe.is_some() => Err(Failure::usage(format!("{word} has nothing for a pipe"))
                .hint("`|` follows a command, or \\watch with one")),
            ("\\consistency", level, None) => self.set_level(level),
            ("\\context", name, None) => self.go_over(name),
            ("\\format", format, None) => self.set_format(format),
            ("\\timing", on, None) => self.set_timing(on),
            ("\\writable", name, None) => self.make_writable(name),
            ("\\readonly", None, None) => {
                (self.confirm, self.writable) = (None, None);
                Ok(())
            }
            ("\\help", None, None) => {
                help();
                Ok(())
            }
            (word, ..) => Err(Failure::usage(format!("`{word}` is nothing that the shell does, or not so"))
                .hint(format!("there are {}", OWN.map(|(word, ..)| word).join(", ")))),
        };
        result.map_or_else(|failure| self.screen().show(&Err(failure)), |()| Exit::Success)
    }

    fn set_level(&mut self, level: Option<&str>) -> Result<(), Failure> {
        if let Some(level) = level {
            self.level = Some(one_of("consistency", level, LEVELS)?.to_owned());
        }
        say(&format!("reads are {}", self.level.as_deref().unwrap_or("linearizable")));
        Ok(())
    }

    fn set_format(&mut self, format: Option<&str>) -> Result<(), Failure> {
        if let Some(format) = format {
            let format = one_of("format", format, FORMATS)?;
            self.display.output = Format::from_str(format, false).ok();
        }
        say(&format!("results are shown as {}", self.display.output.map_or("auto", Format::word)));
        Ok(())
    }

    fn set_timing(&mut self, on: Option<&str>) -> Result<(), Failure> {
        self.timing = match on {
            None => !self.timing,
            Some("on") => true,
            Some("off") => false,
            Some(other) => return Err(Failure::usage(format!("\\timing is on or off, not `{other}`"))),
        };
        say(if self.timing { "times are told" } else { "times are not told" });
        Ok(())
    }

    /// Asks another cluster from now on, and says which one it is.
    fn go_over(&mut self, name: Option<&str>) -> Result<(), Failure> {
        if let Some(name) = name {
            if self.open.is_some() {
                // What was typed so far was meant for the cluster that is left.
                return Err(Failure::usage("a transaction is open").hint("`commit` or `rollback` first"));
            }
            let there = Connection {
                context: Some(name.to_owned()),
                timeout: self.connection.timeout,
                connect_timeout: self.connection.connect_timeout,
                ..Connection::default()
            };
            // Where it cannot be used the shell stays where it is.
            let session = console::Session::open(&there, &self.places)?;
            self.leave();
            (self.connection, self.session) = (there, Some(session));
            self.sources = self.sources.naming_context();
            if self.conversing {
                self.draw_prompt()?;
            }
        }
        let session = self.session()?;
        let name = if session.name().is_empty() { "none" } else { session.name() };
        say(&format!("context {name}   endpoints {}", session.settings().endpoints.join(",")));
        Ok(())
    }

    fn make_writable(&mut self, name: Option<&str>) -> Result<(), Failure> {
        let conversing = self.conversing;
        let session = self.session()?;
        let used = session.name().to_owned();
        let confirm = name.or_else(|| conversing.then_some(used.as_str()));
        protect::allow(&used, session.is_protected(), confirm, Asking::Shell(false))?;
        self.writable = session.path().map(std::path::Path::to_owned);
        Ok(())
    }

    /// Runs a command until Ctrl-C, until nobody reads what it shows, or until it turns out to make no sense.
    fn watch(&mut self, rest: &str, pipe: Option<&str>) -> Result<Exit, Failure> {
        let (first, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (every, command) = match text::parse_duration(first) {
            Ok(every) => (every, tail.trim()),
            Err(why) if first.starts_with(|first: char| first.is_ascii_digit()) => {
                return Err(Failure::usage(format!("\\watch {first}: {why}")));
            }
            Err(_) => (EVERY, rest),
        };
        let words = shlex::split(command).ok_or_else(|| super::unclosed(command))?;
        let known = words.first().is_some_and(|word| grammar(None).find_subcommand(word).is_some());
        if !known || self.open.is_some() {
            let what = if known { "no transaction can be watched" } else { "\\watch wants a command" };
            return Err(Failure::usage(what).hint("such as \\watch 2s status"));
        }
        let internal = |error| Failure::internal(format!("signals cannot be watched: {error}"));
        let mut interrupts = self.driver.wait(async { signal(SignalKind::interrupt()) }).map_err(internal)?;
        loop {
            let next = Instant::now() + every;
            let exit = self.command(words.clone(), pipe);
            if matches!(exit, Exit::Interrupted | Exit::Pipe | Exit::Usage) {
                return Ok(exit);
            }
            let ended = self.driver.wait(async {
                tokio::select! {
                    biased;
                    _ = interrupts.recv() => true,
                    () = tokio::time::sleep_until(next.into()) => false,
                }
            });
            if ended {
                return Ok(Exit::Interrupted);
            }
            say(&format!("every {}: {command}", text::span(every)));
        }
    }

    /// What can follow this word, by its beginning.
    pub(crate) fn own_values(takes: Takes, places: &console::context::Places) -> Vec<String> {
        match takes {
            Takes::One(values) => values.iter().map(|value| (*value).to_owned()).collect(),
            Takes::Context => shelf::names(places),
            Takes::Nothing | Takes::Command => Vec::new(),
        }
    }
}

fn one_of(what: &str, given: &str, takes: Takes) -> Result<&'static str, Failure> {
    let Takes::One(values) = takes else { return Err(Failure::internal("a word without values has one")) };
    values.iter().find(|value| **value == given).copied().ok_or_else(|| {
        Failure::usage(format!("`{given}` is no {what}")).hint(format!("there are {}", values.join(", ")))
    })
}

/// What is the shell's own: how it is written and what it does.
pub(crate) fn words() -> impl Iterator<Item = (String, String)> {
    let own = OWN.into_iter().map(|(word, arguments, does, _)| (format!("{word} {arguments}"), does));
    let others = [
        ("begin, commit, rollback", "a transaction of several lines; `if COMPARE` and `else STEP` in it"),
        ("COMMAND | LOCAL", "the output of a command into a local one"),
        ("!LOCAL", "run a local command"),
    ];
    let others = others.into_iter().map(|(form, does)| (form.to_owned(), does));
    own.chain(others).map(|(form, does)| (form.trim_end().to_owned(), does.to_owned()))
}

fn help() {
    let lines: Vec<String> = words().map(|(form, does)| format!("{form:<27}{does}")).collect();
    say(&lines.join("\n"));
}
