//! Views: whatever is written, flushed or deleted later, a scan shows the rows of its revision, each once and in order.

use protocol::scan::{End, Page, Row, Scan, ScanFrame, Want};

use super::*;
use crate::state::view::{Cursor, PageLimits, View};

const TINY: PageLimits = PageLimits { bytes: 1000, rows: 2, keys: 3 };

/// All rows, and the end.
fn all(mut cursor: Cursor) -> (Vec<Row>, End) {
    let mut shown = Vec::new();
    loop {
        match cursor.answer().unwrap() {
            ScanFrame::Page(Page { rows, .. }) => shown.extend(rows),
            ScanFrame::End(end) => return (shown, end),
            other => panic!("{other:?}"),
        }
    }
}

fn keys(view: View, scan: Scan) -> Vec<String> {
    let (rows, end) = all(view.scan(scan, TINY).unwrap());
    assert_eq!(end.count, rows.len() as u64);
    rows.into_iter().map(|row| String::from_utf8(row.key).unwrap()).collect()
}

#[test]
fn a_view_is_the_state_of_its_moment_through_all_three_layers() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d"], "stored");
    bench.flush();
    bench.set_all(&["b", "e"], "frozen");
    bench.write(delete("a"));
    let flush = bench.state.begin_flush(0).unwrap();
    bench.set_all(&["c", "f"], "active");
    bench.write(delete("e"));
    let view = bench.state.view();
    let revision = view.revision();

    bench.set_all(&["a", "b", "c", "z"], "later");
    bench.write(delete("d"));
    bench.state.finish_flush(flush.run().unwrap());
    bench.flush();

    let (rows, end) = all(view.scan(Scan::default(), TINY).unwrap());
    let shown: Vec<_> = rows.iter().map(|row| (&*row.key, &*row.found.value)).collect();
    let want = [("b", "frozen"), ("c", "active"), ("d", "stored"), ("f", "active")];
    let want: Vec<_> = want.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
    assert_eq!(shown, want);
    assert_eq!(end, End { count: 4, revision, more: false });
}

/// Another server's state may take the place of the one that a scan reads.
#[test]
fn a_view_outlives_its_state() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c"], "stored");
    bench.flush();
    let view = bench.state.view();
    drop(bench);
    assert_eq!(keys(view, Scan::default()), ["a", "b", "c"]);
}

#[test]
fn a_limit_says_whether_there_is_more() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c"], "v");
    let limited = |limit| Scan { limit: Some(limit), ..Scan::default() };
    let end = |limit| all(bench.state.view().scan(limited(limit), TINY).unwrap()).1;
    let ends = [1, 2, 3, 4].map(|limit| (end(limit).count, end(limit).more));
    assert_eq!(ends, [(1, true), (2, true), (3, false), (3, false)]);
    let counted = Scan { want: Want::Count, ..limited(2) };
    let (rows, end) = all(bench.state.view().scan(counted, TINY).unwrap());
    assert_eq!((rows.len(), end.count, end.more), (0, 2, true));
}

#[test]
fn ranges_end_where_they_say() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "a/b", "a/c", "a0", "b"], "v");
    bench.flush();
    let view = || bench.state.view();
    assert_eq!(keys(view(), Scan::prefix(b"a/")), ["a/b", "a/c"]);
    assert_eq!(keys(view(), Scan::range(b"a/b", b"b")), ["a/b", "a/c", "a0"]);
    assert_eq!(keys(view(), Scan::range(b"b", b"a")), [""; 0]);
    assert_eq!(keys(view(), Scan::prefix(b"a").after(b"a/c")), ["a0"]);
}

#[test]
fn a_page_is_bounded_by_rows_bytes_and_keys() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d"], "12345678");
    bench.flush();
    for key in ["a", "b", "c"] {
        bench.write(delete(key));
    }
    let first = |bench: &Bench, limits| match bench
        .state
        .view()
        .scan(Scan::default(), limits)
        .unwrap()
        .answer()
        .unwrap()
    {
        ScanFrame::Page(page) => page.rows.len(),
        other => panic!("{other:?}"),
    };
    let large = PageLimits::default();
    assert_eq!(first(&bench, large), 1);
    assert_eq!(
        first(&bench, PageLimits { keys: 3, ..large }),
        0,
        "three deleted keys are a page without rows"
    );
    bench.set_all(&["a", "b", "c"], "12345678");
    assert_eq!((first(&bench, large), first(&bench, PageLimits { rows: 3, ..large })), (4, 3));
    assert_eq!(
        (first(&bench, PageLimits { bytes: 18, ..large }), first(&bench, PageLimits { bytes: 19, ..large })),
        (2, 3)
    );
}

#[test]
fn a_page_of_the_largest_rows_fits_into_a_frame() {
    let mut bench = Bench::new();
    let largest = "v".repeat(protocol::limits::VALUE_BYTES);
    let key = |n: u8| format!("{n}{}", "k".repeat(protocol::limits::KEY_BYTES - 1));
    bench.write(set("0", &"v".repeat(protocol::limits::PAGE_BYTES - 2)));
    bench.write(set(&key(1), &largest));
    bench.write(set(&key(2), &largest));
    let mut cursor = bench.state.view().scan(Scan::default(), PageLimits::default()).unwrap();
    let mut sizes = Vec::new();
    while let frame @ ScanFrame::Page(_) = cursor.answer().unwrap() {
        sizes.push(frame.encode().len());
    }
    assert_eq!(sizes.len(), 2, "a page that lacks a byte takes the largest row");
    assert!(sizes.iter().all(|size| *size <= protocol::limits::CLIENT_FRAME_BYTES), "{sizes:?}");
}

#[test]
fn a_scan_goes_on_at_its_revision_whatever_was_written() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c"], "v");
    let at = bench.state.view().revision();
    let rest = || Scan { at: Some(at), ..Scan::default().after(b"a") };
    assert_eq!(keys(bench.state.view(), rest()), ["b", "c"]);
    let noop = Entry { position: Position::new(bench.next(), 1), payload: Payload::Noop };
    bench.state.apply(&noop).unwrap();
    let (rows, end) = all(bench.state.view().scan(rest(), TINY).unwrap());
    assert_eq!((rows.len(), end.revision), (2, at), "an entry that changes nothing is no obstacle");
    bench.write(set("b", "w"));
    let (rows, _) = all(bench.state.view().scan(rest(), TINY).unwrap());
    assert_eq!((rows.len(), rows[0].found.value.as_slice()), (2, &b"v"[..]));
    let ahead = Scan { at: Some(at + 100), ..Scan::default() };
    assert!(bench.state.view().scan(ahead, TINY).is_err(), "nor can the future be read");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scans_are_the_model_of_their_revision(
        steps in prop::collection::vec((0_u8..12, 0_u8..8), 1..80),
        views in prop::collection::vec((0_usize..80, 0_u8..9, 0_u8..9, 1_u64..9, 1_usize..4), 1..6),
    ) {
        let mut bench = Bench::new();
        let (mut model, mut flush, mut taken) = (BTreeMap::new(), None, Vec::new());
        for (at, (what, key)) in steps.iter().enumerate() {
            let name = format!("k{key}");
            match what {
                0..=5 => {
                    let revision = bench.write(set(&name, &at.to_string())).revision;
                    model.insert(name.into_bytes(), (at.to_string().into_bytes(), revision));
                }
                6..=8 => {
                    bench.write(delete(&name));
                    model.remove(name.as_bytes());
                }
                9 | 10 => flush = bench.state.begin_flush(0).or(flush.take()),
                _ => if let Some(flush) = flush.take() {
                    bench.state.finish_flush(Flush::run(flush).unwrap());
                },
            }
            for view in views.iter().filter(|view| view.0 == at) {
                taken.push((bench.state.view(), model.clone(), *view));
            }
        }
        for (view, model, (_, from, to, limit, rows)) in taken {
            let range = Scan::range(format!("k{from}").as_bytes(), format!("k{to}").as_bytes());
            let scan = Scan { limit: Some(limit), ..range };
            let covered = model.into_iter().filter(|(key, _)| scan.covers(key)).collect::<Vec<_>>();
            let want = covered.iter().take(usize::try_from(limit).unwrap()).cloned().collect::<Vec<_>>();
            let (shown, end) = all(view.scan(scan, PageLimits { rows, keys: 4, bytes: 9 }).unwrap());
            let shown: Vec<_> = shown.into_iter().map(|row| (row.key, (row.found.value, row.found.revision))).collect();
            prop_assert_eq!(end.more, covered.len() > want.len());
            prop_assert_eq!(shown, want);
        }
    }
}
