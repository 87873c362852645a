//! Scans against fake servers over the real transport: pages, streams that end in the middle, nodes that cannot go on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fake/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod fake;

use std::{future::Future, time::Duration};

use client::{Client, Error, Pages};
use fake::{Fake, Pki, Reaction, settings};
use protocol::{
    Refused, Scan, ScanFrame,
    history::Version,
    response::Found,
    scan::{End, Page, Row, Want},
};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test did not end");
    });
}

fn page(revision: u64, keys: &[&str]) -> ScanFrame {
    let found = Found { value: b"v".to_vec(), revision: 1, created: 1, version: 1, lease: None };
    let row = |key: &&str| Row { key: key.as_bytes().to_vec(), found: found.clone() };
    ScanFrame::Page(Page { revision, rows: keys.iter().map(row).collect(), ..Page::default() })
}

fn end(count: u64, revision: u64, more: bool) -> ScanFrame {
    ScanFrame::End(End { count, revision, more })
}

/// All keys that come, and how it ended.
async fn all(pages: &mut Pages) -> (String, Result<End, Error>) {
    let mut keys = Vec::new();
    loop {
        match pages.next().await {
            Ok(Some(page)) => {
                keys.extend(page.rows.into_iter().map(|row| String::from_utf8(row.key).unwrap()));
            }
            Ok(None) => return (keys.join(" "), Ok(pages.end().unwrap())),
            Err(error) => return (keys.join(" "), Err(error)),
        }
    }
}

/// One fake that answers its first scan, its second and so on with these.
fn node(pki: &Pki, id: u64, answers: Vec<Vec<ScanFrame>>) -> Fake {
    let node = Fake::start(pki, id, &[]);
    let mut answers = answers.into_iter();
    node.on(move |_| answers.next().map_or(Reaction::Ignore, Reaction::Frames));
    node
}

#[test]
fn pages_come_until_the_end() {
    run(async {
        let pki = Pki::new();
        let node =
            node(&pki, 9, vec![vec![page(7, &["a", "b"]), page(7, &[]), page(7, &["c"]), end(3, 7, true)]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut pages = client.scan(Scan::prefix(b""));
        let (keys, ended) = all(&mut pages).await;
        assert_eq!((keys.as_str(), ended), ("a b c", Ok(End { count: 3, revision: 7, more: true })));
        assert_eq!((pages.served_by(), pages.next().await), (9, Ok(None)), "the end stays the end");
        client.close().await;
    });
}

#[test]
fn a_scan_that_is_refused_for_now_is_asked_again() {
    run(async {
        let pki = Pki::new();
        let busy = || vec![ScanFrame::Refused(Refused::Busy { what: "x".into() })];
        let node = node(&pki, 1, vec![busy(), busy(), vec![page(7, &["a"]), end(1, 7, false)]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        assert_eq!(all(&mut client.scan(Scan::default())).await.0, "a");
        assert_eq!(node.scans(), vec![Scan::default(); 3]);
    });
}

#[test]
fn what_was_lost_is_asked_for_at_the_same_revision() {
    run(async {
        let pki = Pki::new();
        let rest = vec![page(7, &["c"]), end(1, 7, false)];
        let node = node(&pki, 1, vec![vec![page(7, &["a", "b"])], rest]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let scan = Scan { limit: Some(9), ..Scan::prefix(b"") };
        let (keys, ended) = all(&mut client.scan(scan.clone())).await;
        assert_eq!((keys.as_str(), ended), ("a b c", Ok(End { count: 3, revision: 7, more: false })));
        let asked = Scan { at: Some(7), limit: Some(7), ..scan.clone().after(b"b") };
        assert_eq!(node.scans(), [scan, asked]);
    });
}

#[test]
fn what_cannot_be_gone_on_with_is_cut_off() {
    run(async {
        let pki = Pki::new();
        let gone = vec![ScanFrame::Cut("revision 7 is gone".into())];
        let node = node(&pki, 1, vec![vec![page(7, &["a", "b"])], gone]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let (keys, ended) = all(&mut client.scan(Scan::default())).await;
        let Err(Error::Cut { why, shown, revision, after }) = ended else { panic!("{ended:?}") };
        assert_eq!((keys.as_str(), shown, revision, after.as_deref()), ("a b", 2, Some(7), Some(&b"b"[..])));
        assert!(why.contains("ended before the scan") && why.ends_with("revision 7 is gone"), "{why}");
    });
}

#[test]
fn what_is_no_longer_kept_is_cut_off_with_the_oldest_that_there_is() {
    run(async {
        let pki = Pki::new();
        let gone = vec![ScanFrame::Refused(Refused::NotKept { oldest: 9, age_ms: None })];
        let node = node(&pki, 1, vec![vec![page(7, &["a", "b"])], gone]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let (_, ended) = all(&mut client.scan(Scan::default())).await;
        let Err(Error::Cut { why, shown, .. }) = ended else { panic!("{ended:?}") };
        assert!(shown == 2 && why.ends_with("the oldest revision is 9"), "{why}");
    });
}

fn listed(revision: u64, versions: &[u64]) -> ScanFrame {
    let version = |revision: &u64| Version { revision: *revision, found: None, moment: None, expired: false };
    let versions = versions.iter().map(version).collect();
    ScanFrame::Page(Page { revision, versions, ..Page::default() })
}

#[test]
fn versions_that_were_lost_are_asked_for_below_the_last_that_came() {
    run(async {
        let pki = Pki::new();
        let rest = vec![listed(7, &[2]), end(1, 7, true)];
        let node = node(&pki, 1, vec![vec![listed(7, &[6, 4])], rest]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let scan = Scan { limit: Some(3), ..Scan::versions(b"k") };
        let mut pages = client.scan(scan.clone());
        let mut shown = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            shown.extend(page.versions.into_iter().map(|version| version.revision));
        }
        assert_eq!((shown, pages.end()), (vec![6, 4, 2], Some(End { count: 3, revision: 7, more: true })));
        let asked = Scan { at: Some(7), below: Some(4), limit: Some(1), ..scan.clone() };
        assert_eq!(node.scans(), [scan, asked]);
    });
}

#[test]
fn versions_out_of_order_and_rows_among_them_are_not_shown() {
    run(async {
        for nonsense in
            [vec![listed(7, &[4, 6])], vec![listed(7, &[4]), listed(7, &[4])], vec![page(7, &["k"])]]
        {
            let pki = Pki::new();
            let node = node(&pki, 1, vec![nonsense.clone()]);
            let client = Client::new(settings(&pki, &[&node.address]));
            let mut pages = client.scan(Scan::versions(b"k"));
            let ended = loop {
                match pages.next().await {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            let sense = ended.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(sense.ends_with("makes no sense"), "{nonsense:?}: {sense}");
        }
    });
}

#[test]
fn a_list_of_versions_that_is_full_asks_for_no_more() {
    run(async {
        let pki = Pki::new();
        let node = node(&pki, 1, vec![vec![listed(7, &[6, 4])]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut pages = client.scan(Scan { limit: Some(2), ..Scan::versions(b"k") });
        assert_eq!(pages.next().await.unwrap().map(|page| page.versions.len()), Some(2));
        assert_eq!(pages.next().await, Ok(None), "whatever became of the stream");
        assert_eq!(pages.end(), Some(End { count: 2, revision: 7, more: true }));
        assert_eq!(node.scans().len(), 1);
    });
}

#[test]
fn a_scan_that_has_shown_nothing_begins_again() {
    run(async {
        let pki = Pki::new();
        let node = node(&pki, 1, vec![vec![page(7, &[])], vec![page(8, &["a"]), end(1, 8, false)]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let (keys, ended) = all(&mut client.scan(Scan::default())).await;
        assert_eq!((keys.as_str(), ended.unwrap().revision), ("a", 8));
        assert_eq!(node.scans(), vec![Scan::default(); 2]);
    });
}

#[test]
fn an_end_that_was_lost_behind_the_last_row_is_asked_for() {
    run(async {
        let pki = Pki::new();
        let node = node(&pki, 1, vec![vec![page(7, &["a", "b"])], vec![end(1, 7, true)]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let (_, ended) = all(&mut client.scan(Scan { limit: Some(2), ..Scan::default() })).await;
        assert_eq!(ended, Ok(End { count: 2, revision: 7, more: true }));
        assert_eq!((node.scans()[1].want, node.scans()[1].limit), (Want::Count, Some(1)));
    });
}

#[test]
fn nonsense_is_not_shown() {
    run(async {
        for nonsense in [
            vec![page(7, &["b", "a"])],
            vec![page(7, &["b", "b"])],
            vec![page(7, &["b"]), page(7, &["a"])],
            vec![page(7, &["b"]), page(8, &["c"])],
            vec![page(7, &["b"]), end(2, 7, false)],
            vec![page(7, &["b"]), end(1, 8, false)],
            vec![page(7, &["z"])],
            vec![page(7, &["a", "b", "c", "d"])],
        ] {
            let pki = Pki::new();
            let node = node(&pki, 1, vec![nonsense.clone()]);
            let client = Client::new(settings(&pki, &[&node.address]));
            let scan = Scan { limit: Some(3), ..Scan::range(b"a", b"z") };
            let (_, ended) = all(&mut client.scan(scan)).await;
            let sense = ended.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(sense.ends_with("makes no sense"), "{nonsense:?}: {sense}");
        }
    });
}

#[test]
fn a_node_that_answers_with_what_makes_no_sense_is_not_asked_again() {
    run(async {
        let pki = Pki::new();
        let node = node(&pki, 1, vec![vec![page(7, &["a"])], vec![page(7, &["a"])]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let scan = Scan { want: Want::Hash, ..Scan::default() };
        let digests = client.digests(std::slice::from_ref(&node.address), &scan).await;
        let told = digests[0].as_ref().unwrap_err().to_string();
        assert!(told.contains("it sent what makes no sense"), "{told}");
        assert_eq!(node.scans().len(), 1);
        client.close().await;
    });
}
