//! Many nodes' views made into one judgement: who leads, is there a quorum, who is missing. Pure, so that every
//! situation can be tested without a cluster.
//!
//! The leader is what the highest term that anyone reports says: a node cut off from the others may still believe in
//! the leader of an older one.
//!
//! Only voters make a quorum. A learner that is missing is worth a word and takes nothing from it, and so is a server that
//! is no member: one that waits to be added, one that was removed, an endpoint that nobody serves any more.

use std::{collections::BTreeMap, time::Duration};

use client::{EndpointError, EndpointFailure, NodeView};
use protocol::{NodeStatus, Part, Role, response::Member};
use serde_json::{Value, json};

use crate::{
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    text,
};

/// A certificate with fewer days than this is worth a finding.
pub(super) const CERTIFICATE_DAYS: i64 = 14;
/// A node this many entries behind the leader is called slow.
pub(super) const SLOW_ENTRIES: u64 = 1000;

const COLUMNS: [&str; 10] = ["NODE", "ROLE", "STATE", "TERM", "APPLIED", "LAG", "RTT", "DISK", "CERT", "UP"];

/// What the views come to.
pub(super) struct Assessment {
    rows: Vec<Row>,
    members: Vec<Member>,
    leader: Option<u64>,
    term: u64,
}

struct Row {
    id: Option<u64>,
    name: String,
    address: String,
    rtt: Duration,
    status: Result<NodeStatus, EndpointError>,
}

/// A node for those who judge by their own measure.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// Where it was asked.
    pub(super) address: &'a str,
    pub(super) status: &'a Result<NodeStatus, EndpointError>,
    /// Entries behind the highest commit index; `None` where the node did not say.
    pub(super) lag: Option<u64>,
    pub(super) id: Option<u64>,
    /// From question to answer.
    pub(super) rtt: Duration,
    /// How it is, in a word.
    pub(super) state: &'static str,
    /// Whether it is the leader.
    pub(super) leads: bool,
    /// Whether it counts for a quorum.
    pub(super) votes: bool,
}

/// How the cluster is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// All is well.
    Ok,
    /// It works, and something is missing.
    Degraded,
    /// Nothing can be written.
    Down,
}

impl Health {
    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

impl Assessment {
    /// Judges; a failure when nobody answered.
    pub(super) fn of(views: Vec<NodeView>) -> Result<Self, Failure> {
        let statuses = || views.iter().filter_map(|view| view.status.as_ref().ok());
        // Who is no member knows least of who is one.
        let is_member = |status: &NodeStatus| status.members.iter().any(|member| member.id == status.id);
        let newness = |status: &&NodeStatus| (is_member(status), status.term, status.applied);
        let Some(newest) = statuses().max_by_key(newness) else {
            return Err(nobody(&views));
        };
        let (term, members) = (newest.term, newest.members.clone());
        // A leader's own word goes first: it knows before its followers do.
        let of_term = || statuses().filter(|status| status.term == term);
        let leading = of_term().find(|status| status.role == Role::Leader).map(|status| status.id);
        let leader = leading.or_else(|| of_term().find_map(|status| status.leader));
        let rows = rows(views, &members);
        Ok(Self { rows, members, leader, term })
    }

    fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.rows.iter().filter_map(|row| row.status.as_ref().ok())
    }

    /// Members that vote; one, while nobody has named any.
    pub(super) fn voters(&self) -> usize {
        self.members.iter().filter(|member| member.part.votes()).count().max(1)
    }

    /// What a node is; nothing where it is no member.
    fn part(&self, id: Option<u64>) -> Option<Part> {
        self.members.iter().find(|member| Some(member.id) == id).map(|member| member.part)
    }

    fn votes(&self, id: Option<u64>) -> bool {
        self.members.is_empty() || self.part(id).is_some_and(Part::votes)
    }

    /// A quorum.
    pub(super) fn needed(&self) -> usize {
        (self.voters() / 2).saturating_add(1)
    }

    /// Voters that answer.
    pub(super) fn up(&self) -> usize {
        self.statuses().filter(|status| self.votes(Some(status.id))).count().min(self.voters())
    }

    /// The highest revision anyone has.
    pub(super) fn rev(&self) -> u64 {
        self.statuses().map(|status| status.applied).max().unwrap_or(0)
    }

    /// The highest commit index anyone knows.
    pub(super) fn committed(&self) -> u64 {
        self.statuses().map(|status| status.committed).max().unwrap_or(0)
    }

    /// Every node by its name.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.rows.iter().map(|row| {
            let lag = row.status.as_ref().ok().map(|status| self.lag(status));
            let leads = row.id.is_some() && row.id == self.leader;
            let (name, address, status) = (row.name.as_str(), row.address.as_str(), &row.status);
            let (state, votes) = (self.state(row), self.votes(row.id));
            Node { name, address, status, lag, id: row.id, rtt: row.rtt, state, leads, votes }
        })
    }

    /// Who says of itself that it leads in the newest term: more than one must never be.
    pub(super) fn leaders(&self) -> Vec<&str> {
        let leads = |status: &&NodeStatus| status.term == self.term && status.role == Role::Leader;
        self.statuses().filter(leads).map(|status| status.name.as_str()).collect()
    }

    /// Whether equal states have different hashes.
    pub(super) fn diverged(&self) -> bool {
        let mut hashes = BTreeMap::new();
        self.statuses()
            .any(|status| *hashes.entry(status.applied).or_insert(status.state_hash) != status.state_hash)
    }

    /// Judged.
    pub(super) fn health(&self) -> Health {
        if self.leader.is_none() || self.up() < self.needed() {
            return Health::Down;
        }
        let troubled = self.statuses().any(|status| !status.trouble.is_empty());
        if troubled || self.up() < self.voters() { Health::Degraded } else { Health::Ok }
    }

    /// With what `status` ends.
    pub(super) fn exit(&self) -> Exit {
        match self.health() {
            Health::Down => Exit::NoLeader,
            _ if self.rows.iter().any(|row| row.status.is_err()) => Exit::Partial,
            Health::Ok | Health::Degraded => Exit::Success,
        }
    }

    fn name(&self, id: u64) -> String {
        let by_member = self.members.iter().find(|member| member.id == id).map(|member| member.name.clone());
        by_member.unwrap_or_else(|| format!("{id:x}"))
    }

    /// The name of the leader.
    pub(super) fn leader_name(&self) -> Option<String> {
        self.leader.map(|id| self.name(id))
    }

    /// The failure of what needs a leader.
    pub(super) fn no_leader(&self) -> Failure {
        let message =
            format!("no leader: {} of {} nodes answer, in term {}", self.up(), self.voters(), self.term);
        Failure::new(Exit::NoLeader, "KV-0401", "no_leader", message)
            .hint("an election may be under way; `kvctl status` shows each node")
    }

    /// Answer of `leader`.
    pub(super) fn leader_report(&self, address_only: bool) -> Result<Report, Failure> {
        let Some(id) = self.leader else { return Err(self.no_leader()) };
        let member = self.members.iter().find(|member| member.id == id);
        let row = self.rows.iter().find(|row| row.id == Some(id));
        let address =
            member.map(|member| &member.address).or(row.map(|row| &row.address)).cloned().unwrap_or_default();
        let name = self.name(id);
        let document = Document::new("leader")
            .with("id", format!("{id:x}"))
            .with("name", name.as_str())
            .with("addr", address.as_str())
            .with("term", self.term);
        let cells =
            if address_only { vec![address] } else { vec![name, address, format!("term {}", self.term)] };
        Ok(Report::new(document, Body::Line(cells)))
    }

    /// Answer of `status`.
    pub(super) fn status(&self, context: &str) -> Report {
        let table = Table {
            head: self.head(context),
            columns: COLUMNS.to_vec(),
            rows: self.rows.iter().map(|row| self.cells(row)).collect(),
            findings: self.warnings(),
        };
        Report::new(self.document(context), Body::Table(table)).exit(self.exit())
    }

    /// The cells above the table.
    pub(super) fn head(&self, context: &str) -> Vec<String> {
        let cluster = self.statuses().next().map_or_else(String::new, |status| status.cluster.short());
        let mut health = match self.health() {
            Health::Ok => "OK".to_owned(),
            Health::Degraded => "DEGRADED".to_owned(),
            Health::Down if self.up() < self.needed() => "DOWN, no quorum".to_owned(),
            Health::Down => "DOWN, no leader".to_owned(),
        };
        match self.findings().len() {
            0 => {}
            1 => health += ", 1 warning",
            many => health = format!("{health}, {many} warnings"),
        }
        let spare = self.up().saturating_sub(self.needed());
        let failures = if spare == 1 { "failure" } else { "failures" };
        let learners = self.members.iter().filter(|member| !member.part.votes()).count();
        let learners = match learners {
            0 => String::new(),
            1 => ", 1 learner".to_owned(),
            many => format!(", {many} learners"),
        };
        vec![
            format!("{context} {cluster}").trim().to_owned(),
            health,
            format!("quorum {}/{}, tolerates {spare} {failures}{learners}", self.up(), self.voters()),
            format!("rev {}", self.rev()),
            self.versions(),
        ]
    }

    fn versions(&self) -> String {
        let mut versions: Vec<String> =
            self.statuses().map(|status| format!("v{}", status.version)).collect();
        versions.sort();
        versions.dedup();
        versions.join(" and ")
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let leads = row.id.is_some() && row.id == self.leader;
        let name = if leads { format!("{} *", row.name) } else { row.name.clone() };
        let dash = || "-".to_owned();
        let Ok(status) = &row.status else {
            let learns = self.part(row.id) == Some(Part::Learner);
            let role = if learns { Part::Learner.name().to_owned() } else { dash() };
            let mut cells = vec![name, role, self.state(row).to_owned()];
            cells.resize_with(COLUMNS.len(), dash);
            return cells;
        };
        vec![
            name,
            self.role(status).to_owned(),
            self.state(row).to_owned(),
            status.term.to_string(),
            status.applied.to_string(),
            if leads { dash() } else { self.lag(status).to_string() },
            text::millis(row.rtt),
            text::size(status.disk_bytes),
            certificate(status.certificate_days),
            text::age(Duration::from_millis(status.uptime_ms)),
        ]
    }

    fn role(&self, status: &NodeStatus) -> &'static str {
        match self.part(Some(status.id)) {
            Some(Part::Learner) => Part::Learner.name(),
            None if !self.members.is_empty() => "stranger",
            _ => role(status.role),
        }
    }

    fn lag(&self, status: &NodeStatus) -> u64 {
        self.committed().saturating_sub(status.applied)
    }

    fn state(&self, row: &Row) -> &'static str {
        match &row.status {
            Err(error) => error.word(),
            Ok(status) if !status.trouble.is_empty() => "trouble",
            Ok(status) if self.lag(status) > SLOW_ENTRIES => "slow",
            Ok(status) if status.drained => "drained",
            Ok(_) => "ok",
        }
    }

    /// The lines below the table.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.findings().into_iter().map(|(node, what)| format!("{node} {what}")).collect()
    }

    /// What deserves a word, by node.
    fn findings(&self) -> Vec<(String, String)> {
        let mut findings = Vec::new();
        for row in &self.rows {
            match &row.status {
                Err(error) => findings.push((row.name.clone(), format!("({}) {error}", row.address))),
                Ok(status) => {
                    if !status.trouble.is_empty() {
                        findings.push((row.name.clone(), status.trouble.clone()));
                    }
                    if status.certificate_days < CERTIFICATE_DAYS {
                        let what =
                            format!("certificate expires in {} days: kvd pki renew", status.certificate_days);
                        findings.push((row.name.clone(), what));
                    }
                }
            }
        }
        findings
    }

    /// Whether all nodes name the same leader and equal states have equal hashes.
    pub(super) fn views_agree(&self) -> bool {
        let same = |status: &NodeStatus| status.leader.is_none() || status.leader == self.leader;
        self.statuses().all(same) && !self.diverged()
    }

    fn document(&self, context: &str) -> Document {
        let leader = self.leader.map(|id| json!({"id": format!("{id:x}"), "name": self.name(id)}));
        let cluster = self.statuses().next().map(|status| status.cluster.to_string());
        let findings = self.findings().into_iter();
        let finding = |(node, what)| json!({"severity": "warning", "node": node, "message": what});
        Document::new("status")
            .with("context", context)
            .with("cluster_id", cluster)
            .with("health", self.health().word())
            .with("leader", leader)
            .with(
                "quorum",
                json!({"voters": self.voters(), "up": self.up(), "needed": self.needed(),
                       "tolerates": self.up().saturating_sub(self.needed())}),
            )
            .with("rev", self.rev())
            .with("views_agree", self.views_agree())
            .with("nodes", self.rows.iter().map(|row| self.node(row)).collect::<Vec<Value>>())
            .with("findings", findings.map(finding).collect::<Vec<Value>>())
    }

    fn node(&self, row: &Row) -> Value {
        let mut node = json!({
            "id": row.id.map(|id| format!("{id:x}")),
            "name": row.name,
            "addr": row.address,
            "reachable": row.status.is_ok(),
            "state": self.state(row),
            "part": self.part(row.id).map(Part::name),
            "error": row.status.as_ref().err().map(ToString::to_string),
        });
        if let (Ok(status), Some(node)) = (&row.status, node.as_object_mut())
            && let Value::Object(seen) = self.seen(row, status)
        {
            node.extend(seen);
        }
        node
    }

    /// What a node that answered says of itself.
    fn seen(&self, row: &Row, status: &NodeStatus) -> Value {
        json!({
            "role": self.role(status),
            "term": status.term,
            "leader": status.leader.map(|id| format!("{id:x}")),
            "committed": status.committed,
            "applied": status.applied,
            "lag_entries": self.lag(status),
            "rtt_ms": row.rtt.as_secs_f64() * 1000.0,
            "disk_bytes": status.disk_bytes,
            "cert_days": status.certificate_days,
            "uptime_ms": status.uptime_ms,
            "version": status.version,
            "state_hash": format!("{:016x}", status.state_hash),
        })
    }
}

/// A row a node: one node under two addresses is one row, and it is the one that answered.
fn rows(views: Vec<NodeView>, members: &[Member]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let (answered, silent): (Vec<_>, Vec<_>) = views.into_iter().partition(|view| view.status.is_ok());
    for view in answered.into_iter().chain(silent) {
        let member =
            members.iter().find(|member| view.id == Some(member.id) || view.address == member.address);
        let id =
            view.status.as_ref().ok().map(|status| status.id).or(view.id).or(member.map(|member| member.id));
        let own = view.status.as_ref().ok().map(|status| status.name.clone());
        let name = own.or(view.name).or(member.map(|member| member.name.clone()));
        let name = name.unwrap_or_else(|| view.address.clone());
        if !rows.iter().any(|row| id.is_some() && row.id == id) {
            rows.push(Row { id, name, address: view.address, rtt: view.rtt, status: view.status });
        }
    }
    rows.sort_by(|a, b| (a.id.is_none(), a.id, &a.address).cmp(&(b.id.is_none(), b.id, &b.address)));
    rows
}

/// The failure that nobody answered, or that nobody let us in.
pub(super) fn nobody(views: &[NodeView]) -> Failure {
    let failures = views.iter().filter_map(|view| {
        let error = view.status.as_ref().err()?.clone();
        Some(EndpointFailure { address: view.address.clone(), error })
    });
    none_of(failures.collect())
}

/// The same of nodes that were asked for something else.
pub(super) fn none_of(endpoints: Vec<EndpointFailure>) -> Failure {
    let denied = !endpoints.is_empty() && endpoints.iter().all(|failure| failure.error.is_denied());
    if denied {
        client::Error::Denied { endpoints }.into()
    } else {
        client::Error::Unreachable { endpoints }.into()
    }
}

/// A role in a word.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn certificate(days: i64) -> String {
    if days < CERTIFICATE_DAYS { format!("{days}d !") } else { format!("{days}d") }
}

#[cfg(test)]
mod tests;
