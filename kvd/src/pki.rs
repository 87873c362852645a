//! A certificate authority in a folder: for a loopback cluster made by itself at the first start, for any other by an
//! operator with `kvd pki`.
//!
//! ```text
//!   ca.pem  ca-key.pem                the authority; its key never leaves the folder
//!   node-1.pem  node-1-key.pem        a node's certificate, and the names in it: node-1.hosts
//!   admin.kvctx                       a user: endpoints, CA, certificate and key in one file
//!   lock                              held while anything is written
//! ```
//!
//! The folder is 0700 and every file in it 0600. Files are replaced whole; of a pair the key is written first, so a
//! certificate that is there has its key, and whoever finds no certificate issues both anew.

mod context;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use transport::{Authority, TransportError};

pub use self::context::Context;
use crate::{
    bootstrap::files,
    cli::Exit,
    config::{self, Config, TlsPaths},
};

/// How long development certificates last: a playground is not to break over a holiday.
const DEVELOPMENT_DAYS: u32 = 3650;
/// The user a development cluster is managed by.
const ADMIN: &str = "admin";

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There is one already.
    #[error("{}: an authority is here already\n  try: another --dir, or `kvd pki issue` to use this one", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{}: no authority is here\n  try: `kvd pki init --dir {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    /// A name that cannot be used.
    #[error("`{0}`: {1}")]
    Name(String, String),
    /// A file that cannot be understood, or a certificate that cannot be made.
    #[error("{}: {why}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refused.
    #[error("{}: {why}", path.display())]
    Disk {
        /// The path.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

impl PkiError {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) | Self::Missing(_) | Self::Name(..) => Exit::Usage,
            Self::Certificate { .. } => Exit::Identity,
            Self::Disk { .. } => Exit::Disk,
        }
    }

    fn disk(path: &Path, error: &io::Error) -> Self {
        Self::Disk { path: path.to_owned(), why: error.to_string() }
    }

    fn made(file: &Path, error: &TransportError) -> Self {
        Self::Certificate { file: file.to_owned(), why: error.to_string() }
    }
}

/// The file of a user in an authority's folder.
pub fn context_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.kvctx"))
}

/// Makes an authority where none is.
pub fn init(dir: &Path, name: &str, days: u32) -> Result<(), PkiError> {
    let _lock = enter(dir)?;
    if dir.join("ca.pem").exists() || dir.join("ca-key.pem").exists() {
        return Err(PkiError::Exists(dir.to_owned()));
    }
    create(dir, name, days).map(|_| ())
}

/// Issues a node's certificate and key.
pub fn issue_node(dir: &Path, id: u64, hosts: &[String], days: u32) -> Result<TlsPaths, PkiError> {
    if let Some(host) = hosts.iter().find(|host| !config::is_host(host)) {
        return Err(PkiError::Name(
            host.clone(),
            "not a host name or address; give it without a port".into(),
        ));
    }
    let authority = open(dir)?;
    let _lock = enter(dir)?;
    write_node(dir, &authority, id, hosts, days)
}

/// Issues a user's context.
pub fn issue_client(dir: &Path, name: &str, endpoints: &[String], days: u32) -> Result<PathBuf, PkiError> {
    config::check_user(name).map_err(|why| PkiError::Name(name.to_owned(), why))?;
    for endpoint in endpoints {
        config::check_endpoint(endpoint).map_err(|why| PkiError::Name(endpoint.clone(), why))?;
    }
    let authority = open(dir)?;
    let _lock = enter(dir)?;
    write_client(dir, &authority, name, endpoints, days)
}

/// Issues everything in the folder anew; gives the files written.
pub fn renew(dir: &Path, days: u32) -> Result<Vec<PathBuf>, PkiError> {
    let authority = open(dir)?;
    let _lock = enter(dir)?;
    let mut written = Vec::new();
    for name in names(dir)? {
        if let Some(id) = name.strip_prefix("node-").and_then(|rest| rest.strip_suffix(".hosts")) {
            let Ok(id) = id.parse() else { continue };
            let hosts = read(&dir.join(&name))?.unwrap_or_default();
            let hosts: Vec<_> = hosts.lines().map(str::to_owned).collect();
            written.push(write_node(dir, &authority, id, &hosts, days)?.cert);
        } else if let Some(user) = name.strip_suffix(".kvctx") {
            let path = dir.join(&name);
            let context = read_context(&path)?;
            written.push(write_client(dir, &authority, user, &context.endpoints, days)?);
        }
    }
    Ok(written)
}

/// Makes whatever a loopback cluster still lacks. Any number of its processes may call this at one time: one of them
/// makes it, the others wait and find it.
pub fn development(config: &Config) -> Result<(), PkiError> {
    let dir = config.pki_dir();
    let _lock = enter(&dir)?;
    let authority = if dir.join("ca.pem").exists() {
        open(&dir)?
    } else {
        // A key without a certificate is what a crash left: nothing can have been issued by it.
        create(&dir, &config.name, DEVELOPMENT_DAYS)?
    };
    for server in &config.servers {
        if TlsPaths::in_folder(&dir, server.id).cert.exists() {
            continue;
        }
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        let own = config::host_of(&server.advertise).to_owned();
        if !hosts.contains(&own) {
            hosts.push(own);
        }
        write_node(&dir, &authority, server.id, &hosts, DEVELOPMENT_DAYS)?;
    }
    admin(&dir, &authority, &config.endpoints())
}

/// The administrator's context, with the endpoints as they are now.
fn admin(dir: &Path, authority: &Authority, endpoints: &[String]) -> Result<(), PkiError> {
    let path = context_path(dir, ADMIN);
    if !path.exists() {
        return write_client(dir, authority, ADMIN, endpoints, DEVELOPMENT_DAYS).map(|_| ());
    }
    let mut context = read_context(&path)?;
    if context.endpoints == endpoints {
        return Ok(());
    }
    endpoints.clone_into(&mut context.endpoints);
    write(&path, &context.encode())
}

fn create(dir: &Path, name: &str, days: u32) -> Result<Authority, PkiError> {
    let authority = Authority::create(name, days).map_err(|error| PkiError::made(dir, &error))?;
    write(&dir.join("ca-key.pem"), &authority.key_pem())?;
    write(&dir.join("ca.pem"), authority.cert_pem())?;
    Ok(authority)
}

fn open(dir: &Path) -> Result<Authority, PkiError> {
    let missing = || PkiError::Missing(dir.to_owned());
    let cert = read(&dir.join("ca.pem"))?.ok_or_else(missing)?;
    let key = read(&dir.join("ca-key.pem"))?.ok_or_else(missing)?;
    Authority::load(&cert, &key).map_err(|error| PkiError::made(&dir.join("ca.pem"), &error))
}

fn write_node(
    dir: &Path,
    authority: &Authority,
    id: u64,
    hosts: &[String],
    days: u32,
) -> Result<TlsPaths, PkiError> {
    let paths = TlsPaths::in_folder(dir, id);
    let issued =
        authority.issue_node(id, hosts, days).map_err(|error| PkiError::made(&paths.cert, &error))?;
    write(&dir.join(format!("node-{id}.hosts")), &(hosts.join("\n") + "\n"))?;
    write(&paths.key, &issued.key_pem)?;
    write(&paths.cert, &issued.cert_pem)?;
    Ok(paths)
}

fn write_client(
    dir: &Path,
    authority: &Authority,
    name: &str,
    endpoints: &[String],
    days: u32,
) -> Result<PathBuf, PkiError> {
    let path = context_path(dir, name);
    let issued = authority.issue_client(name, days).map_err(|error| PkiError::made(&path, &error))?;
    let context = Context {
        endpoints: endpoints.to_vec(),
        // Whoever protected the file that is written anew still wants it so.
        protected: read_context(&path).is_ok_and(|former| former.protected),
        ca: authority.cert_pem().to_owned(),
        cert: issued.cert_pem,
        key: issued.key_pem,
    };
    write(&path, &context.encode())?;
    Ok(path)
}

fn read_context(path: &Path) -> Result<Context, PkiError> {
    let text = read(path)?.unwrap_or_default();
    Context::decode(&text).map_err(|why| PkiError::Certificate { file: path.to_owned(), why })
}

/// Makes the folder and waits for its lock.
fn enter(dir: &Path) -> Result<File, PkiError> {
    files::create_private_dir(dir).map_err(|error| PkiError::disk(dir, &error))?;
    let path = dir.join("lock");
    let lock = files::open_lock(&path).map_err(|error| PkiError::disk(&path, &error))?;
    lock.lock().map_err(|error| PkiError::disk(&path, &error))?;
    Ok(lock)
}

/// File names in the folder, sorted.
fn names(dir: &Path) -> Result<Vec<String>, PkiError> {
    let failed = |error: io::Error| PkiError::disk(dir, &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    files::read_small(path).map_err(|error| PkiError::disk(path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    files::write_private(path, text.as_bytes()).map_err(|error| PkiError::disk(path, &error))
}

#[cfg(test)]
mod tests;
