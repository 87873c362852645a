//! Seeds in a process of their own, and the lines in which it reports.
//!
//! ```text
//! seed 17                              begins
//! ok 17 <hash> <events> <time µs> <committed> <calls>
//! mark <crate:Name>\t<how often>       for each mark, in this seed
//! failed 17 <message>                  the last line: the process ends
//! count <counter>\t<how often>         at the end, for all seeds together
//! whole 1                              the last line
//! ```

use std::{
    io::{BufRead, BufReader},
    panic,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use clap::Args;

use super::{Variant, show};
use crate::{counts::Counts, instruments, run};

/// A seed that takes longer than this does not end.
const LONGEST: Duration = Duration::from_mins(5);

/// Runs seeds one after another.
#[derive(Args, Debug)]
pub struct Child {
    /// The first seed.
    first: u64,
    /// How many.
    count: u64,
    /// Run each twice and compare.
    #[arg(long)]
    twice: bool,
    #[command(flatten)]
    variant: Variant,
}

/// What a child said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A seed broke no promise.
    Passed { seed: u64, events: u64, time: u64, committed: u64, calls: u64 },
    /// A seed failed, with this message.
    Failed { seed: u64, why: String },
    /// It gave no verdict: what ran is broken, or does not end.
    Broken { seed: u64, why: String },
    /// Something happened so often, in all of the child's seeds.
    Counted { name: String, count: u64 },
    /// A seed passed a mark so often.
    Marked { seed: u64, name: String, count: u64 },
    /// It has run all of its seeds.
    Whole,
}

impl Child {
    pub(super) fn run(self) -> Result<bool, String> {
        self.variant.switch_on()?;
        let mut counts = Counts::default();
        let mut before = vec![0; instruments::marks().len()];
        for seed in self.first..self.first.saturating_add(self.count) {
            show(&format!("seed {seed}"));
            panic::set_hook(Box::new(move |panic| {
                let message = panic.payload_as_str().unwrap_or("no message").replace('\n', " ");
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                show(&format!("failed {seed} {message} [{place}]"));
                std::process::exit(101);
            }));
            let options = self.variant.options(seed)?;
            let outcome = run::run(seed, &options, false);
            if self.twice {
                let again = run::run(seed, &options, false);
                assert_eq!(outcome, again, "VIOLATION one seed, two runs");
            }
            outcome.counts.iter().for_each(|(name, count)| counts.add_many(name, count));
            let run::Outcome { hash, events, time, committed, calls, .. } = outcome;
            show(&format!("ok {seed} {hash:016x} {events} {time} {committed} {calls}"));
            for ((mark, count), before) in instruments::marks().into_iter().zip(&mut before) {
                show(&format!("mark {}\t{}", mark.full_name(), count - *before));
                *before = count;
            }
        }
        counts.iter().for_each(|(name, count)| show(&format!("count {name}\t{count}")));
        show("whole 1");
        Ok(true)
    }
}

/// Runs a child over some seeds and tells what it says; stops with its first failure.
pub(crate) fn run(first: u64, count: u64, twice: bool, variant: &Variant, mut hear: impl FnMut(Said)) {
    let mut arguments = vec!["child".to_owned(), first.to_string(), count.to_string()];
    if twice {
        arguments.push("--twice".to_owned());
    }
    arguments.extend(variant.arguments());
    let spawned = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    });
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return hear(Said::Broken { seed: first, why: format!("no process for it: {error}") }),
    };
    let (sender, lines) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
    }
    let (mut current, mut whole) = (first, false);
    let why = loop {
        match lines.recv_timeout(LONGEST) {
            Ok(line) => match understand(&line) {
                Some(Heard::Begins(seed)) => current = seed,
                Some(Heard::Marked { name, count }) => hear(Said::Marked { seed: current, name, count }),
                Some(Heard::Said(said)) => {
                    whole |= matches!(said, Said::Failed { .. } | Said::Whole);
                    hear(said);
                }
                None => {}
            },
            Err(mpsc::RecvTimeoutError::Timeout) => break Some(format!("no verdict within {LONGEST:?}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                break (!whole).then(|| "the process ended without a verdict".to_owned());
            }
        }
    };
    // It has ended, or hangs; either way it is not needed any more.
    let _ = child.kill();
    let _ = child.wait();
    if let Some(why) = why {
        hear(Said::Broken { seed: current, why });
    }
}

enum Heard {
    Begins(u64),
    Marked { name: String, count: u64 },
    Said(Said),
}

fn understand(line: &str) -> Option<Heard> {
    let (kind, rest) = line.split_once(' ')?;
    let named = |rest: &str| {
        let (name, count) = rest.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    match kind {
        "seed" => rest.parse().ok().map(Heard::Begins),
        "ok" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let number = |at: usize| words.get(at)?.parse().ok();
            let (seed, events, time) = (number(0)?, number(2)?, number(3)?);
            Some(Heard::Said(Said::Passed { seed, events, time, committed: number(4)?, calls: number(5)? }))
        }
        "failed" => {
            let (seed, why) = rest.split_once(' ')?;
            Some(Heard::Said(Said::Failed { seed: seed.parse().ok()?, why: why.to_owned() }))
        }
        "count" => named(rest).map(|(name, count)| Heard::Said(Said::Counted { name, count })),
        "mark" => named(rest).map(|(name, count)| Heard::Marked { name, count }),
        "whole" => Some(Heard::Said(Said::Whole)),
        _ => None,
    }
}
