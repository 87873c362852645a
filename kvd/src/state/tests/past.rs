//! The past beside a model that keeps every state that ever was, and the sentences of `state/history.rs`.

use std::collections::VecDeque;

use protocol::{
    history::{Version, Window, WindowChange},
    limits::CHANGE_BYTES,
    scan::{Page, Scan, ScanFrame},
};

use super::*;
use crate::state::view::{PageLimits, View};

type Rows = BTreeMap<Vec<u8>, Found>;

const TINY: PageLimits = PageLimits { bytes: 1000, rows: 2, keys: 3 };

pub(super) fn window(changes: u64, age_ms: u64, bytes: u64) -> Operation {
    let bounds = WindowChange { changes: Some(changes), age_ms: Some(age_ms), bytes: Some(bytes) };
    Operation::SetWindow(bounds)
}

/// The rule of the window in the plainest way, exact where a window has at most 64 changes: then every revision is a
/// span of its own.
pub(super) struct Past {
    window: Window,
    floor: u64,
    /// Revision, stamp, and what each change counts for.
    changes: VecDeque<(u64, u64, Vec<u64>)>,
    /// The rows after every write.
    states: Vec<(u64, Rows)>,
}

impl Default for Past {
    fn default() -> Self {
        let states = vec![(0, Rows::new())];
        Self { window: Window::FIRST, floor: 0, changes: VecDeque::new(), states }
    }
}

impl Past {
    /// A write came to this.
    pub(super) fn wrote(&mut self, revision: u64, stamp: u64, operation: &Operation, rows: &Rows) {
        if let Operation::SetWindow(change) = operation {
            self.window = self.window.with(change);
        }
        let before = &self.states.last().unwrap().1;
        let keys: std::collections::BTreeSet<_> = before.keys().chain(rows.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.get(*key) != rows.get(*key));
        let counted =
            |key: &Vec<u8>| CHANGE_BYTES + key.len() + before.get(key).map_or(0, |row| row.value.len());
        let counted: Vec<u64> = changed.map(|key| counted(key) as u64).collect();
        if !counted.is_empty() {
            self.changes.push_back((revision, stamp, counted));
        }
        self.states.push((revision, rows.clone()));
        while let Some((oldest, then, _)) = self.changes.front() {
            let (count, bytes) = self.kept();
            if count <= self.window.changes
                && bytes <= self.window.bytes
                && then + self.window.age_ms >= stamp
            {
                break;
            }
            self.floor = *oldest;
            self.changes.pop_front();
        }
    }

    fn kept(&self) -> (u64, u64) {
        let all = || self.changes.iter().flat_map(|(.., counted)| counted);
        (all().count() as u64, all().sum())
    }

    fn at(&self, revision: u64) -> &Rows {
        &self.states[self.states.partition_point(|(then, _)| *then <= revision) - 1].1
    }

    pub(super) fn check(&self, state: &State) {
        let kept = state.kept_history();
        assert_eq!((kept.changes, kept.bytes), self.kept());
        assert_eq!((kept.oldest, kept.window), (self.floor, self.window));
        let applied = state.applied().index.0;
        for revision in [self.floor, self.floor.midpoint(applied), applied.saturating_sub(1), applied] {
            if revision >= self.floor {
                let shown = read(state.view(), Scan { at: Some(revision), ..Scan::default() });
                assert_eq!(&shown.unwrap(), self.at(revision), "at {revision}");
            }
        }
        if let Some(trimmed) = self.floor.checked_sub(1) {
            let refused = read(state.view(), Scan { at: Some(trimmed), ..Scan::default() }).unwrap_err();
            assert!(
                matches!(refused, Refused::NotKept { oldest, .. } if oldest == self.floor),
                "{refused:?}"
            );
            let one = read(state.view(), Scan { at: Some(trimmed), ..Scan::key(b"a") });
            match one {
                Ok(rows) => assert_eq!(rows.get(&b"a"[..]), self.at(trimmed).get(&b"a"[..])),
                Err(refused) => assert!(matches!(refused, Refused::NotKept { .. })),
            }
        }
        self.check_versions(state);
        watching::check(state, &self.states, self.floor);
    }

    /// All that is kept of a key, and what it held when that began.
    fn check_versions(&self, state: &State) {
        for key in [b"a", b"b"] {
            let mut want = Vec::new();
            let floor = self.at(self.floor).get(&key[..]);
            want.extend(floor.map(|row| (row.revision, Some(row.clone()))));
            let mut last = floor.cloned();
            for (revision, rows) in self.states.iter().filter(|(revision, _)| *revision > self.floor) {
                let now = rows.get(&key[..]).cloned();
                if now != last {
                    want.push((*revision, now.clone()));
                    last = now;
                }
            }
            want.reverse();
            let shown = versions(state.view(), Scan::versions(key));
            let shown: Vec<_> = shown.into_iter().map(|version| (version.revision, version.found)).collect();
            assert_eq!(shown, want, "of {}", key.escape_ascii());
        }
    }
}

fn pages(view: View, scan: Scan) -> Result<Vec<Page>, Refused> {
    pages_of(view, scan, TINY)
}

fn pages_of(view: View, scan: Scan, limits: PageLimits) -> Result<Vec<Page>, Refused> {
    let mut cursor = view.scan(scan, limits)?;
    let mut pages = Vec::new();
    loop {
        match cursor.answer().unwrap() {
            ScanFrame::Page(page) => pages.push(page),
            ScanFrame::End(_) | ScanFrame::Digest(_) => return Ok(pages),
            ScanFrame::Refused(refused) => return Err(refused),
            ScanFrame::Cut(why) => panic!("{why}"),
        }
    }
}

fn read(view: View, scan: Scan) -> Result<Rows, Refused> {
    let rows = pages(view, scan)?.into_iter().flat_map(|page| page.rows);
    Ok(rows.map(|row| (row.key, row.found)).collect())
}

fn versions(view: View, scan: Scan) -> Vec<Version> {
    pages(view, scan).unwrap().into_iter().flat_map(|page| page.versions).collect()
}

fn values(view: View, at: u64) -> Vec<String> {
    let rows = read(view, Scan { at: Some(at), ..Scan::default() }).unwrap();
    rows.into_iter().map(|(key, row)| String::from_utf8([key, row.value].join(&b'=')).unwrap()).collect()
}

#[test]
fn an_earlier_revision_is_read_through_all_layers_and_after_a_restart() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b"], "1");
    bench.flush();
    bench.write(set("a", "2"));
    bench.write(delete("b"));
    let frozen = bench.state.begin_flush(0).unwrap();
    bench.write(set("a", "3"));
    bench.write(set("b", "4"));
    let check = |bench: &Bench| {
        assert_eq!(values(bench.state.view(), 0), [""; 0]);
        assert_eq!(values(bench.state.view(), 2), ["a=1", "b=1"]);
        assert_eq!(values(bench.state.view(), 3), ["a=2", "b=1"]);
        assert_eq!(values(bench.state.view(), 4), ["a=2"]);
        assert_eq!(values(bench.state.view(), 6), ["a=3", "b=4"]);
    };
    check(&bench);
    bench.state.finish_flush(frozen.run().unwrap());
    check(&bench);
    bench.flush();
    bench.reopen();
    check(&bench);
    let row = read(bench.state.view(), Scan { at: Some(3), ..Scan::key(b"a") }).unwrap();
    let then = Found { value: b"2".to_vec(), revision: 3, created: 1, version: 2, lease: None };
    assert_eq!(row.get(&b"a"[..]), Some(&then), "with everything that was said of it");
}

#[test]
fn a_transaction_is_one_revision_of_the_past() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b"], "1");
    let step =
        |key: &str, value: &str| protocol::operation::Action::Set { key: key.into(), value: value.into() };
    let then = vec![step("a", "2"), step("b", "2"), step("c", "2")];
    bench.decide(Operation::Transaction(protocol::Transaction { then, ..Default::default() }));
    assert_eq!(values(bench.state.view(), 2), ["a=1", "b=1"]);
    assert_eq!(values(bench.state.view(), 3), ["a=2", "b=2", "c=2"]);
}

#[test]
fn what_is_trimmed_is_refused_with_the_oldest_that_there_is() {
    let mut bench = Bench::new();
    bench.decide(window(2, 1000, 10_000));
    bench.set_all(&["a"; 4], "v");
    let view = bench.state.view().at_time(1005);
    let refused = read(view, Scan { at: Some(2), ..Scan::default() }).unwrap_err();
    assert_eq!(refused, Refused::NotKept { oldest: 3, age_ms: Some(1002) });
    assert!(read(bench.state.view(), Scan { at: Some(3), ..Scan::default() }).is_ok());
    let ahead = Scan { at: Some(6), ..Scan::default() };
    assert!(matches!(read(bench.state.view(), ahead.clone()), Err(Refused::Invalid(_))));
    let stale = Scan { consistency: protocol::Consistency::Stale, ..ahead };
    assert!(
        matches!(read(bench.state.view(), stale), Err(Refused::Unavailable(_))),
        "another node may have it"
    );
}

#[test]
fn one_key_that_has_not_changed_since_is_read_however_far_back() {
    let mut bench = Bench::new();
    bench.write(set("old", "v"));
    bench.decide(window(1, 1000, 10_000));
    bench.set_all(&["a"; 4], "v");
    let at = |key: &[u8], at| read(bench.state.view(), Scan { at: Some(at), ..Scan::key(key) });
    assert_eq!(at(b"old", 1).unwrap().len(), 1);
    assert!(matches!(at(b"old", 0), Err(Refused::NotKept { oldest: 5, .. })));
    assert!(matches!(at(b"a", 3), Err(Refused::NotKept { .. })));
    assert!(
        matches!(at(b"none", 3), Err(Refused::NotKept { .. })),
        "nobody knows since when it is not there"
    );
    assert_eq!(at(b"none", 5).unwrap().len(), 0);
}

#[test]
fn an_age_is_measured_by_the_stamps_in_the_log() {
    let mut bench = Bench::new();
    bench.set_all(&["a"; 6], "v");
    bench.flush();
    bench.set_all(&["a"; 4], "v");
    // The entry at an index has that stamp.
    for (now, age, revision) in
        [(10, 0, 10), (10, 1, 9), (10, 7, 3), (10, 10, 0), (10, 999, 0), (50, 43, 7), (50, 1, 10)]
    {
        let scan = Scan { age_ms: Some(age), ..Scan::default() };
        let pages = pages(bench.state.view().at_time(now), scan).unwrap();
        let shown = pages.first().map_or(0, |page| page.revision);
        assert_eq!(shown, revision, "{age} ms before {now}");
    }
}

/// Sets a key under these clocks on the wall, one after the other from revision 1 on.
fn set_at(bench: &mut Bench, walls: &[u64]) {
    for wall_ms in walls {
        let index = bench.next();
        let request = request(1_000_000 + index, index - 1);
        let command = Command { request, stamp_ms: index, wall_ms: *wall_ms, operation: set("a", "v") };
        let payload = Payload::Command(command.encode().into());
        bench.state.apply(&Entry { position: Position::new(index, 1), payload }).unwrap();
    }
}

#[test]
fn a_time_is_before_what_says_that_it_is_later() {
    let mut bench = Bench::new();
    set_at(&mut bench, &[100, 200, 200, 300]);
    bench.flush();
    // A leader whose clock is behind, and the old one again.
    set_at(&mut bench, &[250, 260, 400, 500]);
    let at = |time_ms| {
        let pages = pages(bench.state.view(), Scan { time_ms: Some(time_ms), ..Scan::default() }).unwrap();
        pages.first().map_or(0, |page| page.revision)
    };
    assert_eq!([99, 100, 199, 200, 249].map(at), [0, 1, 1, 3, 3]);
    assert_eq!([250, 260, 299].map(at), [3, 3, 3], "the fourth says that it is later");
    assert_eq!([300, 399, 400, 499, 500, 9999].map(at), [6, 6, 7, 7, 8, 8]);
}

#[test]
fn a_time_before_what_is_kept_is_refused() {
    let mut bench = Bench::new();
    bench.decide(window(3, 1000, 10_000));
    set_at(&mut bench, &[10, 20, 30, 40, 50, 60]);
    let read = |time_ms| read(bench.state.view(), Scan { time_ms: Some(time_ms), ..Scan::default() });
    assert!(read(50).is_ok() && read(60).is_ok());
    let floor = bench.state.kept_history().oldest;
    assert!(matches!(read(39), Err(Refused::NotKept { oldest, .. }) if oldest == floor));
}

#[test]
fn an_age_beyond_what_is_kept_is_refused() {
    let mut bench = Bench::new();
    bench.decide(window(3, 1000, 10_000));
    bench.set_all(&["a"; 9], "v");
    let read = |age| read(bench.state.view().at_time(11), Scan { age_ms: Some(age), ..Scan::default() });
    assert!(read(4).is_ok());
    assert_eq!(read(5), Err(Refused::NotKept { oldest: 7, age_ms: Some(4) }));
}

#[test]
fn versions_are_listed_newest_first_with_their_moments_and_gone_on_with() {
    let mut bench = Bench::new();
    bench.decide(window(3, 1000, 10_000));
    bench.write(set("a", "1"));
    bench.write(set("a", "2"));
    bench.write(delete("a"));
    bench.flush();
    bench.write(set("a", "3"));
    let all = versions(bench.state.view().at_time(8), Scan::versions(b"a"));
    let shown: Vec<_> = all.iter().map(|version| (version.revision, version.found.is_some())).collect();
    assert_eq!(shown, [(5, true), (4, false), (3, true), (2, true)]);
    let ages: Vec<_> = all.iter().map(|version| version.moment.map(|moment| moment.age_ms)).collect();
    assert_eq!(ages, [Some(3), Some(4), Some(5), None], "of the oldest it is not kept when it came");
    for (at, version) in all.iter().enumerate() {
        let rest = Scan { below: Some(version.revision), ..Scan::versions(b"a") };
        assert_eq!(versions(bench.state.view().at_time(8), rest), all[at + 1..]);
    }
    let earlier = Scan { at: Some(4), ..Scan::versions(b"a") };
    assert_eq!(versions(bench.state.view().at_time(8), earlier), all[1..]);
    let limited = Scan { limit: Some(2), ..Scan::versions(b"a") };
    assert_eq!(versions(bench.state.view().at_time(8), limited), all[..2]);
}

#[test]
fn trimming_is_bounded_in_memory_and_what_it_leaves_is_removed_by_later_flushes() {
    let mut bench = Bench::new();
    for round in 0..6000_u64 {
        bench.write(if round % 3 == 2 { delete("a") } else { set("a", "v") });
    }
    bench.flush();
    assert_eq!(bench.state.kept_history().changes, 6000);
    let hash = bench.state.hash();
    bench.decide(window(10, 1_000_000, 100_000));
    assert_eq!(bench.state.store.stored_history().0, 6000, "nothing is removed where writes are applied");
    bench.flush();
    assert_eq!(bench.state.store.stored_history().0, 6000 - 4096, "a flush removes so many");
    for _ in 0..2 {
        bench.write(set("b", "v"));
        bench.flush();
    }
    let (changes, deleted) = bench.state.store.stored_history();
    assert!(changes <= 12 && deleted <= 1, "{changes} changes, {deleted} tombstones");
    assert_ne!(bench.state.hash(), hash);
    bench.reopen();
    assert!(bench.state.kept_history().changes <= 10);
}

#[test]
fn a_window_of_nothing_keeps_nothing_and_costs_no_rows() {
    let mut bench = Bench::new();
    bench.decide(window(0, 0, 0));
    bench.set_all(&["a", "b"], "v");
    bench.flush();
    bench.write(set("a", "w"));
    let kept = bench.state.kept_history();
    assert_eq!((kept.changes, kept.bytes, kept.oldest), (0, 0, 4));
    assert_eq!(values(bench.state.view(), 4), ["a=w", "b=v"]);
}

#[test]
fn a_key_that_is_written_very_often_is_met_from_the_other_end() {
    let mut bench = Bench::new();
    bench.write(set("a", "first"));
    for _ in 0..1500 {
        bench.write(set("a", "v"));
        bench.write(set("b", "v"));
    }
    bench.flush();
    for _ in 0..300 {
        bench.write(set("a", "w"));
    }
    for (at, want) in [(1, &[&b"first"[..]][..]), (3001, &[b"v", b"v"])] {
        // In one page of so many steps: from the newest change there are hundreds and thousands.
        let limits = PageLimits { keys: 200, ..TINY };
        let pages = pages_of(bench.state.view(), Scan { at: Some(at), ..Scan::default() }, limits).unwrap();
        assert_eq!(pages.len(), 1, "at {at}");
        let values: Vec<_> = pages[0].rows.iter().map(|row| &row.found.value[..]).collect();
        assert_eq!(values, want, "at {at}");
    }
}

#[test]
fn a_way_back_that_is_too_long_for_a_page_goes_on_in_the_next() {
    let mut bench = Bench::new();
    bench.decide(window(9, 1000, 10_000));
    bench.set_all(&["a"; 12], "v");
    bench.write(set("b", "v"));
    let at = |at| pages(bench.state.view(), Scan { at: Some(at), ..Scan::key(b"a") });
    let rows = |page: &Page| page.rows.iter().map(|row| row.found.revision).collect::<Vec<_>>();
    let shown: Vec<_> = at(6).unwrap().iter().map(rows).collect();
    assert_eq!(shown, [vec![], vec![], vec![6]], "three steps a page from 13 back to 6");
    assert!(matches!(at(3), Err(Refused::NotKept { oldest: 5, .. })), "which shows on the third page");
}
