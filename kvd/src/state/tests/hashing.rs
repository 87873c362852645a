//! The hash of a scan: equal where the rows are, whatever was flushed, and of any revision that is kept.

use protocol::scan::{Digest, Row, Scan, ScanFrame, Want};

use super::{past::window, *};
use crate::state::view::PageLimits;

const TINY: PageLimits = PageLimits { bytes: 1000, rows: 2, keys: 3 };

/// The digest at a revision, and how many signs of life came before it.
fn digest(bench: &Bench, at: Option<u64>, limits: PageLimits) -> (Digest, usize) {
    let mut cursor =
        bench.state.view().scan(Scan { at, want: Want::Hash, ..Scan::default() }, limits).unwrap();
    let mut pages = 0;
    loop {
        match cursor.answer().unwrap() {
            ScanFrame::Page(page) => {
                assert!(page.rows.is_empty());
                pages += 1;
            }
            ScanFrame::Digest(digest) => return (digest, pages),
            other => panic!("{other:?}"),
        }
    }
}

fn sum(bench: &Bench) -> u64 {
    let scan = bench.state.view().scan(Scan::default(), PageLimits::default());
    let ScanFrame::Page(page) = scan.unwrap().answer().unwrap() else { panic!("few rows are one page") };
    page.rows.iter().map(Row::element).fold(0, u64::wrapping_add)
}

#[test]
fn it_is_the_sum_of_all_rows_wherever_they_are() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d", "e"], "1");
    bench.flush();
    bench.write(delete("b"));
    bench.write(set("c", "2"));
    let (in_memory, pages) = digest(&bench, None, TINY);
    assert!(pages > 0, "a scan of many keys shows signs of life");
    let want = Digest { revision: bench.next() - 1, count: 4, hash: sum(&bench), damaged: 0 };
    assert_eq!(in_memory, want);
    bench.flush();
    bench.reopen();
    assert_eq!(digest(&bench, None, PageLimits::default()).0, want);
}

#[test]
fn a_page_of_it_reads_a_bounded_number_of_bytes() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d"], &"v".repeat(600));
    assert_eq!(digest(&bench, None, PageLimits { rows: 100, keys: 100, ..TINY }).1, 1);
}

#[test]
fn an_earlier_revision_has_the_hash_that_it_had() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c"], "1");
    let (then, _) = digest(&bench, None, TINY);
    bench.write(set("b", "2"));
    bench.write(delete("c"));
    bench.write(set("d", "3"));
    assert_ne!(digest(&bench, None, TINY).0.hash, then.hash);
    assert_eq!(digest(&bench, Some(then.revision), TINY).0, then);
    bench.flush();
    bench.reopen();
    assert_eq!(digest(&bench, Some(then.revision), TINY).0, then);
    bench.decide(window(1, 1_000_000, 1_000_000));
    bench.write(set("e", "4"));
    let scan = Scan { at: Some(then.revision), want: Want::Hash, ..Scan::default() };
    assert!(matches!(bench.state.view().scan(scan, TINY), Err(Refused::NotKept { .. })));
}

#[test]
fn a_row_that_is_not_the_one_that_was_written_is_counted() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b"], "1");
    bench.flush();
    let (sound, _) = digest(&bench, None, TINY);
    bench.state.store.spoil(b"b");
    bench.reopen();
    let (spoilt, _) = digest(&bench, None, TINY);
    assert_eq!((spoilt.count, spoilt.damaged), (2, 1));
    assert_ne!(spoilt.hash, sound.hash);
}
