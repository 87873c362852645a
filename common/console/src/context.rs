//! Which cluster, and who asks: endpoints and certificates from flags, the environment and files.
//!
//! Each of the four settings is taken for itself from the first place that has it: flag, environment (both arrive in
//! [`Connection`], for clap reads the environment), context, the system's file, and for endpoints a default. A
//! setting in two places is never an error, and where each came from is kept for `config view --origin`.
//!
//! | module | what |
//! | --- | --- |
//! | `file` | a `.kvctx` file: read whole or refused by name and line, and written |
//! | `choice` | which context is meant |
//! | `shelf` | the contexts that have names: listed, put there, removed, selected |
//! | `origin` | where a setting came from |

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use transport::Identity;

pub use self::{
    choice::Chosen,
    file::{File, Pem},
    origin::{Origin, Sources},
};
use crate::{error::Failure, exit::Exit, text};

mod choice;
mod file;
mod origin;
pub mod shelf;

/// Asked where nothing else is said.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:7400";
/// What the address of a node's socket on this machine begins with.
const SOCKET: &str = "unix:";

/// The flags that choose a cluster, and their variables.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// A context: its name, or the path of a .kvctx file
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "NAME|FILE",
        env = "KVCTL_CONTEXT",
        hide_env_values = true
    )]
    pub context: Option<String>,
    /// Nodes to ask, separated by commas; unix:PATH is a node's socket on this machine
    #[arg(
        short,
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "KVCTL_ENDPOINTS",
        value_delimiter = ','
    )]
    pub endpoints: Vec<String>,
    /// Certificate of the cluster's authority (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "KVCTL_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,
    /// Certificate of this client (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "KVCTL_CERT", hide_env_values = true)]
    pub cert: Option<PathBuf>,
    /// Private key of this client (PEM)
    #[arg(
        id = "client_key",
        long = "key",
        global = true,
        value_name = "FILE",
        env = "KVCTL_KEY",
        hide_env_values = true
    )]
    pub key: Option<PathBuf>,
    /// Time for the whole command [default: 5s; check: 10s; wait: 30s]
    #[arg(short, long, global = true, value_name = "TIME", env = "KVCTL_TIMEOUT",
          value_parser = text::parse_duration)]
    pub timeout: Option<Duration>,
    /// Time for reaching one node
    #[arg(long, global = true, value_name = "TIME", default_value = "1s", value_parser = text::parse_duration)]
    pub connect_timeout: Duration,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `$KVCTL_CONFIG`, or `$XDG_CONFIG_HOME/kv`; `None` without a home.
    pub config: Option<PathBuf>,
    /// `/etc/kv/config.toml`.
    pub system: PathBuf,
    /// `/run/kv/kvd.sock`, where a node that runs as a service on this machine can be asked without certificates.
    pub socket: PathBuf,
    /// From where `.kv/context` is looked for, upwards; `None` where that is not known.
    pub here: Option<PathBuf>,
}

impl Places {
    /// The places of this process.
    pub fn of_process() -> Self {
        let chosen = std::env::var_os("KVCTL_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            config: chosen.or_else(|| base("XDG_CONFIG_HOME", ".config")),
            system: PathBuf::from("/etc/kv/config.toml"),
            socket: PathBuf::from("/run/kv/kvd.sock"),
            here: std::env::current_dir().ok(),
        }
    }
}

/// `$VARIABLE/kv`, or `~/FALLBACK/kv`. A relative path is ignored, as the XDG specification asks.
pub fn base(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute(variable).or_else(|| Some(absolute("HOME")?.join(fallback)))?.join("kv"))
}

/// A setting and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What it is.
    pub value: T,
    /// From where.
    pub origin: Origin,
}

impl<T> Found<T> {
    fn at(origin: Origin) -> impl FnOnce(T) -> Self {
        |value| Self { value, origin }
    }
}

/// Every setting as it holds, with what is missing missing: more than [`resolve`] accepts, for those who want to see
/// what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The context, where there is one.
    pub context: Option<Chosen>,
    /// `host:port`, at least one.
    pub endpoints: Found<Vec<String>>,
    /// The CA's certificate.
    pub ca: Option<Found<Pem>>,
    /// The client's certificate.
    pub cert: Option<Found<Pem>>,
    /// The client's key.
    pub key: Option<Found<Pem>>,
    /// Whether the context says that it is protected.
    pub protected: bool,
}

/// Everything a client needs, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name of the context, empty where none was used.
    pub name: String,
    /// Its file, without links; `None` where none was used. Two contexts may have one name, but not one file.
    pub path: Option<PathBuf>,
    /// Whether changes need a confirmation.
    pub protected: bool,
    /// `host:port` or `unix:PATH`, at least one.
    pub endpoints: Vec<String>,
    /// `None` where all of them are sockets of this machine and nothing else was given.
    pub credentials: Option<Credentials>,
}

/// Who asks, and whom to trust, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The CA's certificate.
    pub ca: Pem,
    /// The client's certificate.
    pub cert: Pem,
    /// The client's key.
    pub key: Pem,
}

impl Effective {
    /// Whether nobody can be asked without certificates; where somebody can, those that were given are to be whole.
    pub(crate) fn needs_credentials(&self) -> bool {
        let given = [&self.ca, &self.cert, &self.key].into_iter().any(Option::is_some);
        given || !are_sockets(&self.endpoints.value)
    }
}

impl Resolved {
    /// The certificates, ready for use.
    pub fn identity(&self) -> Result<Option<Identity>, Failure> {
        let credentials = self.credentials.as_ref();
        credentials.map(|Credentials { ca, cert, key }| file::identity([ca, cert, key])).transpose()
    }
}

/// Finds each setting in the first place that has it.
pub fn effective(flags: &Connection, places: &Places) -> Result<Effective, Failure> {
    let complete = is_complete(flags);
    let chosen = choice::choose(flags.context.as_deref(), places, complete)?;
    let context = chosen.as_ref().map_or_else(|| Ok(File::default()), |chosen| File::read(&chosen.path))?;
    let system = if complete { File::default() } else { File::read_system(&places.system)? };
    let (context_origin, system_origin) = (
        Origin::Context(chosen.as_ref().map_or_else(PathBuf::new, |chosen| chosen.path.clone())),
        Origin::System(places.system.clone()),
    );
    let lists = [
        (&flags.endpoints, Origin::Line),
        (&context.endpoints, context_origin.clone()),
        (&system.endpoints, system_origin.clone()),
    ];
    let endpoints = lists.into_iter().find(|(list, _)| !list.is_empty());
    let endpoints = endpoints.map(|(list, origin)| Found { value: list.clone(), origin });
    let pem = |flag: &Option<PathBuf>, context: Option<Pem>, system: Option<Pem>| -> Result<_, Failure> {
        let flag =
            flag.as_deref().map(|path| file::read_pem(path).map(Found::at(Origin::Line))).transpose()?;
        let context = || context.map(Found::at(context_origin.clone()));
        Ok(flag.or_else(context).or_else(|| system.map(Found::at(system_origin.clone()))))
    };
    let ca = pem(&flags.ca, context.ca, system.ca)?;
    let cert = pem(&flags.cert, context.cert, system.cert)?;
    let key = pem(&flags.key, context.key, system.key)?;
    let is_bare = chosen.is_none() && ca.is_none() && cert.is_none() && key.is_none();
    let endpoints = endpoints
        .unwrap_or_else(|| Found { value: vec![default_endpoint(is_bare, places)], origin: Origin::Default });
    endpoints.value.iter().try_for_each(|endpoint| check_endpoint(endpoint, &endpoints.origin))?;
    Ok(Effective { endpoints, ca, cert, key, protected: context.protected, context: chosen })
}

/// The context that these flags mean, whatever it says.
pub(crate) fn chosen(flags: &Connection, places: &Places) -> Result<Option<Chosen>, Failure> {
    choice::choose(flags.context.as_deref(), places, is_complete(flags))
}

/// The same, and nothing is missing.
pub fn resolve(flags: &Connection, places: &Places) -> Result<Resolved, Failure> {
    let effective = effective(flags, places)?;
    let chosen = effective.context.as_ref();
    let need = |what: &str, pem: Option<Found<Pem>>| {
        pem.map(|found| found.value).ok_or_else(|| missing(what, chosen))
    };
    let credentials = if effective.needs_credentials() {
        Some(Credentials {
            ca: need("ca", effective.ca)?,
            cert: need("cert", effective.cert)?,
            key: need("key", effective.key)?,
        })
    } else {
        None
    };
    Ok(Resolved {
        credentials,
        endpoints: effective.endpoints.value,
        protected: effective.protected,
        name: chosen.map_or_else(String::new, |chosen| chosen.name.clone()),
        path: chosen.map(|chosen| fs::canonicalize(&chosen.path).unwrap_or_else(|_| chosen.path.clone())),
    })
}

/// Whether they leave nothing to say: also where they name sockets of this machine alone, for a context of another cluster
/// has nothing to do with those.
fn is_complete(flags: &Connection) -> bool {
    let certified = flags.ca.is_some() && flags.cert.is_some() && flags.key.is_some();
    !flags.endpoints.is_empty() && (certified || are_sockets(&flags.endpoints))
}

fn are_sockets(endpoints: &[String]) -> bool {
    endpoints.iter().all(|endpoint| endpoint.starts_with(SOCKET))
}

/// Whoever has nothing to show may still be known to the node on this machine.
fn default_endpoint(is_bare: bool, places: &Places) -> String {
    // Whoever may not go there is told so, and not that there is nothing.
    if is_bare && fs::symlink_metadata(&places.socket).is_ok() {
        return format!("{SOCKET}{}", places.socket.display());
    }
    DEFAULT_ENDPOINT.to_owned()
}

fn missing(what: &str, chosen: Option<&Chosen>) -> Failure {
    let message = match chosen {
        Some(Chosen { path, .. }) => format!("{} has no {what} and there is no --{what}", path.display()),
        None => format!("no context is selected and there is no --{what}: nothing says who asks"),
    };
    Failure::new(Exit::Usage, "KV-0204", "no_context", message)
        .hint(
            "`kvd dev` starts a cluster and selects its context; for another, -C NAME or -C admin.kvctx; on a node, \
             -e unix:PATH of its kvd.sock",
        )
}

fn check_endpoint(endpoint: &str, origin: &Origin) -> Result<(), Failure> {
    if is_endpoint(endpoint) {
        return Ok(());
    }
    let place = origin.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
    let message = format!("{place}endpoint `{endpoint}` is not HOST:PORT with a port of 1 to 65535");
    Err(Failure::usage(message)
        .hint("such as 127.0.0.1:7400, n1.example.org:7400, [::1]:7400 or unix:/run/kv/kvd.sock"))
}

pub(crate) fn is_endpoint(endpoint: &str) -> bool {
    if let Some(path) = endpoint.strip_prefix(SOCKET) {
        return !path.is_empty();
    }
    let host = endpoint.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    matches!(host.map(|(_, port)| port.parse::<u16>()), Some(Ok(1..)))
}

#[cfg(test)]
mod tests;
