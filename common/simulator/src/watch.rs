//! What must hold of a cluster at every moment, judged from outside: from what servers hand to their disks, say to
//! each other and answer to clients. No code is shared with what is judged.
//!
//! | promise | where |
//! | --- | --- |
//! | a server votes once a term, also across restarts; a majority's votes make the term's one leader | `watch/elections.rs` |
//! | logs that share a position share all before it | `Watch::chain` |
//! | who votes is of the latest membership in a log, and has caught up | `watch/members.rs` |
//! | a leader holds what was committed in earlier terms | [`Watch::seen`] |
//! | what is committed lies on the disks of a majority, and never changes | `Watch::commits` |
//! | nothing leaves a server that its disk does not hold yet, and nothing of a term that is past | `watch/words.rs` |
//! | who hears a leader enters no term of a candidate's | `watch/loyalty.rs` |
//! | a successor has everything when it is told to stand; nothing is proposed meanwhile, and not for long | `watch/handing.rs` |
//! | what a leader takes as a follower's match is on that follower's disk | [`Watch::seen`] |
//! | what was durable is there after a crash | [`Watch::restarted`] |
//! | what is not committed, and what is not applied, stays within the bounds that were set | `Watch::bounds` |
//! | terms, commit and applied never fall; states of one index are equal | [`Watch::seen`] |
//! | stamps of committed commands never go back | `Watch::record` |
//! | a flush that was reported lasts; nothing is applied over a full overlay | `watch/flushes.rs` |
//! | only what a state holds for good is discarded; a received state is a committed prefix | `watch/forgetting.rs` |
//! | an answer is the model's, at its revision, and a request takes effect once | `watch/answers.rs`, [`model`] |
//! | a read does not outwait the role that was to confirm it | `watch/reading.rs` |
//! | a lease ends neither early nor late; what is shown of it is so | `watch/leases.rs` |
//! | a scan is the model's at one revision, each row once and none left out | `watch/scans.rs` |
//! | what is kept of the past is shown, what is not is refused, with the oldest that there is | `watch/past.rs` |
//!
//! A promise that is broken ends the run by a panic whose message begins with `VIOLATION`.

mod answers;
mod discord;
mod elections;
mod flushes;
mod forgetting;
mod handing;
mod leases;
mod loyalty;
mod members;
pub mod model;
mod past;
mod reading;
mod scans;
mod words;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use protocol::Command;
use raft::{Entry, HardState, Membership, Payload, Persist, RoleName, Status};

pub use self::{answers::Asked, past::Moment};
use self::{
    elections::Elections,
    flushes::Flushes,
    handing::Handing,
    leases::Leasing,
    loyalty::Loyalty,
    members::Members,
    model::{Model, Verdict},
    reading::Reading,
};
use crate::{options::Options, trace::digest};

/// See the module. Servers are numbered from 0; server `n` has the id `n + 1`.
pub struct Watch {
    servers: Vec<Seen>,
    elections: Elections,
    chains: HashMap<(u64, u64), u64>,
    committed: Vec<Committed>,
    hashes: Vec<Option<u64>>,
    model: Model,
    bounds: Bounds,
    flushes: Flushes,
    handing: Handing,
    loyalty: Loyalty,
    members: Members,
    reading: Reading,
    leasing: Leasing,
    stamp_ms: u64,
}

/// What the servers were told to keep within.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries that are not committed.
    pub uncommitted: u64,
    /// Entries that a leader may take beyond that, for which clients need not make room.
    pub urgent: u64,
    /// Bytes of entries that are committed and not applied.
    pub unapplied_bytes: u64,
    /// Bytes of the log of a server that is idle.
    pub log_bytes: u64,
}

/// One server, as far as it has shown itself.
#[derive(Default)]
struct Seen {
    /// Its log as given to its disk.
    handed: Vec<Place>,
    /// Its log as its disk holds it.
    durable: Vec<Place>,
    hard: HardState,
    /// Given to the disk and not durable.
    pending: VecDeque<Pending>,
    /// How many of those the disk is at.
    writing: usize,
    term: u64,
    commit: u64,
    applied: u64,
    leads: bool,
    /// How many entries may be not committed while it leads.
    most_uncommitted: u64,
    /// A state that was received and is current holds everything up to here.
    floor: u64,
    /// The state that it is about to make current.
    installing: Option<u64>,
    /// Since which tick it leads without a vote of its own.
    gone: Option<u64>,
}

/// One place of a log; the chain stands for everything up to here.
#[derive(Clone, Default)]
struct Place {
    term: u64,
    chain: u64,
    payload: Option<Arc<[u8]>>,
    /// The latest membership up to here; nothing while the founders are in effect.
    members: Option<Arc<Membership>>,
    /// Bytes of all payloads up to here.
    bytes: u64,
}

struct Pending {
    hard: Option<HardState>,
    /// What the log holds when it begins anew.
    anew: Option<Vec<Place>>,
    first: u64,
    places: Vec<Place>,
}

struct Committed {
    place: Place,
    /// The lowest term in which it was seen to be committed, or of anything before it the highest.
    by: u64,
    verdict: Option<Verdict>,
    command: Option<Command>,
}

impl Committed {
    /// The keys that it changed.
    fn changed(&self) -> Vec<Vec<u8>> {
        match &self.verdict {
            Some(Verdict::Done(_, changed)) => changed.clone(),
            _ => Vec::new(),
        }
    }
}

impl Watch {
    /// Nothing was seen yet of a cluster with these options, whose servers must keep within these bounds.
    pub fn new(options: &Options, bounds: Bounds) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let servers = size(options.all_servers());
        Self {
            servers: (0..servers).map(|_| Seen::default()).collect(),
            elections: Elections::default(),
            chains: HashMap::new(),
            committed: Vec::new(),
            hashes: Vec::new(),
            model: Model::new(size(options.request_ids)),
            bounds,
            flushes: Flushes::new(servers, size(options.overlay_entries)),
            handing: Handing::new(servers, options.turn == 1),
            loyalty: Loyalty::new(servers),
            members: Members::new(options.servers, options.caught_up),
            reading: Reading::new(servers),
            leasing: Leasing::new(servers, options.drift),
            stamp_ms: 0,
        }
    }

    /// How much is committed.
    pub fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many entries the disk of `me` holds.
    pub fn held(&self, me: usize) -> u64 {
        self.servers[me].durable.len() as u64
    }

    /// The store as it should be.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Server `me` gives something to its disk.
    pub fn given(&mut self, me: usize, persist: &Persist) {
        let first = persist.entries.first().map_or(0, |entry| entry.position.index.0);
        let anew = persist.restart.map(|base| self.anew(me, base));
        if let Some(log) = &anew {
            self.servers[me].handed.clone_from(log);
        }
        if first > 0 {
            let kept = usize::try_from(first - 1).unwrap_or(usize::MAX);
            assert!(kept <= self.servers[me].handed.len(), "VIOLATION s{me} leaves a gap before {first}");
            self.servers[me].handed.truncate(kept);
        }
        let mut places = Vec::with_capacity(persist.entries.len());
        for entry in &persist.entries {
            let before = self.servers[me].handed.last().cloned();
            self.promotes(me, before.as_ref().and_then(|place| place.members.as_deref()), entry);
            let place = self.chain(me, before, entry);
            self.servers[me].handed.push(place.clone());
            places.push(place);
        }
        self.servers[me].pending.push_back(Pending { hard: persist.hard, anew, first, places });
    }

    fn chain(&mut self, me: usize, before: Option<Place>, entry: &Entry) -> Place {
        let (index, term) = (entry.position.index.0, entry.position.term.0);
        let before = before.unwrap_or_default();
        assert!(term >= before.term, "VIOLATION the terms of s{me}'s log fall at {index}");
        let payload = match &entry.payload {
            Payload::Noop | Payload::Membership(_) => None,
            Payload::Command(bytes) => Some(Arc::clone(bytes)),
        };
        let own = match &entry.payload {
            Payload::Membership(membership) => digest(&membership.encode()),
            _ => payload.as_ref().map_or(1, |bytes| digest(bytes)),
        };
        let members = members::after(before.members.as_ref(), entry);
        let chain = (before.chain ^ own).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29) ^ term;
        let first = *self.chains.entry((index, term)).or_insert(chain);
        assert_eq!(
            first, chain,
            "VIOLATION two logs share {index}@{term} and differ before or in it (s{me})"
        );
        let bytes = before.bytes + payload.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Place { term, chain, payload, members, bytes }
    }

    /// The disk of `me` begins with the first `count` of what it was given.
    pub fn writing(&mut self, me: usize, count: usize) {
        self.servers[me].writing = count;
    }

    /// The disk of `me` has finished what it had begun.
    pub fn written(&mut self, me: usize) {
        for _ in 0..std::mem::take(&mut self.servers[me].writing) {
            let Some(pending) = self.servers[me].pending.pop_front() else { break };
            if let Some(HardState { term, vote: Some(vote) }) = pending.hard {
                self.elections.vote(me, term.0, vote.0);
            }
            let seen = &mut self.servers[me];
            seen.hard = pending.hard.unwrap_or(seen.hard);
            if let Some(log) = pending.anew {
                seen.durable = log;
            }
            if pending.first > 0 {
                seen.durable.truncate(usize::try_from(pending.first - 1).unwrap_or(usize::MAX));
                seen.durable.extend(pending.places);
            }
            self.raise(me);
        }
    }

    /// Server `me` begins to write its state down now, or does not.
    pub fn flush(&mut self, me: usize, begins: bool) {
        if begins { self.flushes.begun(me) } else { self.flushes.not_begun(me) }
    }

    /// Server `me` was idle for long.
    pub fn rested(&self, me: usize) {
        self.flushes.rested(me, self.servers[me].applied);
    }

    /// The state of `me` is written down up to `index`.
    pub fn flush_ended(&mut self, me: usize, index: u64) {
        self.flushes.ended(me, index);
    }

    /// Server `me` opened what its disk held: it must be all that was durable, and nothing that it was never given.
    pub fn restarted(&mut self, me: usize, found: &kvd::log::Recovered) {
        self.found_state(me, found.base.index.0);
        let seen = &mut self.servers[me];
        let writing: Vec<&Pending> = seen.pending.iter().take(seen.writing).collect();
        let untouched =
            writing.iter().filter(|pending| pending.first > 0).map(|pending| pending.first - 1).min();
        let promised = untouched.unwrap_or(u64::MAX).min(seen.durable.len() as u64);
        let last = found.last.index.0;
        assert!(last >= promised, "VIOLATION s{me} lost durable entries: {last} left of {promised}");
        let (before, after) = (seen.hard, found.hard);
        let kept = after.term > before.term
            || (after.term == before.term && (before.vote.is_none() || after.vote == before.vote));
        assert!(kept, "VIOLATION s{me} had {before:?} on disk and came back with {after:?}");
        let may_end =
            seen.pending.iter().take(seen.writing).map(|pending| pending.first + pending.places.len() as u64);
        let most = may_end.max().unwrap_or(0).max(seen.durable.len() as u64 + 1);
        assert!(last < most, "VIOLATION s{me} found entries up to {last}, which it never wrote");
        let base = usize::try_from(found.base.index.0).unwrap_or(usize::MAX);
        assert!(base <= seen.handed.len(), "VIOLATION s{me}'s state is ahead of all it was ever given");
        let mut log = self.servers[me].durable.clone();
        log.truncate(base);
        assert_eq!(log.len(), base, "VIOLATION s{me}'s state is ahead of its log");
        for entry in &found.entries {
            let place = self.chain(me, log.last().cloned(), entry);
            log.push(place);
        }
        let state = base.checked_sub(1).map(|at| log[at].chain);
        if let Some(chain) = state {
            let committed = self.committed.get(base - 1).map(|committed| committed.place.chain);
            assert_eq!(
                committed,
                Some(chain),
                "VIOLATION s{me}'s state holds {base}, which was never committed"
            );
        }
        let applied = base as u64;
        self.flushes.restarted(me, applied);
        self.handing.restarted(me);
        self.loyalty.restarted(me);
        self.reading.restarted(me);
        self.leasing.restarted(me, &log);
        self.servers[me] = Seen {
            durable: log.clone(),
            handed: log,
            hard: after,
            term: after.term.0,
            commit: applied,
            applied,
            floor: self.servers[me].floor,
            ..Seen::default()
        };
    }

    /// Server `me` ended: what its disk had not begun is gone.
    pub fn ended(&mut self, me: usize) {
        let seen = &mut self.servers[me];
        seen.pending.truncate(seen.writing);
        seen.leads = false;
    }

    /// Server `me` shows itself after a step; `hash` is its state's.
    pub fn seen(&mut self, me: usize, status: &Status, hash: u64) {
        let (term, commit, applied) = (status.term.0, status.commit.0, status.applied.0);
        let seen = &mut self.servers[me];
        assert!(term >= seen.term, "VIOLATION s{me} falls back from term {} to {term}", seen.term);
        assert!(commit >= seen.commit, "VIOLATION s{me}'s commit falls from {} to {commit}", seen.commit);
        assert!(
            applied >= seen.applied && applied <= commit,
            "VIOLATION s{me} applied {applied} after {}, committed {commit}",
            seen.applied
        );
        let began = !seen.leads && status.role == RoleName::Leader || seen.term < term;
        seen.leads = status.role == RoleName::Leader;
        seen.term = term;
        if seen.leads {
            if began {
                self.began_to_lead(me, term);
            }
            self.matches(me, status);
        }
        self.commits(me, commit);
        self.bounds(me, status, began);
        let before = std::mem::replace(&mut self.servers[me].applied, applied);
        let news = (before..applied).filter_map(|at| self.committed.get(usize::try_from(at).ok()?));
        self.flushes.applied(me, news.flat_map(Committed::changed));
        let at = usize::try_from(applied).unwrap_or(usize::MAX);
        if self.hashes.len() <= at {
            self.hashes.resize(at + 1, None);
        }
        let first = *self.hashes[at].get_or_insert(hash);
        assert_eq!(first, hash, "VIOLATION s{me}'s state at {applied} differs from another's");
        let on_disk = self.servers[me].durable.len() as u64;
        assert!(applied <= on_disk, "VIOLATION s{me} applied {applied} of which {on_disk} are on its disk");
    }

    fn began_to_lead(&mut self, me: usize, term: u64) {
        self.elections.leads(me, term);
        let own = me as u64 + 1;
        let elected = self.is_elected(me, term, |voter| self.elections.voted(voter, term) == Some(own));
        assert!(elected, "VIOLATION s{me} leads term {term} without a majority's votes");
        let earlier = self.committed.iter().rposition(|committed| committed.by < term);
        if let Some(at) = earlier {
            let own = self.servers[me].handed.get(at).map(|place| place.chain);
            let index = at + 1;
            assert_eq!(
                own,
                Some(self.committed[at].place.chain),
                "VIOLATION s{me} leads term {term} without {index}"
            );
        }
    }

    /// A leader takes no more than it may have uncommitted, beyond what it found; and whoever applies slowly takes no
    /// more than it has room for.
    fn bounds(&mut self, me: usize, status: &Status, began: bool) {
        let uncommitted = status.last.index.0 - status.commit.0;
        let (bounds, seen) = (self.bounds, &mut self.servers[me]);
        if began {
            seen.most_uncommitted = bounds.uncommitted.max(uncommitted);
        }
        // The second half of a change is proposed by nobody, so it does not wait for room; there is one at a time.
        let halves = u64::from(!status.membership_committed && !status.membership.is_joint());
        assert!(
            !seen.leads || uncommitted <= seen.most_uncommitted + halves + bounds.urgent,
            "VIOLATION s{me} has {uncommitted} entries that are not committed"
        );
        let bytes = |index| place(&seen.handed, index).map_or(0, |place| place.bytes);
        let unapplied = bytes(status.commit.0) - bytes(status.applied.0);
        assert!(
            unapplied <= bounds.unapplied_bytes,
            "VIOLATION s{me} has {unapplied} bytes that are not applied"
        );
    }

    fn matches(&self, me: usize, status: &Status) {
        let leader = &self.servers[me];
        for (peer, progress) in &status.progress {
            let at = usize::try_from(peer.0 - 1).unwrap_or(usize::MAX);
            let (matched, follower) = (progress.matched.0, &self.servers[at]);
            if matched == 0 || follower.term > leader.term {
                continue;
            }
            let theirs = place(&follower.durable, matched).map(|place| place.chain);
            let ours = place(&leader.handed, matched).map(|place| place.chain);
            assert_eq!(theirs, ours, "VIOLATION s{me} takes {matched} as matched by s{at}");
        }
    }

    /// Everything up to `commit` is committed, says `me`.
    fn commits(&mut self, me: usize, commit: u64) {
        let from = self.servers[me].commit;
        self.servers[me].commit = commit;
        for index in from + 1..=commit {
            let Some(own) = place(&self.servers[me].handed, index).cloned() else {
                panic!("VIOLATION s{me} commits {index}, which it does not have")
            };
            match self.committed.get(usize::try_from(index - 1).unwrap_or(usize::MAX)) {
                Some(known) => {
                    assert_eq!(known.place.chain, own.chain, "VIOLATION s{me} commits another {index}");
                }
                None => self.record(me, index, &own),
            }
        }
    }

    fn record(&mut self, me: usize, index: u64, own: &Place) {
        assert!(
            self.is_held(me, index, own),
            "VIOLATION s{me} commits {index}, which no majority's disks hold"
        );
        let before = self.committed.last().map_or(0, |committed| committed.by);
        let by = self.servers[me].term.max(before);
        let command = own
            .payload
            .as_ref()
            .map(|bytes| Command::decode(bytes).expect("VIOLATION a committed command does not decode"));
        if let Some(Command { stamp_ms, .. }) = command {
            let before = std::mem::replace(&mut self.stamp_ms, stamp_ms);
            assert!(stamp_ms >= before, "VIOLATION the stamp of {index} is {stamp_ms}, after {before}");
        }
        let verdict = command.as_ref().map(|command| self.model.apply(index, command));
        self.committed.push(Committed { place: own.clone(), by, verdict, command });
    }
}

fn place(log: &[Place], index: u64) -> Option<&Place> {
    log.get(usize::try_from(index.checked_sub(1)?).ok()?)
}
