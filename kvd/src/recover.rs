//! `kvd recover`: what is left when more nodes are lost for good than a cluster can lose.
//!
//! A majority is needed to go on, and nobody may declare a minority to be one: it could not know what the others have
//! acknowledged. So a cluster that lost its majority ends, and a **new** one begins with what the best survivor has. The way
//! there is that of any backup:
//!
//! ```text
//!   directories ── inspect ──► a table          nothing is changed
//!   directories ── plan ─────► plan.json        the best survivor, what may be lost
//!   directory ──── apply ────► a backup         its state, and its log replayed to the end
//!   backup ─────── kvd restore ──► the directories of a new cluster, with an id of its own and revisions 10⁹ higher
//! ```
//!
//! The old directories are only read, through a disk that keeps in memory what an opening would write
//! ([`AsideDisk`](crate::disk::AsideDisk)); they stay as they are whatever happens, and the old nodes that may
//! still turn up are strangers to the new cluster. The backup has its name once it is whole and durable.
//!
//! **The best survivor** is the one whose log ends latest, by term and then by index, as in an election. If more directories
//! are looked at than a majority leaves over, one of them has every write that was acknowledged, and then the best one has it
//! (thesis 3.6): every entry of its term continues the log of a leader that had it. Where servers were added or removed, that
//! has to hold of every set of voters that a survivor knows of, for a change needs a majority of the old ones as well, and so
//! one of the survivors has it. Otherwise writes that only lost nodes
//! acknowledged cannot be ruled out, and `apply` wants to be told that this is accepted.
//!
//! All of that is so at the time of the plan. Nodes that ran again since may have acknowledged more, so `apply` looks once more at
//! every directory of the plan that is there, and refuses where one is not as it was.
//!
//! The log is replayed to its end, beyond what is known to be committed: what was acknowledged is in there, and what never was
//! may be.

use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::ClusterId;
use serde::{Deserialize, Serialize};

use crate::{bootstrap::files, cli::Exit};

mod rescue;
mod survivor;

pub use rescue::{Rescued, rescue};
pub use survivor::{Place, Survivor, inspect};

/// What a plan says it is.
const SCHEMA: &str = "kvd.recover_plan/v1";

/// Why a recovery was refused or failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// None of the directories can be used.
    #[error(
        "none of these directories can be recovered from\n  try: kvd recover inspect, which says why of each"
    )]
    Nothing,
    /// Directories of more than one cluster.
    #[error("{} is of cluster {one}, {} of cluster {other}\n  try: only directories of one cluster", .first.display(), .second.display())]
    Mixed {
        /// A directory.
        first: PathBuf,
        /// Its cluster.
        one: ClusterId,
        /// Another directory.
        second: PathBuf,
        /// Its cluster.
        other: ClusterId,
    },
    /// Two directories of the same node.
    #[error("{} and {} are both of node {node}: one is a copy\n  try: only the newer one", .first.display(), .second.display())]
    Twice {
        /// A directory.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// Whose both are.
        node: u64,
    },
    /// The directory cannot be used.
    #[error("{}: {why}\n  try: another survivor, by a new plan", .dir.display())]
    Unusable {
        /// Which.
        dir: PathBuf,
        /// Why.
        why: String,
        /// Whether that is damage.
        damaged: bool,
    },
    /// The plan is none, or not of this directory, or of what another one was.
    #[error("{}: {why}\n  try: kvd recover plan, again", .file.display())]
    Plan {
        /// The plan.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Writes may be lost, and nobody said that this is accepted.
    #[error(
        "writes that only the lost nodes acknowledged may be missing: of the voters {} {} looked at\n  \
         try: add directories of other nodes to the plan, or accept it with --accept-loss",
        listed(.voters), looked_at(.voters, .survivors)
    )]
    Loss {
        /// Nodes of which a majority could acknowledge a write, at the end of a survivor's log or before.
        voters: Vec<u64>,
        /// The nodes whose directories can be used.
        survivors: Vec<u64>,
    },
    /// A file could not be read or written.
    #[error("{}: {why}\n  try: check path, rights and room", .path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

impl RecoverError {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Nothing => Exit::No,
            Self::Unusable { damaged: true, .. } => Exit::Integrity,
            Self::Mixed { .. } | Self::Twice { .. } | Self::Plan { .. } | Self::Unusable { .. } => {
                Exit::Usage
            }
            Self::Loss { .. } => Exit::Declined,
            Self::Disk { .. } => Exit::Disk,
        }
    }

    fn disk(path: &Path, error: &io::Error) -> Self {
        Self::Disk { path: path.to_owned(), why: error.to_string() }
    }
}

/// What `plan` writes and `apply` follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    schema: String,
    /// The cluster that has ended.
    pub cluster: String,
    /// The nodes that voted in it.
    pub voters: Vec<u64>,
    /// The node to recover from.
    pub node: u64,
    /// Which of its lives.
    incarnation: String,
    /// Its directory at the time of the plan.
    pub data_dir: String,
    /// The last entry of its log.
    pub last_index: u64,
    /// The term of that entry.
    pub last_term: u64,
    /// What its state had applied.
    pub applied_index: u64,
    /// The nodes whose directories can be used.
    pub survivors: Vec<u64>,
    /// The other directories that can be used.
    others: Vec<Other>,
    /// When this was planned, by the clock of the machine.
    planned_wall_ms: u64,
    /// Whether writes may be missing that were acknowledged.
    pub may_lose_writes: bool,
    /// The voters of which a majority may have acknowledged them, none of it looked at: of several such sets that of the
    /// most nodes that were not.
    doubted: Vec<u64>,
}

/// A directory that is not the best one, as it was when this was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    data_dir: String,
    node: u64,
    incarnation: String,
    last_index: u64,
    last_term: u64,
    applied_index: u64,
}

/// What became of a plan's other directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// They are as they were.
    pub same: Vec<String>,
    /// They are not there, so nobody knows.
    pub gone: Vec<String>,
}

impl Other {
    fn of(place: &Place, survivor: &Survivor) -> Result<Self, RecoverError> {
        Ok(Self {
            data_dir: place.absolute()?,
            node: survivor.node,
            incarnation: survivor.incarnation.clone(),
            last_index: survivor.last.index.0,
            last_term: survivor.last.term.0,
            applied_index: survivor.applied.index.0,
        })
    }
}

impl Plan {
    /// Of what was found.
    pub fn of(found: &[(Place, Result<Survivor, RecoverError>)]) -> Result<Self, RecoverError> {
        let usable = usable(found);
        one_cluster(&usable)?;
        let best = best(&usable).ok_or(RecoverError::Nothing)?;
        let (place, survivor) = best;
        let mut survivors: Vec<u64> = usable.iter().map(|(_, survivor)| survivor.node).collect();
        survivors.sort_unstable();
        let doubted = doubted(&usable, &survivors);
        let others = usable.iter().filter(|(_, other)| other.node != survivor.node);
        let others = others.map(|(place, other)| Other::of(place, other)).collect::<Result<_, _>>()?;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            cluster: survivor.cluster.to_string(),
            voters: survivor.voters.clone(),
            node: survivor.node,
            incarnation: survivor.incarnation.clone(),
            data_dir: place.shown().display().to_string(),
            last_index: survivor.last.index.0,
            last_term: survivor.last.term.0,
            applied_index: survivor.applied.index.0,
            others,
            planned_wall_ms: wall_ms(),
            may_lose_writes: !doubted.is_empty(),
            doubted,
            survivors,
        })
    }

    /// Reads a plan.
    pub fn read(file: &Path) -> Result<Self, RecoverError> {
        let text = files::read_small(file).map_err(|error| RecoverError::disk(file, &error))?;
        let text = text.ok_or_else(|| RecoverError::disk(file, &io::ErrorKind::NotFound.into()))?;
        let bad = |why: String| RecoverError::Plan { file: file.to_owned(), why };
        let plan: Self = serde_json::from_str(&text).map_err(|error| bad(format!("no plan: {error}")))?;
        if plan.schema != SCHEMA {
            return Err(bad(format!("it says {}, this kvd knows {SCHEMA}", plan.schema)));
        }
        Ok(plan)
    }

    /// Writes it, replacing what was there.
    pub fn write(&self, file: &Path) -> Result<(), RecoverError> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| RecoverError::disk(file, &io::Error::other(error)))?;
        text.push('\n');
        files::write_private(file, text.as_bytes()).map_err(|error| RecoverError::disk(file, &error))
    }

    /// Whether the directory is still as it was when this was planned.
    fn fits(&self, survivor: &Survivor) -> Result<(), String> {
        let found = (self.last_index, self.last_term, self.applied_index);
        self.is_as_it_was((self.node, &self.incarnation), found, survivor)
    }

    fn is_as_it_was(
        &self,
        whose: (u64, &str),
        found: (u64, u64, u64),
        survivor: &Survivor,
    ) -> Result<(), String> {
        let cluster = survivor.cluster.to_string();
        if (whose, &self.cluster) != ((survivor.node, &*survivor.incarnation), &cluster) {
            return Err("the plan is of another directory".to_owned());
        }
        if found != (survivor.last.index.0, survivor.last.term.0, survivor.applied.index.0) {
            let age = self.age();
            return Err(format!(
                "the directory has changed since it was planned {age} ago: the node ran again"
            ));
        }
        Ok(())
    }

    /// Looks at the other directories again. One whose node has run since may have acknowledged writes that the best survivor
    /// of then does not have; one that is not there any more, or not on this machine, says nothing.
    pub fn look_again(&self, file: &Path) -> Result<Again, RecoverError> {
        let bad = |dir: &str, why: String| RecoverError::Plan {
            file: file.to_owned(),
            why: format!("of {dir}: {why}"),
        };
        let mut again = Again::default();
        for other in &self.others {
            let dir = &other.data_dir;
            let place = Place::parse(dir).map_err(|why| bad(dir, why))?;
            if !place.log.exists() && !place.state.exists() {
                again.gone.push(dir.clone());
                continue;
            }
            let found = (other.last_index, other.last_term, other.applied_index);
            self.is_as_it_was((other.node, &other.incarnation), found, &inspect(&place)?)
                .map_err(|why| bad(dir, why))?;
            again.same.push(dir.clone());
        }
        Ok(again)
    }

    /// How long ago this was planned, in one unit.
    pub fn age(&self) -> String {
        let seconds = wall_ms().saturating_sub(self.planned_wall_ms) / 1000;
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} days", seconds / 86_400),
        }
    }

    /// What `apply` wants to be told is accepted.
    fn loss(&self) -> RecoverError {
        RecoverError::Loss { voters: self.doubted.clone(), survivors: self.survivors.clone() }
    }
}

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn listed(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn looked_at(voters: &[u64], survivors: &[u64]) -> String {
    let looked: Vec<u64> = voters.iter().copied().filter(|voter| survivors.contains(voter)).collect();
    match *looked {
        [] => "none was".to_owned(),
        [one] => format!("only {one} was"),
        _ => format!("only {} were", listed(&looked)),
    }
}

/// The voters of whom a majority may have acknowledged what none of these has; none where that cannot be.
fn doubted(usable: &Found<'_>, survivors: &[u64]) -> Vec<u64> {
    let all = usable.iter().flat_map(|(_, survivor)| &survivor.electorates);
    let worst = all
        .filter(|voters| may_lose(voters, survivors))
        .max_by_key(|voters| voters.iter().filter(|voter| !survivors.contains(voter)).count());
    worst.cloned().unwrap_or_default()
}

type Found<'a> = Vec<(&'a Place, &'a Survivor)>;

fn usable(found: &[(Place, Result<Survivor, RecoverError>)]) -> Found<'_> {
    found.iter().filter_map(|(place, survivor)| Some((place, survivor.as_ref().ok()?))).collect()
}

fn one_cluster(usable: &Found<'_>) -> Result<(), RecoverError> {
    for (at, (second, other)) in usable.iter().enumerate() {
        for (first, one) in usable.iter().take(at) {
            let (first, second) = (first.shown().to_owned(), second.shown().to_owned());
            if one.cluster != other.cluster {
                let (one, other) = (one.cluster, other.cluster);
                return Err(RecoverError::Mixed { first, one, second, other });
            }
            if one.node == other.node {
                return Err(RecoverError::Twice { first, second, node: one.node });
            }
        }
    }
    Ok(())
}

/// The one whose log ends latest, as in an election; of equals the one whose state is further.
fn best<'a>(usable: &Found<'a>) -> Option<(&'a Place, &'a Survivor)> {
    let end = |survivor: &Survivor| (survivor.last.term, survivor.last.index, survivor.applied.index);
    usable.iter().rev().max_by_key(|(_, survivor)| end(survivor)).copied()
}

/// Whether there may be a majority of voters of which none was looked at.
fn may_lose(voters: &[u64], survivors: &[u64]) -> bool {
    let majority = voters.len() / 2 + 1;
    let looked = voters.iter().filter(|voter| survivors.contains(voter)).count();
    voters.len() - looked >= majority
}

/// A line for each directory, under a line of titles, in aligned columns; the best first.
pub fn table(found: &[(Place, Result<Survivor, RecoverError>)]) -> String {
    let usable = usable(found);
    let best = best(&usable).map(|(_, best)| best);
    let mut order: Vec<_> = found.iter().collect();
    order.sort_by_key(|(_, found)| {
        std::cmp::Reverse(found.as_ref().ok().map(|survivor| (survivor.last.term, survivor.last.index)))
    });
    let titles = ["DIR", "NODE", "TERM", "LAST", "APPLIED", "KEYS", "HASH OK", "VERDICT"];
    let mut rows = vec![titles.map(str::to_owned)];
    for (place, found) in order {
        let dir = place.shown().display().to_string();
        rows.push(match found {
            Ok(survivor) => [
                dir,
                survivor.node.to_string(),
                survivor.last.term.0.to_string(),
                survivor.last.index.0.to_string(),
                survivor.applied.index.0.to_string(),
                survivor.keys.to_string(),
                "yes".to_owned(),
                verdict(survivor, best),
            ],
            Err(error) => {
                let nothing = || "-".to_owned();
                let hash =
                    if matches!(error, RecoverError::Unusable { damaged: true, .. }) { "no" } else { "-" };
                let why = error.to_string().lines().next().unwrap_or_default().to_owned();
                [dir, nothing(), nothing(), nothing(), nothing(), nothing(), hash.to_owned(), why]
            }
        });
    }
    aligned(&rows)
}

fn verdict(survivor: &Survivor, best: Option<&Survivor>) -> String {
    let Some(best) = best.filter(|best| *best != survivor) else { return "best survivor".to_owned() };
    match best.last.index.0.checked_sub(survivor.last.index.0) {
        Some(0) if best.last.term == survivor.last.term => "as good".to_owned(),
        Some(behind) if behind > 0 => format!("{behind} entries behind"),
        _ => "behind, of an earlier term".to_owned(),
    }
}

fn aligned(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |row: &[String; 8]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
