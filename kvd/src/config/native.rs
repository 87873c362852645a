//! The TOML notation. Its keys are documented in `docs/operations.md`; one that is not known is refused, because a
//! mistyped timeout that is silently ignored is found in an outage.

use serde::Deserialize;

use super::{Draft, DraftServer, Tls, Words, error::Complaint, keep::DraftLog, metrics::DraftMetrics};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    metrics: Metrics,
    tls: Option<TlsTable>,
    data_dir: Option<String>,
    log_dir: Option<String>,
    state_dir: Option<String>,
    #[serde(default)]
    server: Vec<Server>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Cluster {
    name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the file's keys")]
struct Timing {
    election_timeout_ms: Option<u64>,
    heartbeat_ms: Option<u64>,
    dead_connection_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Log {
    keep_entries: Option<u64>,
    max_mib: Option<u64>,
    segment_mib: Option<u64>,
    snapshot_mib_per_second: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Metrics {
    listen: Option<String>,
    #[serde(default)]
    allow_remote: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    ca: String,
    cert: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    id: u64,
    name: Option<String>,
    address: String,
    listen: Option<String>,
    data_dir: Option<String>,
    log_dir: Option<String>,
    state_dir: Option<String>,
    metrics_listen: Option<String>,
    #[serde(default)]
    joins: bool,
}

pub(super) fn parse(text: &str) -> Result<Draft, Complaint> {
    let file: File = toml::from_str(text).map_err(|error| unparsable(text, &error))?;
    Ok(Draft {
        name: file.cluster.name,
        election_timeout_ms: file.timing.election_timeout_ms,
        heartbeat_ms: file.timing.heartbeat_ms,
        dead_connection_ms: file.timing.dead_connection_ms,
        log: DraftLog {
            keep_entries: file.log.keep_entries,
            max_mib: file.log.max_mib,
            segment_mib: file.log.segment_mib,
            snapshot_mib_per_second: file.log.snapshot_mib_per_second,
        },
        metrics: DraftMetrics { listen: file.metrics.listen, allow_remote: file.metrics.allow_remote },
        tls: file.tls.map(|tls| Tls { ca: tls.ca, cert: tls.cert, key: tls.key }),
        data_dir: file.data_dir,
        log_dir: file.log_dir,
        state_dir: file.state_dir,
        servers: file.server.into_iter().map(Server::draft).collect(),
        words: Words::default(),
    })
}

impl Server {
    fn draft(self) -> DraftServer {
        DraftServer {
            id: self.id,
            name: self.name,
            address: self.address,
            listen: self.listen,
            data_dir: self.data_dir,
            log_dir: self.log_dir,
            state_dir: self.state_dir,
            metrics_listen: self.metrics_listen,
            joins: self.joins,
        }
    }
}

fn unparsable(text: &str, error: &toml::de::Error) -> Complaint {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.get(..start).unwrap_or_default().matches('\n').count().saturating_add(1);
    Complaint::unparsable(
        text,
        line,
        error.message(),
        "correct that line; docs/operations.md lists every key",
    )
}
