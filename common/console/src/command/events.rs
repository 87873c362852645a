//! `events`: what happened in the cluster, as its nodes remember it: elections and their reasons, slow disks, starts and stops.
//! Each node tells its own, without a quorum, and they are laid in one order by their clocks.
//!
//! An election is told by who won it and by who follows. The followers' word counts where the winner's is missing.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use client::{EndpointFailure, events::Told};
use protocol::events::Event;
use serde_json::Value;
use tokio::time::sleep;

use super::assess::none_of;
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::{Kind, Listing, Out},
    render::Format,
    report::{Body, Document, Report},
    text,
};

/// How often `--follow` asks.
const EVERY: Duration = Duration::from_secs(1);
/// What is asked for again, since the clock of a node may be set back.
const OVERLAP_MS: u64 = 60_000;
/// What nodes tell alike is one event where it is not further apart than this by their clocks.
const ALIKE_MS: u64 = 60_000;
/// Most events that are remembered as shown: more than all nodes tell of that time.
const SHOWN: usize = 16 * 1024;

const KIND: Kind = Kind { whole: "events", row: "event", columns: &["TIME", "TYPE", "NODE", "TERM", "WHAT"] };

/// Every kind there is; one of a later version is `other`.
const KINDS: [&str; 10] = [
    "start",
    "stop",
    "election",
    "leader",
    "no-leader",
    "slow-disk",
    "disk-full",
    "disk-room",
    "membership",
    "certificates",
];

/// Arguments of `events`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl events\n  kvctl events --since 1h\n  kvctl events --follow -o ndjson\n\n\
                        Ends with 0 when all nodes told, 10 when some did, 3 when none does."
)]
pub struct Events {
    /// Only what happened so long ago at most
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    pub since: Option<Duration>,
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

/// An event and whose it is.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    node: String,
    event: Event,
}

/// From when on each node is asked, by its own clock: that of another may be far from it.
struct Since {
    first: u64,
    of: HashMap<u64, u64>,
}

impl Since {
    fn from(first: u64) -> Self {
        Self { first, of: HashMap::new() }
    }

    fn of(&self, id: Option<u64>) -> u64 {
        id.and_then(|id| self.of.get(&id)).copied().unwrap_or(self.first)
    }

    fn heard(&mut self, told: &[Told]) {
        for told in told {
            let newest = told.events.iter().flatten().map(|event| event.wall_ms).max();
            if let (Some(id), Some(newest)) = (told.id, newest) {
                self.of.insert(id, newest.saturating_sub(OVERLAP_MS).max(self.first));
            }
        }
    }
}

impl Events {
    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = self.since.map_or(Duration::ZERO, |age| now.saturating_sub(age));
        let mut since = Since::from(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let is_ndjson = out.screen.format == Format::Ndjson;
        let mut listing = Listing::new(out, KIND);
        let mut shown = Shown::default();
        loop {
            let told = session.client().events(|id| since.of(id)).await;
            let missing = missing(&told);
            if missing.len() == told.len() && !self.follow {
                return Err(nobody(told));
            }
            since.heard(&told);
            for row in shown.news(rows(told)) {
                listing.typed(word(&row.event), || cells(&row), || document(&row));
            }
            listing.flush()?;
            if !self.follow {
                return end(listing, is_ndjson, shown.count, &missing);
            }
            sleep(EVERY).await;
        }
    }
}

/// All events that are known of the cluster, for those who gather everything.
pub(super) async fn everything(session: &Session) -> Report {
    let told = session.client().events(|_| 0).await;
    let missing = missing(&told);
    let rows = Shown::default().news(rows(told));
    let rows = rows.iter().map(|row| {
        let document = Document::bare().with("type", word(&row.event)).followed_by(document(row));
        serde_json::to_value(document).unwrap_or_default()
    });
    let document = Document::new("events").with("rows", rows.collect::<Vec<Value>>());
    Report::new(document.followed_by(ended(None, &missing)), Body::Empty)
}

fn end(
    mut listing: Listing<'_, '_>,
    is_ndjson: bool,
    count: usize,
    missing: &[String],
) -> Result<Report, Failure> {
    let exit = if missing.is_empty() { Exit::Success } else { Exit::Partial };
    let report = if is_ndjson {
        listing.mark("end", || ended(Some(count), missing));
        listing.flush()?;
        Report::new(Document::new(KIND.whole), Body::Hidden)
    } else {
        listing.end(ended(Some(count), missing))?
    };
    let report = report.exit(exit);
    Ok(if missing.is_empty() { report } else { report.note(format!("! not told by {}", missing.join(", "))) })
}

fn ended(count: Option<usize>, missing: &[String]) -> Document {
    let document = count.map_or_else(Document::bare, |count| Document::bare().with("count", count));
    document.with("missing", missing.iter().map(|node| Value::from(node.as_str())).collect::<Vec<_>>())
}

fn name(told: &Told) -> String {
    told.name.clone().unwrap_or_else(|| told.address.clone())
}

fn missing(told: &[Told]) -> Vec<String> {
    told.iter().filter(|told| told.events.is_err()).map(name).collect()
}

fn nobody(told: Vec<Told>) -> Failure {
    let failure = |told: Told| Some(EndpointFailure { address: told.address, error: told.events.err()? });
    none_of(told.into_iter().filter_map(failure).collect())
}

/// What all nodes told in one order; of an election not what followers say where its winner tells it.
fn rows(told: Vec<Told>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for told in told {
        let node = name(&told);
        let events = told.events.unwrap_or_default().into_iter();
        rows.extend(events.map(|event| Row { node: node.clone(), event }));
    }
    let won: HashSet<u64> = terms(&rows, "election").collect();
    let mut followed = HashSet::new();
    rows.sort_by(|a, b| {
        (a.event.wall_ms, &a.node, a.event.number).cmp(&(b.event.wall_ms, &b.node, b.event.number))
    });
    rows.retain(|row| {
        row.event.kind != "leader" || !won.contains(&row.event.term) && followed.insert(row.event.term)
    });
    rows
}

fn terms<'a>(rows: &'a [Row], kind: &'a str) -> impl Iterator<Item = u64> + 'a {
    rows.iter().filter(move |row| row.event.kind == kind).map(|row| row.event.term)
}

/// What was shown already.
#[derive(Default)]
struct Shown {
    seen: HashSet<(String, u64, u64)>,
    /// Terms whose leader was told.
    led: HashSet<u64>,
    /// Changes of members by what is said of them.
    changes: HashMap<String, Change>,
    count: usize,
}

/// A change of members that was shown.
struct Change {
    wall_ms: u64,
    /// Those that have told it, each of which does so once: who says it again means another one.
    tellers: HashSet<String>,
}

impl Shown {
    /// Those that were not, which from now on are.
    fn news(&mut self, rows: Vec<Row>) -> Vec<Row> {
        if self.seen.len() > SHOWN {
            let recent: HashSet<_> = rows.iter().map(key).collect();
            self.seen.retain(|key| recent.contains(key));
            let terms: HashSet<u64> = rows.iter().map(|row| row.event.term).collect();
            self.led.retain(|term| terms.contains(term));
            let words: HashSet<&str> = rows.iter().map(|row| row.event.what.as_str()).collect();
            self.changes.retain(|what, _| words.contains(what.as_str()));
        }
        let news: Vec<Row> = rows.into_iter().filter(|row| self.is_new(row)).collect();
        self.count = self.count.saturating_add(news.len());
        news
    }

    fn is_new(&mut self, row: &Row) -> bool {
        if !self.seen.insert(key(row)) {
            return false;
        }
        match row.event.kind.as_str() {
            "election" | "leader" => self.led.insert(row.event.term),
            "membership" => self.is_another(row),
            _ => true,
        }
    }

    /// Whether it is not what another node has told of the same change, each when it hears of it.
    fn is_another(&mut self, row: &Row) -> bool {
        let Row { node, event } = row;
        if let Some(change) = self.changes.get_mut(&event.what)
            && change.wall_ms.abs_diff(event.wall_ms) <= ALIKE_MS
            && change.tellers.insert(node.clone())
        {
            return false;
        }
        let change = Change { wall_ms: event.wall_ms, tellers: HashSet::from([node.clone()]) };
        self.changes.insert(event.what.clone(), change);
        true
    }
}

fn key(row: &Row) -> (String, u64, u64) {
    (row.node.clone(), row.event.number, row.event.wall_ms)
}

fn word(event: &Event) -> &'static str {
    KINDS.into_iter().find(|kind| *kind == event.kind).unwrap_or("other")
}

fn cells(row: &Row) -> Vec<String> {
    let Row { node, event } = row;
    let took = event.took_ms.filter(|_| event.kind != "slow-disk");
    let took = took.map_or_else(String::new, |took| format!(", {took}ms without leader"));
    let kind = if word(event) == "other" { event.kind.clone() } else { word(event).to_owned() };
    let what = format!("{}{took}", event.what);
    vec![text::timestamp(event.wall_ms), kind, node.clone(), event.term.to_string(), what]
}

fn document(row: &Row) -> Document {
    let Row { node, event } = row;
    Document::bare()
        .with("time", text::timestamp(event.wall_ms))
        .with("node", node.as_str())
        .with("number", event.number)
        .with("kind", event.kind.as_str())
        .with("term", event.term)
        .with("cause", event.what.as_str())
        .with("dur_ms", event.took_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Screen;

    fn event(number: u64, wall_ms: u64, kind: &str, term: u64) -> Event {
        let took_ms = (kind == "election").then_some(212);
        Event { number, wall_ms, kind: kind.into(), term, took_ms, what: format!("{kind} of {term}") }
    }

    fn told(node: u64, events: Vec<Event>) -> Told {
        let name = Some(format!("n{node}"));
        Told { address: format!("h:{node}"), name, id: Some(node), events: Ok(events) }
    }

    fn election() -> Vec<Told> {
        vec![
            told(1, vec![event(7, 1000, "no-leader", 4), event(8, 1300, "leader", 5)]),
            told(2, vec![event(3, 1200, "election", 5)]),
            told(3, vec![event(9, 1250, "leader", 5), event(10, 1400, "tomorrow", 5)]),
        ]
    }

    fn words(rows: &[Row]) -> Vec<(String, u64)> {
        rows.iter().map(|row| (row.node.clone(), row.event.number)).collect()
    }

    fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(node, number)| ((*node).to_owned(), *number)).collect()
    }

    #[test]
    fn an_election_is_told_once_in_the_order_of_the_clocks() {
        assert_eq!(words(&rows(election())), pairs(&[("n1", 7), ("n2", 3), ("n3", 10)]));
        let mut without = election();
        without.remove(1);
        let want = pairs(&[("n1", 7), ("n3", 9), ("n3", 10)]);
        assert_eq!(words(&rows(without)), want, "the first follower's word, where the winner is not there");
    }

    #[test]
    fn a_change_of_members_is_told_once_and_the_same_change_later_again() {
        let change = |number, wall_ms| Event { what: "n4".into(), ..event(number, wall_ms, "membership", 5) };
        let both = vec![
            told(1, vec![change(1, 1000), change(2, 9000)]),
            told(2, vec![change(7, 1010), change(8, 9010)]),
        ];
        let mut shown = Shown::default();
        assert_eq!(words(&shown.news(rows(both.clone()))), pairs(&[("n1", 1), ("n1", 2)]));
        assert_eq!(shown.news(rows(both)), []);
        let heard_late = vec![told(3, vec![change(4, 9020)])];
        assert_eq!(shown.news(rows(heard_late)), [], "of what was told it tells once more");
        let again = vec![told(2, vec![change(9, 30_000)]), told(1, vec![change(3, 900_000)])];
        assert_eq!(words(&shown.news(rows(again))), pairs(&[("n2", 9), ("n1", 3)]));
    }

    #[test]
    fn each_node_is_asked_by_its_own_clock() {
        let mut since = Since::from(500);
        let ahead = |id| told(id, vec![event(1, 9_000_000, "start", 1)]);
        since.heard(&[ahead(1), told(2, vec![event(1, 1000, "start", 1)]), told(3, Vec::new())]);
        let asked = [Some(1), Some(2), Some(3), None].map(|id| since.of(id));
        assert_eq!(asked, [9_000_000 - OVERLAP_MS, 500, 500, 500], "however far ahead another's is");
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let mut shown = Shown::default();
        let mut without = election();
        without.remove(1);
        assert_eq!(shown.news(rows(without)).len(), 3);
        assert_eq!(shown.news(rows(election())), [], "the winner's word comes too late to be news");
        let mut later = election();
        later[1].events.as_mut().unwrap().push(event(4, 1500, "stop", 5));
        assert_eq!(words(&shown.news(rows(later))), pairs(&[("n2", 4)]));
    }

    #[test]
    fn each_event_is_a_line() {
        let show = |format| {
            let mut bytes = Vec::new();
            let screen = Screen { format, terminal: false, color: false, quiet: false };
            let mut out = Out { screen, stream: &mut bytes };
            let mut listing = Listing::new(&mut out, KIND);
            for row in &rows(vec![told(2, vec![event(3, 1_700_000_000_123, "election", 5)])]) {
                listing.typed(word(&row.event), || cells(row), || document(row));
            }
            let report = end(listing, format == Format::Ndjson, 1, &["n1".to_owned()]).unwrap();
            assert_eq!((report.exit, report.note.as_deref()), (Exit::Partial, Some("! not told by n1")));
            String::from_utf8(bytes).unwrap()
        };
        let what = "election of 5, 212ms without leader";
        assert_eq!(show(Format::Plain), format!("2023-11-14T22:13:20.123Z\telection\tn2\t5\t{what}\n"));
        let row = r#"{"schema":"kvctl.event/v1","type":"election","time":"2023-11-14T22:13:20.123Z","node":"n2","number":3,"kind":"election","term":5,"cause":"election of 5","dur_ms":212}"#;
        let last = r#"{"schema":"kvctl.event/v1","type":"end","count":1,"missing":["n1"]}"#;
        assert_eq!(show(Format::Ndjson), format!("{row}\n{last}\n"));
        assert!(show(Format::Json).ends_with("}],\"count\":1,\"missing\":[\"n1\"]}\n"));
    }
}
