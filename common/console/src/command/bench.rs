//! `bench`: a closed loop against the cluster, measured by the client library, shown here.

use std::time::Duration;

use clap::Args;
use client::bench::{Report as Measured, Workload};
use protocol::limits;

use super::data::Consistency;
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    text,
};

/// Most clients of one process.
const CLIENTS: usize = 4096;
/// Most keys: they are all written first.
const KEYS: u64 = 10_000_000;

/// Arguments of `bench`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl bench\n  kvctl bench --clients 256 --reads 95 --for 30s -o json\n\n\
                        Writes keys named k0000000 and so on, and leaves them there."
)]
pub struct Bench {
    /// Closed loops: each sends its next request when the last is answered
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub clients: usize,
    /// Reads among a hundred requests
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: u8,
    /// Different keys, each written before measuring starts
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub value_size: usize,
    /// How long to measure
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = text::parse_duration)]
    pub measure: Duration,
    /// How fresh reads must be
    #[arg(long, value_name = "LEVEL", default_value = "linearizable")]
    pub consistency: Consistency,
    /// The same as -o json
    #[arg(long)]
    pub json: bool,
}

impl Bench {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        within("--clients", self.clients as u64, 1, CLIENTS as u64)?;
        within("--keys", self.keys, 1, KEYS)?;
        within("--value-size", self.value_size as u64, 8, limits::VALUE_BYTES as u64)
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let workload = Workload {
            clients: self.clients,
            keys: self.keys,
            value_bytes: self.value_size,
            read_percent: self.reads,
            consistency: self.consistency.into(),
            measure: self.measure,
            ..Workload::default()
        };
        let measured = client::bench::run(session.settings().clone(), &workload).await?;
        Ok(self.report(&measured))
    }

    fn report(&self, measured: &Measured) -> Report {
        let document = Document::new("bench")
            .with("clients", measured.clients)
            .with("connections", measured.connections)
            .with("read_percent", self.reads)
            .with("keys", self.keys)
            .with("value_bytes", self.value_size)
            .with("duration_s", measured.seconds)
            .with("operations", measured.operations)
            .with("reads", measured.reads)
            .with("misses", measured.misses)
            .with("failed", measured.failed)
            .with("unknown", measured.unknown)
            .with("first_failure", measured.first_failure.as_deref())
            .with("per_second", measured.per_second)
            .with("p50_ms", millis(measured.p50_us))
            .with("p90_ms", millis(measured.p90_us))
            .with("p99_ms", millis(measured.p99_us))
            .with("p999_ms", millis(measured.p999_us))
            .with("max_ms", millis(measured.max_us))
            .with("client_cpu_us", measured.client_cpu_us);
        let failed = measured.failed > 0 || measured.unknown > 0;
        let exit = if failed { Exit::Partial } else { Exit::Success };
        Report::new(document, Body::Table(table(measured))).exit(exit)
    }
}

fn table(measured: &Measured) -> Table {
    let time = |micros| text::millis(Duration::from_micros(micros));
    let failure = measured.first_failure.iter().map(|failure| format!("first failure: {failure}"));
    Table {
        head: Vec::new(),
        columns: vec!["CLIENTS", "OPS", "OPS/S", "P50", "P90", "P99", "P99.9", "MAX", "FAILED", "UNKNOWN"],
        rows: vec![vec![
            measured.clients.to_string(),
            measured.operations.to_string(),
            format!("{:.0}", measured.per_second),
            time(measured.p50_us),
            time(measured.p90_us),
            time(measured.p99_us),
            time(measured.p999_us),
            time(measured.max_us),
            measured.failed.to_string(),
            measured.unknown.to_string(),
        ]],
        findings: failure.collect(),
    }
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

fn within(flag: &str, value: u64, least: u64, most: u64) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Failure::usage(format!("{flag} {value} is not between {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, Screen};

    fn bench() -> Bench {
        Bench {
            clients: 2,
            reads: 50,
            keys: 10,
            value_size: 8,
            measure: Duration::from_secs(1),
            consistency: Consistency::Linearizable,
            json: false,
        }
    }

    fn measured(failed: u64) -> Measured {
        Measured {
            clients: 2,
            connections: 2,
            operations: 1000,
            reads: 500,
            misses: 0,
            failed,
            unknown: 0,
            first_failure: (failed > 0).then(|| "no leader".to_owned()),
            seconds: 1.0,
            per_second: 1000.0,
            p50_us: 400,
            p90_us: 900,
            p99_us: 1500,
            p999_us: 2000,
            max_us: 9000,
            client_cpu_us: None,
        }
    }

    #[test]
    fn figures_are_shown_and_failures_are_not_hidden() {
        let show = |report, format| {
            let mut out = Vec::new();
            let screen = Screen { format, terminal: false, color: false, quiet: false };
            let exit = screen.show_on(&Ok(report), &mut out, &mut Vec::new());
            (String::from_utf8(out).unwrap(), exit)
        };
        let (plain, exit) = show(bench().report(&measured(0)), Format::Plain);
        assert_eq!(plain, "2\t1000\t1000\t0.4ms\t0.9ms\t1.5ms\t2.0ms\t9.0ms\t0\t0\n");
        assert_eq!(exit, Exit::Success);
        let (table, exit) = show(bench().report(&measured(3)), Format::Table);
        assert!(table.ends_with("! first failure: no leader\n"), "{table}");
        assert_eq!(exit, Exit::Partial);
        let (json, _) = show(bench().report(&measured(0)), Format::Json);
        assert!(json.contains(r#""per_second":1000.0,"p50_ms":0.4,"#), "{json}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(bench().prepare().is_ok());
        for bad in [
            Bench { clients: 0, ..bench() },
            Bench { clients: CLIENTS + 1, ..bench() },
            Bench { keys: 0, ..bench() },
            Bench { value_size: 7, ..bench() },
            Bench { value_size: limits::VALUE_BYTES + 1, ..bench() },
        ] {
            assert_eq!(bad.prepare().unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
    }
}
