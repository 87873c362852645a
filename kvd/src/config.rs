//! What the operator wrote: read once at start, checked completely, and then only compared.
//!
//! Two notations say the same thing: TOML, documented key by key in `docs/operations.md`, and the JSON of the seed
//! project. Each is parsed into a `Draft` and only `Draft::check` makes a [`Config`] of it, so every
//! rule stands once. A refusal names file, key, value and remedy ([`ConfigError`]), and nothing has been created on
//! disk by then.
//!
//! Invariants of a [`Config`]: between one and [`MAX_SERVERS`] servers; ids, names and addresses are distinct; every
//! port is in 1..=65535; the heartbeat is at most half of the election timeout.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod address;
mod error;
mod keep;
mod metrics;
mod native;
mod seed;

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::error::ConfigError;
use self::{address::Address, error::Complaint, keep::DraftLog, metrics::DraftMetrics};
use crate::node::Keeping;

/// Most servers in one cluster: each of them is asked at every commit.
pub const MAX_SERVERS: usize = 31;
/// Longest configuration file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The folder of that file; relative paths in it start there.
    pub folder: PathBuf,
    /// What people call the cluster.
    pub name: String,
    /// Timeouts.
    pub timing: Timing,
    /// How much of the log is kept, and how a state is sent.
    pub log: Keep,
    /// Where issued certificates are, when the file says so.
    pub tls: Option<Tls>,
    /// All servers, in the order of their ids.
    pub servers: Vec<Server>,
}

/// Timeouts, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Shortest election timeout; each one is drawn between this and its double.
    pub election_timeout: Duration,
    /// Time between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// A connection that is silent for so long is dropped and dialled again.
    pub dead_connection: Duration,
}

/// How much of the log is kept, and how a state is sent to a server that needs what was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What stays although the state holds it.
    pub keeping: Keeping,
    /// Bytes of a segment: what is discarded is whole segments.
    pub segment_bytes: u64,
    /// Most bytes a second of one state that is sent.
    pub snapshot_rate: u64,
}

/// Certificate files. `{name}` and `{id}` in certificate and key are replaced by the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of the cluster's CA.
    pub ca: String,
    /// The server's certificate.
    pub cert: String,
    /// The server's private key.
    pub key: String,
}

/// Certificate files of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// This server's certificate.
    pub cert: PathBuf,
    /// This server's private key.
    pub key: PathBuf,
}

impl TlsPaths {
    /// The files of a node in an authority's folder.
    pub fn in_folder(dir: &Path, id: u64) -> Self {
        Self {
            ca: dir.join("ca.pem"),
            cert: dir.join(format!("node-{id}.pem")),
            key: dir.join(format!("node-{id}-key.pem")),
        }
    }
}

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its id: never given to another server.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// `host:port` at which others reach it.
    pub advertise: String,
    /// `host:port` it listens on.
    pub listen: String,
    /// Where what belongs to it lies, but for log and state where those are given places of their own: its admin socket.
    pub data_dir: PathBuf,
    /// Where its log lies.
    pub log_dir: PathBuf,
    /// Where its state lies.
    pub state_dir: PathBuf,
    /// `host:port` at which it serves its metrics, where it does.
    pub metrics: Option<String>,
    /// Whether it joins a cluster that is there already, instead of being one of those that founded it.
    pub joins: bool,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read(file)
            .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), why: error.to_string() })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file: seed JSON when it is called `.json` or begins with a brace, else TOML.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let draft =
            if json || text.trim_start().starts_with('{') { seed::parse(text) } else { native::parse(text) };
        draft
            .and_then(|draft| draft.check(file))
            .map_err(|complaint| ConfigError::Refused { file: file.to_owned(), complaint })
    }

    /// The server this process is to be: by name or id; the only one when nothing is said.
    pub fn select(&self, wanted: Option<&str>) -> Result<&Server, ConfigError> {
        let found = match wanted {
            Some(wanted) => {
                self.servers.iter().find(|server| server.name == wanted || server.id.to_string() == wanted)
            }
            None if self.servers.len() == 1 => self.servers.first(),
            None => None,
        };
        found.ok_or_else(|| ConfigError::NotListed {
            file: self.file.clone(),
            wanted: wanted.map(str::to_owned),
            known: self.servers.iter().map(|server| server.name.clone()).collect(),
        })
    }

    /// Whether nobody outside this machine can reach the cluster, so that it may make its own certificates.
    pub fn is_loopback(&self) -> bool {
        self.servers
            .iter()
            .flat_map(|server| [&server.advertise, &server.listen])
            .all(|address| Address::parse(address).is_ok_and(|address| address.is_loopback()))
    }

    /// Where certificates are when the file does not say.
    pub fn pki_dir(&self) -> PathBuf {
        self.folder.join("kv-pki")
    }

    /// The certificate files of a server.
    pub fn tls_paths(&self, server: &Server) -> TlsPaths {
        let named = |template: &str| {
            let name = template.replace("{name}", &server.name).replace("{id}", &server.id.to_string());
            self.folder.join(name)
        };
        if let Some(tls) = &self.tls {
            return TlsPaths { ca: named(&tls.ca), cert: named(&tls.cert), key: named(&tls.key) };
        }
        TlsPaths::in_folder(&self.pki_dir(), server.id)
    }

    /// The ids of the servers that founded the cluster, or are about to: part of its id. In ascending order.
    pub fn founders(&self) -> Vec<u64> {
        self.servers.iter().filter(|server| !server.joins).map(|server| server.id).collect()
    }

    /// Every server's `host:port`, as a client wants them.
    pub fn endpoints(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.advertise.clone()).collect()
    }
}

/// The host of a checked `host:port`, as a certificate names it: without brackets.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a certificate can name this host: without a port, IPv6 without brackets.
pub(crate) fn is_host(text: &str) -> bool {
    let ip = text.parse::<std::net::IpAddr>();
    ip.is_ok() || Address::parse(&format!("{text}:1")).is_ok_and(|_| !text.starts_with('['))
}

/// Whether a user can have this name; the error says why not.
pub(crate) fn check_user(name: &str) -> Result<(), String> {
    check_name("name", name).map_err(|complaint| format!("{}: {}", complaint.why, complaint.remedy))
}

/// Whether a client can dial this; the error says why not.
pub(crate) fn check_endpoint(text: &str) -> Result<(), String> {
    Address::parse(text).map(|_| ()).map_err(|fault| {
        let complaint = fault.at("endpoint", text);
        format!("{}: {}", complaint.why, complaint.remedy)
    })
}

/// A number within its bounds.
fn bounded(key: &str, value: Option<u64>, default: u64, least: u64, most: u64) -> Result<u64, Complaint> {
    let value = value.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let remedy = format!("choose {least} to {most}; the default is {default}");
    Err(Complaint::new(key, value, "out of range", remedy))
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// What a notation says, unchecked.
#[derive(Debug, Default)]
struct Draft {
    name: Option<String>,
    election_timeout_ms: Option<u64>,
    heartbeat_ms: Option<u64>,
    dead_connection_ms: Option<u64>,
    log: DraftLog,
    metrics: DraftMetrics,
    tls: Option<Tls>,
    data_dir: Option<String>,
    log_dir: Option<String>,
    state_dir: Option<String>,
    servers: Vec<DraftServer>,
    /// What this notation calls a server, its id and its address, for refusals.
    words: Words,
}

#[derive(Debug, Default)]
struct DraftServer {
    id: u64,
    name: Option<String>,
    address: String,
    listen: Option<String>,
    data_dir: Option<String>,
    log_dir: Option<String>,
    state_dir: Option<String>,
    metrics_listen: Option<String>,
    joins: bool,
}

#[derive(Clone, Copy, Debug)]
struct Words {
    server: &'static str,
    id: &'static str,
    address: &'static str,
}

impl Default for Words {
    fn default() -> Self {
        Self { server: "server", id: "id", address: "address" }
    }
}

impl Draft {
    fn check(self, file: &Path) -> Result<Config, Complaint> {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        self.check_number()?;
        let timing = self.timing()?;
        let mut servers = Vec::with_capacity(self.servers.len());
        for (position, server) in self.servers.iter().enumerate() {
            servers.push(self.server(position, server, &folder)?);
        }
        self.check_distinct(&servers)?;
        servers.sort_by_key(|server| server.id);
        if servers.iter().all(|server| server.joins) {
            let why = "every server joins, so there is nothing to join";
            let remedy = "list the servers that founded the cluster, without `joins`";
            return Err(Complaint::new("server.joins", true, why, remedy));
        }
        let name = self.name.unwrap_or_else(|| "kv".to_owned());
        check_name("cluster.name", &name)?;
        let log = self.log.check()?;
        Ok(Config { file: file.to_owned(), folder, name, timing, log, tls: self.tls, servers })
    }

    fn check_number(&self) -> Result<(), Complaint> {
        let (number, key) = (self.servers.len(), self.words.server);
        if number == 0 {
            return Err(Complaint::new(
                key,
                "none",
                "no server is listed",
                "list every server of the cluster",
            ));
        }
        if number > MAX_SERVERS {
            let why = format!("a cluster has at most {MAX_SERVERS} servers");
            return Err(Complaint::new(key, number, why, "list fewer; three or five are usual"));
        }
        Ok(())
    }

    fn timing(&self) -> Result<Timing, Complaint> {
        let election = bounded("timing.election_timeout_ms", self.election_timeout_ms, 200, 20, 60_000)?;
        let heartbeat = bounded("timing.heartbeat_ms", self.heartbeat_ms, 50, 10, 30_000)?;
        let dead = bounded("timing.dead_connection_ms", self.dead_connection_ms, 2_000, 100, 600_000)?;
        if heartbeat > election / 2 {
            let why = format!(
                "not well below the election timeout of {election} ms: one late heartbeat would start an election"
            );
            let remedy = format!("set it to at most {}, or raise timing.election_timeout_ms", election / 2);
            return Err(Complaint::new("timing.heartbeat_ms", heartbeat, why, remedy));
        }
        let least = election.saturating_mul(2);
        if dead < least {
            let why = format!(
                "below twice the election timeout of {election} ms: connections would be cut in elections"
            );
            let remedy = format!("set it to at least {least}");
            return Err(Complaint::new("timing.dead_connection_ms", dead, why, remedy));
        }
        Ok(Timing {
            election_timeout: Duration::from_millis(election),
            heartbeat: Duration::from_millis(heartbeat),
            dead_connection: Duration::from_millis(dead),
        })
    }

    fn server(&self, position: usize, draft: &DraftServer, folder: &Path) -> Result<Server, Complaint> {
        let key = |field: &str| format!("{}[{position}].{field}", self.words.server);
        if draft.id == 0 {
            return Err(Complaint::new(
                key(self.words.id),
                0,
                "ids begin at 1",
                "number the servers 1, 2, 3, …",
            ));
        }
        let name = draft.name.clone().unwrap_or_else(|| format!("n{}", draft.id));
        check_name(&key("name"), &name)?;
        let address_key = key(self.words.address);
        let advertise =
            Address::parse(&draft.address).map_err(|fault| fault.at(&address_key, &draft.address))?;
        if advertise.is_unspecified() {
            let why = "others cannot reach a server at the unspecified address";
            let remedy = "give the host name or address others use, and put this one under `listen`";
            return Err(Complaint::new(address_key, &draft.address, why, remedy));
        }
        let listen = draft.listen.as_ref().unwrap_or(&draft.address);
        let listen = Address::parse(listen).map_err(|fault| fault.at(&key("listen"), listen))?;
        let data = match (&draft.data_dir, &self.data_dir) {
            (Some(own), _) => folder.join(own),
            (None, Some(common)) => folder.join(common).join(&name),
            (None, None) => folder.join("kv-data").join(&name),
        };
        let place = |own: &Option<String>, common: &Option<String>, leaf: &str| match (own, common) {
            (Some(own), _) => folder.join(own),
            (None, Some(common)) => folder.join(common).join(&name),
            (None, None) => data.join(leaf),
        };
        let state_dir = place(&draft.state_dir, &self.state_dir, "state");
        // Where only the directories of log and state are named, no other is made.
        let named = draft.data_dir.is_some() || self.data_dir.is_some();
        let elsewhere = !named && !state_dir.starts_with(&data);
        let own = (&*key("metrics_listen"), draft.metrics_listen.as_ref());
        let metrics = self.metrics.check((draft.id, &name), own)?;
        Ok(Server {
            id: draft.id,
            metrics,
            joins: draft.joins,
            advertise: advertise.to_string(),
            listen: listen.to_string(),
            log_dir: place(&draft.log_dir, &self.log_dir, "log"),
            data_dir: if elsewhere { state_dir.clone() } else { data.clone() },
            state_dir,
            name,
        })
    }

    fn check_distinct(&self, servers: &[Server]) -> Result<(), Complaint> {
        let mut seen: HashMap<(&str, String), usize> = HashMap::new();
        for (position, server) in servers.iter().enumerate() {
            let fields = [
                (self.words.id, server.id.to_string(), "give every server its own id"),
                ("name", server.name.clone(), "give every server its own name"),
                (self.words.address, server.advertise.clone(), "give every server its own host or port"),
                ("log_dir", server.log_dir.display().to_string(), "give every server its own directory"),
                ("state_dir", server.state_dir.display().to_string(), "give every server its own directory"),
                ("data_dir", server.data_dir.display().to_string(), "give every server its own directory"),
            ];
            // Servers of one host share its ports.
            let metrics = server.metrics.iter().map(|metrics| {
                let place = format!("{metrics} on {}", host_of(&server.listen));
                (
                    "metrics_listen",
                    place,
                    "give each server of a host its own metrics_listen, or {id} in the port",
                )
            });
            for (field, value, remedy) in fields.into_iter().chain(metrics) {
                // A directory is one place whatever it is used for.
                let kind = if field == "state_dir" { "log_dir" } else { field };
                if let Some(first) = seen.insert((kind, value.clone()), position) {
                    let word = self.words.server;
                    let why = format!("{word}[{first}] has it already");
                    return Err(Complaint::new(format!("{word}[{position}].{field}"), value, why, remedy));
                }
            }
        }
        Ok(())
    }
}

/// Names become parts of paths, so they are kept plain.
fn check_name(key: &str, name: &str) -> Result<(), Complaint> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let limit = protocol::limits::NAME_BYTES;
    if name.is_empty() || name.len() > limit || name.starts_with('.') || !name.chars().all(plain) {
        let remedy =
            format!("use letters, digits, `-`, `_` and `.`, at most {limit} of them, no `.` in front");
        return Err(Complaint::new(key, name, "not a plain name", remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
