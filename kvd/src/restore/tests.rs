//! Three servers of a new cluster out of a backup of another, and backups that are damaged.

use std::fs;

use protocol::{
    Command, Operation, Refused, RequestId, Scan, ScanFrame, response::Member, snapshot::Checker,
};
use raft::{Config as Core, Entry, NodeId, Payload};

use super::*;
use crate::{
    bootstrap::Launch,
    members::Members,
    state::{State, view::PageLimits},
};

const OLD: ClusterId = ClusterId([7; 16]);
const LAST: u64 = 40;

fn request(index: u64, cluster: ClusterId) -> RequestId {
    RequestId { token: u128::from(index).to_le_bytes(), learned: index - 1, cluster }
}

fn entry(index: u64, term: u64, cluster: ClusterId) -> Entry {
    let key = format!("key {}", index % 9).into_bytes();
    let operation = match index % 4 {
        3 => Operation::Delete { key },
        _ => Operation::Set { key, value: format!("value {index}").into() },
    };
    let command = Command { request: request(index, cluster), stamp_ms: 10 * index, wall_ms: 77, operation };
    Entry { position: Position::new(index, term), payload: Payload::Command(command.encode().into()) }
}

/// The state of the old cluster, and its backup.
fn old(home: &Path) -> (State, PathBuf) {
    let mut state = State::open(Arc::new(RealDisk), &home.join("old"), OLD, StateLimits::default()).unwrap();
    for index in 1..=LAST {
        state.apply(&entry(index, 3, OLD)).unwrap();
    }
    let flushed = state.begin_flush(0).unwrap().run().unwrap();
    state.finish_flush(flushed);
    let mut sending = state.sending().unwrap().saved_at(1234);
    let backup: Vec<u8> = std::iter::from_fn(|| sending.next_block().unwrap()).flatten().collect();
    let file = home.join("monday.kvsnap");
    fs::write(&file, backup).unwrap();
    (state, file)
}

/// A configuration of three servers in a folder of its own, with certificates of its own.
fn new(home: &Path, name: &str) -> Config {
    let folder = home.join(name);
    fs::create_dir(&folder).unwrap();
    let server = |id: u64| format!("[[server]]\nid = {id}\naddress = \"127.0.0.1:{}\"\n", 7400 + id);
    let text: String = (1..=3).map(server).collect();
    Config::parse(&folder.join("kvd.toml"), &text).unwrap()
}

fn launch(config: &Config, node: &str) -> Result<Launch, StartError> {
    bootstrap::prepare(config.clone(), Some(node), None, bootstrap::Purpose::Run)
}

fn opened(launch: &Launch) -> opening::Opened {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (limits, settings) = (StateLimits::default(), log::Settings::production());
    let (log, state) = (launch.log_dir.as_path(), launch.state_dir.as_path());
    opening::open(&disk, Place { log, state, cluster: launch.cluster, limits, settings }).unwrap()
}

/// All rows as they were at a revision.
fn rows(state: &State, at: u64) -> Vec<ScanFrame> {
    let scan = Scan { at: Some(at), ..Scan::default() };
    let mut cursor = state.view().scan(scan, PageLimits::default()).ok();
    let frames = std::iter::from_fn(|| {
        let frame = cursor.as_mut()?.answer().unwrap();
        cursor = cursor.take().filter(|_| matches!(frame, ScanFrame::Page(_)));
        Some(frame)
    });
    frames.collect()
}

#[test]
fn every_server_gets_the_same_state_of_the_same_new_cluster() {
    let home = tempfile::tempdir().unwrap();
    let (old, backup) = old(home.path());
    let config = new(home.path(), "new");
    let mut clusters = Vec::new();
    for node in ["n1", "n2", "n3"] {
        let made = restore(&config, Some(node), &backup, "").unwrap();
        assert_eq!((made.node.as_str(), made.revision), (node, LAST + AHEAD));
        assert_eq!((made.backup.head.cluster, made.backup.facts.saved_ms), (OLD, Some(1234)));
        let launch = launch(&config, node).unwrap();
        assert_eq!(launch.cluster, made.cluster);
        let opening::Opened { mut state, log, recovered } = opened(&launch);
        let at = Position::new(LAST + AHEAD, 3);
        assert_eq!((state.applied(), recovered.base, log.last()), (at, at, at));
        assert_eq!(recovered.hard, HardState { term: at.term, vote: None });
        for revision in old.kept_history().oldest..=LAST {
            assert_eq!(rows(&state, revision), rows(&old, revision), "revision {revision}");
        }
        assert_eq!(state.kept_history(), old.kept_history());
        for n in 0..9 {
            let key = format!("key {n}").into_bytes();
            assert_eq!(state.get(&key).unwrap(), old.get(&key).unwrap(), "key {n}");
        }
        clusters.push((made.cluster, state.hash()));
        // What the old cluster may have applied is refused, and what is new goes on above.
        let mut repeated = entry(LAST, 4, OLD);
        repeated.position = Position::new(at.index.0 + 1, 4);
        let applied = state.apply(&repeated).unwrap().unwrap();
        assert!(matches!(applied.result, Err(Refused::BadRequestId(_))), "{:?}", applied.result);
        let applied = state.apply(&entry(at.index.0 + 2, 4, launch.cluster)).unwrap().unwrap();
        assert!(applied.result.is_ok(), "{:?}", applied.result);
    }
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "{clusters:?}");
    assert_ne!(clusters[0].0, OLD);
}

#[test]
fn what_was_restored_is_a_node_that_can_vote() {
    let home = tempfile::tempdir().unwrap();
    let (_old, backup) = old(home.path());
    let config = new(home.path(), "new");
    restore(&config, Some("n2"), &backup, "").unwrap();
    let launch = launch(&config, "n2").unwrap();
    let core = Core {
        id: NodeId(2),
        voters: [1, 2, 3].map(NodeId).to_vec(),
        election_ticks: 20,
        heartbeat_ticks: 5,
        max_append_entries: 64,
        max_append_bytes: 1 << 20,
        max_inflight_appends: 8,
        max_inflight_bytes: 1 << 22,
        max_uncommitted_entries: 4,
        max_uncommitted_bytes: 1 << 22,
        max_reads: 4,
        max_snapshots: 2,
        cache_bytes: 1 << 20,
        seed: 1,
    };
    let members = {
        let member = |id| Member {
            id,
            name: format!("n{id}"),
            address: format!("127.0.0.1:{}", 7400 + id),
            ..Member::default()
        };
        Members::new(launch.cluster, NodeId(2), [1, 2, 3].map(member).to_vec())
    };
    let (node, _log) = opened(&launch).into_node(core, members).unwrap();
    assert_eq!(node.applied(), LAST + AHEAD);
}

#[test]
fn another_backup_or_another_name_is_another_cluster() {
    let home = tempfile::tempdir().unwrap();
    let (mut state, backup) = old(home.path());
    let config = new(home.path(), "new");
    let first = restore(&config, Some("n1"), &backup, "").unwrap().cluster;
    assert_ne!(restore(&config, Some("n2"), &backup, "drill").unwrap().cluster, first);
    state.apply(&entry(LAST + 1, 3, OLD)).unwrap();
    let flushed = state.begin_flush(0).unwrap().run().unwrap();
    state.finish_flush(flushed);
    let mut sending = state.sending().unwrap();
    let later: Vec<u8> = std::iter::from_fn(|| sending.next_block().unwrap()).flatten().collect();
    fs::write(&backup, later).unwrap();
    assert_ne!(restore(&config, Some("n3"), &backup, "").unwrap().cluster, first);
    let again = restore(&config, Some("n3"), &backup, "").unwrap_err();
    assert!(again.to_string().contains("this server has run already"), "{again}");
    assert_eq!(again.exit(), Exit::Usage);
}

#[test]
fn a_backup_that_is_not_sound_makes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (_old, backup) = old(home.path());
    let config = new(home.path(), "new");
    let sound = fs::read(&backup).unwrap();
    let first = sound.len() / 2;
    let mut flipped = sound.clone();
    flipped[first] ^= 0x10;
    let longer = [sound.as_slice(), b"x"].concat();
    for bytes in [&flipped[..], &longer, &sound[..sound.len() - 1], &sound[..53], b"", b"[cluster]\n"] {
        fs::write(&backup, bytes).unwrap();
        let error = restore(&config, Some("n1"), &backup, "").unwrap_err();
        assert_eq!(error.exit(), Exit::Integrity, "{error}");
        assert!(error.to_string().contains("no sound backup"), "{error}");
    }
    fs::remove_file(&backup).unwrap();
    assert_eq!(restore(&config, Some("n1"), &backup, "").unwrap_err().exit(), Exit::Disk);
    assert_eq!(
        fs::read_dir(home.path().join("new")).unwrap().count(),
        0,
        "nothing was made, no certificate either"
    );
}

#[test]
fn revisions_have_an_end() {
    let home = tempfile::tempdir().unwrap();
    let config = new(home.path(), "new");
    let file = home.path().join("far.kvsnap");
    let backup = |index: u64| {
        let facts = [
            ("changes_hash", 0),
            ("cluster", u128::from_be_bytes(OLD.0)),
            ("floor", 0),
            ("format", u128::from(protocol::version::STATE_FORMAT_PLAIN)),
            ("history_floor", u128::from(index)),
            ("history_stamp", 0),
            ("index", u128::from(index)),
            ("memory", 12),
            ("requests_hash", 0),
            ("rows_hash", 0),
            ("stamp", 5),
            ("term", 3),
            ("window_age", 22),
            ("window_bytes", 33),
            ("window_changes", 11),
        ];
        let mut meta = protocol::snapshot::Filling::new(Table::Meta);
        for (name, value) in facts {
            meta.push(name.as_bytes(), &u128::to_le_bytes(value));
        }
        let blocks = vec![protocol::snapshot::Head::new(OLD, index, 3).encode(), meta.seal()];
        let sum = Checker::sum(&blocks);
        let end = protocol::snapshot::End { blocks: 2, pairs: facts.len() as u64, sum };
        fs::write(&file, [blocks.concat(), end.encode()].concat()).unwrap();
    };
    backup(NUMBER - AHEAD + 1);
    let error = restore(&config, Some("n1"), &file, "").unwrap_err();
    assert!(matches!(error, RestoreError::TooFar { .. }), "{error}");
    backup(NUMBER - AHEAD);
    assert_eq!(restore(&config, Some("n1"), &file, "").unwrap().revision, NUMBER);
}
