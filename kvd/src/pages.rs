//! `kvd man` and `kvd completion`: manual pages and completion scripts made from the grammar, so that they say neither more
//! nor less than the program does.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::{fs, io, path::Path};

use clap::CommandFactory as _;

use crate::cli::Cli;

/// The page of a command, named by its words (`pki issue`); of the program where there are none. `None` where there is no
/// such command.
pub fn page(words: &[String]) -> Option<io::Result<Vec<u8>>> {
    let grammar = grammar();
    let found = words.iter().try_fold(&grammar, |command, word| command.find_subcommand(word))?;
    Some(render(found))
}

/// Writes every page into a folder, and says how many those are.
pub fn write(dir: &Path) -> io::Result<usize> {
    let mut pages = Vec::new();
    collect(&grammar(), &mut pages);
    for page in &pages {
        let name = page.get_display_name().unwrap_or(page.get_name());
        fs::write(dir.join(format!("{name}.1")), render(page)?)?;
    }
    Ok(pages.len())
}

/// The completion script of a shell.
pub fn completion(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kvd", &mut script);
    without_hidden(&String::from_utf8_lossy(&script))
}

/// The generators offer what is hidden like anything else: in a line of its own (zsh, fish) or a list of words (bash).
fn without_hidden(script: &str) -> String {
    let mut commands = Vec::new();
    collect(&grammar(), &mut commands);
    let flags = commands.iter().flat_map(clap::Command::get_arguments).filter(|flag| flag.is_hide_set());
    let hidden: Vec<&str> = flags.filter_map(clap::Arg::get_long).collect();
    let own = |line: &&str| {
        !hidden
            .iter()
            .any(|flag| line.starts_with(&format!("'--{flag}[")) || line.contains(&format!(" -l {flag} ")))
    };
    let lines = script.lines().filter(own);
    hidden.iter().fold(lines.map(|line| [line, "\n"].concat()).collect(), |script: String, flag| {
        script.replace(&format!(" --{flag} "), " ")
    })
}

fn grammar() -> clap::Command {
    let mut grammar = Cli::command().disable_help_subcommand(true);
    // Global flags reach the commands, and commands their full names, only now.
    grammar.build();
    grammar
}

/// The command and all below it; the grammar is a few levels deep.
fn collect(command: &clap::Command, pages: &mut Vec<clap::Command>) {
    pages.push(command.clone());
    for sub in command.get_subcommands() {
        collect(sub, pages);
    }
}

fn render(page: &clap::Command) -> io::Result<Vec<u8>> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(page.clone())
        .source(concat!("kvd ", env!("CARGO_PKG_VERSION")))
        .render(&mut roff)?;
    Ok(roff)
}
