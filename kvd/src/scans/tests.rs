use std::path::Path;

use protocol::ClusterId;

use super::*;
use crate::{
    state::{State, StateLimits},
    store::memory::MemoryDisk,
};

fn scans() -> (Scans, thread_channel::Receiver<Job>) {
    let (jobs, asked) = thread_channel::channel();
    (Scans::new(jobs), asked)
}

fn cursor() -> Cursor {
    let disk = Arc::new(MemoryDisk::default());
    let state = State::open(disk, Path::new("state"), ClusterId([7; 16]), StateLimits::default()).unwrap();
    state.view().scan(Scan::default(), PageLimits::default()).unwrap()
}

fn full(result: Result<Places, Refused>, of: usize) -> bool {
    matches!(result, Err(Refused::Busy { what }) if what.ends_with(&format!("table of {of} scans")))
}

#[test]
fn a_connection_and_a_node_serve_so_many_scans_and_say_how_many() {
    let (scans, _jobs) = scans();
    let mut places = Vec::new();
    let own = Own::new();
    for _ in 0..SCANS_PER_CONNECTION {
        places.push(scans.enter(&own).unwrap());
    }
    assert!(full(scans.enter(&own), SCANS_PER_CONNECTION));
    while places.len() < SCANS {
        places.push(scans.enter(&Own::new()).unwrap());
    }
    assert!(full(scans.enter(&Own::new()), SCANS));
    places.pop();
    assert!(scans.enter(&Own::new()).is_ok());
}

#[test]
fn what_nobody_waits_for_is_freed_by_the_thread_and_its_place_with_it() {
    let (scans, jobs) = scans();
    let places = scans.enter(&Own::new()).unwrap();
    drop(Paused { scan: Some((cursor(), places)), jobs: scans.jobs.clone() });
    assert_eq!(scans.places.available_permits(), SCANS - 1, "a place is taken until the view is gone");
    assert!(matches!(jobs.recv().unwrap(), Job::Free(..)));
    assert_eq!(scans.places.available_permits(), SCANS);
}

#[test]
fn the_thread_answers_who_waits_and_passes_over_who_has_gone() {
    let (scans, jobs) = scans();
    let paused = |places| Paused { scan: Some((cursor(), places)), jobs: scans.jobs.clone() };
    drop(scans.ask(paused(scans.enter(&Own::new()).unwrap())));
    let mut waited = scans.ask(paused(scans.enter(&Own::new()).unwrap()));
    let (done, mut failed) = mpsc::unbounded_channel();
    let thread = std::thread::spawn(move || run_scans(&jobs, &done));
    let made = loop {
        match waited.try_recv() {
            Ok(made) => break made,
            Err(_) => std::thread::yield_now(),
        }
    };
    let frame = ScanFrame::decode(&made.frame).unwrap();
    assert!(matches!(frame, ScanFrame::End(end) if end.count == 0) && made.rest.is_none());
    assert!(failed.try_recv().is_err());
    drop(scans);
    thread.join().unwrap();
}
