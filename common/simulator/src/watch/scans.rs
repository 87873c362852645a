//! Scans: each page is held against the rows of the model at the revision that the scan is of, and so is its end. What the
//! model has there is in no way made as the production code makes it.

use protocol::{
    Scan,
    response::Found,
    scan::{End, Page, Want},
};

use super::{Moment, Watch};

impl Watch {
    /// A page leaves server `me` after so many rows of its scan.
    ///
    /// # Panics
    /// When the rows are not those that follow.
    pub fn page(&self, me: usize, scan: &Scan, (sent, moment): (usize, Moment), page: &Page) {
        if page.rows.is_empty() {
            // A sign of life, and no word on what is there: a refusal may follow.
            return;
        }
        let shown = self.shown(me, scan, moment, page.revision);
        let rows: Vec<_> = page
            .rows
            .iter()
            .map(|row| (row.key.clone(), self.without_time_at(me, &row.found, moment)))
            .collect();
        let end = (sent + rows.len()).min(shown.len());
        let want = if scan.want == Want::Count { &[] } else { &shown[sent.min(end)..end] };
        assert_eq!(rows, want, "VIOLATION s{me} scans at {} after {sent} rows: {scan:?}", page.revision);
    }

    /// The end of a scan leaves server `me`.
    ///
    /// # Panics
    /// When there is more, or it says what is not so.
    pub fn scan_ended(&self, me: usize, scan: &Scan, (sent, moment): (usize, Moment), end: &End) {
        if scan.want == Want::Versions {
            let shown = self.wanted(scan, moment).count();
            let all = self.wanted(&Scan { limit: None, ..scan.clone() }, moment).count();
            let revision = scan.at.unwrap_or(moment.revision);
            let want = End { count: shown as u64, revision, more: all > shown };
            assert_eq!((sent, *end), (shown, want), "VIOLATION s{me} ends a list of versions: {scan:?}");
            return;
        }
        let shown = self.shown(me, scan, moment, end.revision);
        let all = self.rows(scan, end.revision).len();
        let counted = if scan.want == Want::Count { 0 } else { shown.len() };
        assert_eq!(sent, counted, "VIOLATION s{me} ends a scan of {counted} rows: {scan:?}");
        let want = End { count: shown.len() as u64, revision: end.revision, more: all > shown.len() };
        assert_eq!(*end, want, "VIOLATION s{me} ends a scan: {scan:?}");
    }

    /// The rows that the scan is to show at this revision.
    fn shown(&self, me: usize, scan: &Scan, moment: Moment, revision: u64) -> Vec<(Vec<u8>, Found)> {
        self.is_kept(me, scan, moment, revision);
        match scan.age_ms {
            Some(age_ms) => self.was_then(me, age_ms, moment, revision),
            None if scan.at.is_none() => {
                assert_eq!(
                    revision, moment.revision,
                    "VIOLATION s{me} scans at another revision than its own"
                );
            }
            None => {}
        }
        assert!(revision <= self.committed(), "VIOLATION s{me} scans at {revision}, not committed");
        assert!(
            scan.at.is_none_or(|at| at == revision),
            "VIOLATION s{me} scans at {revision}, wanted is {:?}",
            scan.at
        );
        let mut rows = self.rows(scan, revision);
        if let Some(limit) = scan.limit {
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        rows
    }

    fn rows(&self, scan: &Scan, revision: u64) -> Vec<(Vec<u8>, Found)> {
        let covered = self.model.keys().filter(|key| {
            let ended = scan.to.as_ref().is_some_and(|to| *key >= to.as_slice());
            *key >= scan.from.as_slice() && !ended
        });
        let there = covered.filter_map(|key| Some((key.to_vec(), self.model.at(key, revision)?.clone())));
        let keys_only = |(key, found): (Vec<u8>, Found)| match scan.want {
            Want::Rows => (key, found),
            Want::Keys | Want::Count | Want::Versions | Want::Hash => {
                (key, Found { value: Vec::new(), ..found })
            }
        };
        there.map(keys_only).collect()
    }
}
