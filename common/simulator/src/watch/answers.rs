//! What clients are told: the model's answer, at the revision that is named, for a write that a majority holds.

use protocol::Response;

use super::{Asked, Committed, Watch, model::Verdict};

impl Watch {
    /// A client is answered that its request was done.
    pub fn answered(&self, me: usize, asked: &Asked<'_>, response: &Response) {
        match (response, asked.write) {
            (Response::Written { revision, existed, deduplicated }, Some((token, operation))) => {
                let record = self.at(me, *revision);
                let Some(command) = &record.command else {
                    panic!("VIOLATION s{me} answers a write with {revision}, where there is none")
                };
                assert_eq!(
                    (command.request.token, &command.operation),
                    (token, operation),
                    "VIOLATION s{me} answers another's write at {revision}"
                );
                let expected = Verdict::Done { existed: *existed };
                assert_eq!(
                    record.verdict,
                    Some(expected),
                    "VIOLATION s{me} answers {revision} with existed: {existed}, deduplicated: {deduplicated}"
                );
            }
            (Response::Value { found, revision }, None) => {
                assert!(*revision <= self.committed(), "VIOLATION s{me} reads at {revision}, not committed");
                let expected = self.model.at(asked.key, *revision);
                let shown = found.as_ref();
                assert_eq!(
                    shown,
                    expected,
                    "VIOLATION s{me} reads {:?} at {revision}",
                    String::from_utf8_lossy(asked.key)
                );
            }
            _ => panic!("VIOLATION s{me} answers {response:?} to something else"),
        }
    }

    fn at(&self, me: usize, revision: u64) -> &Committed {
        let at = usize::try_from(revision).ok().and_then(|revision| revision.checked_sub(1));
        let record = at.and_then(|at| self.committed.get(at));
        record.unwrap_or_else(|| {
            panic!("VIOLATION s{me} acknowledges {revision} before it is on a majority's disks")
        })
    }
}
