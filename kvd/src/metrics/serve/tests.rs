//! A board over a loop that the test plays, asked over real sockets.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream as StdStream,
    sync::atomic::AtomicUsize,
};

use protocol::{ClusterId, Refused, Response, response::Member};
use raft::{Index, Membership, NodeId, Position, RoleName, Term};

use super::*;

/// Longer than anything here takes, on any machine.
const BOUND: Duration = Duration::from_secs(20);

/// What the loop that is played does.
#[derive(Clone, Copy, PartialEq)]
enum Play {
    Answers,
    Refuses,
    Hangs,
}

fn figures() -> Figures {
    let consensus = raft::Status {
        id: NodeId(1),
        role: RoleName::Follower,
        term: Term(3),
        leader: Some(NodeId(2)),
        vote: None,
        commit: Index(7),
        applied: Index(7),
        last: Position::new(9, 3),
        persisted: Index(9),
        discarded: Index(2),
        membership: Arc::new(Membership::new(&[NodeId(1), NodeId(2)], &[]).unwrap()),
        membership_at: Index(0),
        membership_committed: true,
        transferring: None,
        progress: Vec::new(),
    };
    Figures { consensus, applied: 7, flushed: 5, proposals: 0, waiting: (0, 0) }
}

/// A served board, and how often its loop was asked.
struct Trial {
    serving: Serving,
    asked: Arc<AtomicUsize>,
}

impl Trial {
    fn start(play: Play, limits: Limits) -> Self {
        let authority = transport::Authority::create("test", 1).unwrap();
        let issued = authority.issue_node(1, &["localhost"], 1).unwrap();
        let identity = Identity::from_pem(authority.cert_pem(), &issued.cert_pem, &issued.key_pem).unwrap();
        let member = |id| Member { id, name: format!("n{id}"), address: String::new(), ..Member::default() };
        let members = crate::members::Members::new(ClusterId([1; 16]), NodeId(1), vec![member(1), member(2)]);
        let about = About {
            cluster_name: "test".to_owned(),
            directory: Directory::fixed(members),
            state_dir: PathBuf::from("/nonexistent"),
            identity: watch::channel(identity).1,
        };
        let (inputs, queue) = mpsc::channel(64);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || play_loop(play, queue, &count));
        let meters = Meters::new();
        meters.follow([NodeId(2)].into_iter());
        let board = Board::new(limits, meters, about, inputs, Arc::default());
        Self { serving: start("127.0.0.1:0", board).unwrap(), asked }
    }

    fn connect(&self) -> StdStream {
        let stream = StdStream::connect(self.serving.address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    }

    /// All that comes after these bytes were sent.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may be answered and closed before it has taken everything.
        let _ = stream.write_all(bytes);
        rest(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
    }
}

fn rest(stream: &mut StdStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

fn play_loop(play: Play, mut queue: mpsc::Receiver<Input>, asked: &AtomicUsize) {
    let mut held = Vec::new();
    let (mut streams, result) = (
        crate::clients::Streams::new(),
        match play {
            Play::Refuses => Err(Refused::NoQuorum),
            _ => Ok(Response::Value { found: None, revision: 7, staleness_ms: None }),
        },
    );
    while let Some(input) = queue.blocking_recv() {
        match input {
            Input::Connected(number, replies) => streams.connected(number, replies),
            input if play == Play::Hangs => held.push(input),
            Input::Look(answer) => {
                asked.fetch_add(1, Relaxed);
                let _ = answer.send(figures());
            }
            Input::Asked { caller, .. } => {
                asked.fetch_add(1, Relaxed);
                let frame = ResponseFrame { id: caller.request, result: result.clone() };
                streams.reply(caller.connection, &frame);
            }
            _ => panic!("nothing else is asked"),
        }
    }
}

#[test]
fn each_page_says_what_the_node_says() {
    let trial = Trial::start(Play::Answers, Limits::default());
    assert!(trial.get("/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(trial.get("/readyz").ends_with("\r\n\r\nok\n"));
    let page = trial.get("/metrics");
    assert!(page.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{page}");
    for line in
        ["kvd_raft_term 3", "kvd_log_entries 7", "kvd_raft_is_leader 0", "kvd_peer_connected{peer=\"n2\"} 0"]
    {
        assert!(page.contains(&format!("\n{line}\n")), "{line}: {page}");
    }
    assert!(!page.contains("match_lag_entries{"), "a follower knows nothing of its peers");
    assert!(trial.say(b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("\r\n\r\n"));
}

#[test]
fn a_node_that_serves_no_read_lives_and_is_not_ready() {
    let trial = Trial::start(Play::Refuses, Limits::default());
    assert!(trial.get("/livez").starts_with("HTTP/1.1 200 "));
    let ready = trial.get("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("not ready: "), "{ready}");
}

#[test]
fn a_loop_that_hangs_is_no_life() {
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::default() };
    let trial = Trial::start(Play::Hangs, limits);
    for path in ["/metrics", "/livez", "/readyz"] {
        let answer = trial.get(path);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("no answer within 50 ms"), "{answer}");
    }
}

#[test]
fn many_looks_are_one() {
    let trial = Trial::start(Play::Answers, Limits::default());
    let began = Instant::now();
    let mut looks = 0;
    while began.elapsed() < FRESH * 3 {
        assert!(trial.get("/livez").starts_with("HTTP/1.1 200 ") && trial.get("/readyz").contains(" 200 "));
        looks += 2;
    }
    let most = 2 * (began.elapsed().as_millis() / FRESH.as_millis() + 1);
    assert!((trial.asked.load(Relaxed) as u128) <= most && looks > 10, "{looks} looks, {most} at most");
}

#[test]
fn what_is_too_long_or_no_request_is_told_so() {
    let trial = Trial::start(Play::Answers, Limits::default());
    let long = format!("GET /metrics HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(2 * http::HEAD_BYTES));
    assert!(trial.say(long.as_bytes()).starts_with("HTTP/1.1 431 "));
    assert!(trial.say(b"\x16\x03\x01\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(trial.say(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 404 "));
    let two = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(trial.say(two).matches("HTTP/1.1 ").count(), 1, "one request a connection");
}

#[test]
fn silence_is_cut_and_takes_no_place_for_ever() {
    let limits = Limits { connections: 2, life: Duration::from_millis(100), ..Limits::default() };
    let trial = Trial::start(Play::Answers, limits);
    let mut silent = [trial.connect(), trial.connect()];
    silent[1].write_all(b"GET /metrics HTT").unwrap();
    for stream in &mut silent {
        assert_eq!(rest(stream), "", "it is closed without a word");
    }
    assert!(trial.get("/livez").starts_with("HTTP/1.1 200 "));
}

#[test]
fn one_connection_too_many_is_told_so_and_harms_no_other() {
    let limits = Limits { connections: 2, life: BOUND, ..Limits::default() };
    let trial = Trial::start(Play::Answers, limits);
    let mut slow = trial.connect();
    let other = trial.connect();
    // They are accepted in their order, so these two have the places once the third is answered.
    let mut third = trial.connect();
    assert!(rest(&mut third).starts_with("HTTP/1.1 503 "));
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(rest(&mut slow).starts_with("HTTP/1.1 200 "));
    drop((slow, other));
    let began = Instant::now();
    while !trial.get("/livez").starts_with("HTTP/1.1 200 ") {
        assert!(began.elapsed() < BOUND, "a place that was left is free");
    }
}

#[test]
fn the_port_is_free_once_it_is_not_served() {
    let trial = Trial::start(Play::Answers, Limits::default());
    let address = trial.serving.address;
    drop(trial);
    let began = Instant::now();
    while StdStream::connect(address).is_ok() {
        assert!(began.elapsed() < BOUND, "it is still served");
        std::thread::yield_now();
    }
}
