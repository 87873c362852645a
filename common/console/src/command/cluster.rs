//! The cluster seen from outside: status, leader, version. Every node is asked for its own view; the views are laid
//! side by side, not averaged.

use clap::Args;

use super::{assess::Assessment, handover};
use crate::{
    connect::Session,
    error::Failure,
    report::{Body, Document, Report},
};

/// Arguments of `status`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl status\n  kvctl status -o json\n\n\
                        Ends with 0 when all is well, 10 when a node is missing, 4 without leader or quorum,\n\
                        3 when nobody answers.")]
pub struct Status {}

impl Status {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        Ok(assess(session).await?.status(session.name()))
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
