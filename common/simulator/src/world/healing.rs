//! The end of faults: a random quorum is healed, the rest stays broken for good, and what Raft promises of such a
//! cluster must come true in time: writes, then agreement, then peace.

use std::collections::BTreeSet;

use protocol::{Consistency, Operation, Refused, Request, RequestId, Response};
use raft::RoleName;
use testkit::{linearizability, replay};

use super::{Plan, World, calling::PROBER, greeting::SLOWEST, harming::Harm};
use crate::{
    counts::UNDECIDED,
    network::{Cuts, in_part},
    server::{CLUSTER, ELECTION_TICKS, TICK, keeping},
};

/// The shortest election timeout, in microseconds.
pub(super) const TIMEOUT: u64 = ELECTION_TICKS as u64 * TICK;
/// What could not be read for a follower is asked for again with the next heartbeat, in microseconds.
const HEARTBEAT: u64 = 5 * TICK;
/// What an entry takes beside its value, at most, in bytes.
const ENTRY_BYTES: u64 = 200;
/// A new write commits within so many of them.
const WRITE_WITHIN: u64 = 10;
/// The quorum agrees within so many.
pub(super) const AGREE_WITHIN: u64 = 50;
/// A leader whose disk hangs gives up within so many, and then only can a write commit.
const HANG_WITHIN: u64 = 4;
/// An idle cluster holds no election for so many.
const PEACE_FOR: u64 = 1000;

/// Faults that end.
const NOT_IN_CALM: [&str; 10] = [
    "loss",
    "duplicates",
    "reorders",
    "spikes",
    "link_queue",
    "stalls",
    "sync_errors",
    "read_errors",
    "stream_damage",
    "stream_us",
];
/// Reads for a follower go on to fail, so often at most: the one that it waits for must be asked again.
const FETCH_ERRORS: u64 = 50_000;
/// Streams go on to be cut, so often at most: the state must be sent again.
const STREAM_CUTS: u64 = 30_000;
/// Where what one lacks was discarded by another, it may take so many more until the state was sent.
const STATE_WITHIN: u64 = 10;

impl World {
    /// Ends all faults for a quorum and watches it come back.
    ///
    /// # Panics
    /// When it does not.
    pub fn heal(&mut self) {
        let discord = self.wait_for_discord();
        let again = discord.is_none() && self.rng.below(2) == 0;
        let mut core = discord.unwrap_or_else(|| self.choose_core());
        self.hang_up_all_faults(&core);
        for &me in &core {
            // One half of the runs starts from a loss of power of the whole quorum, the other from where it is.
            if again && self.servers[me].up().is_some() {
                self.lose_power(me);
            }
        }
        if self.options.drains > 0 {
            // Wishes that are on their way come first.
            self.run(self.agenda.now() + 2 * self.options.latency_us);
            self.make_willing(&core);
        }
        if !again {
            self.let_pass_what_is_under_way();
        }
        self.trace.say(self.agenda.now(), || format!("{core:?} are healed; the others stay broken"));
        let slack = self.time_to_catch_up(&core) + self.time_to_give_up();
        if slack == 0 {
            self.counts.add("liveness: judged without allowance");
        }
        if self.options.changes > 0 {
            core = self.settle_members(slack);
        }
        let whole = core.len() == self.servers.len() && (self.options.changes == 0 || self.all_vote());
        self.must_work(&core, slack);
        self.leases_must_end();
        if self.options.transfers > 0 && whole {
            self.must_hand_over(&core);
        }
        if self.options.partial == 1 && whole {
            self.part_for_good(&core);
        }
        if self.options.idle == 1 {
            self.keep_peace(&core);
        }
        self.read_at_each(&core);
        self.read_everything(&core);
        self.all_answered(&core);
    }

    /// A write is acknowledged, and then the core agrees, within what is promised and `slack` microseconds.
    pub(super) fn must_work(&mut self, core: &[usize], slack: u64) {
        let began = self.agenda.now();
        self.probe_until(core, began + WRITE_WITHIN * TIMEOUT + slack);
        self.run_until(began + AGREE_WITHIN * TIMEOUT + slack, |world| world.agrees(core));
        assert!(
            self.agrees(core),
            "VIOLATION {core:?} do not agree within {AGREE_WITHIN} timeouts: {}",
            self.standings(core)
        );
    }

    /// Where each reaches some and a few reach a majority, one of these leads before long. (All are of one mind before:
    /// where the only one who reaches a majority lacks what is committed, Raft cannot go on.)
    fn part_for_good(&mut self, core: &[usize]) {
        let cuts = in_part(self.servers.len(), &mut self.rng, &mut self.counts);
        self.trace.say(self.agenda.now(), || format!("the network parts for good: {cuts:?}"));
        self.network.cut(cuts);
        let began = self.agenda.now();
        self.run(began + TIMEOUT);
        self.probe_until(core, began + WRITE_WITHIN * TIMEOUT);
        self.network.cut(Cuts::new());
        self.must_work(core, self.time_to_catch_up(core));
    }

    /// What a fault has begun ends by itself.
    fn let_pass_what_is_under_way(&mut self) {
        let stall = if self.options.stalls > 0 { self.options.stall_ms } else { 0 };
        let spike = if self.options.spikes > 0 { self.options.spike_ms } else { 0 };
        self.run(self.agenda.now() + (stall.max(spike) * 1000).max(SLOWEST));
    }

    /// A leader whose disk hangs is followed until it gives up.
    fn time_to_give_up(&self) -> u64 {
        let may_lead = |at: &usize| {
            let role = self.servers[*at].up().map(|process| process.node.standing().role);
            self.hung[*at] && matches!(role, Some(RoleName::Leader | RoleName::Candidate))
        };
        if (0..self.servers.len()).any(|at| may_lead(&at)) { HANG_WITHIN * TIMEOUT } else { 0 }
    }

    /// Nobody waits for ever: a request that came to a server which is still there has its answer by now.
    fn all_answered(&self, core: &[usize]) {
        let now = self.agenda.now();
        for (number, attempt) in self.attempts.iter().filter(|(_, attempt)| core.contains(&attempt.server)) {
            let me = attempt.server;
            let late = attempt.due.is_some_and(|(boot, due)| boot == self.servers[me].boot && due < now);
            assert!(!late, "VIOLATION s{me} was asked #{number} and never answered");
        }
    }

    /// Lets the faults go on until they leave a quorum that is hard to unite, if that happens in time.
    fn wait_for_discord(&mut self) -> Option<Vec<usize>> {
        let until = self.agenda.now() + self.options.discord * 1_000_000;
        while self.agenda.now() < until {
            self.run((self.agenda.now() + TICK / 4).min(until));
            let found = match self.options.discord_kind {
                0 => self
                    .watch
                    .discord(&self.sound())
                    .map(|core| (core, "liveness: newest log behind in terms")),
                1 => self.left_by_one().map(|core| (core, "liveness: leader behind in terms")),
                _ => self.outgrown().map(|core| (core, "liveness: one lacks what was discarded")),
            };
            if let Some((mut core, name)) = found {
                self.counts.add(name);
                core.sort_unstable();
                return Some(core);
            }
        }
        None
    }

    /// All that are sound, where a majority follows a leader and one of them has left its term behind: it cannot follow,
    /// nobody elects it, and only by being told can the leader end that.
    fn left_by_one(&self) -> Option<Vec<usize>> {
        let sound = self.sound();
        let leader = self.leader().filter(|leader| sound.contains(leader))?;
        let standing = |at: usize| self.servers[at].up().map(|process| process.node.standing());
        let term = standing(leader)?.term;
        let loyal = (0..self.servers.len()).filter_map(standing).filter(|server| server.term == term).count();
        let left = |at: &usize| {
            standing(*at).is_some_and(|server| server.term > term && server.role == RoleName::PreCandidate)
        };
        (loyal > self.servers.len() / 2 && sound.iter().any(left)).then_some(sound)
    }

    /// All that are sound, where one of them lacks what the leader has discarded: it must be sent the state.
    fn outgrown(&self) -> Option<Vec<usize>> {
        let sound = self.sound();
        let leader = self.leader().filter(|leader| sound.contains(leader))?;
        let discarded = self.servers[leader].up()?.log.discarded().index.0;
        sound.iter().any(|at| self.watch.held(*at) < discarded).then_some(sound)
    }

    /// The servers whose disks are sound.
    fn sound(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|at| !self.servers[*at].rotten).collect()
    }

    /// At least a quorum of the servers whose disks are sound.
    fn choose_core(&mut self) -> Vec<usize> {
        let mut sound = self.sound();
        if self.options.changes > 0 {
            return sound;
        }
        self.rng.shuffle(&mut sound);
        let quorum = self.servers.len() / 2 + 1;
        let most = sound.len();
        let count = usize::try_from(self.rng.between(quorum as u64, most as u64)).unwrap_or(quorum);
        sound.truncate(count);
        sound.sort_unstable();
        sound
    }

    fn hang_up_all_faults(&mut self, core: &[usize]) {
        self.calm = true;
        self.hang_up();
        self.flapping = None;
        self.sides = None;
        let mut mood = self.options.clone();
        for name in NOT_IN_CALM {
            mood.set(name, 0);
        }
        mood.fetch_errors = mood.fetch_errors.min(FETCH_ERRORS);
        mood.stream_cuts = mood.stream_cuts.min(STREAM_CUTS);
        if self.options.hopeless == 1 {
            mood.loss = 1_000_000;
        }
        self.set_mood(mood);
        self.stop_all_that_leave();
        self.lasting = self.break_the_rest(core);
        let cuts = self.lasting.clone();
        self.network.cut(cuts);
        for &me in core {
            let target = self.target(me);
            self.servers[me].medium.sim.set_capacity(None);
            self.servers[me].medium.sim.cut_power_at(0);
            self.servers[me].medium.sim.fail_at(0, std::io::ErrorKind::Other);
            self.lost[me] = false;
            if let Some(process) = self.servers[me].process() {
                process.fuse = None;
                self.resume(target);
            } else {
                self.agenda.after(0, Plan::Start(target));
            }
        }
    }

    /// What is broken for good: down, cut off, heard but deaf, there and gone all the time, or without a disk that
    /// answers. Returns the lasting cuts.
    fn break_the_rest(&mut self, core: &[usize]) -> Cuts {
        let mut cuts = Cuts::new();
        let rest: Vec<usize> = (0..self.servers.len()).filter(|at| !core.contains(at)).collect();
        for me in rest {
            let others = || (0..self.servers.len()).filter(move |other| *other != me);
            let from: Vec<_> = others().map(|other| (me, other)).collect();
            let to: Vec<_> = others().map(|other| (other, me)).collect();
            match self.rng.below(5) {
                0 => {
                    self.counts.add("liveness: rest is down");
                    self.lost[me] = true;
                    if self.servers[me].up().is_some() {
                        self.crash(me);
                    }
                }
                1 => {
                    self.counts.add("liveness: rest is cut off");
                    cuts.extend(from.iter().chain(&to));
                }
                2 => {
                    self.counts.add("liveness: rest is heard and deaf");
                    cuts.extend(to);
                }
                3 => {
                    self.counts.add("liveness: rest's disk hangs");
                    self.hung[me] = true;
                }
                _ => {
                    self.counts.add("liveness: rest flaps");
                    let flapping: BTreeSet<_> = from.into_iter().chain(to).collect();
                    self.flapping.get_or_insert_default().extend(flapping);
                    self.agenda.after(1, Plan::Harm(Harm::Flap));
                }
            }
        }
        cuts
    }

    /// A quorum in which one lags has to wait for it, and what came before a write is committed before it; with the tiny
    /// appends of some seeds entries go a few at a time. What more than one append takes comes on top.
    fn time_to_catch_up(&self, core: &[usize]) -> u64 {
        let held = core.iter().map(|at| self.watch.held(*at));
        let common = held.clone().min().unwrap_or(0).min(self.watch.committed());
        let missing = held.max().unwrap_or(0) - common;
        let each = 4 * self.options.latency_us + 6 * self.options.sync_us + 6 * self.options.loop_us;
        let asked_again = HEARTBEAT * 2 * self.mood.fetch_errors / 1_000_000;
        let bytes = self.options.value_bytes + ENTRY_BYTES;
        let together = self.options.append_entries.min(self.options.append_bytes / bytes).max(1);
        let discarded =
            |at: &usize| self.servers[*at].up().map_or(0, |process| process.log.discarded().index.0);
        let gone = core.iter().map(discarded).max().unwrap_or(0) > common;
        let state = if gone { STATE_WITHIN * TIMEOUT } else { 0 };
        missing.saturating_sub(1) / together * (each + asked_again) + state
    }

    pub(super) fn run_until(&mut self, until: u64, done: impl Fn(&Self) -> bool) {
        while self.agenda.now() < until && !done(self) {
            if self.options.busy == 1 {
                self.read_at_leader();
            }
            self.run((self.agenda.now() + TICK).min(until));
        }
    }

    /// Asks whoever leads for a read, and does not care what comes of it.
    fn read_at_leader(&mut self) {
        if let Some(leader) = self.leader() {
            let (key, consistency) = (b"probe".to_vec(), Consistency::Linearizable);
            let number = self.number();
            let request = Request::Get { key, consistency, without_value: false };
            self.post(PROBER, leader, number, 1000, request);
        }
    }

    /// Sends a write to every server every few milliseconds, until one is acknowledged: the leader may be one of those
    /// that come and go.
    fn probe_until(&mut self, core: &[usize], until: u64) {
        self.probed = false;
        while self.agenda.now() < until && !self.probed {
            for me in 0..self.servers.len() {
                let mut token = [0xff; 16];
                let number = self.number();
                token[..8].copy_from_slice(&number.to_le_bytes());
                let learned = self.watch.committed();
                let request = RequestId { token, learned, cluster: CLUSTER };
                let operation =
                    Operation::Set { key: b"probe".to_vec(), value: number.to_string().into_bytes() };
                self.post(PROBER, me, number, 1000, Request::Write { request, operation });
            }
            self.run((self.agenda.now() + 5 * TICK).min(until));
        }
        assert!(self.probed, "VIOLATION no write within {WRITE_WITHIN} timeouts: {}", self.standings(core));
    }

    /// Asks every server of the core for a linearizable read until each has served one: nothing that a fault took away
    /// may be missing for ever.
    fn read_at_each(&mut self, core: &[usize]) {
        let until = self.agenda.now() + AGREE_WITHIN * TIMEOUT;
        self.unread = core.iter().copied().collect();
        while self.agenda.now() < until && !self.unread.is_empty() {
            for me in self.unread.clone() {
                let number = self.number();
                let consistency = Consistency::Linearizable;
                let request = Request::Get { key: b"probe".to_vec(), consistency, without_value: false };
                self.post(PROBER, me, number, 1000, request);
            }
            self.run((self.agenda.now() + 5 * TICK).min(until));
        }
        assert!(
            self.unread.is_empty(),
            "VIOLATION no read at {:?} within {AGREE_WITHIN} timeouts: {}",
            self.unread,
            self.standings(core)
        );
    }

    pub(super) fn probed(&mut self, from: usize, request: &Request, result: Result<Response, Refused>) {
        match (request, result) {
            (Request::Write { operation: Operation::SetMember(_), .. }, Ok(_)) => {
                self.counts.add("members: server recorded");
            }
            (Request::Write { .. }, Ok(_)) => self.probed = true,
            (Request::ChangeMembers(_), Ok(_)) => self.counts.add("members: changed"),
            (Request::Transfer { .. }, Ok(_)) => self.counts.add("leader: has handed over"),
            (Request::Transfer { .. }, Err(Refused::Unavailable(_))) => {
                self.counts.add("leader: could not hand over");
            }
            (Request::CompactLog, Ok(_)) => self.counts.add("log: discarded on demand"),
            (Request::CompactLog, Err(_)) => self.counts.add("log: not discarded in time"),
            (Request::Get { consistency: Consistency::Linearizable, .. }, Ok(_)) => {
                _ = self.unread.remove(&from);
            }
            (Request::Get { consistency: Consistency::Linearizable, .. }, Err(_)) => {}
            (Request::Get { .. }, Ok(_)) => self.reads_due -= 1,
            (Request::Get { .. }, Err(refused)) => panic!("VIOLATION a stale read is refused: {refused}"),
            _ => {}
        }
    }

    /// Whether the core is of one mind: everything that is there is committed and applied.
    fn agrees(&self, core: &[usize]) -> bool {
        let views: Option<BTreeSet<_>> = core
            .iter()
            .map(|at| {
                let process = self.servers[*at].up()?;
                let status = process.node.consensus();
                let whole = status.commit == status.last.index && status.applied == status.commit;
                whole.then(|| (status.term, status.applied, status.leader, process.node.state_hash()))
            })
            .collect();
        views.is_some_and(|views| views.len() == 1 && views.iter().all(|view| view.2.is_some()))
    }

    pub(super) fn standings_of_all(&self) -> String {
        self.standings(&(0..self.servers.len()).collect::<Vec<_>>())
    }

    fn standings(&self, core: &[usize]) -> String {
        let view = |at: &usize| match self.servers[*at].up() {
            None => format!("s{at} is down"),
            Some(process) => format!("s{at} {:?}", process.node.consensus()),
        };
        core.iter().map(view).collect::<Vec<_>>().join("; ")
    }

    /// Nothing is asked, so nothing changes. Where one of the broken leads, through a link that comes and goes, it is
    /// first cut off for good: it would be deposed sooner or later.
    fn keep_peace(&mut self, core: &[usize]) {
        self.counts.add("liveness: idle watched");
        if self.leader().is_none_or(|leader| !core.contains(&leader)) {
            let all = || 0..self.servers.len();
            let apart = |(from, to): &(usize, usize)| !core.contains(from) || !core.contains(to);
            let cuts = all().flat_map(|from| all().map(move |to| (from, to))).filter(apart).collect();
            self.flapping = None;
            self.network.cut(cuts);
            self.run(self.agenda.now() + AGREE_WITHIN * TIMEOUT);
        }
        let terms = |world: &Self| -> Vec<_> {
            let standing = |at: &usize| world.servers[*at].up().map(|process| process.node.standing());
            core.iter().map(standing).collect()
        };
        let before = terms(self);
        self.run(self.agenda.now() + PEACE_FOR * TIMEOUT);
        assert_eq!(terms(self), before, "VIOLATION an idle cluster does not keep its peace");
        let leads = |standing: &Option<kvd::event::Standing>| {
            standing.is_some_and(|standing| standing.role == RoleName::Leader)
        };
        assert_eq!(
            before.iter().filter(|standing| leads(standing)).count(),
            1,
            "VIOLATION an idle cluster has a leader"
        );
        for me in core {
            self.watch.rested(*me);
            let bytes = self.servers[*me].up().map_or(0, |process| process.log.disk_bytes());
            if keeping(*me, &self.options).bytes < u64::MAX {
                self.watch.log_rests(*me, bytes);
            }
        }
    }

    /// Judges what clients saw, by two checkers that know nothing of each other, and adds up what the disks did.
    ///
    /// # Panics
    /// When a history cannot be explained.
    pub fn settle_accounts(&mut self) {
        for server in &self.servers {
            let failures = server.medium.sim.failures();
            self.counts.add_many("disk: unsynced writes lost", failures.losses);
            self.counts.add_many("disk: unsynced write torn", failures.torn);
            self.counts.add_many("disk: unsynced writes reordered", failures.reordered);
            self.counts.add_many("disk: unsynced names lost", failures.names);
            self.counts.add_many("disk: sync failed", failures.syncs);
            self.counts.add_many("disk: read failed", failures.reads);
            self.counts.add_many("disk: no space", failures.full);
            self.counts.add_many("disk: call failed", failures.ordered);
        }
        self.ledger.settle();
        if let Err(violation) = replay::check(&self.history) {
            panic!("VIOLATION {violation}");
        }
        match linearizability::check(&self.history, linearizability::Limits::default()) {
            Ok(()) => {}
            Err(linearizability::Violation::Undecided { .. }) => {
                self.counts.add(UNDECIDED);
            }
            Err(violation) => panic!("VIOLATION {violation}"),
        }
    }

    /// Reads every key at every server of the core; each answer is judged where it leaves.
    fn read_everything(&mut self, core: &[usize]) {
        let keys: Vec<Vec<u8>> = self.watch.model().keys().map(<[u8]>::to_vec).collect();
        self.reads_due = 0;
        for &me in core {
            for key in keys.clone() {
                let number = self.number();
                self.reads_due += 1;
                let request = Request::Get { key, consistency: Consistency::Stale, without_value: false };
                self.post(PROBER, me, number, 60_000, request);
            }
        }
        self.run(self.agenda.now() + 10 * TIMEOUT);
        assert_eq!(self.reads_due, 0, "VIOLATION reads of the end were not answered");
    }
}
