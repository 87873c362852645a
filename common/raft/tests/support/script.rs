//! Runs golden scripts over a small cluster; the commands are those of `scripts.rs`.

#![allow(clippy::unwrap_used)] // a test may fail here

use std::{error::Error, fmt::Write as _};

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use raft::{Edit, Envelope, Index, NodeId, RoleName};

use crate::cluster::{Cluster, Snapshot, command, entry, hard, settings, show};

/// Runs one script.
#[derive(Default)]
pub(crate) struct Script {
    cluster: Option<Cluster>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            self.cluster = Some(make(&mut args)?);
        }
        let cluster = self.cluster.as_mut().ok_or("a script begins with `cluster`")?;
        let said =
            if command.name == "cluster" { String::new() } else { run(cluster, &command.name, &mut args)? };
        args.reject_next()?;
        let mut output = String::new();
        for line in cluster.log.drain(..) {
            writeln!(output, "{line}")?;
        }
        Ok(output + &said)
    }
}

fn number(args: &mut ArgumentConsumer<'_>) -> Result<u64, Box<dyn Error>> {
    Ok(args.next_pos().ok_or("a number is missing")?.parse()?)
}

fn key<T: std::str::FromStr>(args: &mut ArgumentConsumer<'_>, key: &str) -> Result<Option<T>, Box<dyn Error>>
where
    T::Err: Error + 'static,
{
    Ok(args.take_key(key).map(str::parse).transpose()?)
}

fn make(args: &mut ArgumentConsumer<'_>) -> Result<Cluster, Box<dyn Error>> {
    let mut config = settings(number(args)?);
    while let Some((key, value)) = args.next_key() {
        let value: usize = value.parse()?;
        match key {
            "append_entries" => config.max_append_entries = value,
            "inflight" => config.max_inflight_appends = value,
            "inflight_bytes" => config.max_inflight_bytes = value,
            "uncommitted" => config.max_uncommitted_entries = value,
            "reads" => config.max_reads = value,
            "cache" => config.cache_bytes = value,
            "snapshots" => config.max_snapshots = value,
            _ => return Err(format!("no setting {key}").into()),
        }
    }
    Ok(Cluster::with(config))
}

fn run(cluster: &mut Cluster, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
    match name {
        "deliver" | "drop" | "double" => return carry(cluster, name, args),
        "settle" => cluster.settle(),
        "heal" => cluster.heal(),
        "status" => return status(cluster, args),
        "members" => return members(cluster, args),
        _ => {
            let id = number(args)?;
            return on_server(cluster, name, id, args);
        }
    }
    Ok(String::new())
}

fn on_server(
    cluster: &mut Cluster,
    name: &str,
    id: u64,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    let node = NodeId(id);
    match name {
        "tick" => (0..key(args, "count")?.unwrap_or(1)).for_each(|_: u32| cluster.tick_one(node)),
        "campaign" => cluster.campaign(id),
        "elect" => cluster.elect(id),
        "join" => cluster.join(node),
        "isolate" => cluster.isolate(id),
        "slow" => cluster.server(id).slow_disk = true,
        "fast" => cluster.server(id).slow_disk = false,
        "sync" => cluster.sync(node),
        "crash" => cluster.crash(node),
        "start" => cluster.start(node, Index(key(args, "applied")?.unwrap_or(0))),
        "unreachable" => {
            let peer = NodeId(number(args)?);
            cluster.raft(id).unreachable(peer);
        }
        "discard" => {
            let to = Index(number(args)?);
            cluster.discard(node, to);
        }
        "arrive" | "lose" => return snapshot(cluster, name, node, args),
        "disk" => return disk(cluster, id, args),
        "propose" => return propose(cluster, id, args),
        "reluctant" | "willing" => cluster.raft(id).set_reluctant(name == "reluctant"),
        "transfer" => return transfer(cluster, id, args),
        "change" => return change(cluster, id, args),
        "read" => {
            let read = number(args)?;
            if let Err(refusal) = cluster.read(id, read) {
                return Ok(format!("refused: {refusal}\n"));
            }
        }
        _ => return Err(format!("no command {name}").into()),
    }
    cluster.pump(node);
    Ok(String::new())
}

/// Lets the oldest state on its way to a server arrive, or get lost.
fn snapshot(
    cluster: &mut Cluster,
    name: &str,
    to: NodeId,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    let from = key::<u64>(args, "from")?;
    let fits = |snapshot: &Snapshot| snapshot.to == to && from.is_none_or(|from| snapshot.from.0 == from);
    let at = cluster.snapshots.iter().position(fits).ok_or("no state is on its way there")?;
    let snapshot = cluster.snapshots.remove(at).ok_or("no state is on its way there")?;
    if name == "arrive" {
        cluster.arrive(snapshot);
    } else {
        cluster.told(snapshot.from, to, snapshot.session, None);
    }
    Ok(String::new())
}

fn disk(cluster: &mut Cluster, id: u64, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
    let (term, vote) = (key(args, "term")?.unwrap_or(0), key(args, "vote")?);
    cluster.crash(NodeId(id));
    let disk = &mut cluster.server(id).disk;
    disk.hard = hard(term, vote);
    disk.entries.clear();
    while let Some(position) = args.next_pos() {
        let (index, term) = position.split_once('@').ok_or("a position is INDEX@TERM")?;
        disk.entries.push(entry(index.parse()?, term.parse()?, "old"));
    }
    cluster.start(NodeId(id), Index(0));
    Ok(String::new())
}

fn transfer(
    cluster: &mut Cluster,
    id: u64,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    let said = match cluster.raft(id).transfer(key(args, "to")?.map(NodeId)) {
        Ok(to) => format!("to {to}\n"),
        Err(refusal) => format!("refused: {refusal}\n"),
    };
    cluster.pump(NodeId(id));
    Ok(said)
}

fn change(cluster: &mut Cluster, id: u64, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
    let mut edits = Vec::new();
    while let Some(edit) = args.next_pos().map(ToOwned::to_owned) {
        let node = NodeId(number(args)?);
        edits.push(match edit.as_str() {
            "add" => Edit::Add(node),
            "promote" => Edit::Promote(node),
            "demote" => Edit::Demote(node),
            "remove" => Edit::Remove(node),
            _ => return Err(format!("no edit {edit}").into()),
        });
    }
    let said = match cluster.raft(id).change(&edits) {
        Ok(at) => format!("at {at}\n"),
        Err(refusal) => format!("refused: {refusal}\n"),
    };
    cluster.pump(NodeId(id));
    Ok(said)
}

fn propose(
    cluster: &mut Cluster,
    id: u64,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    let mut said = String::new();
    while let Some(text) = args.next_pos() {
        if let Err(refusal) = cluster.raft(id).propose(command(text)) {
            writeln!(said, "refused {text}: {refusal}")?;
        }
    }
    cluster.pump(NodeId(id));
    Ok(said)
}

/// Delivers, drops or doubles the messages on the way that fit, as they are now: not what follows from them.
fn carry(
    cluster: &mut Cluster,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Result<String, Box<dyn Error>> {
    let (from, to) = (key::<u64>(args, "from")?, key::<u64>(args, "to")?);
    let (kind, count) = (args.take_key("kind"), key(args, "count")?.unwrap_or(usize::MAX));
    let fits = |envelope: &Envelope| {
        let shown = show(envelope);
        from.is_none_or(|from| envelope.from.0 == from)
            && to.is_none_or(|to| envelope.to.0 == to)
            && kind.is_none_or(|kind| shown.split(' ').nth(3) == Some(kind))
    };
    let (chosen, mut rest) = (Vec::new(), Vec::new());
    let chosen = std::mem::take(&mut cluster.network).into_iter().fold(chosen, |mut chosen, envelope| {
        let fits = chosen.len() < count && fits(&envelope);
        if fits && name == "double" {
            rest.push(envelope.clone());
        }
        if fits {
            chosen.push(envelope);
        } else {
            rest.push(envelope);
        }
        chosen
    });
    cluster.network = rest.into();
    if chosen.is_empty() {
        return Err("no message fits".into());
    }
    if name != "drop" {
        for envelope in chosen {
            cluster.deliver(envelope);
        }
    }
    Ok(String::new())
}

/// The servers that a command names; all that run when it names none.
fn named(cluster: &Cluster, args: &mut ArgumentConsumer<'_>) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut ids = Vec::new();
    while let Some(id) = args.next_pos() {
        ids.push(id.parse()?);
    }
    if ids.is_empty() {
        let runs = |id: &NodeId| cluster.servers[id].raft.is_some();
        ids = cluster.ids().iter().filter(|id| runs(id)).map(|id| id.0).collect();
    }
    Ok(ids)
}

/// Who is in the cluster, as each server knows it, and what its leader sees of them.
fn members(cluster: &Cluster, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
    let mut said = String::new();
    for id in named(cluster, args)? {
        let status = cluster.status(id);
        let known = if status.membership_committed { "committed" } else { "not committed" };
        write!(said, "{id}: {} since {}, {known}", status.membership, status.membership_at)?;
        for (peer, progress) in status.progress {
            write!(said, ", {peer} {} {}", progress.role.name(), progress.matched)?;
        }
        writeln!(said)?;
    }
    Ok(said)
}

fn status(cluster: &Cluster, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
    let mut said = String::new();
    for id in named(cluster, args)? {
        let status = cluster.status(id);
        let role = match status.role {
            RoleName::Follower => "follower",
            RoleName::PreCandidate => "pre-candidate",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
        };
        let leader = status.leader.map_or("nobody".into(), |leader| leader.to_string());
        write!(said, "{id} {role} of term {}, leader {leader}, last {}, ", status.term, status.last)?;
        write!(said, "durable {}, commit {}, applied {}", status.persisted, status.commit, status.applied)?;
        for (peer, progress) in status.progress {
            write!(said, ", {peer} {} {}", progress.state, progress.matched)?;
        }
        writeln!(said)?;
    }
    Ok(said)
}
