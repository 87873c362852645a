//! Views and settings made into what was found. Pure, so that every situation can be tested without it.

use std::time::Duration;

use client::{EndpointError, NodeView};
use protocol::NodeStatus;

use super::{Looked, State};
use crate::{
    codes::findings::{self, Finding},
    command::{
        assess::{Assessment, CERTIFICATE_DAYS, SLOW_ENTRIES, role},
        ping,
    },
    connect::Session,
    text,
};

/// Clocks that differ by more than this do so for a reason.
const SKEW_MS: i64 = 1000;
/// Hundredths of a file system that should be free, and that must be.
const FREE: [u64; 2] = [15, 5];

/// What this machine brings along.
pub(super) struct Here {
    pub(super) context: String,
    pub(super) endpoints: Vec<String>,
    /// Days of the own certificate; `None` where there is none to show.
    pub(super) certificate_days: Option<i64>,
}

impl Here {
    pub(super) fn of(session: &Session) -> Self {
        let settings = session.settings();
        Self {
            context: session.name().to_owned(),
            endpoints: settings.endpoints.clone(),
            certificate_days: settings.identity.as_ref().map(transport::Identity::days_left),
        }
    }
}

/// Settings and certificate. That the key is the owner's alone was seen when it was read: one that is not is refused.
pub(super) fn here(here: &Here) -> Vec<Looked> {
    let endpoints = here.endpoints.join(",");
    let named = |context: &str| format!("context {context}, endpoints {endpoints}");
    let bare = format!("no context, endpoints {endpoints}");
    let settings = Looked::ok("here", if here.context.is_empty() { bare } else { named(&here.context) });
    let certificate = match here.certificate_days {
        None => Looked::ok("here", "no certificate is needed: a node of this machine knows this user"),
        Some(days) => {
            let (state, found) = certificate(days);
            match state {
                State::Ok => Looked::ok("here", format!("{found}, its key can be read by nobody else")),
                state => Looked::finding("here", state, findings::OWN_CERTIFICATE, found),
            }
        }
    };
    vec![settings, certificate]
}

fn certificate(days: i64) -> (State, String) {
    match days {
        ..0 => (State::Failed, format!("the certificate expired {} days ago", days.unsigned_abs())),
        0..CERTIFICATE_DAYS => (State::Warning, format!("the certificate expires in {days} days")),
        _ => (State::Ok, format!("the certificate is good for {days} days")),
    }
}

/// Where all nodes agree on the time and not with this machine, it is this one's clock.
pub(super) fn clock_here(all: &[NodeView]) -> Vec<Looked> {
    let skew = skew_of_here(all);
    if skew.abs() <= SKEW_MS {
        return Vec::new();
    }
    let found = format!("the clock is {} the nodes'", apart(skew.saturating_neg()));
    vec![Looked::finding("here", State::Warning, findings::CLOCK, found)]
}

/// How far the nodes together are ahead of this machine: the one in the middle of them, of two in the middle the one that this
/// machine agrees with more. With fewer than two it is not known whose clock is wrong, and said of the node.
fn skew_of_here(all: &[NodeView]) -> i64 {
    let mut skews: Vec<i64> = all.iter().filter_map(|view| view.skew_ms).collect();
    skews.sort_unstable();
    let (lower, upper) = (skews.len().saturating_sub(1) / 2, skews.len() / 2);
    let middle = skews.get(lower..=upper).unwrap_or_default().iter().copied().min_by_key(|skew| skew.abs());
    middle.filter(|_| skews.len() >= 2).unwrap_or(0)
}

fn apart(ahead_ms: i64) -> String {
    let span = text::age(Duration::from_millis(ahead_ms.unsigned_abs()));
    format!("{span} {}", if ahead_ms < 0 { "behind" } else { "ahead of" })
}

/// Each node for itself.
pub(super) fn nodes(chosen: &[NodeView], all: &[NodeView]) -> Vec<Looked> {
    let committed = all.iter().filter_map(|view| view.status.as_ref().ok()).map(|status| status.committed);
    let committed = committed.max().unwrap_or(0);
    let middle = skew_of_here(all);
    let mut looked = Vec::new();
    for view in chosen {
        match &view.status {
            Err(error) => looked.push(unreached(view, error)),
            Ok(status) => {
                looked.push(answered(view, status));
                looked.extend(of_itself(status));
                looked.extend(among_others(view, status, committed, middle));
            }
        }
    }
    looked
}

fn unreached(view: &NodeView, error: &EndpointError) -> Looked {
    let finding: &'static Finding = match error {
        EndpointError::Unresolved { .. } => findings::UNRESOLVED,
        EndpointError::Refused => findings::REFUSED,
        EndpointError::Silent => findings::SILENT,
        EndpointError::Tls { .. } | EndpointError::Forbidden { .. } => findings::UNTRUSTED,
        EndpointError::Version => findings::PROTOCOL,
        EndpointError::OtherCluster => findings::OTHER_CLUSTER,
        EndpointError::Dropped { .. } => findings::DROPPED,
        EndpointError::Local { .. } => findings::UNTRIED,
    };
    let looked =
        Looked::finding(ping::name(view), State::Failed, finding, format!("{} {error}", view.address));
    let Some((host, port)) = view.address.rsplit_once(':') else { return looked };
    match error {
        EndpointError::Silent => {
            let fix = format!(
                "does {host} answer a ping? Then a firewall drops UDP: let {port}/udp through; else it is down"
            );
            Looked { fix: Some(fix), ..looked }
        }
        _ => looked,
    }
}

fn answered(view: &NodeView, status: &NodeStatus) -> Looked {
    let found = format!(
        "{} answers in {}, TLS and protocol ok: {}, v{}",
        view.address,
        text::millis(view.rtt),
        role(status.role),
        status.version
    );
    Looked::ok(&status.name, found)
}

/// What a node knows of itself.
fn of_itself(status: &NodeStatus) -> Vec<Looked> {
    let name = status.name.as_str();
    let mut looked = Vec::new();
    if !status.trouble.is_empty() {
        looked.push(Looked::finding(name, State::Failed, findings::TROUBLE, status.trouble.clone()));
    }
    let (state, found) = certificate(status.certificate_days);
    if state != State::Ok {
        looked.push(Looked::finding(name, state, findings::NODE_CERTIFICATE, found));
    }
    // An older node does not say it.
    if let Some(free) = status.disk_free.saturating_mul(100).checked_div(status.disk_size) {
        let found = format!("{} of {} are free", text::size(status.disk_free), text::size(status.disk_size));
        let [should, must] = FREE;
        let state = if free < must { State::Failed } else { State::Warning };
        if free < should {
            looked.push(Looked::finding(name, state, findings::DISK_SPACE, found));
        }
    }
    if status.drained {
        let found = "leaves leading to others";
        looked.push(Looked::finding(name, State::Warning, findings::DRAINED, found));
    }
    looked
}

/// What shows beside the others.
fn among_others(view: &NodeView, status: &NodeStatus, committed: u64, middle: i64) -> Vec<Looked> {
    let name = status.name.as_str();
    let mut looked = Vec::new();
    let lag = committed.saturating_sub(status.applied);
    if lag > SLOW_ENTRIES {
        let found = format!("{lag} entries behind");
        looked.push(Looked::finding(name, State::Warning, findings::BEHIND, found));
    }
    let apart_ms = view.skew_ms.map_or(0, |skew| skew.saturating_sub(middle));
    // What the way took is not known to be the clock's.
    let slack = i64::try_from(view.rtt.as_millis() / 2).unwrap_or(i64::MAX);
    if apart_ms.abs().saturating_sub(slack) > SKEW_MS {
        let whose = if middle == 0 { "this machine's" } else { "the other nodes'" };
        let found = format!("the clock is {} {whose}", apart(apart_ms));
        looked.push(Looked::finding(name, State::Warning, findings::CLOCK, found));
    }
    looked
}

/// What only all of them together show.
pub(super) fn cluster(all: Vec<NodeView>) -> Vec<Looked> {
    let failed = |finding, found: String| Looked::finding("cluster", State::Failed, finding, found);
    let warning = |finding, found: String| Looked::finding("cluster", State::Warning, finding, found);
    let (members_differ, versions) = (do_members_differ(&all), versions(&all));
    let Ok(seen) = Assessment::of(all) else {
        return vec![failed(findings::LEADERLESS, "no node answers".into())];
    };
    let quorum = format!("{} of {} members answer, {} are needed", seen.up(), seen.voters(), seen.needed());
    let mut looked = Vec::new();
    match seen.leader_name() {
        Some(leader) if seen.up() >= seen.needed() => {
            looked.push(Looked::ok("cluster", format!("{leader} leads, {quorum}")));
        }
        _ => looked.push(failed(findings::LEADERLESS, format!("no leader with a quorum: {quorum}"))),
    }
    if seen.diverged() {
        let found = "nodes that applied the same writes have different states";
        looked.push(failed(findings::DIVERGED, found.into()));
    } else if !seen.views_agree() {
        looked.push(warning(findings::DISAGREEMENT, "nodes name different leaders".into()));
    }
    if members_differ {
        looked.push(failed(findings::DISAGREEMENT, "nodes have different lists of members".into()));
    }
    if versions.len() > 1 {
        looked.push(warning(findings::VERSIONS, format!("nodes run {}", versions.join(" and "))));
    }
    looked
}

fn statuses(all: &[NodeView]) -> impl Iterator<Item = &NodeStatus> {
    all.iter().filter_map(|view| view.status.as_ref().ok())
}

/// By the word of those that are members as they know it: who waits to be added, or was removed, knows an older list or none.
fn do_members_differ(all: &[NodeView]) -> bool {
    let is_member = |status: &&NodeStatus| status.members.iter().any(|member| member.id == status.id);
    let mut lists = statuses(all).filter(is_member).map(|status| {
        let mut members: Vec<_> = status.members.iter().map(|member| (member.id, &member.address)).collect();
        members.sort_unstable();
        members
    });
    let first = lists.next();
    lists.any(|list| first.as_ref() != Some(&list))
}

fn versions(all: &[NodeView]) -> Vec<String> {
    let mut versions: Vec<String> = statuses(all).map(|status| format!("v{}", status.version)).collect();
    versions.sort();
    versions.dedup();
    versions
}
