//! TAB: commands first, then the flags of the command. Both come from the grammar, so that nothing is listed twice and
//! nothing that does not exist.

use rustyline::{Context, Helper, Highlighter, Hinter, Result, Validator};

use crate::shell::grammar;

/// What the line editor asks.
#[derive(Helper, Hinter, Highlighter, Validator)]
pub(crate) struct Completer {
    grammar: clap::Command,
}

impl Completer {
    /// With kvctl's grammar.
    pub(crate) fn new() -> Self {
        let mut grammar = grammar();
        // Global flags reach the commands only now.
        grammar.build();
        Self { grammar }
    }

    /// Where the word before the cursor begins, and what it can become.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let step = before.rfind(';').map_or(0, |at| at + 1);
        let start = before.rfind([' ', '\t', ';']).map_or(0, |at| at + 1);
        let (earlier, word) = (&before[step..start.max(step)], &before[start..]);
        let all = match earlier.split_whitespace().next() {
            None | Some("help") => self.commands(),
            Some(name) if word.starts_with('-') => self.flags(name),
            Some(_) => Vec::new(),
        };
        (start, all.into_iter().filter(|candidate| candidate.starts_with(word)).collect())
    }

    fn commands(&self) -> Vec<String> {
        let names = self.grammar.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases);
        names.chain(["help", "exit", "quit"]).map(str::to_owned).collect()
    }

    fn flags(&self, command: &str) -> Vec<String> {
        let Some(command) = self.grammar.find_subcommand(command) else { return Vec::new() };
        let mut flags: Vec<String> =
            command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
        flags.sort();
        flags
    }
}

impl rustyline::completion::Completer for Completer {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(before: &str) -> (usize, Vec<String>) {
        Completer::new().candidates(before)
    }

    #[test]
    fn commands_come_first() {
        assert_eq!(completed("exi"), (0, vec!["exists".into(), "exit".into()]));
        assert_eq!(completed("get a; st"), (7, vec!["status".into()]));
        assert_eq!(completed("help lea"), (5, vec!["leader".into()]));
        assert!(completed("").1.contains(&"put".to_owned()));
    }

    #[test]
    fn flags_are_those_of_the_command_and_the_global_ones() {
        assert_eq!(completed("leader --a"), (7, vec!["--addr".into()]));
        assert_eq!(completed("get k --con").1, ["--connect-timeout", "--consistency", "--context"]);
        assert_eq!(completed("nonsense --a").1, Vec::<String>::new());
        assert_eq!(completed("get k").1, Vec::<String>::new());
    }
}
