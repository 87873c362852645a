//! Which cluster, and who asks: endpoints and certificates from flags, the environment and files.
//!
//! Each of the four settings is taken for itself from the first place that has it: flag, environment (both arrive in
//! [`Connection`], for clap reads the environment), context, the system's file, and for endpoints a default. A
//! setting in two places is never an error.
//!
//! A context is one TOML file with everything in it:
//!
//! ```toml
//! # kv context
//! endpoints = ["127.0.0.1:7401", "127.0.0.1:7402"]
//! ca = """-----BEGIN CERTIFICATE-----…"""
//! cert = """…"""
//! key = """…"""
//! ```
//!
//! It holds a private key, so a file that others may read is refused rather than used.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

use crate::{error::Failure, exit::Exit, text};

/// Asked where nothing else is said.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:7400";
/// Longest file that is read as a configuration: many times a context of 7 nodes.
const FILE_BYTES: u64 = 1024 * 1024;

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
    /// Nodes to ask, separated by commas
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
    /// `$XDG_CONFIG_HOME/kv`; `None` without a home.
    pub config: Option<PathBuf>,
    /// `/etc/kv/config.toml`.
    pub system: PathBuf,
}

impl Places {
    /// The places of this process.
    pub fn of_process() -> Self {
        Self { config: base("XDG_CONFIG_HOME", ".config"), system: PathBuf::from("/etc/kv/config.toml") }
    }
}

/// `$VARIABLE/kv`, or `~/FALLBACK/kv`. A relative path is ignored, as the XDG specification asks.
pub fn base(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute(variable).or_else(|| Some(absolute("HOME")?.join(fallback)))?.join("kv"))
}

/// Everything a client needs, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name of the context, empty where none was used.
    pub name: String,
    /// `host:port`, at least one.
    pub endpoints: Vec<String>,
    /// PEM.
    pub ca: String,
    /// PEM.
    pub cert: String,
    /// PEM.
    pub key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    endpoints: Vec<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Current {
    current: Option<String>,
}

/// Finds each setting in the first place that has it.
pub fn resolve(flags: &Connection, places: &Places) -> Result<Resolved, Failure> {
    let complete =
        !flags.endpoints.is_empty() && flags.ca.is_some() && flags.cert.is_some() && flags.key.is_some();
    let (name, context) = match chosen(flags, places, complete)? {
        Some((name, path)) => (name, read_settings(&path)?),
        None => (String::new(), Settings::default()),
    };
    let system = if complete { Settings::default() } else { read_system(&places.system)? };
    let endpoints = [&flags.endpoints, &context.endpoints, &system.endpoints];
    let endpoints = endpoints.into_iter().find(|list| !list.is_empty()).cloned();
    let endpoints = endpoints.unwrap_or_else(|| vec![DEFAULT_ENDPOINT.to_owned()]);
    endpoints.iter().try_for_each(|endpoint| check_endpoint(endpoint))?;
    Ok(Resolved {
        name,
        endpoints,
        ca: pem("ca", flags.ca.as_deref(), context.ca, system.ca)?,
        cert: pem("cert", flags.cert.as_deref(), context.cert, system.cert)?,
        key: pem("key", flags.key.as_deref(), context.key, system.key)?,
    })
}

fn pem(
    what: &str,
    flag: Option<&Path>,
    context: Option<String>,
    system: Option<String>,
) -> Result<String, Failure> {
    if let Some(path) = flag {
        return read(path);
    }
    context.or(system).ok_or_else(|| {
        let message = format!("no context is selected and there is no --{what}: nothing says who asks");
        Failure::new(Exit::Usage, "KV-0204", "no_context", message).hint(
            "`kvd dev` starts a cluster and selects its context; for another, -C NAME or -C admin.kvctx",
        )
    })
}

fn check_endpoint(endpoint: &str) -> Result<(), Failure> {
    let port =
        endpoint.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(1..))) {
        return Ok(());
    }
    Err(Failure::usage(format!("endpoint `{endpoint}` is not HOST:PORT with a port of 1 to 65535"))
        .hint("such as 127.0.0.1:7400, n1.example.org:7400 or [::1]:7400"))
}

/// The context that is meant and its file: the one named, else the current one where something is missing.
fn chosen(flags: &Connection, places: &Places, complete: bool) -> Result<Option<(String, PathBuf)>, Failure> {
    if let Some(named) = &flags.context {
        return locate(named, places).map(Some);
    }
    if complete {
        return Ok(None);
    }
    current(places)?.map(|named| locate(&named, places)).transpose()
}

fn current(places: &Places) -> Result<Option<String>, Failure> {
    let Some(path) = places.config.as_ref().map(|config| config.join("config.toml")) else { return Ok(None) };
    if !path.exists() {
        return Ok(None);
    }
    let current: Current = parse(&path, &read(&path)?)?;
    Ok(current.current)
}

fn locate(named: &str, places: &Places) -> Result<(String, PathBuf), Failure> {
    let is_path = named.contains('/') || Path::new(named).extension().is_some_and(|is| is == "kvctx");
    if is_path {
        let path = PathBuf::from(named);
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        return Ok((name, path));
    }
    let unknown = |hint: String| {
        let message = format!("there is no context named `{named}`");
        Failure::new(Exit::Usage, "KV-0205", "unknown_context", message).hint(hint)
    };
    let folder = places.config.as_ref().map(|config| config.join("contexts"));
    let folder = folder.ok_or_else(|| unknown("neither XDG_CONFIG_HOME nor HOME is set".to_owned()))?;
    let path = folder.join(format!("{named}.kvctx"));
    if path.exists() {
        return Ok((named.to_owned(), path));
    }
    Err(unknown(match names(&folder).join(", ") {
        none if none.is_empty() => {
            format!("there are none in {}; a path to a .kvctx file will do", folder.display())
        }
        some => format!("there are: {some}"),
    }))
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let contexts = paths.filter(|path| path.extension().is_some_and(|is| is == "kvctx"));
    let mut names: Vec<String> =
        contexts.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

fn read_system(path: &Path) -> Result<Settings, Failure> {
    if path.exists() { read_settings(path) } else { Ok(Settings::default()) }
}

fn read_settings(path: &Path) -> Result<Settings, Failure> {
    let text = read(path)?;
    let settings: Settings = parse(path, &text)?;
    if settings.key.is_some() {
        check_private(path)?;
    }
    Ok(settings)
}

fn check_private(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let message = format!("{} holds a private key and others may read it (mode {mode:04o})", path.display());
    Err(Failure::new(Exit::Denied, "KV-0702", "exposed_key", message)
        .hint(format!("chmod 600 {}", path.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::file("read", path, &error);
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text)).map_err(failed)?;
    Ok(text)
}

/// Says where in a file the trouble is, never what stands there: it may be a key.
fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.get(..offset).unwrap_or(text).split('\n').count();
        Failure::config(format!("{}, line {line}: {}", path.display(), error.message()))
            .hint("a context has endpoints, ca, cert and key; see docs/cli.md")
    })
}

#[cfg(test)]
mod tests;
