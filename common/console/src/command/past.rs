//! Which moment of the past is meant, and one key as it was then: what `get`, `history` and `revert` share.

use std::time::Duration;

use clap::Args;
use protocol::Scan;

use super::data::{Consistency, Freshness};
use crate::{connect::Session, error::Failure, text};

/// A moment of the past, or none.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct When {
    /// As it was at this revision
    #[arg(long, value_name = "REV", conflicts_with = "at")]
    pub rev: Option<u64>,
    /// As it was so long ago (30s, 10m, 2h, 1d), or at a time such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "AGE|TIME", value_parser = At::parse)]
    pub at: Option<At>,
}

/// A moment that is no revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// So long ago, by the stamps in the log.
    Ago(Duration),
    /// At this time, in milliseconds since 1970, by the clocks of those who led.
    Time(u64),
}

impl At {
    /// Reads an age or a time.
    pub fn parse(said: &str) -> Result<Self, String> {
        // An age has no dash, and every date has one behind its year.
        if !said.contains('-') {
            return text::parse_age(said).map(Self::Ago);
        }
        let time = text::parse_timestamp(said);
        time.map(Self::Time)
            .ok_or_else(|| "a time is one of RFC 3339, such as 2026-01-02T03:04:05Z".to_owned())
    }
}

impl When {
    /// Whether the past is meant.
    pub(super) fn is_past(&self) -> bool {
        self.rev.is_some() || self.at.is_some()
    }

    /// A scan of that moment.
    pub(super) fn of(&self, scan: Scan) -> Scan {
        let (age_ms, time_ms) = match self.at {
            Some(At::Ago(age)) => (Some(millis(age)), None),
            Some(At::Time(time_ms)) => (None, Some(time_ms)),
            None => (None, None),
        };
        Scan { at: self.rev, age_ms, time_ms, ..scan }
    }

    /// One key as it was then.
    pub(super) async fn read(
        &self,
        session: &Session,
        key: &[u8],
        fresh: Freshness,
    ) -> Result<client::Read, Failure> {
        let scan = Scan { consistency: fresh.wanted(), ..Scan::key(key) };
        let mut pages = session.client().scan(self.of(scan));
        let mut found = None;
        while let Some(page) = pages.next().await? {
            found = page.rows.into_iter().next().map(|row| row.found);
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        // A scan does not say how old its state may be.
        let staleness_ms = (fresh.consistency == Consistency::Linearizable).then_some(0);
        Ok(client::Read { found, revision: end.revision, served_by: pages.served_by(), staleness_ms })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
