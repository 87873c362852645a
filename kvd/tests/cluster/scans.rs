//! Scans of real nodes: one revision however slowly they are read and whatever is written meanwhile, through the end of
//! the node that served them, and never more at a time than a node has places for.

use std::time::Duration;

use client::{Client, Error, Pages, Settings};
use protocol::{Scan, history::WindowChange, limits, scan::End};

use crate::{
    real::{client_of, converged, runtime, settings},
    start,
};

/// More than what lies on the way fits into: a page holds one of these, a stream's window four.
const KEYS: usize = 60;
const VALUE: usize = 300 * 1024;

fn key(at: usize) -> Vec<u8> {
    format!("k{at:03}").into_bytes()
}

fn value(round: u8) -> Vec<u8> {
    vec![round; VALUE]
}

async fn write(client: &Client, round: u8) {
    for at in 0..KEYS {
        client.set(&key(at), &value(round), None).await.unwrap();
    }
}

/// The keys that are left of a scan, each with the first byte of its value, and how it ended.
async fn rest(pages: &mut Pages) -> (Vec<(Vec<u8>, u8)>, Result<End, Error>) {
    let mut rows = Vec::new();
    loop {
        match pages.next().await {
            Ok(Some(page)) => {
                for row in page.rows {
                    assert!(row.found.value.len() == VALUE);
                    assert!(row.found.value.iter().all(|byte| *byte == row.found.value[0]), "a torn value");
                    rows.push((row.key, row.found.value[0]));
                }
            }
            Ok(None) => return (rows, Ok(pages.end().unwrap())),
            Err(error) => return (rows, Err(error)),
        }
    }
}

fn of_round(rows: &[(Vec<u8>, u8)], from: usize, round: u8) {
    let want: Vec<_> = (from..KEYS).map(|at| (key(at), round)).collect();
    assert!(rows == want, "{:?}", rows.iter().map(|row| row.1).collect::<Vec<_>>());
}

/// A scan of which one page was taken.
async fn begun(client: &Client) -> Pages {
    let mut pages = client.scan(Scan::prefix(b"k"));
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!((first.rows.len(), &first.rows[0].key), (1, &key(0)));
    pages
}

#[test]
fn a_slow_scan_is_of_one_revision_whatever_is_written_meanwhile() {
    let cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        // On a busy machine a connection may be lost, and with it what was read at a revision that is gone.
        let mut whole = false;
        for turn in 0..5 {
            whole = whole || slow(&client, 10 * turn + 1).await;
        }
        assert!(whole, "no scan came to its end in five turns");
        for at in (0..KEYS).step_by(2) {
            client.delete(&key(at), None).await.unwrap();
        }
        let mut pages = client.scan(Scan::prefix(b"k"));
        let (rows, _) = rest(&mut pages).await;
        assert_eq!(rows.len(), KEYS / 2, "and one that begins later is of then");
    });
}

/// A scan between whose first and second page all keys are written several times and half of them deleted; whether it
/// was not cut off.
async fn slow(client: &Client, round: u8) -> bool {
    write(client, round).await;
    let mut pages = begun(client).await;
    // Enough that overlays are frozen, written to the store, and replaced there.
    for later in 1..=5 {
        write(client, round + later).await;
    }
    for at in (0..KEYS).step_by(2) {
        client.delete(&key(at), None).await.unwrap();
    }
    let (rows, end) = rest(&mut pages).await;
    match end {
        Ok(end) => {
            of_round(&rows, 1, round);
            assert_eq!(end.count, KEYS as u64);
            true
        }
        Err(Error::Cut { why, .. }) => {
            println!("cut off: {why}");
            let taken: Vec<_> = (1..=rows.len()).map(|at| (key(at), round)).collect();
            assert!(rows == taken, "what was shown is right");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_scan_outlives_its_node_whatever_is_written_and_is_cut_off_where_its_revision_is_not_kept() {
    let mut cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        write(&client, 1).await;
        converged(&client, 3).await;

        let mut pages = begun(&client).await;
        let first = usize::try_from(pages.served_by()).unwrap();
        cluster.kill(first);
        let (rows, end) = rest(&mut pages).await;
        of_round(&rows, 1, 1);
        assert_eq!(end.unwrap().count, KEYS as u64);
        assert_ne!(pages.served_by(), first as u64, "another node went on");

        cluster.restart(first);
        converged(&client, 3).await;
        let mut pages = begun(&client).await;
        write(&client, 2).await;
        let second = usize::try_from(pages.served_by()).unwrap();
        cluster.kill(second);
        let (rows, end) = rest(&mut pages).await;
        of_round(&rows, 1, 1);
        assert_eq!(end.unwrap().count, KEYS as u64, "as it was before those writes");

        cluster.restart(second);
        write(&client, 1).await;
        converged(&client, 3).await;
        let mut pages = begun(&client).await;
        let nothing = WindowChange { changes: Some(0), ..WindowChange::default() };
        client.set_window(nothing, None).await.unwrap();
        client.set(b"other", b"value", None).await.unwrap();
        cluster.kill(usize::try_from(pages.served_by()).unwrap());
        let (rows, end) = rest(&mut pages).await;
        let Err(Error::Cut { why, shown, after, .. }) = end else { panic!("{end:?}") };
        assert!(why.contains("no longer kept"), "{why}");
        assert_eq!((shown, after), (rows.len() as u64 + 1, Some(key(rows.len()))));
        let taken: Vec<_> = (1..=rows.len()).map(|at| (key(at), 1)).collect();
        assert!(rows == taken, "what was shown is right");
    });
}

#[test]
fn a_connection_has_so_many_scans_at_a_time() {
    let cluster = start(1);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        write(&client, 1).await;
        let mut held = Vec::new();
        for _ in 0..limits::SCANS_PER_CONNECTION {
            held.push(begun(&client).await);
        }
        // Another client is not in the way, and the first is told the limit.
        drop(begun(&client_of(&cluster, cluster.addresses()).await).await);
        let hasty =
            Settings { timeout: Duration::from_millis(300), ..settings(&cluster, cluster.addresses()).await };
        let hasty = Client::new(hasty);
        for _ in 0..limits::SCANS_PER_CONNECTION {
            held.push(begun(&hasty).await);
        }
        let refused = hasty.scan(Scan::default()).next().await.unwrap_err().to_string();
        assert!(refused.contains("table of 4 scans is full"), "{refused}");
        held.clear();
        // A place is free once the node has noticed.
        let mut pages = client.scan(Scan::prefix(b"k"));
        assert_eq!(rest(&mut pages).await.0.len(), KEYS);
    });
}

#[test]
fn ranges_limits_and_counts_are_served() {
    let cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        for name in ["a", "a/b", "a/c", "b"] {
            client.set(name.as_bytes(), name.as_bytes(), None).await.unwrap();
        }
        let names = async |scan: Scan| {
            let mut pages = client.scan(scan);
            let mut names = Vec::new();
            while let Some(page) = pages.next().await.unwrap() {
                names.extend(page.rows.into_iter().map(|row| String::from_utf8(row.key).unwrap()));
            }
            (names.join(" "), pages.end().unwrap())
        };
        assert_eq!(names(Scan::prefix(b"a/")).await.0, "a/b a/c");
        assert_eq!(names(Scan::range(b"a/b", b"b")).await.0, "a/b a/c");
        let (first, end) = names(Scan { limit: Some(1), ..Scan::default() }).await;
        assert_eq!((first.as_str(), end.count, end.more), ("a", 1, true));
        let counted = Scan { want: protocol::scan::Want::Count, ..Scan::default() };
        let (none, end) = names(counted).await;
        assert_eq!((none.as_str(), end.count, end.more), ("", 4, false));
    });
}
