//! `top`: what the nodes do now, drawn again and again; on a terminal keys sort, pause, open a node and leave. Rates are the difference of two views that a node gives of itself,
//! over the time that went by on its own clock, so that neither the network nor a restart makes them up.

mod board;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use clap::Args;
use protocol::NodeStatus;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use self::board::{Board, Wish};
use super::{
    assess::{Assessment, Node, role},
    frames::Frames,
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    keys::Keys,
    listing::Out,
    report::{Body, Document, Report, Table},
    text,
};

/// Least time between two views: more often, a status would be a load of its own.
const LEAST: Duration = Duration::from_millis(100);
/// Round trips of which the slowest is shown.
const TRIPS: usize = 60;
/// Most nodes whose past is kept.
const NODES: usize = 256;

const COLUMNS: [&str; 9] = ["NODE", "ROLE", "STATE", "ENTRIES/S", "LAG", "LAST", "RTT", "SLOWEST", "DISK"];

/// Arguments of `top`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl top\n  kvctl top --every 5s\n  kvctl top --count 10 -o ndjson\n\n\
                        Drawn in its place on a terminal, until q or Ctrl-C; elsewhere shown once, or --count times.\n\n\
                        Keys: s sorts, p pauses, up and down mark a node, Enter shows it alone, q leaves."
)]
pub struct Top {
    /// Time between two views
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = text::parse_duration)]
    pub every: Duration,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

impl Top {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if self.every >= LEAST {
            return Ok(());
        }
        let message = format!("--every {} is less than {}", text::span(self.every), text::span(LEAST));
        Err(Failure::usage(message).hint("a look at every node is a request to every node"))
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let frames = Frames::new(out);
        let count = self.count.or(if frames.is_in_place() { None } else { Some(1) });
        let mut past = Past::default();
        past.add(&Assessment::of(session.client().status().await)?);
        if frames.is_in_place()
            && let Some(keys) = Keys::open()
        {
            return self.converse(session, frames, keys, past).await;
        }
        sleep(self.every).await;
        frames
            .run(self.every, count, async || {
                let seen = Assessment::of(session.client().status().await)?;
                past.add(&seen);
                Ok(report(&seen, &past, session.name(), None))
            })
            .await
    }

    /// The same with somebody at the keys, who can leave at any time. While it is paused nobody is asked.
    async fn converse(
        &self,
        session: &Session,
        mut frames: Frames<'_, '_>,
        mut keys: Keys,
        mut past: Past,
    ) -> Result<Report, Failure> {
        let view = async |at: Instant| {
            sleep_until(at).await;
            (Instant::now(), Assessment::of(session.client().status().await))
        };
        let after = |began: Instant| began.checked_add(self.every).unwrap_or(began);
        let (mut board, mut shown) = (Board::default(), 0_u64);
        // One for the whole run: what comes while a view is drawn is not lost.
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|error| Failure::internal(format!("cannot listen to signals: {error}")))?;
        let mut next = Box::pin(view(after(Instant::now())));
        let mut seen = None;
        loop {
            let wish = tokio::select! {
                biased;
                _ = interrupt.recv() => Wish::Interrupt,
                key = keys.next() => key.map_or(Wish::Leave, |key| board.press(key)),
                (began, now) = &mut next, if !board.is_paused() => {
                    next.set(view(after(began)));
                    if let Ok(now) = &now {
                        past.add(now);
                    }
                    shown = shown.saturating_add(1);
                    seen = Some(now);
                    Wish::Draw
                }
            };
            match wish {
                Wish::Nothing => continue,
                Wish::Interrupt => return Ok(over(Exit::Interrupted)),
                Wish::Leave => return Ok(over(exit(seen.as_ref()))),
                Wish::Look => next.set(view(Instant::now())),
                Wish::Draw => {}
            }
            let Some(now) = &seen else { continue };
            let frame = match now {
                Ok(now) => Ok(report(now, &past, session.name(), Some(&mut board))),
                Err(failure) => Err(failure.clone()),
            };
            if frame.as_ref().is_err_and(|failure| !failure.exit.is_retryable()) {
                return frame;
            }
            frames.show(&frame)?;
            if self.count.is_some_and(|count| shown >= count) {
                return Ok(over(exit(seen.as_ref())));
            }
        }
    }
}

/// With what a look ends that showed this last.
fn exit(seen: Option<&Result<Assessment, Failure>>) -> Exit {
    match seen {
        None => Exit::Success,
        Some(Ok(seen)) => seen.exit(),
        Some(Err(failure)) => failure.exit,
    }
}

/// The end of what has been shown.
fn over(exit: Exit) -> Report {
    Report::new(Document::bare(), Body::Hidden).exit(exit)
}

/// What is kept of earlier views.
#[derive(Default)]
struct Past {
    nodes: BTreeMap<u64, Earlier>,
}

/// The last two views of a node, and its last round trips.
#[derive(Default)]
struct Earlier {
    last: Point,
    /// Entries a second between the last two; `None` where there is no such time.
    rate: Option<f64>,
    trips: VecDeque<Duration>,
}

#[derive(Clone, Copy, Default)]
struct Point {
    applied: u64,
    uptime_ms: u64,
}

impl Past {
    fn add(&mut self, seen: &Assessment) {
        let answered = seen.nodes().filter_map(|node| Some((node.id?, node.status.as_ref().ok()?, node.rtt)));
        let answered: BTreeMap<u64, _> =
            answered.take(NODES).map(|(id, status, rtt)| (id, (status, rtt))).collect();
        self.nodes.retain(|id, _| answered.contains_key(id));
        for (id, (status, rtt)) in answered {
            self.nodes.entry(id).or_default().add(status, rtt);
        }
    }

    fn of(&self, node: &Node<'_>) -> Option<&Earlier> {
        self.nodes.get(&node.id?)
    }
}

impl Earlier {
    fn add(&mut self, status: &NodeStatus, rtt: Duration) {
        let now = Point { applied: status.applied, uptime_ms: status.uptime_ms };
        self.rate = self.last.rate(now);
        self.last = now;
        if self.trips.len() >= TRIPS {
            self.trips.pop_front();
        }
        self.trips.push_back(rtt);
    }

    fn slowest(&self) -> Duration {
        self.trips.iter().max().copied().unwrap_or_default()
    }
}

impl Point {
    /// Entries a second until then; none from the first view, and none over a restart.
    fn rate(self, now: Self) -> Option<f64> {
        let entries = now.applied.checked_sub(self.applied)?;
        let millis = now.uptime_ms.checked_sub(self.uptime_ms).filter(|_| self.uptime_ms > 0)?;
        let millis = u32::try_from(millis).ok().filter(|millis| *millis > 0)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate of more than 2^53 entries is shown well enough"
        )]
        Some(entries as f64 * 1000.0 / f64::from(millis))
    }
}

fn report(seen: &Assessment, past: &Past, context: &str, mut board: Option<&mut Board>) -> Report {
    let of = |node: &Node<'_>| past.of(node);
    // Every node applies every entry: the fastest is the one that is not held up.
    let rate = seen.nodes().filter_map(|node| of(&node)?.rate).reduce(f64::max);
    let mut head = seen.head(context);
    head.push(rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0} entries/s")));
    let table = Table { head, findings: seen.warnings(), ..table(seen, past, board.as_deref_mut()) };
    let nodes: Vec<Value> = seen.nodes().map(|node| document(&node, of(&node))).collect();
    let document = Document::new("top")
        .with("context", context)
        .with("health", seen.health().word())
        .with("leader", seen.leader_name())
        .with("rev", seen.rev())
        .with("entries_per_s", rate)
        .with("nodes", nodes);
    let report = Report::new(document, Body::Table(table)).exit(seen.exit());
    match board {
        Some(board) => report.note(board.footer()),
        None => report,
    }
}

/// A row a node, or one node alone.
fn table(seen: &Assessment, past: &Past, board: Option<&mut Board>) -> Table {
    let mut nodes: Vec<Node<'_>> = seen.nodes().collect();
    let Some(board) = board else {
        let rows = nodes.iter().map(|node| cells(node, past.of(node), "")).collect();
        return Table { columns: COLUMNS.to_vec(), rows, ..Table::default() };
    };
    board.sort(&mut nodes, past);
    if let Some(node) = nodes.iter().find(|node| board.is_alone(node)) {
        return board::details(node, past.of(node));
    }
    let mark = |node: &Node<'_>| if board.is_marked(node) { "> " } else { "  " };
    let rows = nodes.iter().map(|node| cells(node, past.of(node), mark(node))).collect();
    Table { columns: COLUMNS.to_vec(), rows, ..Table::default() }
}

fn cells(node: &Node<'_>, earlier: Option<&Earlier>, mark: &str) -> Vec<String> {
    let name = format!("{mark}{}{}", node.name, if node.leads { " *" } else { "" });
    let dash = || "-".to_owned();
    let (Ok(status), Some(earlier)) = (node.status, earlier) else {
        let mut cells = vec![name, dash(), node.state.to_owned()];
        cells.resize_with(COLUMNS.len(), dash);
        return cells;
    };
    vec![
        name,
        role(status.role).to_owned(),
        node.state.to_owned(),
        earlier.rate.map_or_else(dash, |rate| format!("{rate:.0}")),
        node.lag.filter(|_| !node.leads).map_or_else(dash, |lag| lag.to_string()),
        status.last.to_string(),
        text::millis(node.rtt),
        text::millis(earlier.slowest()),
        text::size(status.disk_bytes),
    ]
}

fn document(node: &Node<'_>, earlier: Option<&Earlier>) -> Value {
    let mut document = json!({
        "id": node.id.map(|id| format!("{id:x}")),
        "name": node.name,
        "state": node.state,
        "error": node.status.as_ref().err().map(ToString::to_string),
    });
    if let (Ok(status), Some(earlier), Some(fields)) = (node.status, earlier, document.as_object_mut()) {
        let millis = |span: Duration| Value::from(span.as_secs_f64() * 1000.0);
        fields.extend([
            ("role".to_owned(), role(status.role).into()),
            ("entries_per_s".to_owned(), earlier.rate.into()),
            ("lag_entries".to_owned(), node.lag.into()),
            ("last".to_owned(), status.last.into()),
            ("rtt_ms".to_owned(), millis(node.rtt)),
            ("slowest_ms".to_owned(), millis(earlier.slowest())),
            ("disk_bytes".to_owned(), status.disk_bytes.into()),
        ]);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(applied: u64, uptime_ms: u64) -> Point {
        Point { applied, uptime_ms }
    }

    #[test]
    fn a_rate_is_over_the_time_of_the_node() {
        assert_eq!(point(100, 1000).rate(point(300, 1500)), Some(400.0));
        assert_eq!(point(100, 1000).rate(point(100, 2000)), Some(0.0));
        assert_eq!(Point::default().rate(point(300, 1500)), None, "the first view");
        assert_eq!(point(100, 5000).rate(point(300, 20)), None, "it was started anew");
        assert_eq!(point(300, 5000).rate(point(100, 6000)), None, "it lost what it had");
        assert_eq!(point(100, 1000).rate(point(300, 1000)), None, "no time went by");
    }

    #[test]
    fn so_many_round_trips_are_remembered_and_no_more() {
        let mut earlier = Earlier::default();
        let status = NodeStatus::default();
        earlier.add(&status, Duration::from_millis(9));
        for _ in 1..TRIPS {
            earlier.add(&status, Duration::from_millis(1));
        }
        assert_eq!(earlier.slowest(), Duration::from_millis(9));
        earlier.add(&status, Duration::from_millis(2));
        assert_eq!((earlier.slowest(), earlier.trips.len()), (Duration::from_millis(2), TRIPS));
    }
}
