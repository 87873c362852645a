//! What a change of members would come to, before it is asked for. Pure: every situation can be tested without a cluster.
//!
//! A change is refused where it would leave too few voters that keep up, for then it would stop the writes; where it would
//! make a server vote that does not, for then they would wait; and where it would cost a failure that the cluster could
//! bear, while a voter that is left does not keep up. The leader judges the first two once more by what it knows then
//! (`kvd/src/node/changing.rs`); the third is this tool's alone. Whoever lets a healthy cluster bear less, as from three voters
//! to two, is told and not refused.

use client::NodeView;
use protocol::{ClusterId, NodeStatus, Part, Role, limits};
use serde_json::{Value, json};

use super::not_fit;
use crate::{command::assess::nobody, error::Failure, exit::Exit};

/// A member as the leader and it itself tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) part: Part,
    /// Whether it answers.
    pub(super) reachable: bool,
    /// How far its log is durable and equal to the leader's.
    pub(super) matched: Option<u64>,
    /// Entries of that behind what is committed.
    pub(super) lag: Option<u64>,
    pub(super) leads: bool,
}

impl Seat {
    /// Whether commits can count on it, as the leader judges as well.
    pub(super) fn keeps_up(&self) -> bool {
        self.reachable && self.matched > Some(0) && self.lag.is_some_and(|lag| lag <= limits::CAUGHT_UP)
    }

    /// Of all that is committed, the share that it has.
    pub(super) fn progress(&self) -> Option<f64> {
        let (matched, lag) = (self.matched?, self.lag?);
        let committed = matched.saturating_add(lag).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no last digit")]
        Some(matched as f64 / committed as f64)
    }
}

/// Who is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roll {
    pub(super) seats: Vec<Seat>,
    /// Whether a change is under way.
    pub(super) changing: bool,
    pub(super) cluster: ClusterId,
    pub(super) committed: u64,
}

impl Roll {
    /// By the word of whoever leads the newest term, else of whoever knows most; a failure when nobody answered.
    pub(super) fn of(views: &[NodeView]) -> Result<Self, Failure> {
        let statuses = || views.iter().filter_map(|view| view.status.as_ref().ok());
        let known = |status: &&NodeStatus| {
            let member = status.members.iter().any(|member| member.id == status.id);
            (member, status.term, status.role == Role::Leader, status.applied)
        };
        let Some(newest) = statuses().max_by_key(known) else { return Err(nobody(views)) };
        let leader = newest.leader.or((newest.role == Role::Leader).then_some(newest.id));
        let committed = newest.committed;
        let seat = |member: &protocol::Member| {
            let own = statuses().find(|status| status.id == member.id);
            let told = newest.matched.iter().find(|(id, _)| *id == member.id).map(|(_, matched)| *matched);
            let matched = told.or(own.map(|status| status.last));
            Seat {
                id: member.id,
                name: member.name.clone(),
                address: member.address.clone(),
                part: member.part,
                reachable: own.is_some(),
                matched,
                lag: matched.map(|matched| committed.saturating_sub(matched)),
                leads: leader == Some(member.id),
            }
        };
        Ok(Self {
            seats: newest.members.iter().map(seat).collect(),
            changing: newest.changing,
            cluster: newest.cluster,
            committed,
        })
    }

    /// The member of this name, id as it is shown, or address.
    pub(super) fn find(&self, node: &str) -> Result<&Seat, Failure> {
        let is = |seat: &&Seat| seat.name == node || format!("{:x}", seat.id) == node || seat.address == node;
        // A name that looks like an id is a name.
        let by_name = self.seats.iter().find(|seat| seat.name == node);
        by_name.or_else(|| self.seats.iter().find(is)).ok_or_else(|| {
            let message = format!("no member is named `{node}`; nothing was done");
            Failure::new(Exit::Usage, "KV-0206", "unknown_node", message)
                .hint(format!("there are: {}", self.names()))
        })
    }

    /// All members, for those who asked for none of them.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.seats.iter().map(|seat| seat.name.as_str()).collect();
        names.join(", ")
    }

    /// Two members are never reached at one address, though one of them may not answer there now.
    pub(super) fn check_address(&self, id: u64, address: &str) -> Result<(), Failure> {
        match self.seats.iter().find(|seat| seat.id != id && seat.address == address) {
            None => Ok(()),
            Some(other) => Err(not_fit(
                &format!("{address} is the address of {}", other.name),
                "compare name, id and address with the configuration of the server",
            )),
        }
    }

    /// The member of this id.
    pub(super) fn get(&self, id: u64) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.id == id)
    }

    /// The members without this one.
    pub(super) fn without(&self, id: u64) -> Vec<Seat> {
        self.seats.iter().filter(|seat| seat.id != id).cloned().collect()
    }

    /// The members with this one in the place of whoever has its id.
    pub(super) fn with(&self, seat: Seat) -> Vec<Seat> {
        let mut seats = self.without(seat.id);
        seats.push(seat);
        seats
    }
}

/// The voters of some members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) voters: usize,
    /// Those that do not keep up.
    late: Vec<String>,
}

impl Count {
    fn of(seats: &[Seat]) -> Self {
        let voters: Vec<&Seat> = seats.iter().filter(|seat| seat.part.votes()).collect();
        let late = voters.iter().filter(|seat| !seat.keeps_up()).map(|seat| seat.name.clone());
        Self { voters: voters.len(), late: late.collect() }
    }

    fn needed(&self) -> usize {
        (self.voters / 2).saturating_add(1)
    }

    fn keeping(&self) -> usize {
        self.voters.saturating_sub(self.late.len())
    }

    /// How many may still fail; nothing where there is no quorum as it is.
    fn spare(&self) -> Option<usize> {
        self.keeping().checked_sub(self.needed())
    }

    fn tolerates(&self) -> usize {
        self.spare().unwrap_or(0)
    }

    fn who(&self) -> String {
        let verb = if self.late.len() == 1 { "does" } else { "do" };
        format!("{} {verb} not keep up", self.late.join(", "))
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    place: String,
    before: Count,
    pub(super) after: Count,
    /// Who comes to vote and does not keep up.
    rash: Option<String>,
}

impl Plan {
    /// From these members to those, of the context or cluster that is called so.
    pub(super) fn of(place: &str, before: &[Seat], after: &[Seat]) -> Self {
        let voted = |seat: &Seat| before.iter().any(|had| had.id == seat.id && had.part.votes());
        let mut new = after.iter().filter(|seat| seat.part.votes() && !voted(seat));
        let rash = new.find(|seat| !seat.keeps_up()).map(|seat| seat.name.clone());
        Self { place: place.to_owned(), before: Count::of(before), after: Count::of(after), rash }
    }

    /// Why it must not be done.
    pub(super) fn danger(&self) -> Option<String> {
        let (before, after) = (&self.before, &self.after);
        match (before.spare(), after.spare()) {
            (_, None) => Some(format!(
                "of {} voters only {} would keep up and {} are needed: {}; writes would stop",
                after.voters,
                after.keeping(),
                after.needed(),
                after.who()
            )),
            _ if self.rash.is_some() => {
                let who = self.rash.as_deref().unwrap_or_default();
                Some(format!("{who} has not caught up: writes would wait for it"))
            }
            (Some(had), Some(has)) if has < had && !after.late.is_empty() => Some(format!(
                "{}: the cluster would bear {has} failures more and not {had} as it does now",
                after.who()
            )),
            _ => None,
        }
    }

    /// `voters 3→4` and the like, a cell each.
    pub(super) fn cells(&self) -> Vec<String> {
        let (before, after) = (&self.before, &self.after);
        vec![
            format!("voters {}→{}", before.voters, after.voters),
            format!("quorum {}→{}", before.needed(), after.needed()),
            format!("tolerates {}→{}", before.tolerates(), after.tolerates()),
        ]
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let mut line = format!("Plan on {}: {}.", self.place, self.cells().join(", "));
        if !self.after.late.is_empty() {
            line = format!("{line} {}.", self.after.who());
        }
        if self.after.voters > self.before.voters && self.after.voters.is_multiple_of(2) {
            line += " An even count tolerates no more failures: add one more.";
        }
        line
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        let (before, after) = (&self.before, &self.after);
        json!({
            "voters": [before.voters, after.voters],
            "quorum": [before.needed(), after.needed()],
            "tolerates": [before.tolerates(), after.tolerates()],
            "late": after.late,
            "refused": self.danger(),
        })
    }

    /// It is refused, and whoever insists must confirm the context or the cluster.
    pub(super) fn refused(&self, why: &str) -> Failure {
        let hint = format!(
            "nothing was done; mend what does not keep up or add a server first. Where it is lost for good: --force --confirm {}",
            self.place
        );
        Failure::new(Exit::Refused, "KV-0850", "unsafe", format!("refused: {why}")).hint(hint)
    }
}

#[cfg(test)]
pub(super) mod tests;
