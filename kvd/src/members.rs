//! Who is in the cluster: names and addresses beside the ids that the core knows.
//!
//! Who votes and who learns is the core's to say. Names and addresses are those that were recorded when a server was added
//! (`state/book.rs`), and else those of the configuration, which lists the founders.

use std::collections::BTreeMap;

use protocol::{ClusterId, Command, Member, MemberRecord, Part};
use raft::{Entry, Index, MemberRole, Membership, NodeId, Payload};

/// Most servers of which something is kept that the log records and that is not applied.
const MOST_ANNOUNCED: usize = 64;

fn member(MemberRecord { id, name, address, intent: _, incarnation: _ }: &MemberRecord) -> Member {
    Member { id: *id, name: name.clone(), address: address.clone(), part: Part::default() }
}

/// What an entry of the log records, before it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Announced {
    at: Index,
    member: Member,
    incarnation: Option<[u8; 16]>,
}

/// The members and which of them this node is. This node may be none: before it was added, and after it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    cluster: ClusterId,
    me: NodeId,
    /// Of the configuration.
    configured: Vec<Member>,
    /// What was recorded since.
    recorded: Vec<Member>,
    /// What the log records that is not applied yet, and where, in the log's order: who votes is in effect before that, and has
    /// to be reached for it.
    announced: Vec<Announced>,
    /// Which incarnation was recorded of a server.
    incarnations: BTreeMap<u64, [u8; 16]>,
    /// Those of the membership in effect.
    list: Vec<Member>,
}

impl Members {
    /// Members of `cluster` as configured; `me` is among them, as a member or as a server that is to be one.
    pub fn new(cluster: ClusterId, me: NodeId, configured: Vec<Member>) -> Self {
        debug_assert!(
            configured.iter().any(|member| member.id == me.0),
            "node {me} is a server of its own configuration"
        );
        Self {
            cluster,
            me,
            list: configured.clone(),
            configured,
            recorded: Vec::new(),
            announced: Vec::new(),
            incarnations: BTreeMap::new(),
        }
    }

    /// The membership in effect is this one, and this is recorded.
    pub(crate) fn follow<'a>(
        &mut self,
        membership: &Membership,
        records: impl Iterator<Item = &'a MemberRecord>,
    ) {
        let records: Vec<_> = records.collect();
        let known = records.iter().filter_map(|record| Some((record.id, record.incarnation?)));
        self.incarnations = known.collect();
        self.recorded = records.into_iter().map(member).collect();
        let list = membership.all().map(|id| {
            let part = match membership.role(id) {
                Some(MemberRole::Outgoing) => Part::Outgoing,
                Some(MemberRole::Learner) => Part::Learner,
                _ => Part::Voter,
            };
            let known = self.get(id).cloned();
            let known = known.unwrap_or_else(|| Member {
                id: id.0,
                name: format!("server-{id}"),
                ..Member::default()
            });
            Member { part, ..known }
        });
        self.list = list.collect();
    }

    /// The log takes these entries, in the place of whatever it had there: what they record of servers is known before it is
    /// applied. Says whether anything is known otherwise than before.
    pub(crate) fn look_at(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        let known = self.announced.len();
        self.announced.retain(|record| record.at < first.position.index);
        let lost = self.announced.len() < known;
        let mut found = false;
        for entry in entries {
            if let Payload::Command(bytes) = &entry.payload
                && let Some(record) = Command::member(bytes)
            {
                self.announce(entry.position.index, &record);
                found = true;
            }
        }
        lost || found
    }

    /// The log records this, and may still lose it.
    fn announce(&mut self, at: Index, record: &MemberRecord) {
        if self.announced.len() >= MOST_ANNOUNCED {
            self.announced.remove(0);
        }
        self.announced.push(Announced { at, member: member(record), incarnation: record.incarnation });
    }

    /// Everything up to here is applied: what was recorded counts, and what was refused does not. Says whether anything was
    /// awaited.
    pub(crate) fn applied(&mut self, to: Index) -> bool {
        let known = self.announced.len();
        self.announced.retain(|record| record.at > to);
        self.announced.len() < known
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All members.
    pub fn list(&self) -> &[Member] {
        &self.list
    }

    /// Whom this node speaks to: the members, and `others` that the core sends something. A server that is no member speaks
    /// to whomever it knows of.
    pub(crate) fn peers(&self, others: impl Iterator<Item = NodeId>) -> Vec<Member> {
        let is_member = self.list.iter().any(|member| member.id == self.me.0);
        let known = self.recorded.iter().chain(&self.configured).filter(|_| !is_member);
        let others: Vec<_> = others.filter_map(|other| self.get(other)).collect();
        let mut peers: Vec<Member> = self.list.iter().chain(known).chain(others).cloned().collect();
        peers.sort_by_key(|peer| peer.id);
        peers.dedup_by_key(|peer| peer.id);
        peers.retain(|peer| peer.id != self.me.0 && !peer.address.is_empty());
        peers
    }

    /// A server's name; empty for a stranger.
    pub fn name(&self, id: NodeId) -> &str {
        self.get(id).map_or("", |member| &member.name)
    }

    /// A server's advertised address.
    pub fn address(&self, id: NodeId) -> Option<&str> {
        self.get(id).map(|member| member.address.as_str()).filter(|address| !address.is_empty())
    }

    /// Which incarnation of a server was recorded, where that was: also where that is not applied yet, for a membership that
    /// names it counts before.
    pub(crate) fn incarnation(&self, id: NodeId) -> Option<[u8; 16]> {
        let mut announced = self.announced.iter().rev().filter(|record| record.member.id == id.0);
        announced.find_map(|record| record.incarnation).or(self.incarnations.get(&id.0).copied())
    }

    /// What is known of a server.
    pub(crate) fn get(&self, id: NodeId) -> Option<&Member> {
        let announced = self.announced.iter().rev().map(|record| &record.member);
        announced.chain(&self.recorded).chain(&self.configured).find(|member| member.id == id.0)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Intent, Operation, RequestId};

    use super::*;

    fn members(me: u64) -> Members {
        let member =
            |id| Member { id, name: format!("n{id}"), address: format!("h{id}:1"), part: Part::Voter };
        Members::new(ClusterId([1; 16]), NodeId(me), (1..=3).map(member).collect())
    }

    fn record(id: u64) -> MemberRecord {
        let (name, address) = (format!("m{id}"), format!("r{id}:1"));
        MemberRecord { id, name, address, intent: Intent::Hold, incarnation: None }
    }

    fn following(me: u64, voters: &[u64], learners: &[u64], records: &[u64]) -> Members {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let mut members = members(me);
        let records: Vec<_> = records.iter().copied().map(record).collect();
        members.follow(&Membership::new(&nodes(voters), &nodes(learners)).unwrap(), records.iter());
        members
    }

    fn ids(members: &[Member]) -> Vec<u64> {
        members.iter().map(|member| member.id).collect()
    }

    #[test]
    fn what_was_recorded_goes_before_the_configuration() {
        let members = following(1, &[1, 2, 3], &[4], &[3, 4]);
        let shown: Vec<_> = members.list().iter().map(|member| (member.name.as_str(), member.part)).collect();
        let expected = [("n1", Part::Voter), ("n2", Part::Voter), ("m3", Part::Voter), ("m4", Part::Learner)];
        assert_eq!(shown, expected);
        assert_eq!((members.address(NodeId(3)), members.name(NodeId(9))), (Some("r3:1"), ""));
    }

    #[test]
    fn what_is_not_applied_yet_is_known_until_it_is() {
        let mut members = following(1, &[1, 2, 4], &[], &[]);
        assert_eq!(members.address(NodeId(4)), None);
        members.announce(Index(7), &record(4));
        assert_eq!(members.address(NodeId(4)), Some("r4:1"));
        members.announce(Index(7), &MemberRecord { incarnation: Some([4; 16]), ..record(4) });
        assert_eq!(
            members.incarnation(NodeId(4)),
            Some([4; 16]),
            "its life is known as soon as it may count"
        );
        assert!(!members.applied(Index(6)));
        assert!(members.applied(Index(7)));
        assert_eq!(members.address(NodeId(4)), None, "it was refused");
        for id in 4..5 + MOST_ANNOUNCED as u64 {
            members.announce(Index(id), &record(id));
        }
        assert_eq!(members.address(NodeId(4)), None, "the oldest gives way");
        let earlier = MemberRecord { address: "old:1".into(), ..record(5) };
        members.follow(&Membership::new(&[NodeId(1)], &[]).unwrap(), [&earlier].into_iter());
        assert_eq!(members.address(NodeId(5)), Some("r5:1"), "where it is now is what counts");
    }

    #[test]
    fn what_the_log_loses_is_known_no_more() {
        let entry = |index, payload| Entry { position: raft::Position::new(index, 1), payload };
        let command = |id| {
            let request = RequestId { token: [1; 16], learned: 0, cluster: ClusterId([1; 16]) };
            let operation = Operation::SetMember(record(id));
            Payload::Command(Command { request, stamp_ms: 0, wall_ms: 0, operation }.encode().into())
        };
        let mut members = following(1, &[1, 2, 3], &[], &[]);
        assert!(members.look_at(&[entry(5, command(2)), entry(6, command(3))]));
        assert_eq!((members.address(NodeId(2)), members.address(NodeId(3))), (Some("r2:1"), Some("r3:1")));
        assert!(members.look_at(&[entry(6, Payload::Noop)]), "another leader's entry takes its place");
        assert_eq!((members.address(NodeId(2)), members.address(NodeId(3))), (Some("r2:1"), Some("h3:1")));
        assert!(!members.look_at(&[entry(7, Payload::Noop)]));
    }

    #[test]
    fn members_speak_to_members_and_a_stranger_to_all_it_knows() {
        let peers = |me, others: &[u64]| {
            let others: Vec<_> = others.iter().copied().map(NodeId).collect();
            ids(&following(me, &[1, 2, 4], &[], &[4]).peers(others.into_iter()))
        };
        assert_eq!(peers(1, &[]), [2, 4], "3 is none any more");
        assert_eq!(peers(1, &[3]), [2, 3, 4], "it is told that it is none");
        assert_eq!(peers(3, &[]), [1, 2, 4]);
        assert_eq!(peers(1, &[9]), [2, 4], "nobody knows where 9 is");
        assert_eq!(ids(&following(1, &[1, 9], &[], &[]).peers(std::iter::empty())), [0; 0]);
    }
}
