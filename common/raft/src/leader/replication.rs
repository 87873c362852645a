//! What followers lack, on its way to them (thesis 3.5, 5, 10.2.1): appends from memory, entries that only the disk
//! holds, and the state where those are gone. How far each follower is, and what may leave, is its
//! [`Progress`]'s to say.

use alloc::vec::Vec;

use super::Leader;
use crate::{
    effects::{Fetch, Fetched, SendSnapshot},
    instruments::{Mark, Mutant, mark, mutant},
    message::Message,
    progress::{Progress, Window},
    shared::Core,
    types::{Entry, Index, NodeId, Position},
};

impl Leader {
    /// Sends one follower what it lacks.
    pub(super) fn replicate(&mut self, core: &mut Core, to: NodeId) {
        let window =
            Window { appends: core.config.max_inflight_appends, bytes: core.config.max_inflight_bytes };
        let round = self.reads.latest();
        let sent = self.peers.values().filter(|peer| peer.is_sent_snapshot()).count();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        while (peer.next() <= core.log.last().index || peer.owes_answer()) && peer.may_send(window) {
            let Some(previous) = core.log.position_at(peer.next().previous()) else {
                if !is_gone(core, peer) {
                    fetch(core, peer, to);
                } else if self.leaving.contains(&to) {
                    // Nobody needs it; that it goes, it will not learn.
                } else if sent < core.config.max_snapshots {
                    begin_snapshot(core, peer, to);
                } else {
                    mark(Mark::SnapshotWaits);
                }
                return;
            };
            let most = if peer.is_silent() {
                mark(Mark::ProbeWithoutEntries);
                0
            } else {
                core.config.max_append_entries
            };
            let entries = core.log.slice(peer.next(), most, core.config.max_append_bytes);
            send(core, peer, to, previous, entries, round);
        }
        // Appends tell the commit index on their way; after the last of a burst, nothing else would for a while.
        let idle = core.commit == core.log.last().index;
        if idle && peer.told < core.commit.min(peer.matched()) {
            self.heartbeat(core, to);
        }
    }

    /// Entries came from disk for a follower that fell behind.
    pub(crate) fn fetched(&mut self, core: &mut Core, fetched: Fetched) {
        let round = self.reads.latest();
        self.disk_answered = true;
        let Fetched { fetch, previous, entries } = fetched;
        let Some(peer) = self.peers.get_mut(&fetch.peer) else { return };
        if !peer.fetched(&fetch) {
            mark(Mark::FetchedLate);
            return;
        }
        if is_answer(&fetch, previous, &entries) {
            send(core, peer, fetch.peer, previous, entries, round);
        } else {
            mark(Mark::FetchUnanswered);
            peer.unfetched(fetch);
        }
    }

    /// What came of sending the state to `peer`.
    pub(crate) fn snapshot_sent(
        &mut self,
        core: &Core,
        peer: NodeId,
        session: u64,
        installed: Option<Index>,
    ) {
        let (last, rest) = (core.log.last().index, core.config.election_ticks);
        let Some(progress) = self.peers.get_mut(&peer) else { return };
        if installed.is_none() && mutant(Mutant::SnapshotNeverRetried) {
            return;
        }
        let counts = progress.snapshot_sent(session, installed, last, rest);
        mark(match (counts, installed) {
            (false, _) => Mark::SnapshotNewsLate,
            (true, Some(_)) => Mark::SnapshotArrived,
            (true, None) => Mark::SnapshotFailed,
        });
    }

    /// What was sent to `peer` lately is likely lost.
    pub(crate) fn unreachable(&mut self, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            mark(Mark::PeerUnreachable);
            peer.lost();
        }
    }
}

/// Whether what the follower needs was discarded from the disk, and memory has it no more.
pub(super) fn is_gone(core: &Core, peer: &Progress) -> bool {
    let previous = peer.next().previous();
    previous < core.log.discarded() && core.log.position_at(previous).is_none()
}

/// Has the state sent to a follower that needs what was discarded.
fn begin_snapshot(core: &mut Core, peer: &mut Progress, to: NodeId) {
    if !peer.has_rested() {
        return;
    }
    mark(Mark::SnapshotBegun);
    let session = core.number();
    peer.snapshot(session);
    core.send_snapshot.push(SendSnapshot { peer: to, session });
}

/// Asks for entries that memory no longer holds, one question a follower at a time.
fn fetch(core: &mut Core, peer: &mut Progress, to: NodeId) {
    if peer.fetch().is_some() {
        return;
    }
    let count = if peer.is_silent() { 1 } else { core.config.max_append_entries as u64 };
    let most = Index(peer.next().0 + count - 1);
    let fetch = Fetch {
        peer: to,
        from: peer.next(),
        to: most.min(core.log.base().index),
        max_bytes: core.config.max_append_bytes,
    };
    mark(Mark::FetchAsked);
    peer.fetching(fetch);
    core.fetch.push(fetch);
}

/// Whether the caller answered what was asked: contiguous entries of the range, at least one.
fn is_answer(fetch: &Fetch, previous: Position, entries: &[Entry]) -> bool {
    let mut next = fetch.from;
    let contiguous = entries.iter().all(|entry| {
        let here = entry.position.index == next && next <= fetch.to;
        next = next.next();
        here
    });
    contiguous && !entries.is_empty() && previous.index == fetch.from.previous()
}

fn send(
    core: &mut Core,
    peer: &mut Progress,
    to: NodeId,
    previous: Position,
    entries: Vec<Entry>,
    round: u64,
) {
    let last = entries.last().map_or(previous, |entry| entry.position).index;
    let size = entries.iter().map(Entry::size).sum();
    let session = peer.session();
    peer.sent(last, size);
    peer.told = core.commit.min(last);
    core.send(to, Message::Append { session, previous, entries, commit: core.commit, round });
}
