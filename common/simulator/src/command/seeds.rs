//! `simulator run`: many seeds on all processors.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Args;

use super::{Variant, child, fresh_seed, records, say, show, total::Total};

/// Seeds that a process runs: a failure costs no more than these.
const CHUNK: u64 = 10;

#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_name = "N")]
    seeds: u64,
    /// The first seed; a fresh one when left out.
    #[arg(long, value_name = "SEED")]
    first: Option<u64>,
    /// Begin no new seeds after so many minutes.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Processes at a time; the processors of the machine when left out.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run each seed twice and compare everything that happened.
    #[arg(long)]
    twice: bool,
    /// Begin with the seeds that are recorded to kill mutants, which must pass without one, or to pass rare marks.
    #[arg(long)]
    recorded: bool,
    /// Fail when a counter or a mark stays at zero.
    #[arg(long)]
    every_mark: bool,
    /// Fail when less than so many cluster-hours were simulated.
    #[arg(long, default_value_t = 0, value_name = "HOURS")]
    least_hours: u64,
    /// Fail when fewer than so many faults were injected.
    #[arg(long, default_value_t = 0, value_name = "N")]
    least_faults: u64,
    /// Print all counters and marks.
    #[arg(long)]
    counts: bool,
    /// Record a seed for each mark that few seeds pass; meant for a thousand seeds or more.
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    variant: Variant,
}

impl Run {
    pub(super) fn run(self) -> Result<bool, String> {
        self.variant.options(0)?;
        let chunks = self.chunks()?;
        let began = Instant::now();
        let (total, taken) = (Mutex::new(Total::default()), AtomicU64::new(0));
        let until = self.minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or_else(processors) {
                scope.spawn(|| {
                    while until.is_none_or(|until| Instant::now() < until) {
                        let next = usize::try_from(taken.fetch_add(1, Relaxed)).unwrap_or(usize::MAX);
                        let Some(&(first, count)) = chunks.get(next) else { return };
                        self.chunk(first, count, &total);
                    }
                });
            }
        });
        let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.print(began.elapsed().as_secs_f64());
        if self.counts {
            total.print_counts();
        }
        if self.record {
            records::keep_marks(&total.rare())?;
        }
        let mut silent = if self.every_mark { total.silent() } else { Vec::new() };
        for name in silent.extract_if(.., |name| records::why_silent(name).is_some()) {
            show(&format!("{name} is not passed yet: {}", records::why_silent(&name).unwrap_or_default()));
        }
        for name in &silent {
            show(&format!("never happened: {name}"));
        }
        let enough = total.hours() >= self.least_hours && total.faults() >= self.least_faults;
        if !enough {
            show(&format!(
                "too little: {} hours and {} faults were asked for",
                self.least_hours, self.least_faults
            ));
        }
        total.print_failures(&self.variant);
        Ok(total.failures.is_empty() && silent.is_empty() && enough)
    }

    /// What is to be run, in pieces.
    fn chunks(&self) -> Result<Vec<(u64, u64)>, String> {
        let mut chunks = Vec::new();
        if self.recorded {
            let seeds: std::collections::BTreeSet<u64> = records::read()?.into_values().collect();
            chunks.extend(seeds.into_iter().map(|seed| (seed, 1)));
        }
        let first = self.first.unwrap_or_else(fresh_seed);
        say(&format!("seeds from {first} on"));
        let starts = (0..self.seeds).step_by(usize::try_from(CHUNK).unwrap_or(1));
        chunks.extend(starts.map(|start| (first + start, CHUNK.min(self.seeds - start))));
        Ok(chunks)
    }

    /// Runs a piece; what comes after a failure is run by another process.
    fn chunk(&self, first: u64, count: u64, total: &Mutex<Total>) {
        let (mut next, end) = (first, first + count);
        while next < end {
            let mut failed = None;
            child::run(next, end - next, self.twice, &self.variant, |said| {
                if let child::Said::Failed { seed, why } | child::Said::Broken { seed, why } = &said {
                    say(&format!("seed {seed} failed: {why}"));
                    failed = Some(*seed);
                }
                total.lock().unwrap_or_else(PoisonError::into_inner).take(said);
            });
            next = failed.map_or(end, |seed| seed + 1);
        }
    }
}

/// How many processes this machine runs at a time.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
