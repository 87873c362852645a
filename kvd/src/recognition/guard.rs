//! Who was heard here, kept in a file; and whether the others recognise this server.
//!
//! ```text
//! # Written by kvd: which life of each peer was heard last. Do not edit, copy or remove.
//! format = 1
//!
//! [[peer]]
//! id = 2
//! incarnation = "0b…"
//! boot = 7
//! process = "1c…"
//! ```
//!
//! It is written only when a peer was started anew, whole, and before anything that this peer says is taken.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use protocol::Presence;
use raft::{Membership, NodeId};
use serde::Deserialize;

use super::{BootsError, Verdict, judge};
use crate::{bootstrap::files, directory::Directory, members::Members};

/// Its name, in the log's directory: who loses the log forgets whom it believed.
const FILE: &str = "peers";
const FORMAT: u32 = 1;
/// Most servers of which something is kept: all members, and as many that were or will be.
const MOST: usize = 2 * Membership::MOST;

type Known = BTreeMap<u64, Presence>;

/// See the module.
pub(crate) struct Guard {
    me: Presence,
    /// Whether it begins again where a node has run: it waits until somebody recognises it.
    anew: bool,
    directory: Directory,
    file: PathBuf,
    known: Mutex<Known>,
    /// One writer at a time; whoever only looks up need not wait for the disk.
    writing: Mutex<()>,
    /// What the others hold of this server.
    opinions: Mutex<BTreeMap<u64, Verdict>>,
    waits: AtomicBool,
    /// Who was turned away last, to be said once.
    refused: Mutex<Known>,
}

/// What changed with an opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// It takes part no more.
    Waits,
    /// It takes part.
    TakesPart,
}

impl Guard {
    /// With what is on disk in the log's directory.
    pub(crate) fn open(
        dir: &Path,
        me: Presence,
        anew: bool,
        directory: Directory,
    ) -> Result<Self, BootsError> {
        let file = dir.join(FILE);
        let failed = |why: String| BootsError { path: file.clone(), why };
        let text = files::read_small(&file).map_err(|error| failed(error.to_string()))?;
        let known = text.map_or(Ok(Known::new()), |text| decode(&text)).map_err(failed)?;
        Ok(Self {
            me,
            anew,
            directory,
            file,
            known: Mutex::new(known),
            writing: Mutex::default(),
            opinions: Mutex::default(),
            waits: AtomicBool::new(anew),
            refused: Mutex::default(),
        })
    }

    /// Which life of this server this is.
    pub(crate) fn me(&self) -> Presence {
        self.me
    }

    /// Which life of a server is known here.
    pub(crate) fn known(&self, id: NodeId) -> Option<Presence> {
        let kept = lock(&self.known).get(&id.0).copied();
        let Some(incarnation) = self.directory.now().incarnation(id) else { return kept };
        let recorded = Presence { incarnation, boot: 0, process: 0 };
        Some(kept.filter(|kept| kept.incarnation == incarnation).unwrap_or(recorded))
    }

    /// A server greets. What is new is durable when this returns, so it takes a while. Of one that is no member nothing is
    /// counted on here: it may be another each time.
    pub(crate) fn meet(&self, from: NodeId, speaks: Presence) -> std::io::Result<Verdict> {
        let _writing = lock(&self.writing);
        let members = self.directory.now();
        let is_member = is_member(&members, from) || members.incarnation(from).is_some();
        let known = self.known(from).filter(|known| is_member || known.incarnation == speaks.incarnation);
        let verdict = judge(known, speaks);
        if verdict != Verdict::New {
            return Ok(verdict);
        }
        let mut kept = lock(&self.known).clone();
        kept.insert(from.0, speaks);
        if kept.len() > MOST {
            kept.retain(|id, _| *id == from.0 || is_member_id(&members, *id));
        }
        files::write_private(&self.file, encode(&kept).as_bytes())?;
        *lock(&self.known) = kept;
        Ok(verdict)
    }

    /// Whether who was let in may still be listened to: no other life of it was heard or recorded since.
    pub(crate) fn hears(&self, from: NodeId, speaks: Presence) -> bool {
        let is_latest = lock(&self.known).get(&from.0) == Some(&speaks);
        is_latest
            && self.directory.now().incarnation(from).is_none_or(|recorded| recorded == speaks.incarnation)
    }

    /// A server was turned away; whether that is news.
    pub(crate) fn turned_away(&self, from: NodeId, speaks: Presence) -> bool {
        let mut refused = lock(&self.refused);
        if refused.len() > MOST {
            refused.clear();
        }
        refused.insert(from.0, speaks) != Some(speaks)
    }

    /// A server says which life of this one it knows; nothing where it knows none.
    pub(crate) fn opinion(&self, from: NodeId, known: Option<Presence>) -> Turn {
        let mut opinions = lock(&self.opinions);
        match known {
            Some(known) => drop(opinions.insert(from.0, judge(Some(known), self.me))),
            None => drop(opinions.remove(&from.0)),
        }
        let members = self.directory.now();
        // As long as it is none itself, it may know nobody but those that it was configured with.
        if opinions.len() > MOST {
            opinions.retain(|id, _| is_member_id(&members, *id));
        }
        let recognised = opinions.values().any(|verdict| verdict.recognises());
        let waits = !recognised && (self.anew || !opinions.is_empty());
        match (self.waits.swap(waits, SeqCst), waits) {
            (false, true) => Turn::Waits,
            (true, false) => Turn::TakesPart,
            _ => Turn::None,
        }
    }

    /// Whether this server takes no part: it sends nothing, and takes nothing.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(SeqCst)
    }

    /// Why it waits and what is to be done, in the words of its status; empty where it does not.
    pub(crate) fn trouble(&self) -> String {
        if !self.waits() {
            return String::new();
        }
        let members = self.directory.now();
        let name = members.name(members.me());
        let opinions = lock(&self.opinions);
        let rewound = opinions.values().any(|verdict| *verdict == Verdict::Rewound);
        if rewound {
            return format!(
                "its data directories are an older copy of what the others have heard of, so it takes no part: \
                 stop it, remove them, start it, and `kvctl member readmit {name}`"
            );
        }
        format!(
            "its data directories are not those that the others know, so it takes no part until \
             `kvctl member readmit {name}`"
        )
    }
}

fn is_member(members: &Members, id: NodeId) -> bool {
    is_member_id(members, id.0)
}

fn is_member_id(members: &Members, id: u64) -> bool {
    members.list().iter().any(|member| member.id == id)
}

/// A thread that failed while it held one of these left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    #[serde(default)]
    peer: Vec<Peer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    id: u64,
    incarnation: String,
    boot: u64,
    process: String,
}

fn encode(known: &Known) -> String {
    let mut text = format!(
        "# Written by kvd: which life of each peer was heard last. Do not edit, copy or remove.\nformat = {FORMAT}\n"
    );
    for (id, Presence { incarnation, boot, process }) in known {
        let incarnation = u128::from_be_bytes(*incarnation);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[peer]]\nid = {id}\nincarnation = \"{incarnation:032x}\"\nboot = {boot}\nprocess = \"{process:016x}\"\n"
        );
    }
    text
}

/// What was heard; the error says what is wrong with it.
fn decode(text: &str) -> Result<Known, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if text.format != FORMAT {
        return Err(format!("its format is {}, this kvd knows {FORMAT}", text.format));
    }
    let mut known = Known::new();
    for Peer { id, incarnation, boot, process } in text.peer {
        let damaged = |_| format!("what it says of server {id} is damaged");
        let incarnation = u128::from_str_radix(&incarnation, 16).map_err(damaged)?.to_be_bytes();
        let process = u64::from_str_radix(&process, 16).map_err(damaged)?;
        if id == 0 || boot == 0 || known.insert(id, Presence { incarnation, boot, process }).is_some() {
            return Err(format!("what it says of server {id} cannot be"));
        }
    }
    if known.len() > MOST {
        return Err("it has more servers than there can be".to_owned());
    }
    Ok(known)
}

#[cfg(test)]
mod tests;
