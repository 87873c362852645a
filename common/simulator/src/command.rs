//! The command line: run many seeds, replay one, shrink a failure, hunt mutants, list what there is.
//!
//! Seeds run in processes of their own (`command/child.rs`): one that panics, hangs or aborts is a failure of its seed
//! and no more, and each process may have its mutant.

pub mod child;
mod hunt;
mod records;
mod seeds;
mod shrink;
mod total;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{instruments, options::Options};

/// Runs a cluster of production nodes in simulated time, under every fault that a seed asks for.
#[derive(Debug, Parser)]
#[command(
    name = "simulator",
    version,
    after_help = "Example: simulator run --seeds 100\nSee docs/testing.md."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds and check every promise; fails when one is broken.
    Run(seeds::Run),
    /// Run one seed and print what happens.
    Replay(Replay),
    /// Find the fewest faults with which a seed still fails.
    Shrink(shrink::Shrink),
    /// Switch bugs on, one at a time, and see that each is found (needs the feature `mutants`).
    Mutants(hunt::Hunt),
    /// List what there is: options, counters, marks, mutants.
    List {
        /// What to list.
        #[arg(value_parser = ["options", "counters", "marks", "mutants"])]
        what: String,
    },
    /// Run seeds in this process and report in lines for the parent.
    #[command(hide = true)]
    Child(child::Child),
}

/// Which run: its options beyond what the seed says, and its mutant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Variant {
    /// Options instead of what the seed says, as `name=value name=value`.
    #[arg(long, value_name = "OPTIONS")]
    set: Vec<String>,
    /// The bug to switch on.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

#[derive(Args, Debug)]
struct Replay {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    variant: Variant,
    /// Print the verdict only.
    #[arg(long)]
    quiet: bool,
}

impl Variant {
    /// The options of a seed in this variant.
    pub(crate) fn options(&self, seed: u64) -> Result<Options, String> {
        let mut options = Options::of(seed);
        for text in &self.set {
            options.adjust(text)?;
        }
        Ok(options)
    }

    fn switch_on(&self) -> Result<(), String> {
        match &self.mutant {
            Some(name) if !instruments::switch_on(name) => Err(no_mutant(name)),
            _ => Ok(()),
        }
    }

    /// As arguments of a child, or of a person.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let set = self.set.iter().flat_map(|text| ["--set".to_owned(), text.clone()]);
        let mutant = self.mutant.iter().flat_map(|name| ["--mutant".to_owned(), name.clone()]);
        set.chain(mutant).collect()
    }
}

fn no_mutant(name: &str) -> String {
    if cfg!(feature = "mutants") {
        format!("there is no mutant `{name}`; see `simulator list mutants`")
    } else {
        "this build has no mutants; build with `--features mutants`".to_owned()
    }
}

/// Does what the command line says. 0: all is well; 1: a promise was broken, a mark stayed at zero, a mutant lived;
/// 2: the command line makes no sense.
pub fn main(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(run) => run.run(),
        Command::Replay(replay) => replay.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Mutants(hunt) => hunt.run(),
        Command::List { what } => {
            list(&what);
            Ok(true)
        }
        Command::Child(child) => child.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&format!("error: {why}"));
            ExitCode::from(2)
        }
    }
}

impl Replay {
    fn run(self) -> Result<bool, String> {
        self.variant.switch_on()?;
        let options = self.variant.options(self.seed)?;
        show(&format!("seed {}\noptions {options}", self.seed));
        let outcome = crate::run::run(self.seed, &options, !self.quiet);
        show(&format!("no promise was broken in {} events; hash {:016x}", outcome.events, outcome.hash));
        Ok(true)
    }
}

fn list(what: &str) {
    match what {
        "options" => Options::NAMES.iter().for_each(|name| show(name)),
        "counters" => crate::counts::NAMES.iter().for_each(|name| show(name)),
        "marks" => {
            for (mark, _) in instruments::marks() {
                show(&format!("{}\t{}", mark.full_name(), mark.about));
            }
        }
        _ => {
            for mutant in instruments::mutants() {
                show(&format!("{}\t{}", mutant.full_name(), mutant.about));
            }
        }
    }
}

/// The commit of the working tree, and whether it was changed since, for whoever wants to see a failure again.
pub(crate) fn commit() -> String {
    let what = ["describe", "--always", "--dirty", "--exclude", "*", "--abbrev=12"];
    let asked = std::process::Command::new("git").args(what).output();
    let text = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

/// How a person runs it again.
pub(crate) fn replay_line(seed: u64, variant: &Variant) -> String {
    let features = if variant.mutant.is_some() { " --features mutants" } else { "" };
    let mut line = format!("cargo run --release -p simulator{features} -- replay {seed}");
    for argument in variant.arguments() {
        let quote = if argument.contains(' ') { "'" } else { "" };
        for part in [" ", quote, &argument, quote] {
            line.push_str(part);
        }
    }
    line
}

/// A first seed that was never run before, as far as the clock can tell.
pub(crate) fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// Data.
#[allow(clippy::print_stdout, reason = "this is a tool")]
pub(crate) fn show(line: &str) {
    println!("{line}");
}

/// Talk.
#[allow(clippy::print_stderr, reason = "this is a tool")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
