//! How much of the log is kept, and how a state is sent: the table `log`.

use super::{Complaint, Keep, bounded};
use crate::node::Keeping;

/// What a notation says of it, unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DraftLog {
    pub(super) keep_entries: Option<u64>,
    pub(super) max_mib: Option<u64>,
    pub(super) segment_mib: Option<u64>,
    pub(super) snapshot_mib_per_second: Option<u64>,
}

const MIB: u64 = 1024 * 1024;

impl DraftLog {
    pub(super) fn check(self) -> Result<Keep, Complaint> {
        let entries = bounded("log.keep_entries", self.keep_entries, 100_000, 0, 1_000_000_000)?;
        let segment = bounded("log.segment_mib", self.segment_mib, 64, 2, 1024)?;
        let max = bounded("log.max_mib", self.max_mib, 1024, 8, 1024 * 1024)?;
        let rate = bounded("log.snapshot_mib_per_second", self.snapshot_mib_per_second, 64, 1, 10_000)?;
        let least = segment.saturating_mul(4);
        if max < least {
            let why =
                format!("below four segments of {segment} MiB: the log would be discarded all the time");
            let remedy = format!("set it to at least {least}, or lower log.segment_mib");
            return Err(Complaint::new("log.max_mib", max, why, remedy));
        }
        Ok(Keep {
            keeping: Keeping { entries, bytes: max.saturating_mul(MIB) },
            segment_bytes: segment.saturating_mul(MIB),
            snapshot_rate: rate.saturating_mul(MIB),
        })
    }
}
