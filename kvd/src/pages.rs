//! `kvd man`: manual pages made from the grammar, so that they say neither more nor less than the program does.
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
