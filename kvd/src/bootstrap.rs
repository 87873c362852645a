//! From a configuration to a node that may start: its certificates, its identity, its locks.
//!
//! Order matters. Everything that can be refused without touching the disk is refused first; then a loopback cluster
//! makes its development certificates; then the directories are claimed (`claim.rs` has the table of who may start).

pub(crate) mod claim;
mod error;
pub(crate) mod files;
pub(crate) mod record;
pub(crate) mod restoring;

use std::path::{Path, PathBuf};

use protocol::ClusterId;
use transport::{Identity, Subject};

pub use self::{claim::Locks, error::StartError};
use self::{
    claim::{Places, Steps, Wanted},
    record::cluster_id,
};
use crate::{
    config::{Config, Server, TlsPaths, host_of},
    pki::{self, PkiError},
};

/// All a node needs to run; whoever holds it holds the node's directories.
#[derive(Debug)]
pub struct Launch {
    /// The whole configuration.
    pub config: Config,
    /// This server in it.
    pub me: Server,
    /// Where the log lies.
    pub log_dir: PathBuf,
    /// Where the state lies.
    pub state_dir: PathBuf,
    /// Certificate and key.
    pub identity: Identity,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Drawn when the directories were made.
    pub incarnation: [u8; 16],
    /// Whether they were made in the place of lost ones: the node waits until the others recognise it.
    pub anew: bool,
    /// QUIC's key for stateless resets: kept, so that survivors notice a restart at once.
    pub reset_key: [u8; 64],
    reloader: Reloader,
    _locks: Locks,
}

impl Launch {
    /// How this node's endpoint behaves.
    pub fn transport_settings(&self) -> transport::Settings {
        let idle_timeout = self.config.timing.dead_connection;
        transport::Settings {
            idle_timeout,
            keep_alive: Some(idle_timeout / 4),
            reset_key: Some(self.reset_key),
            ..transport::Settings::default()
        }
    }

    /// Reads the certificates again, when the process is told to.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

/// Reads a node's certificates again.
#[derive(Clone, Debug)]
pub struct Reloader {
    paths: TlsPaths,
    node: u64,
    ca_fingerprint: [u8; 32],
}

impl Reloader {
    /// The certificates as they are on disk now; refused when they are not this node's or of another CA.
    pub fn reload(&self) -> Result<Identity, StartError> {
        let identity = load(&self.paths, self.node)?;
        if identity.ca_fingerprint() != self.ca_fingerprint {
            let why = "another CA than the one this cluster was started with".to_owned();
            return Err(StartError::Certificate { file: self.paths.ca.clone(), why });
        }
        Ok(identity)
    }
}

/// What a start is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be a server of the cluster, as before.
    Run,
    /// To become one: the first start of a server that did not found the cluster.
    Join,
}

/// Makes everything ready for the server called `node`. The seed project's form names the directories itself.
pub fn prepare(
    config: Config,
    node: Option<&str>,
    directories: Option<(PathBuf, PathBuf)>,
    purpose: Purpose,
) -> Result<Launch, StartError> {
    let mut me = config.select(node)?.clone();
    if let Some((log, state)) = directories {
        (me.log_dir, me.state_dir, me.data_dir) = (log, state.clone(), state);
    }
    let Site { paths, identity, places, wanted } = site(&config, &me)?;
    // Whoever joins says so once: a cluster must never take an empty server for one of its own by a slip.
    match (purpose, me.joins) {
        (Purpose::Join, false) => return Err(StartError::Founder(me.name)),
        (Purpose::Run, true) if !places.mark.exists() => return Err(StartError::NotJoined(me.name)),
        _ => {}
    }
    claim::unshared(&me.data_dir)?;
    let (record, locks) = claim::claim(&places, &wanted, &mut Steps::all())?;
    let reloader = Reloader { paths, node: me.id, ca_fingerprint: identity.ca_fingerprint() };
    Ok(Launch {
        log_dir: places.log,
        state_dir: places.state,
        config,
        me,
        identity,
        cluster: record.cluster,
        incarnation: record.incarnation,
        anew: record.anew,
        reset_key: record.reset_key,
        reloader,
        _locks: locks,
    })
}

/// What the configuration and the certificates say of a server.
pub(crate) struct Site {
    paths: TlsPaths,
    identity: Identity,
    pub(crate) places: Places,
    pub(crate) wanted: Wanted,
}

/// Everything that can be refused without touching the directories.
pub(crate) fn site(config: &Config, me: &Server) -> Result<Site, StartError> {
    let paths = config.tls_paths(me);
    issued(config, me, &paths)?;
    let identity = load(&paths, me.id)?;
    let voters = config.founders();
    let cluster = cluster_id(&identity.ca_fingerprint(), &voters);
    let places = Places {
        log: absolute(&me.log_dir)?,
        state: absolute(&me.state_dir)?,
        mark: files::parent(&paths.key).join(format!("started-{}", me.id)),
    };
    let wanted = Wanted { cluster, node: me.id, voters };
    Ok(Site { paths, identity, places, wanted })
}

/// Sees to it that certificates are there: made by itself for a loopback cluster, demanded of any other.
fn issued(config: &Config, me: &Server, paths: &TlsPaths) -> Result<(), StartError> {
    if config.tls.is_none() && config.is_loopback() {
        return pki::development(config).map_err(refused);
    }
    let Some(missing) = [&paths.ca, &paths.cert, &paths.key].into_iter().find(|path| !path.exists()) else {
        return Ok(());
    };
    Err(StartError::NotIssued {
        file: missing.clone(),
        dir: files::parent(&paths.key).to_owned(),
        node: me.id,
        host: host_of(&me.advertise).to_owned(),
    })
}

fn refused(error: PkiError) -> StartError {
    match error {
        PkiError::Disk { path, why } => StartError::Disk { path, why },
        PkiError::Certificate { file, why } => StartError::Certificate { file, why },
        PkiError::Exists(file) | PkiError::Missing(file) => {
            StartError::Certificate { file, why: "the authority is not whole".to_owned() }
        }
        PkiError::Name(name, why) => StartError::Certificate { file: name.into(), why },
    }
}

fn load(paths: &TlsPaths, node: u64) -> Result<Identity, StartError> {
    let certificate = |why: String| StartError::Certificate { file: paths.cert.clone(), why };
    if files::is_open_to_others(&paths.key).map_err(|error| StartError::disk(&paths.key, &error))? {
        return Err(StartError::OpenToOthers(paths.key.clone()));
    }
    let identity =
        Identity::load(&paths.ca, &paths.cert, &paths.key).map_err(|error| certificate(error.to_string()))?;
    match identity.subject() {
        Subject::Node { id } if *id == node => Ok(identity),
        Subject::Node { id } => Err(certificate(format!("issued to node {id}, this is node {node}"))),
        Subject::Client { name } => Err(certificate(format!("issued to the user `{name}`, not to a node"))),
    }
}

/// A directory stays the same one whatever becomes of the current directory.
fn absolute(path: &Path) -> Result<PathBuf, StartError> {
    std::path::absolute(path).map_err(|error| StartError::disk(path, &error))
}
