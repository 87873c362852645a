use std::path::Path;

use protocol::{ClusterId, Command, Operation, RequestId, history::WindowChange, limits::WATCH_SILENCE_MS};
use raft::{Entry, Payload, Position};

use super::{teller::Told, *};
use crate::{
    clients::Greeting,
    state::{State, StateLimits, view::View},
    store::memory::MemoryDisk,
};

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn full(result: Result<Places, Refused>, of: usize) -> bool {
    matches!(result, Err(Refused::Busy { what }) if what.ends_with(&format!("table of {of} watches")))
}

#[test]
fn a_connection_and_a_node_serve_so_many_watches_and_say_how_many() {
    let (jobs, _asked) = thread_channel::channel();
    let watches = Watches::new(jobs);
    let (own, mut places) = (Own::new(), Vec::new());
    for _ in 0..WATCHES_PER_CONNECTION {
        places.push(watches.enter(&own).unwrap());
    }
    assert!(full(watches.enter(&own), WATCHES_PER_CONNECTION));
    while places.len() < WATCHES {
        places.push(watches.enter(&Own::new()).unwrap());
    }
    assert!(full(watches.enter(&Own::new()), WATCHES));
    places.pop();
    assert!(watches.enter(&Own::new()).is_ok());
}

/// A state, the thread's work without the thread, and what it asked of the loop.
struct Bench {
    state: State,
    teller: Teller,
    asked: mpsc::UnboundedReceiver<Input>,
    greeting: tokio::sync::watch::Sender<Greeting>,
    now: Instant,
}

/// A watch as its task sees it.
struct Client {
    watch: Arc<Watch>,
    place: Option<Place>,
    heard: oneshot::Receiver<Told>,
}

impl Bench {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let state = State::open(disk, Path::new("state"), CLUSTER, StateLimits::default()).unwrap();
        let (inputs, asked) = mpsc::unbounded_channel();
        let (greeting, greeted) = tokio::sync::watch::channel(Greeting::led_by(1));
        Self { state, teller: Teller::new(inputs, greeted), asked, greeting, now: Instant::now() }
    }

    fn apply(&mut self, operation: Operation) {
        let index = self.state.applied().index.0 + 1;
        let request =
            RequestId { token: u128::from(index).to_le_bytes(), learned: index - 1, cluster: CLUSTER };
        let command = Command { request, stamp_ms: index, wall_ms: 0, operation };
        let payload = Payload::Command(command.encode().into());
        _ = self.state.apply(&Entry { position: Position::new(index, 1), payload }).unwrap();
    }

    fn set(&mut self, keys: &[&str]) {
        for key in keys {
            self.apply(Operation::Set { key: (*key).into(), value: b"v".to_vec() });
        }
    }

    fn view(&self) -> Box<View> {
        Box::new(self.state.view())
    }

    /// The thread wakes, and the loop gives it the views that it asks for and that there are.
    fn work(&mut self, jobs: Vec<Job>) {
        let mut jobs = jobs;
        for _ in 0..100 {
            for job in jobs.drain(..) {
                self.teller.take(job);
            }
            self.teller.act(self.now).unwrap();
            let above = std::iter::from_fn(|| self.asked.try_recv().ok()).last();
            match above {
                Some(Input::WatchFrom(above)) if self.state.applied().index.0 > above => {
                    jobs.push(Job::View(self.view()));
                }
                _ if self.teller.wants().is_some_and(|above| self.state.applied().index.0 > above) => {
                    jobs.push(Job::View(self.view()));
                }
                _ => return,
            }
        }
        panic!("the thread does not come to rest");
    }

    fn begin(&mut self, watch: Watch) -> Client {
        let watch = Arc::new(watch);
        let (told, heard) = oneshot::channel();
        let waiter = Waiter::new(Arc::clone(&watch), Place::default(), told);
        let places = Watches::new(thread_channel::channel().0).enter(&Own::new()).unwrap();
        let begin = Job::Begin(self.view(), waiter, Arc::new(places));
        self.work(vec![begin]);
        Client { watch, place: None, heard }
    }

    /// What a client hears, after which it asks for more.
    fn hear(&mut self, client: &mut Client) -> Option<WatchFrame> {
        let Told { frame, place, .. } = client.heard.try_recv().ok()?;
        client.place = place;
        if let Some(place) = place {
            let (told, heard) = oneshot::channel();
            client.heard = heard;
            self.work(vec![Job::Next(Waiter::new(Arc::clone(&client.watch), place, told))]);
        }
        Some(WatchFrame::decode(&frame).unwrap())
    }

    /// Keys and revisions that a client hears of until there are no more, and up to which revision that is all.
    fn heard(&mut self, client: &mut Client) -> (Vec<(String, u64)>, u64) {
        let (mut all, mut last) = (Vec::new(), 0);
        while let Some(frame) = self.hear(client) {
            let WatchFrame::Events(events) = frame else { panic!("{frame:?}") };
            last = events.through;
            all.extend(
                events
                    .events
                    .into_iter()
                    .map(|event| (String::from_utf8(event.key).unwrap(), event.revision)),
            );
        }
        (all, last)
    }
}

fn changes(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(key, revision)| ((*key).to_owned(), *revision)).collect()
}

#[test]
fn a_watch_from_now_says_where_it_begins_and_is_told_what_comes() {
    let mut bench = Bench::new();
    bench.set(&["a", "b"]);
    let mut client = bench.begin(Watch::prefix(b"a"));
    assert_eq!(bench.heard(&mut client), (vec![], 2));
    bench.set(&["b", "ab"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut client), (changes(&[("ab", 4)]), 4));
    bench.set(&["c"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut client), (vec![], 0), "what does not concern it says nothing");
}

#[test]
fn a_watch_of_the_past_is_told_all_since_and_then_what_comes() {
    let mut bench = Bench::new();
    let keys: Vec<String> = (0..5000).map(|at| format!("k{}", at % 7)).collect();
    bench.set(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = bench.begin(Watch { after: Some(10), ..Watch::key(b"k3") });
    let (all, through) = bench.heard(&mut client);
    let want = (11..=5000).filter(|revision| (revision - 1) % 7 == 3);
    assert_eq!(all, want.map(|revision| ("k3".to_owned(), revision)).collect::<Vec<_>>());
    assert!(through <= 5000);
    bench.set(&["k3"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut client), (changes(&[("k3", 5001)]), 5001));
}

#[test]
fn a_client_that_is_slow_finds_all_of_it_in_the_log() {
    let mut bench = Bench::new();
    let (mut slow, mut quick) = (bench.begin(Watch::default()), bench.begin(Watch::default()));
    assert_eq!((bench.heard(&mut slow).1, bench.heard(&mut quick).1), (0, 0));
    let mut seen = Vec::new();
    for turn in 0..10 {
        bench.set(&["a", "b"]);
        bench.work(vec![]);
        let (more, through) = bench.heard(&mut quick);
        assert_eq!(through, 2 * (turn + 1));
        seen.extend(more);
    }
    let (all, _) = bench.heard(&mut slow);
    assert_eq!((all.len(), &all), (20, &seen));
}

#[test]
fn while_the_frames_in_hand_are_too_many_nobody_is_told_and_then_all_of_it() {
    let mut bench = Bench::new();
    bench.set(&["a"]);
    // One that waits, and one that is behind.
    let mut waits = bench.begin(Watch::default());
    assert_eq!(bench.heard(&mut waits), (vec![], 1));
    let held = bench.teller.fill();
    let mut behind = bench.begin(Watch { after: Some(0), ..Watch::key(b"a") });
    assert_eq!(bench.heard(&mut behind), (vec![], 0));
    for key in ["b", "c"] {
        bench.set(&[key]);
        bench.work(vec![]);
        assert!(bench.hear(&mut waits).is_none() && bench.hear(&mut behind).is_none());
    }
    drop(held);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut waits), (changes(&[("b", 2), ("c", 3)]), 3));
    assert_eq!(bench.heard(&mut behind).0, changes(&[("a", 1)]));
}

#[test]
fn what_was_told_counts_until_it_is_written_or_its_client_has_gone() {
    let mut bench = Bench::new();
    let client = bench.begin(Watch::default());
    assert!(bench.teller.in_hand() > 0);
    drop(client);
    assert_eq!(bench.teller.in_hand(), 0);
    let mut client = bench.begin(Watch::default());
    bench.heard(&mut client);
    assert_eq!(bench.teller.in_hand(), 0);
}

#[test]
fn a_watch_after_what_this_node_has_not_reached_waits_for_it_and_holds_nobody_up() {
    let mut bench = Bench::new();
    bench.set(&["a"]);
    let mut ahead = bench.begin(Watch { after: Some(4), ..Watch::default() });
    assert_eq!(bench.heard(&mut ahead), (vec![], 4));
    let mut other = bench.begin(Watch::default());
    assert_eq!(bench.heard(&mut other), (vec![], 1));
    bench.set(&["a", "b"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut other), (changes(&[("a", 2), ("b", 3)]), 3));
    bench.set(&["c", "d", "e"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut ahead), (changes(&[("d", 5), ("e", 6)]), 6));
    assert_eq!(bench.heard(&mut other).0, changes(&[("c", 4), ("d", 5), ("e", 6)]));
}

#[test]
fn what_is_trimmed_ends_those_who_had_not_been_told() {
    let mut bench = Bench::new();
    let compacted = |oldest| Some(WatchFrame::Compacted { oldest });
    bench.apply(Operation::SetWindow(WindowChange { changes: Some(2), ..WindowChange::default() }));
    bench.set(&["a", "b", "c", "d"]);
    let oldest = bench.state.view().oldest();
    assert_eq!(oldest, 3);
    let mut early = bench.begin(Watch { after: Some(oldest - 1), ..Watch::default() });
    assert_eq!(bench.hear(&mut early), compacted(oldest));
    assert!(early.place.is_none(), "it has ended");
    let mut within = bench.begin(Watch { after: Some(oldest), ..Watch::default() });
    assert_eq!(bench.heard(&mut within).0, changes(&[("c", 4), ("d", 5)]));
    // One that waits, and one that is slow.
    let mut slow = bench.begin(Watch::key(b"a"));
    assert!(bench.hear(&mut slow).is_some());
    bench.set(&["a", "b", "c"]);
    bench.teller.take(Job::View(bench.view()));
    bench.teller.act(bench.now).unwrap();
    assert_eq!(bench.hear(&mut within), compacted(6));
    assert_eq!(bench.hear(&mut slow), compacted(6), "though its key has changed in what is kept no more");
}

#[test]
fn in_silence_there_is_a_sign_of_life_unless_the_node_is_alone() {
    let mut bench = Bench::new();
    bench.set(&["a"]);
    let mut client = bench.begin(Watch::key(b"a"));
    assert_eq!(bench.heard(&mut client), (vec![], 1));
    bench.set(&["b"]);
    bench.work(vec![]);
    assert!(bench.hear(&mut client).is_none());
    bench.now += Duration::from_millis(WATCH_SILENCE_MS + 1000);
    bench.work(vec![]);
    let events = protocol::watch::Events { through: 2, ..Default::default() };
    assert_eq!(bench.hear(&mut client), Some(WatchFrame::Events(events)));
    bench.now += Duration::from_millis(WATCH_SILENCE_MS + 1000);
    bench.greeting.send_replace(Greeting::default());
    bench.work(vec![]);
    assert!(matches!(bench.hear(&mut client), Some(WatchFrame::Cut(_))));
}

#[test]
fn those_whose_clients_have_gone_are_forgotten() {
    let mut bench = Bench::new();
    bench.set(&["a"]);
    let mut kept = bench.begin(Watch::default());
    bench.heard(&mut kept);
    for _ in 0..1000 {
        let mut gone = bench.begin(Watch::key(b"z"));
        bench.heard(&mut gone);
    }
    assert!(bench.teller.waiters() <= 65, "{} wait, one is there", bench.teller.waiters());
    bench.set(&["a"]);
    bench.work(vec![]);
    assert_eq!(bench.heard(&mut kept), (changes(&[("a", 2)]), 2));
}

#[test]
fn ten_thousand_watches_share_one_turn_and_only_those_concerned_are_told() {
    let mut bench = Bench::new();
    bench.set(&["p0000/first"]);
    let mut clients: Vec<Client> =
        (0..WATCHES).map(|at| bench.begin(Watch::prefix(format!("p{at:04}/").as_bytes()))).collect();
    for client in &mut clients {
        assert_eq!(bench.heard(client).1, 1);
    }
    let keys: Vec<String> = (0..20).map(|at| format!("p{:04}/k", at * 500)).collect();
    bench.set(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let began = Instant::now();
    bench.work(vec![]);
    println!("a turn of 20 changes for {WATCHES} watches: {:?}", began.elapsed());
    let told = clients.iter_mut().filter_map(|client| client.heard.try_recv().ok()).count();
    assert_eq!(told, 20);
}
