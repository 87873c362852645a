//! Where a development cluster lives: configuration, certificates, data and logs of all nodes in one directory, thrown
//! away at the end or kept. A kept one is continued on the same ports when they are free and on others when not;
//! addresses are no part of anybody's identity.

use std::{
    fmt::Write,
    fs::File,
    io,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
};

use super::DevError;
use crate::{bootstrap::files, cli, config::Config, pki};

/// The configuration's name in the directory.
const CONFIG: &str = "kvd.toml";
/// How many nodes there are when nothing is said.
const NODES: u64 = 3;

pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
    config: Config,
    /// Keeps a second `kvd dev` out of a kept directory.
    _lock: File,
}

impl Folder {
    pub(super) fn open(arguments: &cli::Dev) -> Result<Self, DevError> {
        let (path, kept) = match &arguments.keep {
            Some(keep) => (absolute(keep)?, true),
            None => (absolute(&std::env::temp_dir().join(random_name()?))?, false),
        };
        let nodes = checked_nodes(&path, arguments.nodes)?;
        files::create_private_dir(&path).map_err(|error| DevError::disk(&path, &error))?;
        let lock = lock(&path)?;
        let mut ports = known_ports(&path)?;
        if ports.is_empty() || !are_free(&ports) {
            ports = free_ports(nodes).map_err(|error| DevError::disk(&path, &error))?;
        }
        let config = write_config(&path, &ports)?;
        Ok(Self { path, kept, config, _lock: lock })
    }

    /// Other ports for the same nodes.
    pub(super) fn draw_ports(&mut self) -> Result<(), DevError> {
        let nodes = self.config.servers.len() as u64;
        let ports = free_ports(nodes).map_err(|error| DevError::disk(&self.path, &error))?;
        self.config = write_config(&self.path, &ports)?;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.config.servers.iter().map(|server| server.name.clone()).collect()
    }

    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.path.join(format!("{node}.log"))
    }

    /// What reaches the cluster.
    pub(super) fn context(&self) -> PathBuf {
        pki::context_path(&self.config.pki_dir(), "admin")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: it lies among temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// How many nodes, before anything is made.
fn checked_nodes(path: &Path, asked: Option<u64>) -> Result<u64, DevError> {
    let shown = path.display();
    if !path.join(CONFIG).exists() {
        let begun = |name: &std::ffi::OsStr| name == "lock" || name == "kv-pki";
        let used = std::fs::read_dir(path)
            .is_ok_and(|entries| entries.flatten().any(|entry| !begun(&entry.file_name())));
        if used || path.is_file() {
            return Err(DevError::Usage(format!(
                "{shown}: in use for something else\n  try: give --keep an empty directory, or a new one"
            )));
        }
        return Ok(asked.unwrap_or(NODES));
    }
    let kept = Config::load(&path.join(CONFIG))?.servers.len() as u64;
    match asked {
        Some(asked) if asked != kept => Err(DevError::Usage(format!(
            "{shown}: has {kept} nodes, not {asked}\n  try: leave --nodes out, or keep another directory"
        ))),
        _ => Ok(kept),
    }
}

fn known_ports(path: &Path) -> Result<Vec<u16>, DevError> {
    let file = path.join(CONFIG);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let config = Config::load(&file)?;
    Ok(config.servers.iter().filter_map(|server| server.listen.rsplit(':').next()?.parse().ok()).collect())
}

fn are_free(ports: &[u16]) -> bool {
    ports.iter().all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// Ports of the kernel's choice, all held until the last is known so that they differ.
fn free_ports(number: u64) -> io::Result<Vec<u16>> {
    let held: Vec<_> =
        (0..number).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(|socket| socket.local_addr().map(|address| address.port())).collect()
}

fn write_config(path: &Path, ports: &[u16]) -> Result<Config, DevError> {
    let mut text = "# Written by kvd dev.\n[cluster]\nname = \"dev\"\n".to_owned();
    for (id, port) in (1..).zip(ports) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[server]]\nid = {id}\naddress = \"127.0.0.1:{port}\"\n");
    }
    let file = path.join(CONFIG);
    let config = Config::parse(&file, &text)?;
    files::write_private(&file, text.as_bytes()).map_err(|error| DevError::disk(&file, &error))?;
    pki::development(&config)?;
    Ok(config)
}

fn lock(path: &Path) -> Result<File, DevError> {
    let file = path.join("lock");
    let lock = files::open_lock(&file).map_err(|error| DevError::disk(&file, &error))?;
    if lock.try_lock().is_err() {
        let why = "another kvd dev runs in it\n  try: stop that one, or keep another directory";
        return Err(DevError::Usage(format!("{}: {why}", path.display())));
    }
    Ok(lock)
}

fn random_name() -> Result<String, DevError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| DevError::Usage(error.to_string()))?;
    Ok(format!("kvd-dev-{:016x}", u64::from_le_bytes(random)))
}

fn absolute(path: &Path) -> Result<PathBuf, DevError> {
    std::path::absolute(path).map_err(|error| DevError::disk(path, &error))
}
