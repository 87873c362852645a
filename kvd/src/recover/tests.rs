use std::{sync::Arc, time::Duration};

use raft::{Entry, HardState, Payload, Persist, Position, Term, Ticket};

use super::*;
use crate::{
    bootstrap::claim::{Locks, Places, Steps, Wanted, claim},
    disk::{Disk, RealDisk},
    log::{self, Log},
    log_thread::{LogTask, run_log},
    metrics::Meters,
    state::{State, StateLimits},
};

fn survivor(node: u64, last: (u64, u64)) -> Survivor {
    let last = Position::new(last.1, last.0);
    Survivor {
        cluster: ClusterId([7; 16]),
        node,
        voters: vec![1, 2, 3],
        electorates: vec![vec![1, 2, 3]],
        incarnation: "ab".to_owned(),
        term: last.term.0,
        last,
        applied: Position::new(1, 1),
        keys: 5,
    }
}

fn found(survivors: &[Survivor]) -> Vec<(Place, Result<Survivor, RecoverError>)> {
    let place = |survivor: &Survivor| Place::parse(&format!("/mnt/n{}", survivor.node)).unwrap();
    survivors.iter().map(|survivor| (place(survivor), Ok(survivor.clone()))).collect()
}

#[test]
fn the_log_that_ends_latest_is_the_best_by_term_before_index() {
    let best = |survivors: &[Survivor]| Plan::of(&found(survivors)).unwrap().node;
    assert_eq!(best(&[survivor(1, (4, 90)), survivor(2, (4, 91))]), 2);
    assert_eq!(best(&[survivor(1, (5, 80)), survivor(2, (4, 91))]), 1);
    let further = Survivor { applied: Position::new(9, 1), ..survivor(2, (4, 90)) };
    assert_eq!(best(&[survivor(1, (4, 90)), further]), 2);
    assert_eq!(best(&[survivor(1, (4, 90)), survivor(2, (4, 90))]), 1, "of equals the first");
    assert!(matches!(Plan::of(&[]), Err(RecoverError::Nothing)));
}

#[test]
fn nothing_is_at_risk_where_every_majority_was_looked_at() {
    assert!(may_lose(&[1, 2, 3], &[1]));
    assert!(!may_lose(&[1, 2, 3], &[1, 3]));
    assert!(!may_lose(&[1], &[1]));
    assert!(may_lose(&[1, 2, 3, 4], &[1]) && !may_lose(&[1, 2, 3, 4], &[1, 2]));
    assert!(may_lose(&[1, 2, 3, 4, 5], &[1, 2]) && !may_lose(&[1, 2, 3, 4, 5], &[1, 2, 5]));
    assert!(may_lose(&[1, 2, 3], &[8, 9]), "strangers do not count");
}

#[test]
fn every_set_of_voters_that_a_survivor_knows_of_counts() {
    let loses = |survivors: &[Survivor]| Plan::of(&found(survivors)).unwrap().may_lose_writes;
    let grown = |node| {
        let electorates = vec![vec![1, 2, 3], vec![1, 2, 3, 4, 5]];
        Survivor { electorates, voters: vec![1, 2, 3, 4, 5], ..survivor(node, (4, 90)) }
    };
    assert!(!loses(&[survivor(1, (4, 90)), survivor(2, (4, 90))]));
    assert!(loses(&[survivor(1, (4, 90)), grown(2)]), "3, 4 and 5 may have acknowledged without them");
    assert!(!loses(&[survivor(1, (4, 90)), grown(2), grown(4)]));
    assert!(loses(&[grown(1), grown(4), grown(5)]), "so may 2 and 3 have before");
    let said = |survivors: &[Survivor]| {
        let plan = Plan::of(&found(survivors)).unwrap();
        plan.loss().to_string().lines().next().unwrap().to_owned()
    };
    assert!(said(&[grown(1), grown(2)]).ends_with("of the voters 1, 2, 3, 4, 5 only 1, 2 were looked at"));
    assert!(said(&[grown(1), grown(4), grown(5)]).ends_with("of the voters 1, 2, 3 only 1 was looked at"));
    assert!(said(&[grown(8)]).ends_with("of the voters 1, 2, 3, 4, 5 none was looked at"));
}

/// The directories of a node that has started, and its locks.
fn started(home: &Path, node: u64) -> (Place, Locks) {
    let place = Place::parse(home.join(format!("n{node}")).to_str().unwrap()).unwrap();
    let mark = home.join(format!("mark-{node}"));
    let places = Places { log: place.log.clone(), state: place.state.clone(), mark };
    let wanted = Wanted { cluster: ClusterId([7; 16]), node, voters: vec![1, 2, 3] };
    let (_, locks) = claim(&places, &wanted, &mut Steps::all()).unwrap();
    (place, locks)
}

fn entry(index: u64) -> Entry {
    Entry { position: Position::new(index, 1), payload: Payload::Noop }
}

/// The node runs, and its log gets an entry.
fn run(place: &Place, index: u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (log, _) = Log::open_with(disk, &place.log, Position::ZERO, log::Settings::production()).unwrap();
    let (tasks, queue) = std::sync::mpsc::channel();
    let (done, _reports) = tokio::sync::mpsc::unbounded_channel();
    let hard = Some(HardState { term: Term(1), vote: None });
    let persist = Persist { ticket: Ticket(index), hard, restart: None, entries: vec![entry(index)] };
    tasks.send(LogTask::Persist(persist)).unwrap();
    drop(tasks);
    run_log(log, Duration::from_mins(1), &queue, &done, &Meters::new());
}

/// The directories of a node that has run and does not any more.
fn directory(home: &Path, node: u64) -> Place {
    let (place, _locks) = started(home, node);
    run(&place, 1);
    let (disk, limits): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), StateLimits::default());
    let mut state = State::open(disk, &place.state, ClusterId([7; 16]), limits).unwrap();
    state.apply(&entry(1)).unwrap();
    if let Some(flush) = state.begin_flush(0) {
        state.finish_flush(flush.run().unwrap());
    }
    place
}

#[test]
fn a_plan_does_not_outlast_another_run_of_any_of_its_nodes() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (directory(home.path(), 1), directory(home.path(), 2));
    let looked = [&one, &two].map(|place| (place.clone(), Ok(inspect(place).unwrap())));
    let plan = Plan::of(&looked).unwrap();
    let file = home.path().join("plan.json");
    plan.write(&file).unwrap();
    let apply = |name: &str| {
        let backup = home.path().join(name);
        let applied = rescue(&one, (&Plan::read(&file).unwrap(), &file), &backup, false);
        assert_eq!(applied.is_ok(), backup.exists());
        applied
    };
    let shown = two.shown().display().to_string();
    assert_eq!((plan.node, plan.may_lose_writes), (1, false));
    assert_eq!(apply("a").unwrap().again, Again { same: vec![shown.clone()], gone: vec![] });

    let (_, running) = started(home.path(), 2);
    let error = apply("b").unwrap_err();
    assert!(error.to_string().starts_with(&format!("{shown}: in use")), "{error}");
    drop(running);
    run(&two, 2);
    let error = apply("c").unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains(&format!("of {shown}: the directory has changed")), "{error}");
    std::fs::remove_dir_all(two.shown()).unwrap();
    assert_eq!(apply("d").unwrap().again, Again { same: vec![], gone: vec![shown] }, "nobody knows");
}

#[test]
fn the_age_of_a_plan_has_one_unit() {
    let mut plan = Plan::of(&found(&[survivor(1, (1, 1))])).unwrap();
    for (seconds, age) in
        [(119, "119 s"), (120, "2 min"), (7_199, "119 min"), (7_200, "2 h"), (172_800, "2 days")]
    {
        plan.planned_wall_ms = wall_ms() - seconds * 1000;
        assert_eq!(plan.age(), age);
    }
    plan.planned_wall_ms = wall_ms() + 5_000;
    assert_eq!(plan.age(), "0 s", "a clock that was set back");
}

#[test]
fn directories_of_two_clusters_and_copies_are_refused() {
    let other = Survivor { cluster: ClusterId([8; 16]), ..survivor(2, (1, 1)) };
    assert!(matches!(Plan::of(&found(&[survivor(1, (1, 1)), other])), Err(RecoverError::Mixed { .. })));
    let twice = [survivor(1, (1, 1)), survivor(1, (1, 2))];
    assert!(matches!(Plan::of(&found(&twice)), Err(RecoverError::Twice { node: 1, .. })));
}

#[test]
fn a_plan_survives_its_file_and_fits_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("plan.json");
    let plan = Plan::of(&found(&[survivor(3, (4, 90))])).unwrap();
    plan.write(&file).unwrap();
    assert_eq!(Plan::read(&file).unwrap(), plan);
    assert!(plan.may_lose_writes);
    assert!(plan.fits(&survivor(3, (4, 90))).is_ok());
    assert!(plan.fits(&survivor(3, (4, 91))).is_err() && plan.fits(&survivor(2, (4, 90))).is_err());
    std::fs::write(&file, "{}").unwrap();
    assert!(matches!(Plan::read(&file), Err(RecoverError::Plan { .. })));
    let text = serde_json::to_string(&plan).unwrap();
    std::fs::write(&file, text.replace("plan/v1", "plan/v2")).unwrap();
    assert!(matches!(Plan::read(&file), Err(RecoverError::Plan { .. })));
    assert_eq!(Plan::read(&home.path().join("none")).unwrap_err().exit(), Exit::Disk);
}

#[test]
fn the_table_has_the_best_first_and_says_why_one_is_of_no_use() {
    let mut all = found(&[survivor(1, (4, 88)), survivor(2, (4, 90)), survivor(4, (3, 99))]);
    let place = Place::parse("/mnt/n3").unwrap();
    let error = survivor::unusable(&place, "its state is damaged: why", true);
    all.push((place, Err(error)));
    let want = "DIR      NODE  TERM  LAST  APPLIED  KEYS  HASH OK  VERDICT\n\
                /mnt/n2  2     4     90    1        5     yes      best survivor\n\
                /mnt/n1  1     4     88    1        5     yes      2 entries behind\n\
                /mnt/n4  4     3     99    1        5     yes      behind, of an earlier term\n\
                /mnt/n3  -     -     -     -        -     no       /mnt/n3: its state is damaged: why";
    assert_eq!(table(&all), want);
}

#[test]
fn a_place_is_one_directory_or_two() {
    let one = Place::parse("/mnt/n1").unwrap();
    assert_eq!((one.log, one.state), ("/mnt/n1/log".into(), "/mnt/n1/state".into()));
    let two = Place::parse("./log,./store").unwrap();
    assert_eq!((two.log, two.state), ("./log".into(), "./store".into()));
    assert!(Place::parse("").is_err() && Place::parse("a,").is_err());
}
