//! From what was found to a verdict. Pure: every situation can be tested without a cluster.

use std::time::Duration;

use client::{EndpointError, NodeView};

use super::{
    range::Range,
    verdict::{Bounds, Item, Measure, Status, Verdict},
};
use crate::{command::assess::Assessment, error::Failure, exit::Exit};

macro_rules! measures {
    ($($id:ident: $name:literal, $short:literal, $unit:literal, $metric:literal, $help:literal;)*) => {
        $(pub(super) const $id: Measure =
            Measure { name: $name, short: $short, unit: $unit, metric: $metric, help: $help };)*
    };
}

measures! {
    RTT: "rtt", "rtt", "ms", "kv_rtt_seconds", "Round trip of a status call to the node.";
    NODE_READ: "read", "read", "ms", "kv_node_read_seconds", "Time of a linearizable read through the node.";
    READ: "read", "read", "ms", "kv_read_seconds", "Time of a linearizable read.";
    VOTERS_UP: "voters_up", "voters", "", "kv_voters_up", "Voters that answer.";
    MOST_LAG: "lag", "lag", "", "kv_lag_entries_max", "Entries by which the slowest node is behind.";
    LEAST_DAYS: "cert_days", "cert", "", "kv_certificate_days_min", "Days until the first certificate expires.";
    LAG: "lag", "lag", "", "kv_lag_entries", "Entries by which the node is behind the highest commit index.";
    DAYS: "cert_days", "cert", "", "kv_certificate_days", "Days until the certificate of the node expires.";
    DISK: "disk", "disk", "B", "kv_disk_bytes", "Bytes the node uses on disk.";
    AGE: "age", "age", "", "kv_key_age_revisions", "Revisions since the key was written last.";
    VERSION: "version", "version", "", "kv_key_version", "How often the key was written since it was created.";
    SIZE: "size", "size", "B", "kv_key_bytes", "Bytes of the value.";
}

/// A node this many entries behind is worth a warning, and this many an alarm.
const LAG_ENTRIES: (f64, f64) = (1000.0, 10_000.0);
/// A certificate with fewer days is worth a warning, and with fewer still an alarm.
const CERTIFICATE_DAYS: (f64, f64) = (14.0, 3.0);
/// A read that takes longer, in milliseconds.
const READ_MS: (f64, f64) = (100.0, 1000.0);

/// What a key should be, apart from its measures.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) value: Option<Vec<u8>>,
    pub(super) absent: bool,
}

/// Collects what is measured and what is wrong.
struct Draft {
    check: &'static str,
    status: Status,
    problems: Vec<String>,
    items: Vec<Item>,
}

impl Draft {
    fn new(check: &'static str) -> Self {
        Self { check, status: Status::Ok, problems: Vec::new(), items: Vec::new() }
    }

    fn problem(&mut self, status: Status, what: impl Into<String>) {
        self.status = self.status.max(status);
        self.problems.push(what.into());
    }

    fn item(&mut self, item: Item) {
        let status = item.status();
        if status != Status::Ok {
            self.problem(status, item.words());
        }
        self.items.push(item);
    }

    /// The problems, or what is to be said where there are none.
    fn done(self, well: impl Into<String>) -> Verdict {
        let summary = if self.problems.is_empty() { well.into() } else { self.problems.join("; ") };
        Verdict { check: self.check, status: self.status, summary, items: self.items, parts: Vec::new() }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn name(view: &NodeView) -> &str {
    view.name.as_deref().unwrap_or(&view.address)
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("{count} {what}") } else { format!("{count} {what}s") }
}

/// Whether the processes asked answer.
pub(super) fn live(views: &[NodeView], bounds: &Bounds) -> Verdict {
    let mut draft = Draft::new("live");
    for view in views {
        match &view.status {
            Ok(_) => draft.item(Item::new(&RTT, Some(name(view)), millis(view.rtt), bounds).zero_based()),
            Err(error) => draft.problem(blame(error), format!("{} {error}", name(view))),
        }
    }
    draft.done(format!("{} alive", many(views.len(), "node")))
}

/// A node that is not there is critical; not being able to ask is not to know.
fn blame(error: &EndpointError) -> Status {
    let gone =
        matches!(error, EndpointError::Refused | EndpointError::Silent | EndpointError::Dropped { .. });
    if gone { Status::Critical } else { Status::Unknown }
}

/// A read that fails is critical, unless it is this client that is not let in: that says nothing of the cluster.
fn refused(failure: &Failure) -> Status {
    if failure.exit == Exit::Denied { Status::Unknown } else { Status::Critical }
}

/// Whether each node asked serves a linearizable read.
pub(super) fn ready(reads: &[(String, Result<Duration, Failure>)], bounds: &Bounds) -> Verdict {
    let mut draft = Draft::new("ready");
    for (node, read) in reads {
        match read {
            Ok(took) => draft.item(Item::new(&NODE_READ, Some(node), millis(*took), bounds).zero_based()),
            Err(failure) if failure.message.contains(node) => {
                draft.problem(refused(failure), failure.to_string());
            }
            Err(failure) => draft.problem(refused(failure), format!("{node}: {failure}")),
        }
    }
    draft.done(format!("{} ready", many(reads.len(), "node")))
}

/// Quorum, one leader, agreement, nodes missing or in trouble, lag, certificates, and a read that counts.
pub(super) fn cluster(seen: &Assessment, read: &Result<Duration, Failure>, bounds: &Bounds) -> Verdict {
    let mut draft = Draft::new("cluster");
    let (up, voters, needed) = (seen.up(), seen.voters(), seen.needed());
    #[expect(clippy::cast_precision_loss, reason = "a cluster has a handful of voters")]
    let (up_value, voters_value, needed_value) = (up as f64, voters as f64, needed as f64);
    let item = Item::new(&VOTERS_UP, None, up_value, bounds).or(None, Some(Range::at_least(needed_value)));
    draft.item(item.zero_based().up_to(voters_value));
    let leader = seen.leader_name();
    if leader.is_none() {
        draft.problem(Status::Critical, "no leader");
    }
    let leaders = seen.leaders();
    if leaders.len() > 1 {
        draft.problem(Status::Critical, format!("{} all lead in one term", leaders.join(" and ")));
    }
    if seen.diverged() {
        draft.problem(Status::Critical, "equal revisions have different contents");
    } else if !seen.views_agree() {
        draft.problem(Status::Warning, "nodes name different leaders");
    }
    for node in seen.nodes() {
        match &node.status {
            Err(error) => draft.problem(Status::Warning, format!("{} {error}", node.name)),
            Ok(status) if !status.trouble.is_empty() => {
                draft.problem(Status::Warning, format!("{}: {}", node.name, status.trouble));
            }
            Ok(_) => {}
        }
    }
    most_lag(&mut draft, seen, bounds);
    match read {
        Ok(took) => draft.item(Item::new(&READ, None, millis(*took), bounds).zero_based()),
        Err(failure) => draft.problem(Status::Critical, format!("a read fails: {failure}")),
    }
    least_days(&mut draft, seen, bounds);
    draft.done(format!("quorum {up}/{voters}, {} leads, rev {}", leader.unwrap_or_default(), seen.rev()))
}

/// The slowest voter, named in the summary: a learner is behind until it has caught up.
fn most_lag(draft: &mut Draft, seen: &Assessment, bounds: &Bounds) {
    let lags = seen.nodes().filter(|node| node.votes).filter_map(|node| Some((node.name, whole(node.lag?))));
    if let Some((node, lag)) = lags.max_by(|a, b| a.1.total_cmp(&b.1)) {
        let item = Item::new(&MOST_LAG, None, lag, bounds).or(Some(Range::at_most(LAG_ENTRIES.0)), None);
        worst(draft, node, item.zero_based());
    }
}

/// The node whose certificate expires first, named in the summary.
fn least_days(draft: &mut Draft, seen: &Assessment, bounds: &Bounds) {
    let days = seen.nodes().filter_map(|node| Some((node.name, days(node.status.as_ref().ok()?))));
    if let Some((node, days)) = days.min_by(|a, b| a.1.total_cmp(&b.1)) {
        let (warn, crit) = CERTIFICATE_DAYS;
        let item = Item::new(&LEAST_DAYS, None, days, bounds);
        worst(draft, node, item.or(Some(Range::at_least(warn)), Some(Range::at_least(crit))));
    }
}

fn worst(draft: &mut Draft, node: &str, item: Item) {
    if item.status() != Status::Ok {
        draft.problem(item.status(), format!("{node} {}", item.words()));
    }
    draft.items.push(item);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge needs no last digit")]
fn whole(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "days are few")]
fn days(status: &protocol::NodeStatus) -> f64 {
    status.certificate_days as f64
}

/// Something of every node; one that does not answer leaves it unknown, for another check says that it is down.
fn each(
    mut draft: Draft,
    seen: &Assessment,
    measure: impl Fn(&crate::command::assess::Node<'_>, &protocol::NodeStatus) -> Item,
    well: &str,
) -> Verdict {
    let mut asked = 0_usize;
    for node in seen.nodes() {
        match node.status {
            Ok(status) => {
                asked = asked.saturating_add(1);
                draft.item(measure(&node, status));
            }
            Err(error) => draft.problem(Status::Unknown, format!("{} {error}", node.name)),
        }
    }
    draft.done(format!("{} {well}", many(asked, "node")))
}

/// Entries behind.
pub(super) fn replication(seen: &Assessment, bounds: &Bounds) -> Verdict {
    let (warn, crit) = (Some(Range::at_most(LAG_ENTRIES.0)), Some(Range::at_most(LAG_ENTRIES.1)));
    let mut draft = Draft::new("replication");
    if seen.leader_name().is_none() {
        draft.problem(Status::Critical, "no leader: nothing is replicated");
    }
    let lag = |node: &crate::command::assess::Node<'_>, _: &protocol::NodeStatus| {
        let behind = whole(node.lag.unwrap_or_default());
        let item = Item::new(&LAG, Some(node.name), behind, bounds).zero_based();
        // A learner that has just been added is far behind, and is on its way.
        if node.votes { item.or(warn, crit) } else { item }
    };
    each(draft, seen, lag, &format!("at rev {}", seen.rev()))
}

/// Bytes on disk: the node knows no limit, so without `-w` and `-c` only a node that says that its disk
/// is full is wrong.
pub(super) fn disk(seen: &Assessment, bounds: &Bounds) -> Verdict {
    let used = |node: &crate::command::assess::Node<'_>, status: &protocol::NodeStatus| {
        Item::new(&DISK, Some(node.name), whole(status.disk_bytes), bounds).zero_based()
    };
    let most = seen.nodes().filter_map(|node| Some(node.status.as_ref().ok()?.disk_bytes)).max();
    let well = format!("use at most {}", crate::text::size(most.unwrap_or_default()));
    let mut draft = Draft::new("disk");
    for node in seen.nodes() {
        if let Some(full) = node.status.as_ref().ok().filter(|status| status.trouble.starts_with("disk full"))
        {
            draft.problem(Status::Critical, format!("{}: {}", node.name, full.trouble));
        }
    }
    each(draft, seen, used, &well)
}

/// Days until certificates expire.
pub(super) fn cert(seen: &Assessment, bounds: &Bounds) -> Verdict {
    let (warn, crit) = CERTIFICATE_DAYS;
    let left = |node: &crate::command::assess::Node<'_>, status: &protocol::NodeStatus| {
        let item = Item::new(&DAYS, Some(node.name), days(status), bounds);
        item.or(Some(Range::at_least(warn)), Some(Range::at_least(crit)))
    };
    let least = seen.nodes().filter_map(|node| Some(node.status.as_ref().ok()?.certificate_days)).min();
    each(Draft::new("cert"), seen, left, &format!("with {} days or more", least.unwrap_or_default()))
}

/// Time of a linearizable read.
pub(super) fn latency(read: &Result<Duration, Failure>, bounds: &Bounds) -> Verdict {
    let mut draft = Draft::new("latency");
    match read {
        Ok(took) => {
            let item = Item::new(&READ, None, millis(*took), bounds).zero_based();
            draft.item(item.or(Some(Range::at_most(READ_MS.0)), Some(Range::at_most(READ_MS.1))));
            draft.done(format!("read in {}", crate::text::millis(*took)))
        }
        Err(failure) => {
            draft.problem(refused(failure), format!("a read fails: {failure}"));
            draft.done("")
        }
    }
}

/// A key: whether it is there, what it says, how many revisions ago it was written.
pub(super) fn key(
    key: &[u8],
    read: &Result<client::Read, Failure>,
    wanted: &Wanted,
    bounds: &Bounds,
) -> Verdict {
    let mut draft = Draft::new("key");
    let name = crate::text::key(key);
    let read = match read {
        Ok(read) => read,
        Err(failure) => return Verdict::unknown("key", failure.to_string()),
    };
    let Some(found) = &read.found else {
        if !wanted.absent {
            draft.problem(Status::Critical, format!("{name} is absent"));
        }
        return draft.done(format!("{name} is absent"));
    };
    if wanted.absent {
        draft.problem(Status::Critical, format!("{name} is there"));
    }
    if wanted.value.as_ref().is_some_and(|value| *value != found.value) {
        draft.problem(Status::Critical, format!("{name} has another value"));
    }
    draft.item(
        Item::new(&AGE, None, whole(read.revision.saturating_sub(found.revision)), bounds).zero_based(),
    );
    draft.item(Item::new(&VERSION, None, whole(found.version), bounds).zero_based());
    draft.item(Item::new(&SIZE, None, whole(found.value.len() as u64), bounds).zero_based());
    draft.done(format!("{name} at rev {}", found.revision))
}

/// Several at once: the worst counts, and what is measured twice is told once.
pub(super) fn all(verdicts: Vec<Verdict>) -> Verdict {
    let mut draft = Draft::new("all");
    let names: Vec<&str> = verdicts.iter().map(|verdict| verdict.check).collect();
    let well = format!("{} well", names.join(", "));
    let parts = verdicts.iter().map(|verdict| (verdict.check, verdict.status)).collect();
    for verdict in verdicts {
        if verdict.status != Status::Ok {
            let what = format!("{} {}: {}", verdict.check, verdict.status.word(), verdict.summary);
            draft.problem(verdict.status, what);
        }
        for item in verdict.items {
            let same = |other: &Item| other.measure.name == item.measure.name && other.node == item.node;
            if !draft.items.iter().any(same) {
                draft.items.push(item);
            }
        }
    }
    Verdict { parts, ..draft.done(well) }
}

#[cfg(test)]
mod tests;
