//! TAB: commands first, then the parts and flags of the command. They come from the grammar, so that nothing is listed
//! twice and nothing that does not exist. Names of contexts come from their folder.

use console::{
    command::CONTEXT_NAME,
    context::{Places, shelf},
};
use rustyline::{Context, Helper, Highlighter, Hinter, Result, Validator};

use crate::shell::{self, grammar};

/// What the line editor asks.
#[derive(Helper, Hinter, Highlighter, Validator)]
pub(crate) struct Completer {
    grammar: clap::Command,
    places: Places,
}

impl Completer {
    /// With kvctl's grammar.
    pub(crate) fn new(places: Places) -> Self {
        let mut grammar = grammar(None);
        // Global flags reach the commands only now.
        grammar.build();
        Self { grammar, places }
    }

    /// Where the word before the cursor begins, and what it can become.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let step = before.rfind(';').map_or(0, |at| at + 1);
        let start = before.rfind([' ', '\t', ';']).map_or(0, |at| at + 1);
        let (earlier, word) = (&before[step..start.max(step)], &before[start..]);
        let mut words = earlier.split_whitespace().peekable();
        let all = match words.peek() {
            None if word.starts_with('\\') => shell::OWN.map(|(word, ..)| word.to_owned()).to_vec(),
            None | Some(&"help") => self.commands(),
            Some(_) => self.rest(words, word),
        };
        (start, all.into_iter().filter(|candidate| candidate.starts_with(word)).collect())
    }

    fn commands(&self) -> Vec<String> {
        let names = self.grammar.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases);
        names.chain(["help", "exit", "quit"]).map(str::to_owned).collect()
    }

    /// What can follow these words of one command.
    fn rest<'a>(&self, words: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
        let (mut command, mut before) = (&self.grammar, "");
        for word in words {
            command = command.find_subcommand(word).unwrap_or(command);
            before = word;
        }
        if matches!(before, "-C" | "--context" | "--confirm") {
            return shelf::names(&self.places);
        }
        if std::ptr::eq(command, &raw const self.grammar) {
            return Vec::new();
        }
        if word.starts_with('-') {
            return flags(command);
        }
        if let Some(first) = command.get_positionals().next() {
            if first.get_id() == CONTEXT_NAME {
                return shelf::names(&self.places);
            }
            let values = first.get_possible_values();
            return values
                .iter()
                .filter(|_| before == command.get_name())
                .map(|value| value.get_name().to_owned())
                .collect();
        }
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect()
    }
}

fn flags(command: &clap::Command) -> Vec<String> {
    let mut flags: Vec<String> =
        command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    flags.sort();
    flags
}

impl rustyline::completion::Completer for Completer {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..at]))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn completed(before: &str) -> (usize, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("contexts")).unwrap();
        for name in ["prod", "dev"] {
            fs::write(home.path().join("contexts").join(format!("{name}.kvctx")), "").unwrap();
        }
        let (config, system) = (Some(home.path().to_owned()), home.path().join("none"));
        Completer::new(Places { config, system, here: None }).candidates(before)
    }

    #[test]
    fn commands_come_first() {
        assert_eq!(completed("exi"), (0, vec!["exists".into(), "exit".into()]));
        assert_eq!(completed("get a; st"), (7, vec!["status".into()]));
        assert_eq!(completed("help lea"), (5, vec!["leader".into()]));
        assert!(completed("").1.contains(&"put".to_owned()));
        assert_eq!(completed("\\wr").1, ["\\writable"]);
    }

    #[test]
    fn flags_are_those_of_the_command_and_the_global_ones() {
        assert_eq!(completed("leader --a"), (7, vec!["--addr".into()]));
        assert_eq!(
            completed("get k --con").1,
            ["--confirm", "--connect-timeout", "--consistency", "--context"]
        );
        assert_eq!(completed("nonsense --a").1, Vec::<String>::new());
        assert_eq!(completed("get k").1, Vec::<String>::new());
        assert_eq!(completed("context import f --re").1, ["--replace"]);
    }

    #[test]
    fn commands_in_commands_and_names_of_contexts_are_known() {
        assert_eq!(completed("context im").1, ["import"]);
        assert_eq!(completed("wait h").1, ["healthy"]);
        assert_eq!(completed("wait key h").1, Vec::<String>::new());
        for line in ["context use ", "context rm prod ", "get k -C ", "set k v --confirm ", "-C "] {
            assert_eq!(completed(line).1, ["dev", "prod"], "{line}");
        }
        assert_eq!(completed("context show p").1, ["prod"]);
        assert_eq!(completed("context ls ").1, Vec::<String>::new());
    }
}
