//! The cluster seen from outside: status, leader, version. Every node is asked for its own view; the views are laid
//! side by side, not averaged.

use std::time::Duration;

use clap::Args;

use super::{
    assess::{Assessment, Health},
    frames::Frames,
    handover,
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::Out,
    report::{Body, Document, Report},
    text,
};

/// Arguments of `status`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl status\n  kvctl status -o json\n  kvctl status --watch 5s\n  \
                        kvctl status --exit-code\n\n\
                        Ends with 0 when all is well, 10 when a node is missing, 4 without leader or quorum,\n\
                        3 when nobody answers. With --exit-code: 0 when all is well, 1 with a warning, 2 when\n\
                        nothing can be written.")]
pub struct Status {
    /// Show it again and again, in its place on a terminal, until Ctrl-C
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s",
          value_parser = text::parse_duration)]
    pub watch: Option<Duration>,
    /// End with 0, 1 or 2 for well, with warnings, down
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
}

impl Status {
    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let Some(every) = self.watch else { return self.once(session).await };
        Frames::new(out).run(every, None, async || self.once(session).await).await
    }

    async fn once(&self, session: &Session) -> Result<Report, Failure> {
        match assess(session).await {
            Ok(seen) if self.exit_code => {
                let report = seen.status(session.name());
                Ok(report.exit(verdict(seen.health(), !seen.warnings().is_empty())))
            }
            Ok(seen) => Ok(seen.status(session.name())),
            // Who cannot be reached does not write either.
            Err(failure) if self.exit_code && failure.exit == Exit::Unreachable => {
                Err(Failure { exit: Exit::Chosen(2), ..failure })
            }
            Err(failure) => Err(failure),
        }
    }
}

fn verdict(health: Health, warned: bool) -> Exit {
    match health {
        Health::Down => Exit::Chosen(2),
        Health::Degraded => Exit::No,
        Health::Ok if warned => Exit::No,
        Health::Ok => Exit::Success,
    }
}

/// Arguments of `leader`.
#[derive(Args, Debug, PartialEq)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  kvctl leader\n  kvctl leader --addr\n  kvctl leader transfer n2"
)]
pub struct Leader {
    /// Only its address
    #[arg(long)]
    pub addr: bool,
    /// What else
    #[command(subcommand)]
    pub of: Option<handover::Of>,
}

impl Leader {
    /// Whether it has another node lead.
    pub(super) fn changes(&self) -> bool {
        self.of.is_some()
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        match &self.of {
            Some(handover::Of::Transfer(transfer)) => transfer.run(session).await,
            None => assess(session).await?.leader_report(self.addr),
        }
    }
}

async fn assess(session: &Session) -> Result<Assessment, Failure> {
    Assessment::of(session.client().status().await)
}

/// Arguments of `version`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  kvctl version -o json")]
pub struct Version {}

impl Version {
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub(super) fn report(&self) -> Report {
        let version = env!("CARGO_PKG_VERSION");
        let protocol = String::from_utf8_lossy(protocol::version::ALPN_CLIENT).into_owned();
        let document = Document::new("version").with("version", version).with("protocol", protocol.as_str());
        Report::new(document, Body::Line(vec![format!("kvctl {version}"), protocol]))
    }
}
