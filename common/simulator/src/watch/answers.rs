//! Answers of servers, held against the model.

use protocol::{Decided, Operation, Response};

use super::{
    Committed, Watch,
    model::{Told, Verdict},
};

/// A client's attempt, for judging its answer.
pub struct Asked<'a> {
    /// The token of a write with its operation; none for a read.
    pub write: Option<([u8; 16], &'a Operation)>,
    /// The key of a read.
    pub key: &'a [u8],
}

impl Watch {
    /// A client is answered that its request was done.
    pub fn answered(&self, me: usize, asked: &Asked<'_>, response: &Response) {
        match (response, asked.write) {
            (Response::Written { revision, existed, .. }, Some(write)) => {
                self.told(me, *revision, write, &Told::Plain { existed: *existed }, false);
            }
            (Response::Decided(decided), Some(write)) => {
                let again = decided.deduplicated;
                let told = Told::Judged(Box::new(Decided { deduplicated: false, ..(**decided).clone() }));
                self.told(me, decided.revision, write, &told, again);
            }
            (Response::Value { found, revision, .. }, None) => {
                assert!(*revision <= self.committed(), "VIOLATION s{me} reads at {revision}, not committed");
                let expected = self.model.at(asked.key, *revision);
                let shown = found.as_ref().map(|found| self.without_time(me, found, *revision));
                assert_eq!(
                    shown.as_ref(),
                    expected,
                    "VIOLATION s{me} reads {:?} at {revision}",
                    String::from_utf8_lossy(asked.key)
                );
            }
            _ => panic!("VIOLATION s{me} answers {response:?} to something else"),
        }
    }

    /// A client is told what became of its write: at its revision the model must say the same. Where it is told `again`,
    /// rows are not remembered and must not be made up.
    fn told(&self, me: usize, revision: u64, write: ([u8; 16], &Operation), told: &Told, again: bool) {
        let record = self.at(me, revision);
        let Some(command) = &record.command else {
            panic!("VIOLATION s{me} answers a write with {revision}, where there is none")
        };
        assert_eq!(
            (command.request.token, &command.operation),
            write,
            "VIOLATION s{me} answers another's write at {revision}"
        );
        let Some(Verdict::Done(expected, _)) = &record.verdict else {
            panic!("VIOLATION s{me} answers a write with {revision}, where it was not done")
        };
        let mut expected = expected.clone();
        if let (Told::Judged(expected), true) = (&mut expected, again) {
            (expected.previous, expected.results) = (None, Vec::new());
        }
        assert_eq!(*told, expected, "VIOLATION s{me} answers {revision} wrongly (again: {again})");
    }

    fn at(&self, me: usize, revision: u64) -> &Committed {
        let at = usize::try_from(revision).ok().and_then(|revision| revision.checked_sub(1));
        let record = at.and_then(|at| self.committed.get(at));
        record.unwrap_or_else(|| {
            panic!("VIOLATION s{me} acknowledges {revision} before it is on a majority's disks")
        })
    }
}
