//! Which metrics there are: each with its name, its unit and a sentence. Names and units follow the conventions of
//! Prometheus; what the system says of the process has the names that all its clients use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft::{NodeId, RoleName};

use super::{DOORS, KINDS, Meters, REASONS, Transfers, exposition::Page, process, serve::About};
use crate::node::Figures;

/// The page.
pub(super) fn write(meters: &Meters, about: &About, figures: &Figures) -> String {
    let mut page = Page::default();
    identity(&mut page, about);
    consensus(&mut page, meters, figures);
    log_and_state(&mut page, meters, about, figures);
    requests(&mut page, meters, figures);
    peers(&mut page, meters, about, figures);
    snapshots(&mut page, meters);
    system(&mut page, meters);
    page.into_text()
}

fn identity(page: &mut Page, about: &About) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.gauges("kvd_build_info", "Always 1; which version this is.", [(&version[..], 1)]);
    let members = about.directory.now();
    let id = members.me().0.to_string();
    let cluster = members.cluster().to_string();
    let labels = [
        ("cluster", cluster.as_str()),
        ("cluster_name", &about.cluster_name),
        ("id", &id),
        ("name", members.name(members.me())),
    ];
    page.gauges("kvd_node_info", "Always 1; which node of which cluster this is.", [(&labels[..], 1)]);
    page.gauge(
        "kvd_certificate_expiry_timestamp_seconds",
        "When this node's certificate expires, in seconds since 1970.",
        about.identity.borrow().expires(),
    );
}

fn consensus(page: &mut Page, meters: &Meters, figures: &Figures) {
    let status = &figures.consensus;
    let leads = status.role == RoleName::Leader;
    page.gauge("kvd_raft_term", "The current term.", status.term.0);
    page.gauge("kvd_raft_is_leader", "1 while this node leads.", u8::from(leads));
    page.gauge("kvd_raft_has_leader", "1 while this node knows a leader.", u8::from(status.leader.is_some()));
    page.gauge("kvd_raft_commit_index", "Highest index known to be committed.", status.commit.0);
    page.gauge("kvd_raft_applied_index", "Highest index applied to the state.", figures.applied);
    page.gauge("kvd_raft_last_index", "Index of the last entry of the log.", status.last.index.0);
    page.gauge("kvd_raft_persisted_index", "Up to here the log is on this node's disk.", status.persisted.0);
    page.counter(
        "kvd_raft_leader_changes_total",
        "Times this node learned of a leader other than the last it knew.",
        meters.leader_changes.get(),
    );
    page.counter("kvd_raft_elections_total", "Times this node stood for election.", meters.elections.get());
    page.counter(
        "kvd_raft_proposals_total",
        "Writes that this node put into the log as a leader.",
        figures.proposals,
    );
}

fn log_and_state(page: &mut Page, meters: &Meters, about: &About, figures: &Figures) {
    let status = &figures.consensus;
    let entries = status.last.index.0.saturating_sub(status.discarded.0);
    page.gauge("kvd_log_entries", "Entries that the log holds.", entries);
    page.gauge("kvd_log_bytes", "Bytes of the log's segments.", meters.log_bytes.get());
    page.histogram(
        "kvd_log_sync_duration_seconds",
        "Time of one write of the log with its sync; whatever queued meanwhile shares the next.",
        &meters.log_sync,
    );
    let full = meters.disk_full.get();
    page.gauge("kvd_disk_full", "1 while a write of the log or the state waits for room on the disk.", full);
    page.gauge("kvd_state_bytes", "Bytes of the state's files.", about.state_bytes());
    page.gauge("kvd_state_flushed_index", "Up to here the state is on this node's disk.", figures.flushed);
    page.counter("kvd_state_applied_entries_total", "Entries applied.", meters.applied_entries.get());
    page.histogram(
        "kvd_state_apply_duration_seconds",
        "Time of one turn of the node's loop in which entries were applied.",
        &meters.apply,
    );
    page.histogram(
        "kvd_state_flush_duration_seconds",
        "Time of writing what was applied to the state's file.",
        &meters.flush,
    );
}

fn requests(page: &mut Page, meters: &Meters, figures: &Figures) {
    let (writes, reads) = figures.waiting;
    let kinds = KINDS.map(|kind| [("kind", kind)]);
    let counts = kinds.iter().zip(&meters.requests);
    page.counters(
        "kvd_requests_total",
        "Requests of clients that came to the node, by kind.",
        counts.map(|(labels, counter)| (&labels[..], counter.get())),
    );
    let reasons = REASONS.map(|reason| [("reason", reason)]);
    let counts = reasons.iter().zip(&meters.refused);
    page.counters(
        "kvd_requests_refused_total",
        "Requests that were refused, by reason.",
        counts.map(|(labels, counter)| (&labels[..], counter.get())),
    );
    let waiting = [([("kind", "write")], writes), ([("kind", "get")], reads)];
    page.gauges(
        "kvd_requests_waiting",
        "Requests that wait: writes to be committed, linearizable reads and scans to be confirmed.",
        waiting.iter().map(|(labels, count)| (&labels[..], u64::try_from(*count).unwrap_or(u64::MAX))),
    );
    page.gauge("kvd_client_connections", "Connections of clients that are open.", meters.clients.get());
    page.counter(
        "kvd_client_connections_accepted_total",
        "Connections of clients that were let in.",
        meters.clients_accepted.get(),
    );
    page.gauge("kvd_watches", "Watches that are underway.", meters.watches.get());
    let doors = DOORS.map(|reason| [("reason", reason)]);
    let counts = doors.iter().zip(&meters.turned_away);
    page.counters(
        "kvd_connections_refused_total",
        "Connections that were not let in, by reason.",
        counts.map(|(labels, counter)| (&labels[..], counter.get())),
    );
}

fn peers(page: &mut Page, meters: &Meters, about: &About, figures: &Figures) {
    let (members, peers) = (about.directory.now(), meters.peers());
    let all: Vec<_> = peers.iter().map(|(id, peer)| ([("peer", members.name(*id))], *id, peer)).collect();
    page.gauges(
        "kvd_peer_connected",
        "1 while the connection to this peer is open.",
        all.iter().map(|(labels, _, peer)| (&labels[..], peer.connected.get())),
    );
    page.counters(
        "kvd_peer_messages_lost_total",
        "Messages to this peer that found its queue full.",
        all.iter().map(|(labels, _, peer)| (&labels[..], peer.lost.get())),
    );
    let last = figures.consensus.last.index.0;
    let lag = |id: &NodeId| {
        let (_, progress) = figures.consensus.progress.iter().find(|(peer, _)| peer == id)?;
        Some(last.saturating_sub(progress.matched.0))
    };
    page.gauges(
        "kvd_peer_match_lag_entries",
        "Entries at the end of this leader's log that the peer is not known to hold; only while this node leads.",
        all.iter().filter_map(|(labels, id, _)| Some((&labels[..], lag(id)?))),
    );
}

fn snapshots(page: &mut Page, meters: &Meters) {
    let Meters { sent, received, .. } = meters;
    let labels =
        |outcome| ["sent", "received"].map(|direction| [("direction", direction), ("outcome", outcome)]);
    let (done, failed) = (labels("done"), labels("failed"));
    page.counters(
        "kvd_snapshot_transfers_total",
        "States that were sent to followers and received from leaders, by what came of it.",
        [
            (&done[0][..], sent.done.get()),
            (&failed[0][..], sent.failed.get()),
            (&done[1][..], received.done.get()),
            (&failed[1][..], received.failed.get()),
        ],
    );
    let directions = [[("direction", "sent")], [("direction", "received")]];
    let both = |which: fn(&Transfers) -> u64| directions.iter().zip([which(sent), which(received)]);
    page.counters(
        "kvd_snapshot_transferred_bytes_total",
        "Bytes of states that were sent and received.",
        both(|transfers| transfers.bytes.get()).map(|(labels, value)| (&labels[..], value)),
    );
    page.gauges(
        "kvd_snapshot_transfers_underway",
        "States that are on their way.",
        both(|transfers| transfers.underway.get()).map(|(labels, value)| (&labels[..], value)),
    );
}

fn system(page: &mut Page, meters: &Meters) {
    if let Some((resident, size)) = process::memory() {
        page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident);
        page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", size);
    }
    if let Some(cpu) = process::cpu() {
        let help = "Total user and system CPU time spent in seconds.";
        page.seconds("process_cpu_seconds_total", "counter", help, cpu);
    }
    if let Some((open, most)) = process::files() {
        page.gauge("process_open_fds", "Number of open file descriptors.", open);
        page.gauge("process_max_fds", "Maximum number of open file descriptors.", most);
    }
    let help = "Start time of the process since unix epoch in seconds.";
    page.seconds("process_start_time_seconds", "gauge", help, since_epoch(meters.started));
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
