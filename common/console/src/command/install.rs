//! `completion` and `man`: what a package installs beside the program, made from the grammar, so that it says neither
//! more nor less than the program does.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::shells;

use super::Line;
use crate::{
    error::Failure,
    exit::Exit,
    files,
    report::{Body, Document, Report},
};

pub(crate) mod names;

/// The program whose files these are.
const PROGRAM: &str = "kvctl";

/// The shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// For `/etc/bash_completion.d`
    Bash,
    /// For a folder of `$fpath`, as `_kvctl`
    Zsh,
    /// For `~/.config/fish/completions`
    Fish,
}

/// Arguments of `completion`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl completion bash > /etc/bash_completion.d/kvctl\n  \
                        kvctl completion fish > ~/.config/fish/completions/kvctl.fish")]
pub struct Completion {
    /// Of which shell
    pub shell: Shell,
}

impl Completion {
    pub(super) fn report(&self) -> Report {
        let (mut grammar, mut script) = (Line::command(), Vec::new());
        match self.shell {
            Shell::Bash => clap_complete::generate(shells::Bash, &mut grammar, PROGRAM, &mut script),
            Shell::Zsh => clap_complete::generate(shells::Zsh, &mut grammar, PROGRAM, &mut script),
            Shell::Fish => clap_complete::generate(shells::Fish, &mut grammar, PROGRAM, &mut script),
        }
        let script = String::from_utf8_lossy(&script).into_owned();
        Report::new(Document::new("completion"), Body::Text(names::add(self.shell, &script)))
    }
}

/// Arguments of `man`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl man check | man -l -\n  kvctl man --dir /usr/local/share/man/man1"
)]
pub struct Man {
    /// The page of this command; that of kvctl where none is given
    #[arg(conflicts_with = "dir")]
    pub command: Option<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let mut grammar = Line::command();
        // Global flags reach the commands, and commands their full names, only now.
        grammar.build();
        if let Some(dir) = &self.dir {
            return write(&grammar, dir);
        }
        let page = match &self.command {
            None => &grammar,
            Some(name) => grammar.find_subcommand(name).ok_or_else(|| {
                Failure::new(Exit::Usage, "KV-0209", "unknown_page", format!("there is no command `{name}`"))
                    .hint("`kvctl --help` lists them all")
            })?,
        };
        Ok(Report::new(Document::new("man"), Body::Text(render(page)?)))
    }
}

fn render(page: &clap::Command) -> Result<String, Failure> {
    let mut roff = Vec::new();
    let man = clap_mangen::Man::new(page.clone()).source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")));
    man.render(&mut roff).map_err(|error| Failure::internal(format!("a page is not rendered: {error}")))?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

fn write(grammar: &clap::Command, dir: &Path) -> Result<Report, Failure> {
    let mut names = Vec::new();
    for page in std::iter::once(grammar).chain(grammar.get_subcommands()) {
        let name = format!("{}.1", page.get_display_name().unwrap_or(page.get_name()));
        let path = dir.join(&name);
        files::replace(&path, render(page)?.as_bytes())
            .map_err(|error| Failure::file("write", &path, &error))?;
        names.push(name);
    }
    let said = vec![format!("{} pages", names.len()), dir.display().to_string()];
    let document = Document::new("man").with("dir", dir.display().to_string()).with("pages", names);
    Ok(Report::new(document, Body::Done(said)))
}
