//! `check`: what a monitoring system or cron asks. Ends with a plugin's four codes and with nothing else, also where
//! the line makes no sense or no cluster is named.
//!
//! ```text
//! gather (ask nodes, read) ──► judge (pure) ──► verdict ──► soften (--for) ──► textfile ──► one of four formats
//! ```

use std::{
    ffi::OsString,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum};
use client::{Client, NodeView};
use protocol::Consistency;
use tokio::time::{Instant, sleep, timeout_at};

use super::{assess::Assessment, data};
use crate::{
    connect::Session,
    context::{Connection, base},
    error::Failure,
    exit::Exit,
    render::Format,
    report::{Body, Report},
    text,
};

mod judge;
mod memory;
mod range;
mod verdict;

use judge::Wanted;
use range::{Threshold, Thresholds};
use verdict::{Bounds, Measure, Status, Verdict};

/// The client's own verdict comes at the same moment as the end of a check's time, and says more.
const GRACE: Duration = Duration::from_millis(20);

/// Read to find out whether reads are served: whether it is there does not matter.
const PROBE: &[u8] = b"kvctl/check";

/// What can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Each node asked answers
    Live,
    /// Each node asked serves a linearizable read
    Ready,
    /// Quorum, one leader, agreement, lag, certificates, a read
    Cluster,
    /// Entries each node is behind
    Replication,
    /// Bytes each node uses on disk
    Disk,
    /// Days until each node's certificate expires
    Cert,
    /// Time of a linearizable read
    Latency,
    /// A key: there, with which value, written how many revisions ago
    Key,
    /// All of these but `key`; the worst counts
    All,
}

/// How a verdict is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// One line with perfdata, as plugins do
    Nagios,
    /// Prometheus' text format
    Prometheus,
    /// One object, the same as -o json
    Json,
    /// A table
    Text,
}

/// Arguments of `check`.
#[derive(Args, Debug, PartialEq)]
#[command(
    version,
    after_help = "Examples:\n  kvctl check cluster -c lag=1000 -w cert=14:\n  \
                  kvctl check live -e 127.0.0.1:7400\n  kvctl check key app/heartbeat -c 500\n  \
                  kvctl check all --for 3 --quiet-ok --splay 30s\n  \
                  kvctl check all --format prometheus --textfile /var/lib/node_exporter/kv.prom\n\n\
                  Ends with 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN and nothing else.\n\
                  A range says what is well: 10 is 0 to 10, 10: at least, ~:10 at most, @a:b outside."
)]
pub struct Check {
    /// What to look at
    pub what: What,
    /// For `key`: which
    #[arg(value_name = "KEY", required_if_eq("what", "key"))]
    pub key: Option<OsString>,
    /// Warn outside this range
    #[arg(short, long, value_name = "[NAME=]RANGE", value_delimiter = ',', allow_hyphen_values = true)]
    warning: Vec<Threshold>,
    /// Critical outside this range
    #[arg(short, long, value_name = "[NAME=]RANGE", value_delimiter = ',', allow_hyphen_values = true)]
    critical: Vec<Threshold>,
    /// How the verdict is written; nagios unless -o json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Style>,
    /// Also write it to this file, for the node exporter
    #[arg(long, value_name = "FILE.prom")]
    pub textfile: Option<PathBuf>,
    /// Say nothing while all is well
    #[arg(long)]
    pub quiet_ok: bool,
    /// Report a failure only when it is the Nth in a row
    #[arg(long = "for", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub consecutive: u32,
    /// Begin at a random moment of this span
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    pub splay: Option<Duration>,
    /// For `key`: critical unless the value is this
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, conflicts_with = "absent")]
    pub value: Option<OsString>,
    /// For `key`: critical unless it is absent
    #[arg(long)]
    pub absent: bool,
    /// By what its failures are counted.
    #[arg(skip)]
    identity: String,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Cluster => "cluster",
            Self::Replication => "replication",
            Self::Disk => "disk",
            Self::Cert => "cert",
            Self::Latency => "latency",
            Self::Key => "key",
            Self::All => "all",
        }
    }

    /// What it measures; a range without a name means the first, where there is only one thing to mean.
    fn measures(self) -> (&'static [&'static Measure], bool) {
        match self {
            Self::Live => (&[&judge::RTT], true),
            Self::Ready => (&[&judge::NODE_READ], true),
            Self::Cluster => {
                (&[&judge::VOTERS_UP, &judge::MOST_LAG, &judge::LEAST_DAYS, &judge::READ], false)
            }
            Self::Replication => (&[&judge::LAG], true),
            Self::Disk => (&[&judge::DISK], true),
            Self::Cert => (&[&judge::DAYS], true),
            Self::Latency => (&[&judge::READ], true),
            Self::Key => (&[&judge::AGE, &judge::VERSION, &judge::SIZE], true),
            Self::All => (
                &[&judge::VOTERS_UP, &judge::LAG, &judge::DAYS, &judge::READ, &judge::RTT, &judge::DISK],
                false,
            ),
        }
    }
}

impl Check {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match (&self.key, self.what) {
            (Some(key), What::Key) => data::check_key(key)?,
            (Some(_), _) => return Err(Failure::usage("only `check key` takes a key")),
            (None, _) if self.value.is_some() || self.absent => {
                return Err(Failure::usage("--value and --absent go with `check key`"));
            }
            (None, _) => {}
        }
        self.bounds().map(drop)
    }

    fn bounds(&self) -> Result<Bounds, Failure> {
        let (measures, alone) = self.what.measures();
        let names: Vec<_> = measures.iter().map(|measure| (measure.name, measure.short)).collect();
        let main = names.first().filter(|_| alone).map(|names| names.0);
        let of = |given: &[Threshold]| Thresholds::new(given, &names, main);
        Ok(Bounds { warn: of(&self.warning)?, crit: of(&self.critical)? })
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        if let Some(splay) = self.splay {
            sleep(splay.mul_f64(fraction())).await;
        }
        let bounds = self.bounds()?;
        let found = Found::gather(self, session).await;
        Ok(self.finish(self.judge(self.what, &found, &bounds)))
    }

    fn judge(&self, what: What, found: &Found, bounds: &Bounds) -> Verdict {
        let view = |judge: fn(&Assessment, &Bounds) -> Verdict| match &found.seen {
            Ok(seen) => judge(seen, bounds),
            Err(failure) => Verdict::unknown(what.word(), failure.to_string()),
        };
        match what {
            What::Live => judge::live(&found.asked, bounds),
            What::Ready => judge::ready(&found.ready, bounds),
            What::Replication => view(judge::replication),
            What::Disk => view(judge::disk),
            What::Cert => view(judge::cert),
            What::Latency => judge::latency(&found.timed, bounds),
            What::Cluster => match &found.seen {
                Ok(seen) => judge::cluster(seen, &found.timed, bounds),
                Err(failure) => {
                    Verdict { status: blame(failure), ..Verdict::unknown("cluster", failure.to_string()) }
                }
            },
            What::Key => {
                let value = self.value.as_ref().map(|value| value.as_bytes().to_vec());
                let wanted = Wanted { value, absent: self.absent };
                judge::key(self.key_bytes(), &found.key, &wanted, bounds)
            }
            What::All => {
                let parts = [
                    What::Live,
                    What::Ready,
                    What::Cluster,
                    What::Replication,
                    What::Disk,
                    What::Cert,
                    What::Latency,
                ];
                judge::all(parts.map(|part| self.judge(part, found, bounds)).into())
            }
        }
    }

    fn key_bytes(&self) -> &[u8] {
        self.key.as_ref().map_or(b"", |key| key.as_bytes())
    }

    fn report(&self, verdict: &Verdict) -> Report {
        let exit = verdict.status.exit();
        let body = match self.format {
            _ if self.quiet_ok && verdict.status == Status::Ok => Body::Hidden,
            Some(Style::Prometheus) if self.textfile.is_some() => Body::Hidden,
            Some(Style::Prometheus) => Body::Text(verdict.prometheus(now(), None)),
            Some(Style::Text) => Body::Table(verdict.table()),
            Some(Style::Nagios | Style::Json) | None => Body::Text(verdict.nagios() + "\n"),
        };
        Report::new(verdict.document(), body).exit(exit)
    }

    /// Which check of which cluster this is: failures are counted for each.
    pub(super) fn identify(&mut self, connection: &Connection) {
        let (context, endpoints) = (&connection.context, &connection.endpoints);
        let wanted = (&self.value, self.absent, &self.warning, &self.critical);
        self.identity = format!("{context:?} {endpoints:?} {:?} {:?} {wanted:?}", self.what, self.key);
    }

    /// What had no verdict gets one: whoever asks a check understands no other answer.
    pub(super) fn conclude(&self, result: Result<Report, Failure>) -> Result<Report, Failure> {
        match result {
            Err(failure) if failure.exit != Exit::Interrupted => {
                let hint = failure.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
                let why = format!("{failure}{hint} {}", failure.code);
                Ok(self.finish(Verdict::unknown(self.what.word(), why)))
            }
            other => other,
        }
    }

    /// What follows a verdict, however it came about.
    fn finish(&self, mut verdict: Verdict) -> Report {
        let mut notes = Vec::new();
        if self.consecutive > 1 && !self.identity.is_empty() {
            let cache = base("XDG_CACHE_HOME", ".cache");
            notes.extend(memory::soften(&mut verdict, self.consecutive, cache.as_deref(), &self.identity));
        }
        if let Some(path) = &self.textfile
            && let Err(error) = memory::publish(&verdict, path, now())
        {
            let failure = Failure::file("write", path, &error);
            // Where the file is the only output, its failure must not be silent.
            notes.push(format!("{failure} {}", failure.code));
            verdict.status = verdict.status.max(Status::Unknown);
            verdict.summary = format!("{failure} {}; {}", failure.code, verdict.summary);
        }
        let report = self.report(&verdict);
        if notes.is_empty() { report } else { report.note(notes.join("; ")) }
    }

    /// How the line wants it shown, where it says so.
    pub(super) fn format(&self) -> Option<Format> {
        self.format.map(|style| match style {
            Style::Nagios | Style::Prometheus => Format::Plain,
            Style::Json => Format::Json,
            Style::Text => Format::Table,
        })
    }
}

/// All that can be checked, with the bounds that hold where nobody says others; for those who gather everything.
pub(super) async fn everything(session: &Session) -> Result<Report, Failure> {
    let check = Check {
        what: What::All,
        key: None,
        warning: Vec::new(),
        critical: Vec::new(),
        format: Some(Style::Json),
        textfile: None,
        quiet_ok: false,
        consecutive: 1,
        splay: None,
        value: None,
        absent: false,
        identity: String::new(),
    };
    check.run(session).await
}

/// The answer to a line that does not parse: a plugin has only one way to say it.
pub(crate) fn unparsable(why: &str) -> Report {
    let verdict = Verdict::unknown("check", why);
    let exit = verdict.status.exit();
    Report::new(verdict.document(), Body::Text(verdict.nagios() + "\n")).exit(exit)
}

/// What was found out, as far as the check needs it.
struct Found {
    /// The endpoints of the line or the context, each by itself.
    asked: Vec<NodeView>,
    ready: Vec<(String, Result<Duration, Failure>)>,
    /// All members, also those nobody named.
    seen: Result<Assessment, Failure>,
    timed: Result<Duration, Failure>,
    key: Result<client::Read, Failure>,
}

impl Found {
    async fn gather(check: &Check, session: &Session) -> Self {
        let what = check.what;
        let needs = |parts: &[What]| what == What::All || parts.contains(&what);
        let nothing = || Failure::internal("a check did not ask for what it judges");
        let until = Instant::now().checked_add(session.settings().timeout).unwrap_or_else(Instant::now);
        let answered_by = until.checked_add(GRACE).unwrap_or(until);
        let mut found = Self {
            asked: Vec::new(),
            ready: Vec::new(),
            seen: Err(nothing()),
            timed: Err(nothing()),
            key: Err(nothing()),
        };
        if needs(&[What::Live, What::Ready]) {
            found.asked =
                each(session, |client, address| async move { client.status_at(&address).await }).await;
            name_the_silent(&mut found.asked);
        }
        if needs(&[What::Ready]) {
            found.ready = ready(session, &found.asked, until).await;
        }
        if needs(&[What::Cluster, What::Replication, What::Disk, What::Cert, What::Latency]) {
            // It also opens the connections, so that the read that is timed pays for no handshake.
            found.seen = Assessment::of(session.client().status().await);
        }
        if needs(&[What::Cluster, What::Latency]) {
            let began = Instant::now();
            let read =
                timeout_at(answered_by, session.client().exists(PROBE, Consistency::Linearizable)).await;
            found.timed = read.map_or_else(|_| Err(late()), |read| Ok(read.map(|_| began.elapsed())?));
        }
        if what == What::Key {
            let read = session.client().get(check.key_bytes(), Consistency::Linearizable);
            found.key = timeout_at(answered_by, read).await.map_or_else(|_| Err(late()), |read| Ok(read?));
        }
        found
    }
}

/// Gives those that did not answer the names by which the others know them.
fn name_the_silent(views: &mut [NodeView]) {
    let told = views.iter().filter_map(|view| view.status.as_ref().ok());
    let members: Vec<_> = told.flat_map(|status| status.members.clone()).collect();
    for view in views.iter_mut().filter(|view| view.name.is_none()) {
        view.name =
            members.iter().find(|member| member.address == view.address).map(|member| member.name.clone());
    }
}

fn late() -> Failure {
    client::Error::Deadline { why: "the time of the check was up".to_owned() }.into()
}

/// Asks all endpoints of the session at once, each for itself; in their order.
async fn each<T, F>(session: &Session, ask: impl Fn(Client, String) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let endpoints = &session.settings().endpoints;
    let asked: Vec<_> = endpoints
        .iter()
        .map(|endpoint| tokio::spawn(ask(session.client().clone(), endpoint.clone())))
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        // A task that panics is a defect and has said so.
        answers.extend(answer.await);
    }
    answers
}

async fn ready(
    session: &Session,
    asked: &[NodeView],
    until: Instant,
) -> Vec<(String, Result<Duration, Failure>)> {
    let reads = each(session, move |client, address| async move {
        let began = Instant::now();
        let read = timeout_at(until, client.exists_at(&address, PROBE)).await;
        read.map_or_else(|_| Err(late()), |read| Ok(read.map(|_| began.elapsed())?))
    });
    let named = asked.iter().map(|view| view.name.clone().unwrap_or_else(|| view.address.clone()));
    named.zip(reads.await).collect()
}

/// Of a cluster that does not answer it is known that it does not serve; of one that does not let us in, nothing.
fn blame(failure: &Failure) -> Status {
    if failure.exit == Exit::Unreachable { Status::Critical } else { Status::Unknown }
}

/// Seconds since 1970; a clock before that is as good as none.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Of one, at random: enough to keep many machines' cron from coming at once.
fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
