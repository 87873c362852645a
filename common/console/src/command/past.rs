//! Which moment of the past is meant, and one key as it was then: what `get`, `history` and `revert` share.

use std::time::Duration;

use clap::Args;
use protocol::Scan;

use super::data::Consistency;
use crate::{connect::Session, error::Failure, text};

/// A moment of the past, or none.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct When {
    /// As it was at this revision
    #[arg(long, value_name = "REV", conflicts_with = "at")]
    pub rev: Option<u64>,
    /// As it was so long ago: 30s, 10m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    pub at: Option<Duration>,
}

impl When {
    /// Whether the past is meant.
    pub(super) fn is_past(&self) -> bool {
        self.rev.is_some() || self.at.is_some()
    }

    /// A scan of that moment.
    pub(super) fn of(&self, scan: Scan) -> Scan {
        Scan { at: self.rev, age_ms: self.at.map(millis), ..scan }
    }

    /// One key as it was then.
    pub(super) async fn read(
        &self,
        session: &Session,
        key: &[u8],
        consistency: Consistency,
    ) -> Result<client::Read, Failure> {
        let scan = Scan { consistency: consistency.into(), ..Scan::key(key) };
        let mut pages = session.client().scan(self.of(scan));
        let mut found = None;
        while let Some(page) = pages.next().await? {
            found = page.rows.into_iter().next().map(|row| row.found);
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        Ok(client::Read { found, revision: end.revision, served_by: pages.served_by() })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
